"""The `tacit` command. One module per group of commands; ``main.py`` puts them together."""
