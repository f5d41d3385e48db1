"""Durations as they are written in job files and options."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.IGNORECASE)


_UNITS = {
    form: unit
    for unit, forms in {
        "seconds": ("s", "second", "seconds"),
        "minutes": ("m", "min", "mins", "minute", "minutes"),
        "hours": ("h", "hour", "hours"),
        "days": ("d", "day", "days"),
        "weeks": ("w", "week", "weeks"),
    }.items()
    for form in forms
}


def parse_duration(text: object) -> timedelta:
    """Read a duration such as ``5 minutes``, ``90s`` or ``1.5 hours``. Raises ValueError for any other text."""
    if isinstance(text, timedelta):
        return text
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError('expected a duration such as "30 seconds", "5 minutes" or "2 days"')
    try:
        duration = timedelta(**{unit: float(match[1])})
    except OverflowError:
        raise ValueError("expected a duration of at most 999,999,999 days") from None
    if duration <= timedelta(0):
        raise ValueError("expected a duration longer than zero")
    return duration


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
