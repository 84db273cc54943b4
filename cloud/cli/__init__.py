"""The `tacit` command. One module per group of commands; ``root.py`` puts them together."""
