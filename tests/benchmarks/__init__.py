"""Figures of ours beside the real server's, taken in one run: `python -m tests.benchmarks --help`."""
