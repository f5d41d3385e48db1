"""Where a run's rows are scored: in this process, in worker processes, or in one that a row may crash."""
