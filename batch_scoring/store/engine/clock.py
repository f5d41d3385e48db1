"""The database's clock, by which runs and validity periods are timed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from batch_scoring.store.engine.sql_types import database_now

_TICK = timedelta(microseconds=1)


def now(connection: sa.Connection) -> datetime:
    """The database's clock, UTC."""
    return connection.execute(sa.select(database_now())).scalar_one()


def after(time: datetime, starts: Iterable[datetime | None]) -> datetime:
    """A time, or a later one that ends every validity period after its start though the clock was set back."""
    return max([time, *(start + _TICK for start in starts if start is not None)])


def earlier(time: datetime, duration: timedelta) -> datetime:
    """A time before another by a duration, or the earliest datetime."""
    try:
        return time - duration
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)
