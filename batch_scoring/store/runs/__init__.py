"""Runs: how a run claims its job, keeps it and ends, and statistics of runs."""
