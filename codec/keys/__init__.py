"""Keys on the client's side: the ring, its file, and what a codec asks of whatever holds keys."""
