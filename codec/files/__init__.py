"""Files beside the payloads: encrypted in chunks, streamed both ways, in the customer's own object store."""
