"""The codec server: Temporal's web UI and CLI send payloads here to be decoded and encoded; keys stay on this side.

The protocol is that of the UI, the CLI and the SDKs' remote codecs: POST <any prefix>/encode, /decode or /download with
a protojson `Payloads`; the answer has the same form, number and order. `service.py` answers requests without touching
a socket; `edge.py` is the socket.

| file | subject |
| --- | --- |
| `protocol.py` | requests and answers: operations, namespaces, bodies, refusals |
| `cors.py` | which web pages may ask |
| `access.py`, `access_file.py` | who may decode and encode which namespace; the file that says so |
| `identity.py`, `jwt_check.py`, `issuers.py` | who asks: static tokens, tokens of OIDC issuers, keys of the service |
| `allowances.py` | how often, and how much at once |
| `namespaces.py` | one namespace's codecs and object store |
| `audit.py` | a line for each decode |
| `service.py` | the pass of a request through all of these |
| `edge.py`, `certificate.py` | sockets; the certificate shown, followed as it changes |
"""
