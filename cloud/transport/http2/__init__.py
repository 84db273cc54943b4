"""gRPC on an HTTP/2 of our own.

sans-IO: frames, header_blocks, floods, streams, sending, control, connection. gRPC: messages, heads, uploads, calls, streaming,
services. I/O: tls, edge, accepting, server.
"""
