"""The whole cloud end to end on real input, each step checked: `python -m tests.demo`."""
