"""Outcomes of scored rows, joined to the predictions that were current when they were used."""
