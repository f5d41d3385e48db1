"""The table that a job reads: its columns and key, which of its rows are meant, and loading rows into it."""
