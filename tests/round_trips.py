"""Rows that are written and read again by each strategy."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from batch_scoring.domain.column_types import Family
from batch_scoring.domain.columns import Column
from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import RawType

MOMENT = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)


def insert_rows(
    bulk: Bulk,
    connection: sa.Connection,
    table: sa.Table,
    columns: Mapping[str, Column],
    constants: Mapping[str, Any] | None = None,
) -> int:
    return bulk.prepare_insert(table, columns).write(connection, constants or {})


def create_table(database: Database, types: Mapping[str, str], name: str = "samples") -> sa.Table:
    """Make a table of columns with exact types, and a position to order by."""
    columns: list[sa.Column[Any]] = [sa.Column("position", RawType("INTEGER"))]
    columns += [sa.Column(column, RawType(ddl)) for column, ddl in types.items()]
    table = sa.Table(name, sa.MetaData(), *columns)
    with database.write(create=True) as connection:
        table.create(connection)
    return table


def round_trip(
    way: tuple[Database, Bulk], table: sa.Table, columns: Mapping[str, Column], families: Mapping[str, Family]
) -> dict[str, list[Any]]:
    """Insert columns into an emptied table and fetch them again in order."""
    database, bulk = way
    count = len(next(iter(columns.values())))
    with database.write() as connection:
        connection.execute(sa.delete(table))
        written = insert_rows(bulk, connection, table, {"position": list(range(count)), **columns})
        assert written == count
        query = sa.select(*(table.c[name] for name in columns), table.c.position).order_by(table.c.position)
        *fetched, positions = bulk.fetch(connection, query, [*(families[name] for name in columns), Family.INTEGER])
        assert as_list(positions) == list(range(count))
    return {name: as_list(values) for name, values in zip(columns, fetched, strict=True)}


def as_list(values: Column) -> list[Any]:
    return values if isinstance(values, list) else values.to_pylist()


def bits(numbers: Sequence[float | None]) -> list[bytes | None]:
    """Floats to the last bit; the sign of zero is not kept by every driver and means nothing to a score."""
    return [None if number is None else struct.pack("d", number + 0.0) for number in numbers]


NASTY = [
    "",
    None,
    "\x1e",
    "a\x1eb\x1e",
    "\x1f",
    " ",
    "\\.",
    "\\N",
    "\\",
    "\\\\",
    "NULL",
    "null",
    "NaN",
    "N/A",
    '"',
    '""',
    '","',
    "'",
    ",",
    ";",
    "\n",
    "\r",
    "\r\n",
    "\t",
    "\\.\n",
    "\n\\.\n",
    "a\nb",
    "a\rb",
    " a ",
    "ä",
    "a\u0308",
    "日本語",
    "😀",
    "\ufeff",
    "\u2028",
    "\u0085",
    "\x01",
    "\x7f",
    "%s",
    "%%",
    ":a",
    "$1",
    "{}",
    "1",
    "01",
    "1e5",
    "true",
    "t",
    "2026-01-01",
    "x" * 100_000,
]
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
BOUNDED = settings(
    deadline=None, max_examples=30, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
