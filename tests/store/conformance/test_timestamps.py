"""The database's clock and its timestamps: the same instants in UTC."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa
from sessions import with_a_table
from support import wait_until

from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import FOREVER, UtcTimestamp, database_now


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A table of two rows on each database."""
    yield from with_a_table(database_url)


def test_the_clock_of_the_database_is_utc_and_moves_inside_a_transaction(database: Database) -> None:
    with database.read() as connection:
        first = now(connection)
        wait_until(lambda: now(connection) > first)

    assert first.utcoffset() == timedelta(0)
    # the server is this machine
    assert abs(datetime.now(UTC) - first) < timedelta(minutes=5)


def test_a_timestamp_written_by_the_database_compares_with_one_bound_by_us(database: Database) -> None:
    table = sa.Table("moments", sa.MetaData(), sa.Column("id", sa.Integer), sa.Column("moment", UtcTimestamp))
    with database.write() as connection:
        table.create(connection)
        before = now(connection)
        connection.execute(sa.insert(table).values(id=1, moment=database_now()))
        after = now(connection)
        in_between = sa.select(table.c.id).where(table.c.moment >= before, table.c.moment <= after)
        assert connection.execute(in_between).scalar_one() == 1
        assert connection.execute(sa.select(table.c.id).where(table.c.moment == FOREVER)).all() == []


@pytest.mark.parametrize(
    "moment",
    [
        FOREVER,
        datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC),
        datetime(2026, 3, 29, 4, 30, tzinfo=timezone(timedelta(hours=5, minutes=45))),
        datetime(1, 1, 1, tzinfo=UTC),
        None,
    ],
)
def test_a_timestamp_comes_back_as_the_same_instant_in_utc(database: Database, moment: datetime | None) -> None:
    table = sa.Table("moments", sa.MetaData(), sa.Column("moment", UtcTimestamp))
    with database.write() as connection:
        table.create(connection)
        connection.execute(sa.insert(table).values(moment=moment))
        found = connection.execute(sa.select(table.c.moment)).scalar_one()

    assert found == moment
    assert found is None or found.utcoffset() == timedelta(0)


@pytest.mark.requires(has_time_zones=True)
def test_a_timestamp_with_a_time_zone_is_the_same_instant_whatever_the_zone_it_was_written_in(
    database: Database,
) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE timestamps (id INTEGER, at TIMESTAMP WITH TIME ZONE)")
        connection.exec_driver_sql(
            "INSERT INTO timestamps VALUES (1, '2026-07-01 12:00:00+09'), (2, '2026-07-01 03:00:00+00'),"
            " (3, '2026-07-01 03:00:00')"  # a session is in UTC
        )
        table = sa.table("timestamps", sa.column("at", UtcTimestamp))
        assert connection.execute(sa.select(table.c.at).distinct()).scalars().all() == [
            datetime(2026, 7, 1, 3, tzinfo=UTC)
        ]
