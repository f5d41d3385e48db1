"""Rows through SQLite's own driver: the portable way without what SQLAlchemy does for each row and value."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from batch_scoring.store.bulk import Scalar, Values
from batch_scoring.store.bulk.portable import FetchedRows, fetch_undecodable, is_undecodable_text, plain
from batch_scoring.store.database import FOREVER, quoted


class SqliteBulk:
    """Lists of the driver's values."""

    overlaps = False
    """The driver lets go of the interpreter's lock at every row, so threads beside it only get in each other's way."""

    def fetch(self, connection: sa.Connection, query: sa.Select[Any], families: Sequence[str]) -> FetchedRows:
        """Run a query; its columns are lists of n values, moments as the text they are stored as."""
        try:
            rows: Sequence[Any] = _cursor_of(connection.execute(query)).fetchall()
        except (sa.exc.OperationalError, sqlite3.OperationalError) as exc:
            if not is_undecodable_text(exc):
                raise
            rows = fetch_undecodable(connection, lambda: _cursor_of(connection.execute(query)).fetchall())
        return FetchedRows(rows=rows, width=len(families))

    def insert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        columns: Mapping[str, Values],
        constants: Mapping[str, Scalar],
    ) -> int:
        """Insert with executemany; constants stand in the statement."""
        dialect = connection.dialect
        names = ", ".join(quoted(dialect, name) for name in [*columns, *constants])
        values = ", ".join([*("?" for _ in columns), *map(_literal, constants.values())])
        target = quoted(dialect, table.schema, table.name)
        statement = f"INSERT INTO {target} ({names}) VALUES ({values})"  # noqa: S608 - quoted names, own literals
        return _execute(connection, statement, zip(*map(plain, columns.values()), strict=True))

    def close_current(
        self, connection: sa.Connection, table: sa.Table, keys: Mapping[str, Values], valid_to: Any
    ) -> int:
        """Close one key after the other, each by the primary key."""
        dialect = connection.dialect
        same = " AND ".join(f"{quoted(dialect, name)} = ?" for name in keys)
        target = quoted(dialect, table.schema, table.name)
        statement = (
            f"UPDATE {target} SET valid_to = {_literal(valid_to)}"  # noqa: S608 - quoted names, own literals
            f" WHERE {same} AND valid_to = {_literal(FOREVER)}"
        )
        return _execute(connection, statement, zip(*map(plain, keys.values()), strict=True))


def _cursor_of(result: sa.CursorResult[Any]) -> Any:
    return result.cursor


def _execute(connection: sa.Connection, statement: str, rows: Iterable[tuple[Any, ...]]) -> int:
    cursor: Any = connection.connection.cursor()
    try:
        cursor.executemany(statement, rows)
        changed: int = cursor.rowcount
    finally:
        cursor.close()
    return changed


def _literal(value: Scalar) -> str:
    """A constant of the package's own making as SQL: a number, or a moment as SQLite stores it."""
    if isinstance(value, datetime):
        return f"'{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}'"
    return str(int(value))
