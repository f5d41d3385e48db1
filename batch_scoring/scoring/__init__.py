"""Runs: due rows are read, scored and written chunk by chunk."""
