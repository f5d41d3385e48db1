"""Tests mirror the package: unit, store (one suite over every database), acceptance (whole commands)."""
