"""Formatting counts in messages."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Format a count with its noun: ``1 row``, ``1,000 rows``. ``plural`` is for nouns whose plural is irregular."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def were(count: int) -> str:
    """``was`` for a count of 1, else ``were``."""
    return "was" if count == 1 else "were"
