"""Whether jobs are healthy, and whether a run would succeed."""
