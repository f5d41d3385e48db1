"""The database's clock, by which runs and validity periods are timed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from batch_scoring.store.engine.sql_types import database_now


def now(connection: sa.Connection) -> datetime:
    """The database's clock, UTC."""
    return connection.execute(sa.select(database_now())).scalar_one()


def earlier(moment: datetime, duration: timedelta) -> datetime:
    """The moment so much before, or the first there is."""
    try:
        return moment - duration
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)
