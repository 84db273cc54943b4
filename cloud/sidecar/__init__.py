"""The proxy on the client's side (`tacit codec proxy`): workers in any language speak plain gRPC to it, and what reaches the service
is encrypted. It puts `codec.proxy`, which knows messages, together with `cloud.transport`, which knows sockets. It runs beside
workers, never in the service, and nothing of the service imports it."""
