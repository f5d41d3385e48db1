"""The source table of a job: its columns and key, the selection of rows, and loading rows into it."""
