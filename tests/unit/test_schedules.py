"""What a schedule means: cron's reading of its fields, slots all processes agree on, nights of the clock change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_scoring.domain.schedule import Schedule, latest_slot, next_slot

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


def slots(expression: str, timezone: str, start: datetime, end: datetime) -> list[datetime]:
    """All slots in a span of time."""
    schedule, found, moment = Schedule(cron=expression, timezone=timezone), [], start
    while (slot := next_slot(schedule, moment)) is not None and slot <= end:
        found.append(slot)
        moment = slot
    return found


def weekdays(expression: str) -> set[str]:
    found = slots(expression, "UTC", datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 30, tzinfo=UTC))
    return {f"{slot:%a}".lower() for slot in found}


@pytest.mark.parametrize(
    ("field", "days"),
    [
        ("0", {"sun"}),
        ("7", {"sun"}),
        ("1-5", {"mon", "tue", "wed", "thu", "fri"}),
        ("mon-fri", {"mon", "tue", "wed", "thu", "fri"}),
        ("5-7", {"fri", "sat", "sun"}),
        ("*/2", {"sun", "tue", "thu", "sat"}),
        ("1-5/2", {"mon", "wed", "fri"}),
        ("sun,3", {"sun", "wed"}),
        ("SAT", {"sat"}),
        ("*", {"mon", "tue", "wed", "thu", "fri", "sat", "sun"}),
    ],
)
def test_weekdays_are_numbered_as_cron_numbers_them(field: str, days: set[str]) -> None:
    assert weekdays(f"0 6 * * {field}") == days


def test_a_day_that_fits_the_month_or_the_week_is_meant_where_both_are_limited() -> None:
    found = slots("0 6 13 * 5", "UTC", datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 30, tzinfo=UTC))

    assert [slot.day for slot in found] == [6, 13, 20, 27]
    found = slots("0 6 12 * 5", "UTC", datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 30, tzinfo=UTC))
    assert [slot.day for slot in found] == [6, 12, 13, 20, 27]


@pytest.mark.parametrize(
    "expression", ["", "* * * *", "* * * * * *", "61 * * * *", "0 0 * * 8", "0 0 * * x", "0 0 * * 1/0", "0 0 30 2 *"]
)
def test_what_is_no_cron_expression_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Schedule(cron=expression)


@pytest.mark.parametrize(
    ("timezone", "night"),
    [
        (BERLIN, datetime(2026, 3, 28, 20, tzinfo=UTC)),
        (BERLIN, datetime(2026, 10, 24, 20, tzinfo=UTC)),
        (NEW_YORK, datetime(2026, 3, 8, 2, tzinfo=UTC)),
        (NEW_YORK, datetime(2026, 11, 1, 2, tzinfo=UTC)),
    ],
)
def test_a_schedule_of_minutes_leaves_no_gap_in_a_night_of_the_clock_change(timezone: str, night: datetime) -> None:
    found = slots("*/15 * * * *", timezone, night, night + timedelta(hours=12))

    assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(minutes=15)}
    assert len(found) == 48


@pytest.mark.parametrize("timezone", [BERLIN, NEW_YORK])
@pytest.mark.parametrize("hour", range(5))
def test_a_daily_schedule_runs_every_day_of_the_year_and_never_a_day_late(timezone: str, hour: int) -> None:
    found = slots(
        f"30 {hour} * * *", timezone, datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2027, 1, 1, 12, tzinfo=UTC)
    )
    days = [slot.astimezone(ZoneInfo(timezone)).date() for slot in found]

    assert len(set(days)) == len(days) == 365, "not even twice in the hour that comes twice"
    assert max(later - earlier for earlier, later in pairwise(found)) <= timedelta(hours=25)


def test_slots_of_an_interval_do_not_depend_on_when_a_service_started() -> None:
    schedule = Schedule(every=timedelta(seconds=90))
    moment = datetime(2026, 11, 25, 3, 19, 36, 123456, tzinfo=UTC)

    assert next_slot(schedule, moment) == datetime(2026, 11, 25, 3, 21, tzinfo=UTC)
    assert latest_slot(schedule, moment) == datetime(2026, 11, 25, 3, 19, 30, tzinfo=UTC)


@settings(max_examples=60)
@given(
    expression=st.sampled_from(
        ["* * * * *", "*/15 * * * *", "30 2 * * *", "0 6 * * 1-5", "0 0 1 * *", "0 3 13 * 5", "59 23 31 12 *"]
    ),
    timezone=st.sampled_from(["UTC", BERLIN, NEW_YORK, "Australia/Lord_Howe"]),
    moment=st.integers(1_577_836_800, 2_051_222_400).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
)
def test_the_latest_slot_is_the_last_one_that_has_come(expression: str, timezone: str, moment: datetime) -> None:
    schedule = Schedule(cron=expression, timezone=timezone)

    latest = latest_slot(schedule, moment)

    assert latest is not None
    assert latest <= moment
    following = next_slot(schedule, latest)
    assert following is not None
    assert following > moment


def test_a_slot_is_its_own_latest_slot() -> None:
    slot = datetime(2026, 11, 25, 3, 15, tzinfo=UTC)

    assert latest_slot(Schedule(cron="*/15 * * * *"), slot) == slot


def test_a_date_that_never_came_has_no_latest_slot() -> None:
    assert latest_slot(Schedule(cron="0 0 29 2 *"), datetime(1904, 1, 1, tzinfo=UTC)) is None
