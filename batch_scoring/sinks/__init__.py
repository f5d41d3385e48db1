"""Observers of events: the log, the progress bar, metrics and notifications."""
