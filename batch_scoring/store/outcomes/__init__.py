"""Predictions and quarantine entries: written in one transaction a chunk, kept as history, deleted on request."""
