"""HTTP: probes and metrics of the scheduler service."""
