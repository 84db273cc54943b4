"""HTTP: the JSON API and what else is no gRPC, as calls of the gateway."""
