"""Time limits after which the database ends a session or statement."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """Time-outs of a session."""

    connect: timedelta = timedelta(seconds=10)
    lock: timedelta = timedelta(seconds=15)
    statement: timedelta = timedelta(minutes=15)
    idle_in_transaction: timedelta = timedelta(minutes=1)

    def within(self, stalled_after: timedelta) -> Timeouts:
        """Time-outs for a run that may be taken over after ``stalled_after``: no lock is held longer."""
        return replace(self, idle_in_transaction=min(self.idle_in_transaction, stalled_after))
