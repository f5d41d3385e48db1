"""The strategy for SQLite's driver: like the portable one, without SQLAlchemy's cost for each row and value."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from batch_scoring.domain.column_types import Family
from batch_scoring.domain.columns import Column
from batch_scoring.store.bulk.contract import Scalar
from batch_scoring.store.bulk.portable import driver_values, fetch_undecodable, is_undecodable_text
from batch_scoring.store.engine.names import quoted

_BLOCK = 500
"""Rows that are converted to Arrow at once."""

_ROWS_A_STATEMENT = 100
"""Starting a statement costs as much as writing a row."""

_VALUES_A_STATEMENT = 32_766
"""The largest number of bound parameters that SQLite accepts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SqliteRows:
    """n rows as parameters of the driver."""

    table: sa.Table
    names: list[str]
    values: list[Any]
    """Row after row."""

    def __len__(self) -> int:
        return len(self.values) // len(self.names)

    def write(self, connection: sa.Connection, constants: Mapping[str, Scalar]) -> int:
        """Insert with executemany, many rows in each statement; constants are part of the statement."""
        dialect, values = connection.dialect, self.values
        names = ", ".join(quoted(dialect, name) for name in [*self.names, *constants])
        one = f"({', '.join([*('?' for _ in self.names), *map(_literal, constants.values())])})"
        target = quoted(dialect, self.table.schema, self.table.name)
        column_count = len(self.names)
        together = max(1, min(_ROWS_A_STATEMENT, _VALUES_A_STATEMENT // column_count))
        many = together * column_count
        full = len(values) - len(values) % many
        insert = f"INSERT INTO {target} ({names}) VALUES "  # noqa: S608 - quoted names, own literals
        statement = insert + ", ".join([one] * together)
        written = _execute(connection, statement, (values[i : i + many] for i in range(0, full, many)))
        rest = (values[i : i + column_count] for i in range(full, len(values), column_count))
        return written + _execute(connection, insert + one, rest)


class SqliteBulk:
    """Columns are Arrow arrays, or lists of the driver's values if some are not of the column's family."""

    reads_while_writing = False
    """Two threads contend for SQLite's memory allocator, which makes them slower than one thread."""

    def fetch(self, connection: sa.Connection, query: sa.Select[Any], families: Sequence[Family]) -> list[Column]:
        """Run a query; timestamps are returned as the text that is stored."""
        try:
            return _fetch(connection, query, families)
        except (sa.exc.OperationalError, sqlite3.OperationalError) as exc:
            if not is_undecodable_text(exc):
                raise
            return fetch_undecodable(connection, lambda: _fetch(connection, query, families))

    def prepare_insert(self, table: sa.Table, columns: Mapping[str, Column]) -> SqliteRows:
        """The driver's values, row after row in one list."""
        rows = zip(*map(_storable, columns.values()), strict=True)
        return SqliteRows(table=table, names=list(columns), values=list(itertools.chain.from_iterable(rows)))

    def prepare_update(
        self, table: sa.Table, columns: Mapping[str, Column], *, unchanged_since: datetime
    ) -> SqliteUpdatedRows:
        """The driver's values, a tuple for each row with the key last."""
        keys = [column.name for column in table.primary_key]
        names = [*(name for name in columns if name not in keys), *keys]
        rows = zip(*(_storable(columns[name]) for name in names), strict=True)
        return SqliteUpdatedRows(table=table, names=names, rows=list(rows), unchanged_since=unchanged_since)

    def move(
        self,
        connection: sa.Connection,
        current: sa.Table,
        past: sa.Table,
        keys: Mapping[str, Column],
        constants: Mapping[str, Scalar],
    ) -> int:
        """Copy and delete one key after the other, each by the primary key."""
        dialect = connection.dialect
        same = " AND ".join(f"{quoted(dialect, name)} = ?" for name in keys)
        names = [quoted(dialect, column.name) for column in current.columns]
        source, target = (quoted(dialect, table.schema, table.name) for table in (current, past))
        listed = ", ".join([*names, *(quoted(dialect, name) for name in constants)])
        chosen = ", ".join([*names, *map(_literal, constants.values())])
        rows = list(zip(*map(driver_values, keys.values()), strict=True))
        _execute(connection, f"INSERT INTO {target} ({listed}) SELECT {chosen} FROM {source} WHERE {same}", rows)  # noqa: S608
        return _execute(connection, f"DELETE FROM {source} WHERE {same}", rows)  # noqa: S608 - quoted names


@dataclass(frozen=True, kw_only=True, slots=True)
class SqliteUpdatedRows:
    """n rows as parameters of the driver, the key last."""

    table: sa.Table
    names: list[str]
    rows: list[tuple[Any, ...]]
    unchanged_since: datetime

    def __len__(self) -> int:
        return len(self.rows)

    def write(self, connection: sa.Connection, constants: Mapping[str, Scalar]) -> int:
        """Update one row after the other by its primary key."""
        dialect = connection.dialect
        keys = [column.name for column in self.table.primary_key]
        places = dict.fromkeys(self.names, "?") | {name: _literal(value) for name, value in constants.items()}
        given = [name for name in self.names if name not in keys]
        missing = [c.name for c in self.table.columns if c.name not in keys and c.name not in places]
        settings = ", ".join(
            f"{quoted(dialect, name)} = {places.get(name, 'NULL')}" for name in [*given, *constants, *missing]
        )
        same = " AND ".join(f"{quoted(dialect, name)} = ?" for name in keys)
        same += f" AND valid_from <= {_literal(self.unchanged_since)}"
        target = quoted(dialect, self.table.schema, self.table.name)
        return _execute(connection, f"UPDATE {target} SET {settings} WHERE {same}", self.rows)  # noqa: S608 - quoted names


class _Column:
    """Collects a column block by block, so that values are converted to Arrow while they are in the CPU cache."""

    def __init__(self, family: Family) -> None:
        self._type, self._of = _TYPES.get(family, _TEXT)
        self._is_category = family is Family.TEXT
        self._arrays: list[pa.Array] = []
        self._plain: list[Any] | None = None

    def add(self, values: Sequence[Any]) -> None:
        """Add the next values of the column."""
        if self._plain is None and set(map(type, values)) <= self._of:
            try:
                self._arrays.append(pa.array(values, self._type))
                return
            except (pa.ArrowInvalid, UnicodeEncodeError, OverflowError):
                pass
        if self._plain is None:
            self._plain = [value for array in self._arrays for value in array.to_pylist()]
        self._plain += values

    def values(self) -> Column:
        """All values of the column."""
        if self._plain is not None:
            return self._plain
        array = pa.concat_arrays(self._arrays) if self._arrays else pa.array([], self._type)
        values: Column = array.dictionary_encode() if self._is_category else array
        return values


_TEXT: tuple[pa.DataType, set[type]] = (pa.string(), {str, type(None)})
_INTEGER: tuple[pa.DataType, set[type]] = (pa.int64(), {int, type(None)})
_TYPES = {
    Family.INTEGER: _INTEGER,
    Family.BOOLEAN: _INTEGER,
    Family.NUMBER: (pa.float64(), {int, float, type(None)}),
}
"""SQLite has no booleans, only 0 and 1, and no timestamps, only text."""


def _fetch(connection: sa.Connection, query: sa.Select[Any], families: Sequence[Family]) -> list[Column]:
    columns = [_Column(family) for family in families]
    result: Any = connection.execute(query)
    while block := result.cursor.fetchmany(_BLOCK):
        for column, values in zip(columns, zip(*block, strict=True), strict=True):
            column.add(values)
    return [column.values() for column in columns]


def _execute(connection: sa.Connection, statement: str, rows: Iterable[Sequence[Any]]) -> int:
    cursor: Any = connection.connection.cursor()
    try:
        cursor.executemany(statement, rows)
        changed: int = max(0, cursor.rowcount)  # -1 where there were none
    finally:
        cursor.close()
    return changed


def _storable(values: Column) -> list[Any]:
    if isinstance(values, pa.Array) and pa.types.is_timestamp(values.type):
        return pc.strftime(values, "%Y-%m-%d %H:%M:%S").to_pylist()  # type: ignore[no-any-return]  # Arrow is untyped
    return driver_values(values)


def _literal(value: Scalar) -> str:
    """A constant of this package as an SQL literal: a number, or a timestamp as SQLite stores it."""
    if isinstance(value, datetime):
        return f"'{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}'"
    return "NULL" if value is None else str(int(value))
