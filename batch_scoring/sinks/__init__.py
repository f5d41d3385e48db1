"""What listens to the events of runs: the log, the progress bar, metrics and notifications."""
