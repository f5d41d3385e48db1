"""Rows through the driver's own SELECT and executemany: every database that SQLAlchemy speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from batch_scoring.store.bulk import Scalar, Values
from batch_scoring.store.database import FOREVER

_BOUND = "batch_scoring_bound_{}"
"""Names of bound values: SQLAlchemy wants them to be no column's."""

_BLOCK = 500
"""Rows turned into columns at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchedRows:
    """Rows of the driver's own values."""

    rows: Sequence[Any]
    width: int

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self.rows)

    def columns(self) -> list[Values]:
        """The values by column."""
        columns: list[list[Any]] = [[] for _ in range(self.width)]
        for start in range(0, len(self.rows), _BLOCK):  # a block fits the processor's cache, all rows at once do not
            for column, values in zip(columns, zip(*self.rows[start : start + _BLOCK], strict=True), strict=True):
                column.extend(values)
        return list(columns)


class PortableBulk:
    """The driver's values as they are, in lists."""

    overlaps = True

    def fetch(self, connection: sa.Connection, query: sa.Select[Any], families: Sequence[str]) -> FetchedRows:
        """Run a query; its columns are lists of n values."""
        try:
            rows = connection.execute(query).all()
        except sa.exc.OperationalError as exc:
            if not is_undecodable_text(exc):
                raise
            rows = fetch_undecodable(connection, lambda: connection.execute(query).all())
        return FetchedRows(rows=rows, width=len(families))

    def insert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        columns: Mapping[str, Values],
        constants: Mapping[str, Scalar],
    ) -> int:
        """Insert with executemany."""
        names = list(columns)
        statement = sa.insert(table).values(
            {name: sa.bindparam(_BOUND.format(i), type_=table.c[name].type) for i, name in enumerate(names)}
            | {name: sa.literal(value, table.c[name].type) for name, value in constants.items()}
        )
        labels = [_BOUND.format(i) for i in range(len(names))]
        rows = [dict(zip(labels, row, strict=True)) for row in zip(*map(plain, columns.values()), strict=True)]
        result = connection.execute(statement, rows, execution_options={"preserve_rowcount": True})
        return result.rowcount

    def close_current(
        self, connection: sa.Connection, table: sa.Table, keys: Mapping[str, Values], valid_to: Any
    ) -> int:
        """Close one key after the other, each by the primary key."""
        names = list(keys)
        statement = (
            sa.update(table)
            .where(
                *(
                    table.c[name] == sa.bindparam(_BOUND.format(i), type_=table.c[name].type)
                    for i, name in enumerate(names)
                )
            )
            .where(table.c.valid_to == sa.literal(FOREVER, table.c.valid_to.type))
            .values(valid_to=sa.literal(valid_to, table.c.valid_to.type))
        )
        labels = [_BOUND.format(i) for i in range(len(names))]
        rows = [dict(zip(labels, row, strict=True)) for row in zip(*keys.values(), strict=True)]
        return connection.execute(statement, rows).rowcount


def plain(values: Values) -> Values:
    """Python's own scalars: a driver fails on NumPy's, or stores their bytes."""
    plain: Values = values.tolist() if hasattr(values, "tolist") else values
    return plain


def is_undecodable_text(exc: Exception) -> bool:
    """Whether SQLite met text that is no UTF-8."""
    return "Could not decode to UTF-8" in str(exc)


def fetch_undecodable(connection: sa.Connection, fetch: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    """Read again with bytes that are no UTF-8 kept as lone surrogates, so that one such text costs one row."""
    driver: Any = connection.connection.driver_connection
    decode = driver.text_factory
    driver.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        return fetch()
    finally:
        driver.text_factory = decode
