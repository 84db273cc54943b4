"""Kill -9 of the server under load, again and again, and what must have survived: `python -m tests.chaos --help`."""
