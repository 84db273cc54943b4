"""What a proxy on the client's side does to the messages that pass it: all that users wrote is encoded on the way to the service,
and decoded on the way back. No sockets here: `cloud.sidecar` listens and calls."""
