"""When a job is to run: its schedule as a trigger of APScheduler's, and the moments, called slots, that it names.

Slots are the same in every process: an interval counts from the Unix epoch and not from when a service started, so two
services ask for the same slots, and the database lets one of them have each.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.interval import IntervalTrigger
from cronsim import CronSim, CronSimError

if TYPE_CHECKING:
    from batch_scoring.job import Schedule

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SEARCHED = tuple(timedelta(hours=hours) for hours in (1, 6, 24, 24 * 8, 24 * 32, 24 * 367, 24 * 366 * 5))
"""How far back the latest slot is looked for, step by step."""

_FIELDS = 5


class CronTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler is untyped
    """Cron's five fields as Debian's cron reads them.

    APScheduler's own trigger counts weekdays from Monday, wants both the day of the month and of the week to fit, and
    leaves out a day in the nights of the clock change (decision 18). Raises ValueError where it is no cron expression.
    """

    def __init__(self, expression: str, timezone: str) -> None:
        if len(expression.split()) != _FIELDS:
            raise ValueError(f"found {len(expression.split())} fields")
        self._expression = expression
        self._zone = ZoneInfo(timezone)
        try:
            CronSim(expression, _EPOCH)
        except CronSimError as exc:
            raise ValueError(str(exc)) from None

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """The first slot later than the one before, or not earlier than now."""
        after = previous_fire_time or now - timedelta(microseconds=1)
        found = next(CronSim(self._expression, after.astimezone(self._zone)), None)
        return None if found is None else found.astimezone(UTC)


def trigger_of(schedule: Schedule) -> BaseTrigger:
    """The schedule as a trigger."""
    if schedule.every is not None:
        return IntervalTrigger(seconds=schedule.every.total_seconds(), start_date=_EPOCH, timezone="UTC")
    assert schedule.cron is not None
    return CronTrigger(schedule.cron, schedule.timezone)


def next_slot(trigger: BaseTrigger, after: datetime) -> datetime | None:
    """The first slot later than a moment, in UTC."""
    found: datetime | None = trigger.get_next_fire_time(None, after + timedelta(microseconds=1))
    return None if found is None else found.astimezone(UTC)


def latest_slot(trigger: BaseTrigger, moment: datetime) -> datetime | None:
    """The last slot that is not later than a moment, in UTC; None where there was none in five years."""
    for back in _SEARCHED:
        slot = next_slot(trigger, moment - back)
        if slot is None or slot > moment:
            continue
        while (later := next_slot(trigger, slot)) is not None and later <= moment:
            slot = later
        return slot
    return None
