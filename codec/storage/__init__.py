"""Large payloads in the customer's own object store."""
