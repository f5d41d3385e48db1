"""Moving many rows: what goes in comes out, by every way, to the last bit."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from support import PostgresServer

from batch_scoring.domain.column_types import ColumnType, Family
from batch_scoring.domain.columns import Column
from batch_scoring.domain.manifest import Signature, SignatureColumn
from batch_scoring.model.signature import check_rows
from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.bulk.contract import Bulk, take
from batch_scoring.store.bulk.portable import PortableBulk
from batch_scoring.store.bulk.postgresql import CopyBulk
from batch_scoring.store.bulk.sqlite import SqliteBulk
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import FOREVER, RawType, UtcTimestamp

WAYS: dict[str, type[Bulk]] = {
    "sqlite portable": PortableBulk,
    "sqlite native": SqliteBulk,
    "postgresql portable": PortableBulk,
    "postgresql copy": CopyBulk,
}
MOMENT = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)


@pytest.fixture(scope="module")
def one_postgresql_url(postgres: PostgresServer) -> str:
    return postgres.create_database()


@pytest.fixture
def postgresql_url(one_postgresql_url: str) -> str:
    """One database for the tests of this file, wiped before each: to make one takes longer than most of them."""
    database = Database(one_postgresql_url)
    with database.write() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    database.dispose()
    return one_postgresql_url


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


def _insert(
    bulk: Bulk,
    connection: sa.Connection,
    table: sa.Table,
    columns: Mapping[str, Column],
    constants: Mapping[str, Any] | None = None,
) -> int:
    return bulk.prepare(table, columns).insert(connection, constants or {})


def _table(database: Database, types: Mapping[str, str], name: str = "samples") -> sa.Table:
    """Make a table of columns with exact types, and a position to order by."""
    columns: list[sa.Column[Any]] = [sa.Column("position", RawType("INTEGER"))]
    columns += [sa.Column(column, RawType(ddl)) for column, ddl in types.items()]
    table = sa.Table(name, sa.MetaData(), *columns)
    with database.write(create=True) as connection:
        table.create(connection)
    return table


def _round_trip(
    way: tuple[Database, Bulk], table: sa.Table, columns: Mapping[str, Column], families: Mapping[str, Family]
) -> dict[str, list[Any]]:
    """Insert columns into an emptied table and fetch them again in order."""
    database, bulk = way
    count = len(next(iter(columns.values())))
    with database.write() as connection:
        connection.execute(sa.delete(table))
        written = _insert(bulk, connection, table, {"position": list(range(count)), **columns})
        assert written == count
        query = sa.select(*(table.c[name] for name in columns), table.c.position).order_by(table.c.position)
        *fetched, positions = bulk.fetch(connection, query, [*(families[name] for name in columns), Family.INTEGER])
        assert _list(positions) == list(range(count))
    return {name: _list(values) for name, values in zip(columns, fetched, strict=True)}


def _list(values: Column) -> list[Any]:
    return values if isinstance(values, list) else values.to_pylist()


def _bits(numbers: Sequence[float | None]) -> list[bytes | None]:
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
EXTREMES = [0.0, -0.0, 5e-324, -5e-324, 2.2250738585072009e-308, 1.7976931348623157e308, 0.1 + 0.2, 1 / 3, 1e22, 1e23]

BOUNDED = settings(
    deadline=None, max_examples=30, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FEW = settings(parent=BOUNDED, max_examples=10)


def test_texts_come_out_as_they_went_in(way: tuple[Database, Bulk]) -> None:
    table = _table(way[0], {"text": "TEXT", "key": "VARCHAR(100000)"})
    families = {"text": Family.TEXT, "key": Family.OTHER}

    @BOUNDED
    @given(st.lists(st.tuples(st.none() | texts, st.sampled_from(NASTY)), min_size=1, max_size=6))
    @example([(text, text) for text in NASTY])
    @example([(text, text) for text in reversed(NASTY)])
    @example([(None, None)])
    @example([("", "")])
    def check(rows: list[tuple[str | None, str | None]]) -> None:
        columns = {"text": [text for text, _ in rows], "key": [key for _, key in rows]}
        assert _round_trip(way, table, columns, families) == columns

    check()


def test_a_text_in_the_first_column_of_the_first_row_is_as_exact_as_any(way: tuple[Database, Bulk]) -> None:
    database, bulk = way
    table = _table(database, {"key": "TEXT"})
    for text in NASTY:
        if text is not None:
            with database.write() as connection:
                connection.execute(sa.delete(table))
                _insert(bulk, connection, table, {"key": [text]})
                (values,) = bulk.fetch(connection, sa.select(table.c.key), [Family.OTHER])
                assert connection.execute(sa.select(table.c.key)).scalar_one() == text
            assert _list(values) == [text]


def test_columns_of_more_than_a_megabyte_come_out_row_by_row(way: tuple[Database, Bulk]) -> None:
    table = _table(way[0], {"text": "TEXT", "key": "TEXT", "number": "DOUBLE PRECISION"})
    count = 6_000
    columns: dict[str, Column] = {
        "text": [None if i % 7 == 0 else f"category {i * i % 1009}\n" * (i % 5) for i in range(count)],
        "key": [f'L\n"{i}"\r\n,' + "\n" * (i % 500) for i in range(count)],
        "number": [None if i % 11 == 0 else i / 7 for i in range(count)],
    }

    found = _round_trip(way, table, columns, {"text": Family.TEXT, "key": Family.OTHER, "number": Family.NUMBER})

    assert found == columns


def test_floats_come_out_to_the_last_bit(way: tuple[Database, Bulk]) -> None:
    table = _table(way[0], {"number": "DOUBLE PRECISION"})

    @BOUNDED
    @given(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
    @example(EXTREMES)
    def check(numbers: list[float | None]) -> None:
        found = _round_trip(way, table, {"number": numbers}, {"number": Family.NUMBER})
        assert _bits(found["number"]) == _bits(numbers)

    check()


def test_infinities_come_out_as_such(way: tuple[Database, Bulk]) -> None:
    table = _table(way[0], {"number": "DOUBLE PRECISION"})
    numbers = [math.inf, 1.5, -math.inf, None]

    assert _round_trip(way, table, {"number": numbers}, {"number": Family.NUMBER}) == {"number": numbers}


def test_nan_comes_out_of_postgresql_as_nan_and_of_sqlite_as_null(way: tuple[Database, Bulk]) -> None:
    table = _table(way[0], {"number": "DOUBLE PRECISION"})

    found = _round_trip(way, table, {"number": [1.5, math.nan, None]}, {"number": Family.NUMBER})["number"]

    assert found[0] == 1.5
    assert found[2] is None
    if way[0].dialect.is_file:
        assert found[1] is None
    else:
        assert math.isnan(found[1])


def test_whole_numbers_come_out_exactly(way: tuple[Database, Bulk]) -> None:
    table = _table(way[0], {"whole": "BIGINT", "key": "BIGINT"})
    families = {"whole": Family.INTEGER, "key": Family.OTHER}

    @BOUNDED
    @given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
    @example([2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 0])
    def check(numbers: list[int]) -> None:
        found = _round_trip(way, table, {"whole": numbers, "key": numbers}, families)
        assert found["whole"] == numbers
        assert [int(key) for key in found["key"]] == numbers

    check()


def test_columns_that_hold_nothing_but_null_stay_null(way: tuple[Database, Bulk]) -> None:
    types = {"text": "TEXT", "number": "DOUBLE PRECISION", "whole": "BIGINT", "flag": "BOOLEAN", "day": "DATE"}
    families = {
        "text": Family.TEXT,
        "number": Family.NUMBER,
        "whole": Family.INTEGER,
        "flag": Family.BOOLEAN,
        "day": Family.DATE,
    }
    table = _table(way[0], types)
    nothing: dict[str, list[None]] = {name: [None, None] for name in types}

    assert _round_trip(way, table, nothing, families) == nothing


def test_a_null_is_a_row_even_where_it_stands_alone(way: tuple[Database, Bulk]) -> None:
    database, bulk = way
    table = _table(database, {"text": "TEXT"})
    with database.write() as connection:
        _insert(bulk, connection, table, {"text": ["a", None, "", None]})
        (values,) = bulk.fetch(connection, sa.select(table.c.text), [Family.TEXT])

    assert sorted(map(str, _list(values))) == ["", "None", "None", "a"]


def test_nothing_fetched_is_an_empty_column_for_each_family(way: tuple[Database, Bulk]) -> None:
    database, bulk = way
    table = _table(database, {"text": "TEXT"})
    with database.read() as connection:
        columns = bulk.fetch(connection, sa.select(table.c.text, table.c.position), [Family.TEXT, Family.INTEGER])

    assert [_list(values) for values in columns] == [[], []]


def test_constants_stand_in_every_row(way: tuple[Database, Bulk]) -> None:
    database, bulk = way
    table = sa.Table(
        "samples",
        sa.MetaData(),
        sa.Column("key", RawType("BIGINT")),
        sa.Column("run_id", sa.BigInteger),
        sa.Column("note", sa.Text),
        sa.Column("valid_from", UtcTimestamp),
        sa.Column("valid_to", UtcTimestamp),
    )
    constants = {"run_id": 2**53 + 1, "note": None, "valid_from": MOMENT, "valid_to": FOREVER}
    with database.write(create=True) as connection:
        table.create(connection)
        assert _insert(bulk, connection, table, {"key": [1, 2, 3]}, constants) == 3
        found = connection.execute(sa.select(table).order_by(table.c.key)).all()

    assert [tuple(row) for row in found] == [(key, 2**53 + 1, None, MOMENT, FOREVER) for key in (1, 2, 3)]


def test_awkward_names_of_tables_and_columns_are_written_and_read(way: tuple[Database, Bulk]) -> None:
    names = ["Loan ID", 'say "hi"', "100%", "a:b", "%s", "select", "v0", "v1", "k0", "(x)"]
    table = _table(way[0], dict.fromkeys(names, "INTEGER"), name='The "100%" table')
    columns = {name: [i, None] for i, name in enumerate(names)}

    assert _round_trip(way, table, columns, dict.fromkeys(names, Family.INTEGER)) == columns


def test_closing_ends_the_current_rows_of_the_keys_named_and_no_others(way: tuple[Database, Bulk]) -> None:
    database, bulk = way
    table = sa.Table(
        "lives",
        sa.MetaData(),
        sa.Column("branch", RawType("TEXT")),
        sa.Column("id", RawType("BIGINT")),
        sa.Column("valid_to", UtcTimestamp),
    )
    ended = FOREVER.replace(year=2020)
    current = [("a", 1), ("a", 2), ("it's", 1), ("\\.", 2**53 + 1), ("", 3), ("A", 1)]
    rows = [*((branch, id_, FOREVER) for branch, id_ in current), ("a", 1, ended)]
    closing = [("", 3), ("\\.", 2**53 + 1), ("a", 1), ("it's", 1), ("nowhere", 9)]
    with database.write(create=True) as connection:
        table.create(connection)
        connection.execute(
            sa.insert(table), [dict(zip(("branch", "id", "valid_to"), row, strict=True)) for row in rows]
        )
        keys: dict[str, Column] = {"branch": [branch for branch, _ in closing], "id": [id_ for _, id_ in closing]}
        closed = bulk.close_current(connection, table, keys, MOMENT)
        found = {tuple(row) for row in connection.execute(sa.select(table))}

    assert closed == 4
    assert found == {
        *((branch, id_, MOMENT if (branch, id_) in closing else FOREVER) for branch, id_ in current),
        ("a", 1, ended),
    }


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
    table = _table(two_ways, {name: ddl})

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
    source, target = _table(two_ways, {name: ddl}), _table(two_ways, {name: ddl}, name="written")

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
            assert _insert(bulk, connection, target, {"position": columns[0], name: columns[1]}) == len(values)
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
    table = _table(postgresql, types)
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
    table = _table(sqlite, {"text": "TEXT"})
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
    table = _table(sqlite, {"anything": "BLOB"})
    values = [1, 1.5, "1", b"\x00\xff", None, ""]

    assert _round_trip((sqlite, PortableBulk()), table, {"anything": values}, {"anything": Family.UNKNOWN}) == {
        "anything": values
    }


def test_copy_is_the_way_of_psycopg2_unless_the_job_asks_for_the_portable_one(
    sqlite: Database, postgresql: Database
) -> None:
    assert isinstance(bulk_for(postgresql), CopyBulk)
    assert isinstance(bulk_for(postgresql, "portable"), PortableBulk)
    assert isinstance(bulk_for(sqlite), SqliteBulk)
    assert isinstance(bulk_for(sqlite, "portable"), PortableBulk)


def test_values_are_taken_by_position_in_the_form_they_have(way: tuple[Database, Bulk]) -> None:
    database, bulk = way
    table = _table(database, {"text": "TEXT"})
    with database.write() as connection:
        _insert(bulk, connection, table, {"position": [0, 1, 2], "text": ["a", None, "c"]})
        query = sa.select(table.c.position, table.c.text).order_by(table.c.position)
        _, values = bulk.fetch(connection, query, [Family.INTEGER, Family.TEXT])

    taken = take(values, [2, 0, 1])

    assert type(taken) is type(values)
    assert _list(taken) == ["c", "a", None]
    assert _list(take(values, [])) == []
