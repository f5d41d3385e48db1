"""Measurements beside the tests: figures are printed, not asserted, because machines are shared and noisy."""
