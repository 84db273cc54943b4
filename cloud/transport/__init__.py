"""gRPC: what turns bytes on a socket into calls of whoever answers them. Used by the gateway, and by the proxy on the client's side."""
