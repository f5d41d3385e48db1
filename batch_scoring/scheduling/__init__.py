"""The scheduler service: when runs start, what watches them, and who hears of it."""
