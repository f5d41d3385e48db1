"""The database's clock, by which runs and validity periods are timed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from batch_scoring.store.engine.sql_types import database_now


def now(connection: sa.Connection) -> datetime:
    """The database's clock, UTC."""
    return connection.execute(sa.select(database_now())).scalar_one()


def earlier(time: datetime, duration: timedelta) -> datetime:
    """A time before another by a duration, or the earliest datetime."""
    try:
        return time - duration
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)
