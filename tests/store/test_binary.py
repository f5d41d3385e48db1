"""COPY's binary format, read by a real PostgreSQL: to the last bit what went in, or the CSV way takes its place."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from batch_scoring.domain.column_types import Family
from batch_scoring.domain.columns import Column
from batch_scoring.errors import DatabaseFault
from batch_scoring.store.bulk import binary, postgresql
from batch_scoring.store.bulk.contract import Scalar
from batch_scoring.store.bulk.postgresql import CopyBulk
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import FOREVER, RawType, UtcTimestamp

MOMENT = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)

TYPES = {
    "big": "BIGINT",
    "whole": "INTEGER",
    "small": "SMALLINT",
    "number": "DOUBLE PRECISION",
    "text": "TEXT",
    "code": "VARCHAR(8)",
    "aware": "TIMESTAMP WITH TIME ZONE",
    "naive": "TIMESTAMP WITHOUT TIME ZONE",
    "day": "DATE",
    "uid": "UUID",
}

BITS = {
    "big": "int8send(big)",
    "whole": "int4send(whole)",
    "small": "int2send(small)",
    "number": "float8send(number)",
    "text": "textsend(text)",
    "code": "varcharsend(code)",
    "aware": "timestamptz_send(aware)",
    "naive": "timestamp_send(naive)",
    "day": "date_send(day)",
    "uid": "uuid_send(uid)",
}
"""SQL that gives the bytes of a value as PostgreSQL itself holds it."""


def _microseconds(moment: datetime) -> bytes:
    zero = datetime(2000, 1, 1, tzinfo=moment.tzinfo)
    return struct.pack(">q", (moment - zero) // timedelta(microseconds=1))


EXPECTED: dict[str, Callable[[Any], bytes]] = {
    "big": lambda value: struct.pack(">q", value),
    "whole": lambda value: struct.pack(">i", value),
    "small": lambda value: struct.pack(">h", value),
    "number": lambda value: struct.pack(">d", value),
    "text": str.encode,
    "code": str.encode,
    "aware": _microseconds,
    "naive": _microseconds,
    "day": lambda value: struct.pack(">i", (value - date(2000, 1, 1)).days),
    "uid": lambda value: UUID(value).bytes,
}
"""The same bytes, worked out in Python."""

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
FIRST, LAST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001 - the bounds of both kinds

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "big": st.integers(-(2**63), 2**63 - 1),
    "whole": st.integers(-(2**31), 2**31 - 1),
    "small": st.integers(-(2**15), 2**15 - 1),
    "number": st.floats(allow_nan=False),
    "text": texts,
    "code": texts,
    "aware": st.datetimes(FIRST, LAST, timezones=st.just(UTC)),
    "naive": st.datetimes(FIRST, LAST),
    "day": st.dates(),
    "uid": st.uuids().map(str),
}

EXTREMES: dict[str, list[Any]] = {
    "big": [2**63 - 1, -(2**63), 0, -1, 2**53 + 1],
    "whole": [2**31 - 1, -(2**31), 0, -1, 1],
    "small": [2**15 - 1, -(2**15), 0, -1, 1],
    "number": [-0.0, 5e-324, -2.2250738585072009e-308, float("inf"), 1.7976931348623157e308],
    "text": ["", "\\N", "\\.", "é😀\r\n\t", '"'],
    "code": ["NULL", "", " a ", "\ufeff", "%s"],
    "aware": [moment.replace(tzinfo=UTC) for moment in (FIRST, LAST, datetime(1999, 12, 31), FIRST, LAST)],  # noqa: DTZ001
    "naive": [FIRST, LAST, datetime(2000, 1, 1), datetime(1969, 12, 31, 23, 59, 59, 999999), FIRST],  # noqa: DTZ001
    "day": [date.min, date.max, date(2000, 1, 1), date(1999, 12, 31), date(1970, 1, 1)],
    "uid": [str(UUID(int=number)) for number in (0, 2**128 - 1, 1, 2**127, 2**64)],
}

Row = tuple[Any, ...]
rows = st.lists(st.tuples(*(st.none() | VALUES[name] for name in TYPES)), min_size=1, max_size=6)
extremes: list[Row] = list(zip(*EXTREMES.values(), strict=True))
nothing: Row = (None,) * len(TYPES)

BOUNDED = settings(
    deadline=None, max_examples=30, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FEW = settings(parent=BOUNDED, max_examples=10)


@pytest.fixture
def database(postgresql_url: str) -> Iterator[Database]:
    database = Database(postgresql_url)
    yield database
    database.dispose()


def _table(database: Database, types: Mapping[str, str], name: str = "samples") -> sa.Table:
    """Make a table of columns with exact types, and a position to order by."""
    columns: list[sa.Column[Any]] = [sa.Column("position", RawType("INTEGER"))]
    columns += [sa.Column(column, RawType(ddl)) for column, ddl in types.items()]
    table = sa.Table(name, sa.MetaData(), *columns)
    with database.write() as connection:
        table.create(connection)
    return table


def _columns(rows: Sequence[Row]) -> dict[str, Column]:
    return {name: list(values) for name, values in zip(TYPES, zip(*rows, strict=True), strict=True)}


def _positioned(columns: Mapping[str, Column]) -> dict[str, Column]:
    return {"position": list(range(len(next(iter(columns.values()))))), **columns}


def _encoded(columns: Mapping[str, Column], constants: Mapping[str, Any], types: Mapping[str, str]) -> bytes:
    return binary.rows_of(columns, types).stream(constants, types)


def _repeated(columns: Mapping[str, Column]) -> dict[str, Column]:
    """The same as few values that come many times."""
    plain = {name: values if isinstance(values, pa.Array) else pa.array(values) for name, values in columns.items()}
    return {
        name: values if pa.types.is_null(values.type) else values.dictionary_encode() for name, values in plain.items()
    }


def _copy_in(
    connection: sa.Connection, table: sa.Table, columns: Mapping[str, Column], constants: Mapping[str, Any]
) -> int:
    bulk = CopyBulk()
    return bulk.prepare_insert(table, columns).write(connection, constants)


def _is_binary(columns: Mapping[str, Column], types: Mapping[str, str]) -> bool:
    try:
        _encoded(columns, {}, types)
    except binary.NotEncodable:
        return False
    return True


def _insert(connection: sa.Connection, table: sa.Table, columns: Mapping[str, Column]) -> None:
    connection.execute(sa.delete(table))
    written = _copy_in(connection, table, _positioned(columns), {})
    assert written == len(next(iter(columns.values())))


def _stored(connection: sa.Connection, table: str = "samples", names: Sequence[str] = tuple(TYPES)) -> list[Row]:
    """The bytes of each value, row by row."""
    found = connection.exec_driver_sql(
        f"SELECT {', '.join(BITS[name] for name in names)} FROM {table} ORDER BY position"
    )
    return [tuple(None if value is None else bytes(value) for value in row) for row in found]


def _bits(rows: Sequence[Row]) -> list[Row]:
    return [
        tuple(None if value is None else EXPECTED[name](value) for name, value in zip(TYPES, row, strict=True))
        for row in rows
    ]


def test_what_python_holds_stands_in_the_database_to_the_last_bit(database: Database) -> None:
    table = _table(database, TYPES)

    @BOUNDED
    @given(rows)
    @example(extremes)
    @example(extremes[:1])
    @example([nothing, *extremes])
    @example([*extremes, nothing])
    @example([nothing, nothing])
    @example([nothing])
    def check(rows: list[Row]) -> None:
        columns = _columns(rows)
        assert _is_binary(columns, TYPES)
        with database.write() as connection:
            _insert(connection, table, columns)
            assert _stored(connection) == _bits(rows)

    check()


def test_what_the_database_gave_as_text_goes_back_to_the_last_bit(database: Database) -> None:
    table = _table(database, TYPES)
    copy = _table(database, TYPES, "copies")
    query = sa.select(*(table.c[name] for name in TYPES)).order_by(table.c.position)

    @FEW
    @given(rows)
    @example(extremes)
    @example([nothing, *extremes, nothing])
    @example([nothing])
    def check(rows: list[Row]) -> None:
        with database.write() as connection:
            _insert(connection, table, _columns(rows))
            read = CopyBulk().fetch(connection, query, [Family.OTHER] * len(TYPES))
            columns = dict(zip(TYPES, read, strict=True))
            assert _is_binary(columns, TYPES)
            _insert(connection, copy, columns)
            assert _stored(connection, "copies") == _bits(rows)

    check()


@pytest.mark.parametrize("name", TYPES)
def test_a_null_in_the_first_or_last_row_or_alone_leaves_the_other_rows_as_they_are(
    database: Database, name: str
) -> None:
    table = _table(database, {name: TYPES[name]})
    for values in ([None, *EXTREMES[name]], [*EXTREMES[name], None], [None], EXTREMES[name][:1], [None, None]):
        assert _is_binary({name: values}, TYPES)
        with database.write() as connection:
            _insert(connection, table, {name: values})
            expected = [None if value is None else EXPECTED[name](value) for value in values]
            assert _stored(connection, names=[name]) == [(bits,) for bits in expected]


def test_nan_is_written_as_nan(database: Database) -> None:
    table = _table(database, {"number": "DOUBLE PRECISION"})
    with database.write() as connection:
        _insert(connection, table, {"number": [float("nan"), None, 1.5]})
        found = connection.exec_driver_sql("SELECT number::text FROM samples ORDER BY position").scalars().all()

    assert found == ["NaN", None, "1.5"]


def test_a_part_of_a_column_and_a_column_of_categories_are_written_as_they_read(database: Database) -> None:
    table = _table(database, {"text": "TEXT", "big": "BIGINT"})
    texts = pa.array(["left out", "a", None, "", "b", "left out"]).slice(1, 4)
    numbers = pa.array([0, 2**53 + 1, None, -1, 2, 0]).slice(1, 4)
    with database.write() as connection:
        for column in (texts, texts.dictionary_encode()):
            assert _is_binary({"text": column, "big": numbers}, TYPES)
            _insert(connection, table, {"text": column, "big": numbers})
            found = connection.exec_driver_sql("SELECT text, big FROM samples ORDER BY position").all()
            assert [tuple(row) for row in found] == [("a", 2**53 + 1), (None, None), ("", -1), ("b", 2)]


KEYS = ["left out", "key-0001", "key-0002", "key-0003", "left out"]
LABELS = {
    "of one width": ["N", "Y", "N", "Y", "N"],
    "of several widths": ["no", "yes", "no", "maybe", "no"],
    "with a null": ["N", "Y", None, "N", "N"],
    "empty": ["", "", "", "", ""],
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("as_category", [True, False], ids=["category", "text"])
def test_rows_of_one_width_are_written_like_rows_of_several(
    database: Database, labels: list[str | None], as_category: bool
) -> None:
    table = _table(database, {"text": "TEXT", "code": "VARCHAR(8)", "number": "DOUBLE PRECISION", "big": "BIGINT"})
    keys, codes = pa.array(KEYS).slice(1, 3), pa.array(labels)
    codes = (codes.dictionary_encode() if as_category else codes).slice(1, 3)
    columns = {"text": keys, "code": codes, "number": [0.5, 1.5, -2.5]}
    assert _is_binary(columns, TYPES)
    with database.write() as connection:
        for constants in ({"big": 7}, {}):
            connection.execute(sa.delete(table))
            assert _copy_in(connection, table, {**columns, "position": [0, 1, 2]}, constants) == 3
            found = connection.exec_driver_sql("SELECT text, code, number, big FROM samples ORDER BY position").all()
            expected = zip(KEYS[1:4], labels[1:4], [0.5, 1.5, -2.5], [constants.get("big")] * 3, strict=True)
            assert [tuple(row) for row in found] == list(expected)


def test_constants_of_every_type_stand_in_every_row(database: Database) -> None:
    table = _table(database, TYPES)
    for row in [*extremes, nothing]:
        constants = dict(zip(TYPES, row, strict=True))
        _encoded({"position": [0]}, constants, {"position": "INTEGER", **TYPES})
        with database.write() as connection:
            connection.execute(sa.delete(table))
            assert _copy_in(connection, table, {"position": [0, 1, 2]}, constants) == 3
            assert _stored(connection) == _bits([row] * 3)


def test_the_life_of_a_prediction_is_written_as_timestamps_of_utc(database: Database) -> None:
    table = sa.Table(
        "lives",
        sa.MetaData(),
        sa.Column("id", RawType("BIGINT")),
        sa.Column("valid_from", UtcTimestamp),
        sa.Column("valid_to", UtcTimestamp),
    )
    zoned = MOMENT.astimezone(tz=None)
    with database.write() as connection:
        table.create(connection)
        _copy_in(connection, table, {"id": [1, 2]}, {"valid_from": zoned, "valid_to": FOREVER})
        found = connection.execute(sa.select(table).order_by(table.c.id)).all()

    assert [tuple(row) for row in found] == [(1, MOMENT, FOREVER), (2, MOMENT, FOREVER)]


def test_no_rows_are_an_empty_stream(database: Database) -> None:
    table = _table(database, TYPES)
    with database.write() as connection:
        _insert(connection, table, {name: [] for name in TYPES})

        assert _stored(connection) == []


def test_the_binary_form_and_csv_write_the_same_rows(database: Database) -> None:
    for name in ("by_binary", "by_csv"):
        _table(database, TYPES, name)
    constants: dict[str, Scalar] = {"code": "a,b\n", "aware": MOMENT}
    names = [name for name in TYPES if name not in constants]

    def copy(connection: sa.Connection, table: str, form: str, sent: Iterable[str], content: bytes) -> None:
        listed = ", ".join([*sent, *constants])
        cursor = connection.connection.cursor()
        cursor.execute(f"DELETE FROM {table}")
        cursor.copy_expert(f"COPY {table} ({listed}) FROM STDIN (FORMAT {form})", io.BytesIO(content))

    @BOUNDED
    @given(rows)
    @example(extremes)
    @example([nothing, *extremes, nothing])
    def check(rows: list[Row]) -> None:
        values = _columns(rows)
        columns = _positioned({name: values[name] for name in names})
        types = {"position": "INTEGER", **TYPES}
        with database.write() as connection:
            copy(connection, "by_csv", "csv", columns, postgresql._csv(columns, constants))
            for form in (columns, _repeated(columns)):
                encoded = binary.rows_of(form, types)
                copy(connection, "by_binary", "binary", encoded.names, encoded.stream(constants, types))
                assert _stored(connection, "by_binary") == _stored(connection, "by_csv")

    check()


NO_BINARY_FORM = [
    ("NUMERIC", "1.50"),
    ("NUMERIC(40,10)", "123456789012345678901234567890.0123456789"),
    ("REAL", "0.1"),
    ("BYTEA", "\\x00ff"),
    ("CHAR(4)", "ab  "),
    ('"Grade"', "it's high"),
    ("code", "L-1"),
    ("TIMESTAMP WITH TIME ZONE", "infinity"),
    ("TIMESTAMP WITH TIME ZONE", "0044-03-15 12:00:00+00 BC"),
    ("TIMESTAMP WITH TIME ZONE", "12026-01-01 00:00:00+00"),
    ("TIMESTAMP WITHOUT TIME ZONE", "-infinity"),
    ("TIMESTAMP WITHOUT TIME ZONE", "0044-03-15 12:00:00.5 BC"),
    ("TIMESTAMP WITHOUT TIME ZONE", "294276-12-31 23:59:59.999999"),
    ("DATE", "infinity"),
    ("DATE", "0044-03-15 BC"),
    ("DATE", "12026-01-01"),
]


@pytest.mark.parametrize(("ddl", "value"), NO_BINARY_FORM)
def test_what_has_no_binary_form_says_so_and_is_written_all_the_same(database: Database, ddl: str, value: str) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("""CREATE TYPE "Grade" AS ENUM ('low', 'it''s high')""")
        connection.exec_driver_sql("CREATE DOMAIN code AS TEXT CHECK (VALUE LIKE 'L-%%')")
    table = _table(database, {"value": ddl, "text": "TEXT"})
    columns: dict[str, Column] = {"value": pa.array([value, None, value]), "text": ["\\.", None, ""]}

    with pytest.raises(binary.NotEncodable):
        _encoded(columns, {}, {"value": ddl, "text": "TEXT"})
    with database.write() as connection:
        _insert(connection, table, columns)
        found = connection.exec_driver_sql("SELECT value::text, text FROM samples ORDER BY position").all()

    shown = value.rstrip() if ddl.startswith("CHAR") else value
    assert [tuple(row) for row in found] == [(shown, "\\."), (None, None), (shown, "")]


def test_one_value_without_a_binary_form_among_many_changes_no_other(database: Database) -> None:
    table = _table(database, {"day": "DATE", "number": "DOUBLE PRECISION"})
    days = ["2026-01-01", "infinity", "0001-01-01", None, "9999-12-31"]
    numbers = [-0.0, 5e-324, None, 0.1 + 0.2, 1e22]
    with database.write() as connection:
        _insert(connection, table, {"day": pa.array(days), "number": numbers})
        found = connection.exec_driver_sql("SELECT day::text FROM samples ORDER BY position").scalars().all()
        bits = _stored(connection, names=["number"])

    assert found == days
    assert bits == [(None if number is None else struct.pack(">d", number),) for number in numbers]


REFUSED = [
    ("INTEGER", 2**31),
    ("INTEGER", -(2**31) - 1),
    ("SMALLINT", 2**15),
    ("SMALLINT", -(2**15) - 1),
    ("INTEGER", 1.5),
    ("BIGINT", float("nan")),
    ("VARCHAR(3)", "abcd"),
    ("TEXT", "a\0b"),
    ("UUID", "not a uuid"),
]


@pytest.mark.parametrize(("ddl", "value"), REFUSED)
def test_a_value_its_column_cannot_hold_is_a_fault_and_nothing_is_written(
    database: Database, ddl: str, value: Any
) -> None:
    table = _table(database, {"value": ddl})
    columns: dict[str, Column] = {"position": [0, 1, 2], "value": [None, None, value]}

    with pytest.raises(DatabaseFault), database.write() as connection:
        _copy_in(connection, table, columns, {})

    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM samples").scalar_one() == 0
