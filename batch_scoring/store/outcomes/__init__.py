"""Predictions and quarantine entries: written in one transaction a chunk, stored as history, deleted on request."""
