"""Official test suites of others, run against `tacit dev` and the real server: what passes there has to pass here."""
