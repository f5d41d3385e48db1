"""Drift as it is recorded: reports, alerts, mutes, and the limits that applied."""
