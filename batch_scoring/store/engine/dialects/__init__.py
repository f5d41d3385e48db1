"""The databases: one class each, with its capabilities as attributes."""
