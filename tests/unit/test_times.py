"""Times as people and programs write them."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from batch_scoring.cli.times import EXAMPLE, parse_time

NOON = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-07-01T12:00:00Z",
        "2026-07-01T12:00Z",
        "2026-07-01t12:00:00z",
        "2026-07-01 12:00:00",
        "2026-07-01 12:00",
        "2026-07-01T12:00:00.000000",
        "2026-07-01T12:00:00,000Z",
        "2026-07-01 12:00:00+00",
        "2026-07-01T14:00:00+02:00",
        "2026-07-01T14:00:00+0200",
        "2026-07-01 14:00:00 +02:00",
        "2026-07-01T07:30:00-04:30",
        "20260701T120000Z",
        "2026-W27-3T12:00:00Z",
        "2026-07-01 12:00:00 UTC",
        "  2026-07-01T12:00:00Z ",
    ],
)
def test_iso_8601_is_read_with_and_without_an_offset(text: str) -> None:
    assert parse_time(text) == NOON
    assert parse_time(text).utcoffset() == timedelta(0)


def test_a_date_is_its_first_instant_in_utc() -> None:
    assert parse_time("2026-07-01") == datetime(2026, 7, 1, tzinfo=UTC)


def test_the_example_of_the_help_is_read() -> None:
    assert parse_time(EXAMPLE) == datetime(2026, 7, 1, 10, 30, tzinfo=UTC)


@given(st.datetimes(timezones=st.just(UTC)), st.integers(-23 * 60, 23 * 60))
def test_what_python_writes_is_read_again(written: datetime, minutes: int) -> None:
    aware = written.replace(year=max(2, min(written.year, 9998)), day=1).astimezone(
        timezone(timedelta(minutes=minutes))
    )
    assert parse_time(aware.isoformat()) == aware
    assert parse_time(str(aware)) == aware


@pytest.mark.parametrize("text", ["", "yesterday", "12:00", "2026-13-01", "01.07.2026", "2026-07-01T25:00", "1e9", "Z"])
def test_what_is_not_a_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a time; expected ISO 8601, such as 2026-07-01"):
        parse_time(text)


def test_a_time_outside_the_calendar_of_utc_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="outside the years 1 to 9999"):
        parse_time("0001-01-01T00:00:00+01:00")


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    with suppress(typer.BadParameter):
        assert parse_time(text).tzinfo is UTC
