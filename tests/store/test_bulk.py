"""Moving many rows: what goes in comes out, by every way, to the last bit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from round_trips import BOUNDED, create_table, insert_rows, round_trip, texts

from batch_scoring.domain.column_types import ColumnType, Family
from batch_scoring.domain.columns import Column
from batch_scoring.domain.manifest import Signature, SignatureColumn
from batch_scoring.model.signature import check_rows
from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.bulk.portable import PortableBulk
from batch_scoring.store.bulk.postgresql import CopyBulk
from batch_scoring.store.bulk.sqlite import SqliteBulk
from batch_scoring.store.engine.database import Database

WAYS: dict[str, type[Bulk]] = {
    "sqlite portable": PortableBulk,
    "sqlite native": SqliteBulk,
    "postgresql portable": PortableBulk,
    "postgresql copy": CopyBulk,
}


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    database = Database(sqlite_url)
    yield database
    database.dispose()


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[Database]:
    database = Database(postgresql_url)
    yield database
    database.dispose()


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> tuple[Database, Bulk]:
    """A database and one way of moving its rows."""
    return request.getfixturevalue(request.param.partition(" ")[0]), WAYS[request.param]()


FEW = settings(parent=BOUNDED, max_examples=10)


def test_nan_comes_out_of_postgresql_as_nan_and_of_sqlite_as_null(way: tuple[Database, Bulk]) -> None:
    table = create_table(way[0], {"number": "DOUBLE PRECISION"})

    found = round_trip(way, table, {"number": [1.5, math.nan, None]}, {"number": Family.NUMBER})["number"]

    assert found[0] == 1.5
    assert found[2] is None
    if way[0].dialect.is_file:
        assert found[1] is None
    else:
        assert math.isnan(found[1])


EXACT_TYPES: dict[str, tuple[str, str, ColumnType, SearchStrategy[Any]]] = {
    "whole": ("BIGINT", "integer", ColumnType.INTEGER, st.integers(-(2**63), 2**63 - 1)),
    "small": ("SMALLINT", "integer", ColumnType.INTEGER, st.integers(-(2**15), 2**15 - 1)),
    "number": ("DOUBLE PRECISION", "number", ColumnType.NUMBER, st.floats()),
    "single": ("REAL", "number", ColumnType.NUMBER, st.floats(width=32)),
    "exact": (
        "NUMERIC",
        "number",
        ColumnType.NUMBER,
        st.decimals(allow_infinity=False).filter(lambda number: not number.is_snan() and abs(number.adjusted()) < 300)
        | st.sampled_from(["Infinity", "-Infinity", "0.1", "123456789012345678901234567890.5", "1e-310", "4.9e-324"]),
    ),
    "flag": ("BOOLEAN", "boolean", ColumnType.BOOLEAN, st.booleans()),
    "text": ("TEXT", "text", ColumnType.TEXT, texts),
    "padded": ("CHAR(4)", "text", ColumnType.TEXT, st.sampled_from(["a", "ab", "", "abcd"])),
    "grade": ('"Grade"', "text", ColumnType.TEXT, st.sampled_from(["low", "it's high", '"'])),
    "code": ("code", "text", ColumnType.TEXT, st.sampled_from(["L-1", "L-", "L-\n"])),
    "amount": ("amount", "number", ColumnType.NUMBER, st.floats(0, 1e6)),
    "uuid": ("UUID", "text", ColumnType.TEXT, st.uuids().map(str)),
    "day": ("DATE", "date", ColumnType.TIMESTAMP, st.dates().map(str)),
    "moment": ("TIMESTAMP", "timestamp", ColumnType.TIMESTAMP, st.datetimes().map(str)),
    "zoned": (
        "TIMESTAMPTZ",
        "timestamp",
        ColumnType.TIMESTAMP,
        # PostgreSQL and Python hold the years 1 to 9999 only as far as no zone shifts them out
        st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.sampled_from([UTC])).map(str),  # noqa: DTZ001
    ),
}
DOMAINS = (
    """CREATE TYPE "Grade" AS ENUM ('low', 'it''s high', '"')""",
    "CREATE DOMAIN code AS TEXT CHECK (VALUE LIKE 'L-%')",
    "CREATE DOMAIN amount AS NUMERIC(30, 10) CHECK (VALUE >= 0)",
)


@pytest.fixture
def two_ways(postgresql: Database) -> Database:
    with postgresql.write() as connection:
        for statement in DOMAINS:
            connection.exec_driver_sql(statement.replace("%", "%%"))
    return postgresql


def _seen_by_a_model(name: str, type_: ColumnType, values: Column) -> tuple[list[Any], dict[int, str]]:
    """A column as a model gets it: its values, and what keeps rows from being scored."""
    signature = Signature(columns=(SignatureColumn(name=name, type=type_, nullable=True),))
    checked = check_rows(signature, {name: values})
    return [str(value) for value in checked.frame[name]], {
        position: str(fault.code) for position, fault in checked.faults.items()
    }


@pytest.mark.parametrize("name", EXACT_TYPES)
def test_both_ways_read_values_that_are_the_same_to_a_model(two_ways: Database, name: str) -> None:
    ddl, family, type_, strategy = EXACT_TYPES[name]
    table = create_table(two_ways, {name: ddl})

    @FEW
    @given(st.lists(st.none() | strategy, min_size=1, max_size=8))
    def check(values: list[Any]) -> None:
        with two_ways.write() as connection:
            connection.execute(sa.delete(table))
            insert = sa.insert(table).values(position=sa.bindparam("p"), **{name: sa.bindparam("v")})
            for position, value in enumerate(values):
                connection.execute(insert, {"p": position, "v": value})
            query = sa.select(table.c[name], table.c.position).order_by(table.c.position)
            by_copy, _ = CopyBulk().fetch(connection, query, [Family(family), Family.INTEGER])
            by_driver, _ = PortableBulk().fetch(connection, query, [Family(family), Family.INTEGER])
        assert _seen_by_a_model(name, type_, by_copy) == _seen_by_a_model(name, type_, by_driver)

    check()


@pytest.mark.parametrize("copies", [True, False])
@pytest.mark.parametrize("name", EXACT_TYPES)
def test_what_one_way_read_it_writes_back_exactly(two_ways: Database, name: str, copies: bool) -> None:
    bulk: Bulk = CopyBulk() if copies else PortableBulk()
    ddl, _, _, strategy = EXACT_TYPES[name]
    if name == "exact":  # psycopg2 itself writes an infinite Decimal as NaN
        strategy = strategy.filter(lambda number: "Infinity" not in str(number))
    source, target = create_table(two_ways, {name: ddl}), create_table(two_ways, {name: ddl}, name="written")

    @FEW
    @given(st.lists(st.none() | strategy, min_size=1, max_size=8))
    def check(values: list[Any]) -> None:
        with two_ways.write() as connection:
            for table in (source, target):
                connection.execute(sa.delete(table))
            insert = sa.insert(source).values(position=sa.bindparam("p"), **{name: sa.bindparam("v")})
            for position, value in enumerate(values):
                connection.execute(insert, {"p": position, "v": value})
            columns = bulk.fetch(connection, sa.select(source.c.position, source.c[name]), [Family.OTHER, Family.OTHER])
            assert insert_rows(bulk, connection, target, {"position": columns[0], name: columns[1]}) == len(values)
            differing = connection.exec_driver_sql(
                f'SELECT count(*) FROM samples s FULL JOIN written w USING (position) WHERE s."{name}"::text'
                f' IS DISTINCT FROM w."{name}"::text'
            ).scalar_one()
        assert differing == 0

    check()


@pytest.mark.parametrize("copies", [True, False])
@pytest.mark.parametrize(
    ("ddl", "family", "beyond"),
    [
        ("DATE", Family.DATE, "infinity"),
        ("DATE", Family.DATE, "-infinity"),
        ("DATE", Family.DATE, "0044-03-15 BC"),
        ("DATE", Family.DATE, "12026-01-01"),
        ("TIMESTAMP", Family.TIMESTAMP, "infinity"),
        ("TIMESTAMP", Family.TIMESTAMP, "0044-03-15 12:00:00 BC"),
        ("TIMESTAMPTZ", Family.TIMESTAMP, "-infinity"),
        ("TIMESTAMPTZ", Family.TIMESTAMP, "12026-01-01 00:00:00+00"),
    ],
)
def test_a_date_that_python_cannot_hold_costs_its_own_row_and_changes_no_other(
    postgresql: Database, ddl: str, family: Family, beyond: str, copies: bool
) -> None:
    bulk: Bulk = CopyBulk() if copies else PortableBulk()
    types = {"day": ddl, "number": "DOUBLE PRECISION", "whole": "BIGINT", "flag": "BOOLEAN", "text": "TEXT"}
    families = {
        "day": family,
        "number": Family.NUMBER,
        "whole": Family.INTEGER,
        "flag": Family.BOOLEAN,
        "text": Family.TEXT,
    }
    kinds = {
        "day": ColumnType.TIMESTAMP,
        "number": ColumnType.NUMBER,
        "whole": ColumnType.INTEGER,
        "flag": ColumnType.BOOLEAN,
        "text": ColumnType.TEXT,
    }
    table = create_table(postgresql, types)
    with postgresql.write() as connection:
        for position, day in enumerate(["2026-01-01", beyond, None]):
            row = {"position": position, "day": day, "number": 0.5, "whole": 7, "flag": True, "text": "x"}
            connection.execute(sa.insert(table).values(row))
        query = sa.select(*(table.c[name] for name in types)).order_by(table.c.position)
        columns = dict(zip(types, bulk.fetch(connection, query, list(families.values())), strict=True))

    signature = Signature(columns=tuple(SignatureColumn(name=name, type=kinds[name], nullable=True) for name in types))
    checked = check_rows(signature, columns)
    assert {position: (str(fault.code), fault.column) for position, fault in checked.faults.items()} == {
        1: ("wrong_type", "day")
    }
    assert [str(day) for day in checked.frame["day"]] == ["2026-01-01 00:00:00", "NaT"]
    rest = [tuple(row) for row in checked.frame[["number", "whole", "flag", "text"]].itertuples(index=False)]
    assert rest == [(0.5, 7, True, "x")] * 2


def test_a_text_that_is_no_utf_8_costs_no_other_row(sqlite: Database) -> None:
    table = create_table(sqlite, {"text": "TEXT"})
    bulk = PortableBulk()
    with sqlite.write() as connection:
        connection.exec_driver_sql("INSERT INTO samples VALUES (0, 'ä'), (1, CAST(x'6cff' AS TEXT)), (2, NULL)")
    for _ in range(2):
        with sqlite.read() as connection:
            (values,) = bulk.fetch(connection, sa.select(table.c.text).order_by(table.c.position), [Family.TEXT])
        assert values == ["ä", "l\udcff", None]

    signature = Signature(columns=(SignatureColumn(name="text", type=ColumnType.TEXT, nullable=True),))
    checked = check_rows(signature, {"text": values})
    assert {position: str(fault.code) for position, fault in checked.faults.items()} == {1: "undecodable_text"}


def test_values_of_mixed_types_in_one_column_of_sqlite_come_out_as_they_are(sqlite: Database) -> None:
    table = create_table(sqlite, {"anything": "BLOB"})
    values = [1, 1.5, "1", b"\x00\xff", None, ""]

    assert round_trip((sqlite, PortableBulk()), table, {"anything": values}, {"anything": Family.UNKNOWN}) == {
        "anything": values
    }


def test_copy_is_the_way_of_psycopg2_unless_the_job_asks_for_the_portable_one(
    sqlite: Database, postgresql: Database
) -> None:
    assert isinstance(bulk_for(postgresql), CopyBulk)
    assert isinstance(bulk_for(postgresql, "portable"), PortableBulk)
    assert isinstance(bulk_for(sqlite), SqliteBulk)
    assert isinstance(bulk_for(sqlite, "portable"), PortableBulk)
