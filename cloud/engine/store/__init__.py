"""What a native cell keeps: tables and batched SQL for SQLite and Postgres. Knows rows, not rules."""
