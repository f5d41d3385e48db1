"""Sessions of a database with a table of two rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from batch_scoring.errors import (
    DatabaseFault,
)
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.timeouts import Timeouts

SECRET = "s3cr3t-Pa%ss"
IMPATIENT = Timeouts(lock=timedelta(milliseconds=100))
TABLE = (
    "CREATE TABLE applicants (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    " CONSTRAINT ck_long CHECK (length(name) > 2))"
)


def with_a_table(url: str) -> Iterator[Database]:
    database = Database(url)
    with database.write(create=True) as connection:
        connection.exec_driver_sql(TABLE)
        connection.exec_driver_sql("INSERT INTO applicants VALUES (1, 'ada'), (2, 'grace')")
    yield database
    database.dispose()


def another(database: Database, disposing: list[Database], timeouts: Timeouts | None = None) -> Database:
    """The same database with connections of its own."""
    another = Database(database.url.render_as_string(hide_password=False), timeouts=timeouts)
    disposing.append(another)
    return another


def execute(database: Database, statement: str, *, writes: bool = True) -> None:
    with database.write() if writes else database.read() as connection:
        connection.exec_driver_sql(statement)


def value_of(database: Database, query: str) -> Any:
    with database.read() as connection:
        return connection.exec_driver_sql(query).scalar_one()


def fault_of(database: Database, statement: str, *, writes: bool = True) -> DatabaseFault:
    with pytest.raises(DatabaseFault) as raised:
        execute(database, statement, writes=writes)
    return raised.value
