"""Rewriting history, as no user can: the triggers that preserve it are off for the time of some statements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from batch_scoring.store.engine.database import Database


@contextmanager
def without_triggers(connection: sa.Connection) -> Iterator[None]:
    """Turn off the triggers of every table, for the rest of the transaction at least."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        yield
        connection.exec_driver_sql("SET LOCAL session_replication_role = origin")
        return
    triggers = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").all()
    for name, _ in triggers:
        connection.exec_driver_sql(f"DROP TRIGGER {connection.dialect.identifier_preparer.quote_identifier(name)}")
    yield
    for _, sql in triggers:
        connection.exec_driver_sql(sql)


def rewrite(database: Database, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
    """Execute a statement that the triggers would refuse, or would follow by a write of their own."""
    with database.write() as connection, without_triggers(connection):
        connection.execute(sa.text(statement), parameters)
