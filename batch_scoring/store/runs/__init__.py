"""Runs: how one comes to own its job, keeps it and ends, and what the runs of a job add up to."""
