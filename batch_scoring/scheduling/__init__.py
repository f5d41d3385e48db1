"""The scheduler service: starts runs on schedule, monitors their jobs and notifies operators."""
