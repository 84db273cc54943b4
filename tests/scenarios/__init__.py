"""Acceptance scenarios: what a Temporal service does, seen from outside, held against any server."""
