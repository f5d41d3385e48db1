"""A job's schedule as an APScheduler trigger."""

from __future__ import annotations

from datetime import datetime, timedelta

from apscheduler.triggers.base import BaseTrigger

from batch_scoring.domain.schedule import Schedule, next_slot


class SlotTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler is untyped
    """Fires at the slots of a schedule."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """The first slot after the previous one, or the first that is not before ``now``."""
        return next_slot(self._schedule, previous_fire_time or now - timedelta(microseconds=1))
