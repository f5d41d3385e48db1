"""The portable strategy, with SELECT and executemany, for every database that SQLAlchemy supports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import numpy as np
import sqlalchemy as sa

from batch_scoring.domain.column_types import Family
from batch_scoring.domain.columns import Column
from batch_scoring.store.bulk.contract import Scalar

Result = TypeVar("Result")

_BOUND = "batch_scoring_bound_{}"
"""Names of bound parameters, which must differ from those of columns."""

_BLOCK = 500
"""Rows that are converted to columns at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PortableRows:
    """n rows of bound parameters."""

    table: sa.Table
    names: list[str]
    rows: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.rows)

    def write(self, connection: sa.Connection, constants: Mapping[str, Scalar]) -> int:
        """Insert with executemany."""
        columns = self.table.c
        statement = sa.insert(self.table).values(
            {name: sa.bindparam(_BOUND.format(i), type_=columns[name].type) for i, name in enumerate(self.names)}
            | {name: sa.literal(value, columns[name].type) for name, value in constants.items()}
        )
        result = connection.execute(statement, self.rows, execution_options={"preserve_rowcount": True})
        return result.rowcount


class PortableBulk:
    """Columns are lists of the driver's values."""

    reads_while_writing = True

    def fetch(self, connection: sa.Connection, query: sa.Select[Any], families: Sequence[Family]) -> list[Column]:
        """Run a query; its columns are lists of n values."""
        try:
            rows = connection.execute(query).all()
        except sa.exc.OperationalError as exc:
            if not is_undecodable_text(exc):
                raise
            rows = fetch_undecodable(connection, lambda: connection.execute(query).all())
        return by_column(rows, len(families))

    def prepare_insert(self, table: sa.Table, columns: Mapping[str, Column]) -> PortableRows:
        """Rows as dictionaries of bound parameters."""
        return PortableRows(table=table, names=list(columns), rows=_parameters(columns))

    def prepare_update(
        self, table: sa.Table, columns: Mapping[str, Column], *, unchanged_since: datetime
    ) -> PortableUpdatedRows:
        """Rows as dictionaries of bound parameters."""
        rows = _parameters(columns)
        return PortableUpdatedRows(table=table, names=list(columns), rows=rows, unchanged_since=unchanged_since)

    def move(
        self,
        connection: sa.Connection,
        current: sa.Table,
        past: sa.Table,
        keys: Mapping[str, Column],
        constants: Mapping[str, Scalar],
    ) -> int:
        """Copy and delete one key after the other, each by the primary key."""
        same, rows = _same_key(current, list(keys)), _parameters(keys)
        own = [sa.literal(value, past.c[name].type) for name, value in constants.items()]
        names = [*(column.name for column in current.c), *constants]
        connection.execute(sa.insert(past).from_select(names, sa.select(*current.c, *own).where(*same)), rows)
        return connection.execute(sa.delete(current).where(*same), rows).rowcount


@dataclass(frozen=True, kw_only=True, slots=True)
class PortableUpdatedRows:
    """n rows of bound parameters."""

    table: sa.Table
    names: list[str]
    rows: list[dict[str, Any]]
    unchanged_since: datetime

    def __len__(self) -> int:
        return len(self.rows)

    def write(self, connection: sa.Connection, constants: Mapping[str, Scalar]) -> int:
        """Update one row after the other by its primary key."""
        columns = self.table.c
        keys = [column.name for column in self.table.primary_key]
        places = {name: sa.bindparam(_BOUND.format(i), type_=columns[name].type) for i, name in enumerate(self.names)}
        values = {column.name: places.get(column.name, sa.null()) for column in columns if column.name not in keys}
        values |= {name: sa.literal(value, columns[name].type) for name, value in constants.items()}
        start = columns.valid_from
        same = [columns[name] == places[name] for name in keys]
        statement = sa.update(self.table).where(*same, start <= sa.literal(self.unchanged_since, start.type))
        statement = statement.values(values)
        return connection.execute(statement, self.rows).rowcount


def _parameters(columns: Mapping[str, Column]) -> list[dict[str, Any]]:
    labels = [_BOUND.format(i) for i in range(len(columns))]
    return [dict(zip(labels, row, strict=True)) for row in zip(*map(driver_values, columns.values()), strict=True)]


def _same_key(table: sa.Table, names: Sequence[str]) -> list[sa.ColumnElement[bool]]:
    columns = table.c
    return [columns[name] == sa.bindparam(_BOUND.format(i), type_=columns[name].type) for i, name in enumerate(names)]


def by_column(rows: Sequence[Any], column_count: int) -> list[Column]:
    """The values of rows by column."""
    columns: list[list[Any]] = [[] for _ in range(column_count)]
    for start in range(0, len(rows), _BLOCK):  # a block fits the processor's cache, all rows at once do not
        for column, values in zip(columns, zip(*rows[start : start + _BLOCK], strict=True), strict=True):
            column.extend(values)
    return list(columns)


def driver_values(values: Column) -> list[Any]:
    """Python scalars: drivers refuse NumPy's scalars or store their bytes."""
    found: Any = values
    if hasattr(found, "dictionary"):  # Arrow: each distinct text is created once
        found = np.array([*found.dictionary.to_pylist(), None], dtype=object)[found.indices.fill_null(-1)]
    elif hasattr(found, "to_numpy") and str(found.type) == "double" and not found.null_count:
        found = found.to_numpy()  # its list is created many times faster
    native: list[Any] = found.tolist() if hasattr(found, "tolist") else found
    return native


def is_undecodable_text(exc: Exception) -> bool:
    """Whether SQLite failed on text that is not UTF-8."""
    return "Could not decode to UTF-8" in str(exc)


def fetch_undecodable(connection: sa.Connection, fetch: Callable[[], Result]) -> Result:
    """Read again with invalid UTF-8 decoded as lone surrogates, so that only rows with such text fail."""
    driver: Any = connection.connection.driver_connection
    decode = driver.text_factory
    driver.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        return fetch()
    finally:
        driver.text_factory = decode
