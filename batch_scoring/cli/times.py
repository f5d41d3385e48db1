"""Parsing times: one parameter type for every command."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any

import typer

EXAMPLE = "2026-07-01T12:30:00+02:00"

_ZONE_APART = re.compile(r"\s+(?=(?:[+-]\d\d(?::?\d\d){0,2}|Z)$)")
_CHARACTERS = re.compile(r"[0-9W:+\-.,TZ ]+")


def parse_time(text: str | datetime) -> datetime:
    """Parse an ISO 8601 time to UTC; a time without an offset is UTC. Raises BadParameter."""
    if isinstance(text, datetime):
        return text
    written = text.strip().upper().removesuffix("UTC").strip() + ("Z" if text.strip().upper().endswith("UTC") else "")
    written = _ZONE_APART.sub("", written)
    try:
        found = datetime.fromisoformat(written) if _CHARACTERS.fullmatch(written) else None
    except ValueError:
        found = None
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a time; expected ISO 8601, such as 2026-07-01 or {EXAMPLE}")
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is outside the years 1 to 9999 in UTC") from None


def time_option(*names: str, help: str) -> Any:  # noqa: A002 - same name as in Typer
    """An option for a time in ISO 8601, UTC without an offset."""
    return typer.Option(
        *names, help=f"{help} ISO 8601, UTC without an offset: {EXAMPLE}.", parser=parse_time, metavar="TIME"
    )


def parse_month(text: str | date) -> date:
    """Parse a month to its first day. Raises BadParameter."""
    if isinstance(text, date):
        return text
    try:
        return datetime.strptime(text.strip(), "%Y-%m").date()  # noqa: DTZ007 a month has no time
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a month; expected one such as 2026-05") from None


def month_option(*, help: str) -> Any:  # noqa: A002 - same name as in Typer
    """The option for a month."""
    return typer.Option("--month", help=help, parser=parse_month, metavar="MONTH")
