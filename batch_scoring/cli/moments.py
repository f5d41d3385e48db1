"""Moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

from batch_scoring.errors import InputFault

MOMENT_FORMATS = ["%Y-%m-%d", *(f"%Y-%m-%d{gap}%H:%M:%S{rest}" for gap in "T " for rest in ("", ".%f", "%z", ".%f%z"))]
"""A date, or a date and a time, with or without a zone."""


def utc(moment: datetime) -> datetime:
    """The moment in UTC, which is meant where no zone is said. Raises InputFault."""
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise InputFault(f"{moment.isoformat()} is no moment of UTC's calendar") from None
