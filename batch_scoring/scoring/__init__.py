"""Runs: where model and store meet. What is due is read, scored and written chunk by chunk."""
