"""Encryption of payloads: the codec, its formats, and the cipher beneath."""
