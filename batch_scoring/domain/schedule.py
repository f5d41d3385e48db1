"""The ``[schedule]`` section of a job, and its slots: the times at which the job is to run.

Every process computes the same slots: an interval counts from the Unix epoch and not from the start of a service. Two
services therefore request the same slots, and the database assigns each slot to one run.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator

from batch_scoring.domain.durations import Duration
from batch_scoring.domain.section import Section

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SEARCH_WINDOWS = tuple(timedelta(hours=hours) for hours in (1, 6, 24, 24 * 8, 24 * 32, 24 * 367, 24 * 366 * 5))
"""How far before a given time the latest slot is searched for; tried in this order."""

_FIELDS = 5


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError('expected an IANA time zone such as "UTC" or "Europe/Berlin"') from None
    return name


def _cron(expression: str) -> str:
    from cronsim import CronSim, CronSimError  # where a run does not need it, it costs time at every start

    try:
        found = len(expression.split())
        if found != _FIELDS:
            raise ValueError(f"found {found} fields")
        CronSim(expression, _EPOCH)
    except (ValueError, CronSimError) as exc:
        raise ValueError(f'expected the five fields of cron, such as "*/15 * * * *" ({exc})') from None
    return expression


def _interval(every: timedelta) -> timedelta:
    if every < timedelta(seconds=1):
        raise ValueError("expected an interval of at least a second")
    return every


class Schedule(Section):
    """``[schedule]``: when the scheduler service starts a run. Either ``cron`` or ``every`` is given.

    ``cron`` is read as Debian's cron reads it: APScheduler's own trigger counts weekdays from Monday, wants both the
    day of the month and of the week to fit, and leaves out a day in the nights of the clock change (decision 18).
    """

    cron: Annotated[str, AfterValidator(_cron)] | None = None
    every: Annotated[Duration, AfterValidator(_interval)] | None = None
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    jitter: Duration | None = None
    stale_after: Duration | None = None


def next_slot(schedule: Schedule, after: datetime) -> datetime | None:
    """The first slot later than an aware time, in UTC; None where there is none."""
    if schedule.every is not None:
        return _EPOCH + ((after - _EPOCH) // schedule.every + 1) * schedule.every
    from cronsim import CronSim

    assert schedule.cron is not None
    found = next(CronSim(schedule.cron, after.astimezone(ZoneInfo(schedule.timezone))), None)
    return None if found is None else found.astimezone(UTC)


def latest_slot(schedule: Schedule, at: datetime) -> datetime | None:
    """The last slot that is not later than an aware time, in UTC; None where there was none in five years."""
    for window in _SEARCH_WINDOWS:
        slot = next_slot(schedule, at - window)
        if slot is None or slot > at:
            continue
        while (later := next_slot(schedule, slot)) is not None and later <= at:
            slot = later
        return slot
    return None
