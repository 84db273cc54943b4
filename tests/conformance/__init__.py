"""Conformance: what every method answers to every kind of bad input, recorded from the real server and held against ours."""
