"""Every type of PostgreSQL and every affinity of SQLite: read as the model needs, or refused with the cast to use.

The tables of docs/source-types.md are what these tests find; `make docs` writes them again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from facts import command, command_json
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from support import REPOSITORY, PostgresServer, Workspace, claim_run, documented

from batch_scoring.domain.column_types import ColumnType, Family
from batch_scoring.domain.columns import as_list
from batch_scoring.domain.keys import EVERYTHING
from batch_scoring.domain.manifest import Signature, SignatureColumn
from batch_scoring.errors import SourceFault
from batch_scoring.model.signature import check_rows
from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.engine.columns import SourceColumn
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.names import driver_sql
from batch_scoring.store.outcomes.chunk import Predictions, Quarantined, commit_chunk, prepare_writes
from batch_scoring.store.schema import upgrade
from batch_scoring.store.schema.layout import layout_of
from batch_scoring.store.source.table import SourceTable

DOCUMENT = REPOSITORY / "docs" / "source-types.md"

JOB = """
[source]
table = "{table}"
key = ["{key}"]
[model]
name = "m"
[predictions]
table = "of_{table}"
kind = "regression"
"""

_at = datetime.fromisoformat

FAULT = object()
"""The row is quarantined."""

KIND_OF = {
    Family.INTEGER: ColumnType.INTEGER,
    Family.NUMBER: ColumnType.NUMBER,
    Family.BOOLEAN: ColumnType.BOOLEAN,
    Family.TEXT: ColumnType.TEXT,
    Family.DATE: ColumnType.TIMESTAMP,
    Family.TIMESTAMP: ColumnType.TIMESTAMP,
}

POSTGRESQL: Mapping[str, Sequence[tuple[str, Any]]] = {
    "boolean": [("true", True), ("false", False)],
    "smallint": [("-32768", -32768)],
    "integer": [("2147483647", 2147483647)],
    "bigint": [("9007199254740992", 9007199254740992)],
    "oid": [("4294967295", 4294967295)],
    "real": [("0.1", 0.1), ("'NaN'", FAULT), ("'-Infinity'", FAULT)],
    "double precision": [("1e-300", 1e-300), ("'Infinity'", FAULT)],
    "numeric": [("0.1", 0.1), ("'NaN'", FAULT), ("'Infinity'", FAULT), ("1e400", FAULT)],
    "numeric(10,2)": [("12.345", 12.35)],
    "numeric(3,-2)": [("12345", 12300.0)],
    "text": [("'a '", "a "), ("''", "")],
    "character varying": [("'b '", "b ")],
    "character varying(10)": [("'c '", "c ")],
    "character(10)": [("'basic'", "basic"), ("''", ""), ("' a'", " a")],
    "character(1)": [("'x'", "x")],
    "bpchar": [("'pro  '", "pro")],
    "name": [("'n'", "n")],
    '"char"': [("'c'", "c")],
    "uuid": [("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")],
    "date": [("'2026-01-31'", _at("2026-01-31 00:00:00")), ("'infinity'", FAULT), ("'0044-03-15 BC'", FAULT)],
    "timestamp without time zone": [
        ("'2026-01-31 12:00:00.000001'", _at("2026-01-31 12:00:00.000001")),
        ("'-infinity'", FAULT),
    ],
    "timestamp with time zone": [("'2026-01-31 12:00+02'", _at("2026-01-31 10:00:00")), ("'infinity'", FAULT)],
    "timestamp(0) with time zone": [("'2026-01-31 12:00:00.6Z'", _at("2026-01-31 12:00:01"))],
    "grade": [("'good'", "good"), ("'bad'", "bad")],
    "positive": [("7", 7)],
    "small_positive": [("7", 7)],
    "padded": [("'x'", "x")],
    "padded_again": [("'x'", "x")],
    "amount": [("0.1", 0.1)],
    "graded": [("'good'", "good")],
    "money": [("1.5", 1.5)],
    "interval": [("'1 day'", 86400.0)],
    "time without time zone": [("'01:00'", 3600.0)],
    "time with time zone": [("'01:00+00'", 3600.0)],
    "bit(4)": [("B'0101'", 5.0)],
    "bit varying": [("B'0101'", 2.0)],
    "json": [("""'{"field": "7"}'""", 7.0)],
    "jsonb": [("""'{"field": 7}'""", 7.0)],
    "bytea": [(r"'\x0102'", 2.0)],
    "text[]": [("'{a,b}'", 2.0)],
    "integer[]": [("'{1,2,3}'", 3.0)],
    "tags": [("'{a}'", 1.0)],
    "pair": [("ROW(7, 'x')", 7.0)],
    "int4range": [("'[3,5)'", 3.0)],
    "tstzrange": [("'[1970-01-02 00:00Z,)'", 86400.0)],
    "point": [("'(1,2)'", 1.0)],
    "circle": [("'<(0,0),3>'", 3.0)],
    "box": [("'(2,2),(0,0)'", 4.0)],
    "inet": [("'10.0.0.0/8'", 8.0)],
    "pg_lsn": [("'0/10'", 16.0)],
    "xid8": [("'5'", 5.0)],
    "regclass": [("'pg_class'", 1259.0)],
    "tsvector": [("'a b'", 2.0)],
}
"""Values of each type as SQL, and what the model is given, in the type it is read as; for a type that is refused, what
the proposed cast to a number gives."""

CREATED = (
    "CREATE TYPE grade AS ENUM ('good', 'bad')",
    "CREATE TYPE pair AS (field double precision, note text)",
    "CREATE DOMAIN positive AS integer CHECK (VALUE > 0)",
    "CREATE DOMAIN small_positive AS positive CHECK (VALUE < 100)",
    "CREATE DOMAIN padded AS character(8)",
    "CREATE DOMAIN padded_again AS padded",
    "CREATE DOMAIN amount AS double precision",
    "CREATE DOMAIN graded AS grade",
    "CREATE DOMAIN tags AS text[]",
)

OF_THE_CATALOG = """
SELECT format_type(t.oid, NULL) FROM pg_type t
WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype IN ('b', 'r', 'm') AND t.typcategory <> 'A'
  AND t.typname NOT IN ('bit', 'int2vector', 'oidvector') ORDER BY 1
"""

SQLITE: Mapping[str, Sequence[tuple[str, Any]]] = {
    "INT": [("1", 1), ("1.5", FAULT), ("'x'", FAULT)],
    "INTEGER": [("-9223372036854775808", FAULT), ("12", 12)],
    "TINYINT": [("1", 1)],
    "SMALLINT": [("1", 1)],
    "MEDIUMINT": [("1", 1)],
    "BIGINT": [("9007199254740992", 9007199254740992)],
    "UNSIGNED BIG INT": [("1", 1)],
    "INT2": [("1", 1)],
    "INT8": [("1", 1)],
    "CHARACTER(20)": [("'a '", "a "), ("7", "7")],
    "VARCHAR(255)": [("'a'", "a")],
    "VARYING CHARACTER(255)": [("'a'", "a")],
    "NCHAR(55)": [("'a'", "a")],
    "NATIVE CHARACTER(70)": [("'a'", "a")],
    "NVARCHAR(100)": [("'a'", "a")],
    "TEXT": [("'a '", "a "), ("x'6162'", FAULT)],
    "CLOB": [("'a'", "a")],
    "REAL": [("0.1", 0.1), ("'x'", FAULT), ("9e999", FAULT)],
    "DOUBLE": [("0.1", 0.1)],
    "DOUBLE PRECISION": [("0.1", 0.1)],
    "FLOAT": [("0.1", 0.1), ("3", 3.0)],
    "NUMERIC": [("0.1", 0.1), ("3", 3.0), ("'12'", 12.0)],
    "DECIMAL(10,5)": [("0.1", 0.1)],
    "BOOLEAN": [("1", True), ("0", False), ("'true'", FAULT), ("2", FAULT)],
    "DATE": [("'2026-01-31'", _at("2026-01-31 00:00:00")), ("20260131", FAULT)],
    "DATETIME": [("'2026-01-31 12:00:00'", _at("2026-01-31 12:00:00")), ("1769860800", FAULT)],
    "TIMESTAMP": [("'2026-01-31T12:00:00+02:00'", _at("2026-01-31 10:00:00")), ("'soon'", FAULT)],
    "TIME": [("'00:00:07'", None)],
    "JSON": [("""'{"field": 7}'""", 7.0)],
    "BLOB": [("x'0102'", 2.0)],
    "": [("'a'", None)],
    "STRING": [("'a'", None)],
    "UUID": [("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", None)],
}
"""The names that SQLite documents for its affinities, and names that people use; a value that is None here is only
read."""


def _quoted(names: Iterable[str]) -> list[str]:
    return ['"{}"'.format(name.replace('"', '""')) for name in names]


def _column_name(number: int) -> str:
    return f"c{number}"


def _create(workspace: Workspace, types: Mapping[str, Sequence[tuple[str, Any]]], *, table: str = "things") -> None:
    """A table with a column of each type; its first row is NULL everywhere."""
    declared = ", ".join(f"{_column_name(i)} {declared}" for i, declared in enumerate(types))
    _execute(workspace, f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, {declared})")
    rows = 1 + max(map(len, types.values()))
    for row in range(rows):
        given = {
            _column_name(i): samples[row - 1][0] for i, samples in enumerate(types.values()) if 0 < row <= len(samples)
        }
        names, values = ", ".join(["id", *given]), ", ".join([str(row), *given.values()])
        _execute(workspace, f"INSERT INTO {table} ({names}) VALUES ({values})")


def _execute(workspace: Workspace, *statements: str) -> None:
    with workspace.database() as database, database.write(create=True) as connection:
        for statement in statements:
            connection.exec_driver_sql(driver_sql(connection.dialect, statement))


def _inspected(workspace: Workspace, table: str, *, key: str = "id") -> SourceTable:
    job = workspace.write_job(table, JOB.format(table=table, key=key))
    with workspace.database() as database, database.read() as connection:
        return SourceTable.inspect(database, connection, job)


def _given(
    workspace: Workspace, source: SourceTable, kinds: Mapping[str, ColumnType], bulk: str
) -> dict[str, list[Any]]:
    """What the model is given for each column by row: None for a missing value, FAULT for a row that is quarantined."""
    job = workspace.job(source.table.name)
    with workspace.database() as database:
        upgrade.upgrade(database, [job])
        layout = layout_of(job, source)
        with database.read() as connection:
            rows = DueQuery(source=source, layout=layout).read(
                connection, bulk_for(database, bulk), EVERYTHING, list(kinds), 1000
            )
    found = {}
    for name, kind in kinds.items():
        signature = Signature(columns=(SignatureColumn(name=name, type=kind, nullable=True),))
        checked = check_rows(signature, {name: rows.features[name]})
        values: list[Any] = [FAULT] * len(rows)
        for position, value in zip(checked.positions, checked.frame[name].astype(object), strict=True):
            missing = value is None or value != value
            values[position] = None if missing else value
        found[name] = values
    return found


def _assert_given(
    found: Mapping[str, Sequence[Any]], names: Mapping[str, str], types: Mapping[str, Sequence[tuple[str, Any]]]
) -> None:
    for name, declared in names.items():
        expected = [None, *(value for _, value in types[declared])]
        assert list(found[name][: len(expected)]) == expected, declared
        assert set(found[name][len(expected) :]) <= {None}


def _is_read(column: SourceColumn) -> bool:
    return column.family is not Family.OTHER


@pytest.fixture(scope="module")
def every_type(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A table with a column of every type of PostgreSQL."""
    workspace = Workspace(tmp_path_factory.mktemp("types"), postgres.create_database())
    with workspace.database() as database:
        upgrade.upgrade(database, [])
    _execute(workspace, *CREATED)
    _create(workspace, _of_postgresql(workspace))
    return workspace


def _of_postgresql(workspace: Workspace) -> dict[str, Sequence[tuple[str, Any]]]:
    known = [declared for (declared,) in workspace.query(OF_THE_CATALOG)]
    return {**POSTGRESQL, **{declared: [] for declared in known if declared not in POSTGRESQL}}


@pytest.mark.parametrize("bulk", ["auto", "portable"])
def test_every_type_of_postgresql_that_is_read_reaches_the_model_as_the_same_value(
    every_type: Workspace, bulk: str
) -> None:
    types = _of_postgresql(every_type)
    source = _inspected(every_type, "things")
    names = {_column_name(i): declared for i, declared in enumerate(types)}
    read = {name: declared for name, declared in names.items() if _is_read(source.columns[name])}
    kinds = {name: KIND_OF[source.columns[name].family] for name in read}

    found = _given(every_type, source, kinds, bulk)

    _assert_given(found, read, types)


@pytest.mark.parametrize("bulk", ["auto", "portable"])
def test_the_cast_that_is_proposed_for_a_type_of_postgresql_gives_what_the_model_takes(
    every_type: Workspace, bulk: str
) -> None:
    types = _of_postgresql(every_type)
    source = _inspected(every_type, "things")
    names = {_column_name(i): declared for i, declared in enumerate(types)}
    refused = {name: declared for name, declared in names.items() if not _is_read(source.columns[name])}
    assert {"money", "interval", "bytea", "json", "text[]", "pair", "tags"} <= set(refused.values())
    casts = {(name, kind): source.columns[name].cast_to(kind) for name in refused for kind in ("number", "text")}
    numbers = {name for name in refused if casts[name, "number"] != casts[name, "text"]}
    shown = [f"{cast} AS {name}_{kind}" for (name, kind), cast in casts.items() if kind == "text" or name in numbers]
    _execute(
        every_type,
        "DROP VIEW IF EXISTS cast_things",
        f"CREATE VIEW cast_things AS SELECT id, {', '.join(shown)} FROM things",
    )

    view = _inspected(every_type, "cast_things")
    kinds = {f"{name}_text": ColumnType.TEXT for name in refused} | {
        f"{name}_number": ColumnType.NUMBER for name in numbers
    }
    assert [types[names[n.partition("_")[0]]] for n in kinds if not _fits(view.columns[n], kinds[n])] == []
    found = _given(every_type, view, kinds, bulk)

    given = {f"{name}_number": refused[name] for name in numbers}
    _assert_given(found, given, types)
    for name in refused:
        assert FAULT not in found[f"{name}_text"]


def _fits(column: SourceColumn, kind: ColumnType) -> bool:
    signature = Signature(columns=(SignatureColumn(name=column.name, type=kind, nullable=True),))
    return not signature.mismatches({column.name: column.family})


@pytest.fixture
def every_affinity(sqlite_workspace: Workspace) -> Workspace:
    """A table with a column of every documented type name of SQLite."""
    with sqlite_workspace.database() as database:
        upgrade.upgrade(database, [])
    _create(sqlite_workspace, SQLITE)
    return sqlite_workspace


@pytest.mark.parametrize("bulk", ["auto", "portable"])
def test_every_affinity_of_sqlite_reaches_the_model_as_the_same_value(every_affinity: Workspace, bulk: str) -> None:
    source = _inspected(every_affinity, "things")
    names = {_column_name(i): declared for i, declared in enumerate(SQLITE)}
    kinds = {name: KIND_OF[source.columns[name].family] for name in names if source.columns[name].family in KIND_OF}

    found = _given(every_affinity, source, kinds, bulk)

    types = {**SQLITE, "INTEGER": [(SQLITE["INTEGER"][0][0], -(2.0**63)), *SQLITE["INTEGER"][1:]]}
    _assert_given(found, {name: names[name] for name in kinds}, types)


@pytest.mark.parametrize("bulk", ["auto", "portable"])
def test_the_cast_that_is_proposed_for_a_type_of_sqlite_gives_what_the_model_takes(
    every_affinity: Workspace, bulk: str
) -> None:
    source = _inspected(every_affinity, "things")
    names = {_column_name(i): declared for i, declared in enumerate(SQLITE)}
    refused = {name: declared for name, declared in names.items() if not _is_read(source.columns[name])}
    assert set(refused.values()) == {"TIME", "JSON", "BLOB"}
    shown = [f"{source.columns[name].cast_to('number')} AS {name}_number" for name in refused]
    _execute(every_affinity, f"CREATE VIEW cast_things AS SELECT id, {', '.join(shown)} FROM things")

    view = _inspected(every_affinity, "cast_things")
    kinds = {f"{name}_number": ColumnType.NUMBER for name in refused}
    assert all(_fits(view.columns[name], kind) for name, kind in kinds.items())
    found = _given(every_affinity, view, kinds, bulk)

    for name, declared in refused.items():
        assert found[f"{name}_number"][1] == (SQLITE[declared][0][1] or found[f"{name}_number"][1])
        assert found[f"{name}_number"][1] is not FAULT


@pytest.mark.parametrize("declared", ["INT", "INTEGER", "REAL", "TEXT", "ANY"])
def test_a_column_of_a_strict_table_is_read_by_its_type(sqlite_workspace: Workspace, declared: str) -> None:
    _execute(sqlite_workspace, f"CREATE TABLE strict (id ANY PRIMARY KEY, x {declared}) STRICT")
    columns = _inspected(sqlite_workspace, "strict").columns

    expected = {"INT": Family.INTEGER, "INTEGER": Family.INTEGER, "REAL": Family.NUMBER, "TEXT": Family.TEXT}
    assert columns["x"].family is expected.get(declared, Family.UNKNOWN)
    assert columns["id"].family is Family.UNKNOWN
    assert columns["id"].ddl == "BLOB"  # ANY of another table would turn the key '007' into the number 7


KEYS = {
    "postgresql": {
        "smallint": ["1", "-2"],
        "integer": ["1", "2"],
        "bigint": ["9007199254740993", "9007199254740992"],
        "numeric": ["12345678901234567890.1", "1"],
        "numeric(10,2)": ["1.10", "1.20"],
        "text": ["'a'", "'a '"],
        "varchar(10)": ["'a'", "'b'"],
        "character(10)": ["'a'", "' b'"],
        "bpchar": ["'a'", "'long, and of no length'"],
        "name": ["'a'", "'b'"],
        '"char"': ["'a'", "'b'"],
        "uuid": ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12'"],
        "date": ["'2026-01-31'", "'0044-03-15 BC'"],
        "timestamp": ["'2026-01-31 12:00:00.000001'", "'infinity'"],
        "timestamptz": ["'2026-01-31 12:00:00.000001Z'", "'-infinity'"],
        "boolean": ["true", "false"],
        "grade": ["'good'", "'bad'"],
        "padded_again": ["'a'", "'b'"],
        "small_positive": ["1", "2"],
        "oid": ["1", "4294967295"],
        "inet": ["'10.0.0.1'", "'10.0.0.0/8'"],
        "cidr": ["'10.0.0.0/8'", "'10.0.0.0/16'"],
        "macaddr": ["'08:00:2b:01:02:03'", "'08:00:2b:01:02:04'"],
        "macaddr8": ["'08:00:2b:01:02:03:04:05'", "'08:00:2b:01:02:03:04:06'"],
        "bytea": [r"'\x00ff'", r"'\x'"],
        "time": ["'12:00:00.000001'", "'24:00'", "'00:00'"],
        "timetz": ["'12:00:00.000001+02'", "'24:00+01'", "'00:00+01'"],
        "bit(3)": ["B'101'", "B'001'"],
        "varbit": ["B'1'", "B'10'"],
        "xid8": ["'5'", "'18446744073709551615'"],
        "pg_lsn": ["'0/10'", "'1/0'"],
    },
    "sqlite": {
        "INTEGER": ["1", "-9223372036854775808"],
        "BIGINT": ["1", "9007199254740993"],
        "TEXT": ["'a'", "'A'", "'a '"],
        "TEXT COLLATE NOCASE": ["'a'", "'b'"],
        "VARCHAR(10)": ["'1'", "'01'"],
        "NUMERIC": ["1", "'x'"],
        "DECIMAL(10,2)": ["1", "2"],
        "BLOB": ["x'00ff'", "x''"],
        "": ["1", "'1'", "'01'"],
        "STRING": ["'a'", "'b'"],
        "UUID": ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'x'"],
        "DATE": ["'2026-01-31'", "'2026-02-01'"],
        "DATETIME": ["'2026-01-31 12:00:00'", "'2026-01-31T12:00:00'"],
        "BOOLEAN": ["0", "1"],
    },
}


def _prepared_for_keys(workspace: Workspace, declared: str, values: Sequence[str], *, options: str = "") -> SourceTable:
    _execute(workspace, f"CREATE TABLE keyed (k {declared} NOT NULL PRIMARY KEY, x INTEGER) {options}")
    for value in values:
        _execute(workspace, f"INSERT INTO keyed VALUES ({value}, 1)")
    source = _inspected(workspace, "keyed", key="k")
    with workspace.database() as database:
        upgrade.upgrade(database, [workspace.job("keyed")])
    return source


def _score_all(workspace: Workspace, source: SourceTable, bulk: Bulk, database: Database) -> tuple[int, int]:
    """How many rows were due, and how many are after all were scored; the second half comes in a chunk of its own."""
    layout = layout_of(workspace.job("keyed"), source)
    run = claim_run(database, job="keyed", job_config={}, environment={}, stalled_after=timedelta(minutes=5)).run_id
    with database.read() as connection:
        due = DueQuery(source=source, layout=layout).count(connection).total
    for limit in (1, 100):
        with database.read() as connection:
            rows = DueQuery(source=source, layout=layout).read(connection, bulk, EVERYTHING, [], limit)
        count = len(rows)
        predictions = Predictions(
            positions=range(count), scores=[0.5] * count, labels=None, model_version=1, unseen_category_count=0
        )
        nothing = Quarantined(positions=[], reason_codes=[], column_names=[], messages=[])
        outcomes = prepare_writes(bulk, layout, rows, predictions, nothing)
        commit_chunk(database, bulk, run, outcomes)
        assert all(value is not None for values in rows.keys for value in as_list(values))
    with database.read() as connection:
        return due, DueQuery(source=source, layout=layout).count(connection).total


@pytest.mark.parametrize("bulk", ["auto", "portable"])
@pytest.mark.parametrize("declared", KEYS["postgresql"])
def test_a_row_with_a_key_of_any_type_of_postgresql_is_scored_once(
    postgresql_workspace: Workspace, declared: str, bulk: str
) -> None:
    values = KEYS["postgresql"][declared]
    _execute(postgresql_workspace, *CREATED)
    source = _prepared_for_keys(postgresql_workspace, declared, values)

    with postgresql_workspace.database() as database:
        assert _score_all(postgresql_workspace, source, bulk_for(database, bulk), database) == (len(values), 0)
    joined = "SELECT count(*) FROM keyed JOIN of_keyed ON of_keyed.k = keyed.k"
    assert postgresql_workspace.scalar(joined) == len(values)


@pytest.mark.parametrize("bulk", ["auto", "portable"])
@pytest.mark.parametrize("declared", KEYS["sqlite"])
def test_a_row_with_a_key_of_any_affinity_of_sqlite_is_scored_once(
    sqlite_workspace: Workspace, declared: str, bulk: str
) -> None:
    values = KEYS["sqlite"][declared]
    source = _prepared_for_keys(sqlite_workspace, declared, values)

    with sqlite_workspace.database() as database:
        assert _score_all(sqlite_workspace, source, bulk_for(database, bulk), database) == (len(values), 0)


def test_a_key_of_a_strict_table_that_may_be_anything_stays_what_it_is(sqlite_workspace: Workspace) -> None:
    values = ["'007'", "7", "'7'", "7.5"]
    source = _prepared_for_keys(sqlite_workspace, "ANY", values, options="STRICT")

    with sqlite_workspace.database() as database:
        assert _score_all(sqlite_workspace, source, bulk_for(database), database) == (len(values), 0)


@pytest.mark.parametrize(
    "declared", ["json", "xml", "point", "interval", "money", "text[]", "int4range", "pair", "tsvector"]
)
def test_a_type_that_cannot_be_a_key_is_refused_with_the_cast_to_use(
    postgresql_workspace: Workspace, declared: str
) -> None:
    _execute(postgresql_workspace, *CREATED, f"CREATE TABLE keyed (k {declared} NOT NULL)")
    source = _inspected(postgresql_workspace, "keyed", key="k")

    with pytest.raises(
        SourceFault, match=r"key column k is of type .*, which cannot be a key; .*casts it, such as \S*k"
    ):
        layout_of(postgresql_workspace.job("keyed"), source)


@pytest.mark.parametrize("declared", ["amount", "real", "double precision"])
def test_a_floating_point_key_is_refused_under_a_domain_too(postgresql_workspace: Workspace, declared: str) -> None:
    _execute(postgresql_workspace, *CREATED, f"CREATE TABLE keyed (k {declared} NOT NULL)")
    source = _inspected(postgresql_workspace, "keyed", key="k")

    with pytest.raises(SourceFault, match="key column k is of the inexact type"):
        layout_of(postgresql_workspace.job("keyed"), source)


PLANS = """
[source]
table = "plans"
key = ["code"]
[model]
name = "m"
[predictions]
kind = "binary"
positive_label = "1"
keep_inputs = true
[run]
bulk = "{bulk}"
"""


@pytest.mark.slow
@pytest.mark.parametrize("bulk", ["auto", "portable"])
@pytest.mark.parametrize("declared", ["character(10)", "padded_again"])
def test_blanks_that_fill_a_character_up_are_part_of_no_value(
    postgresql_workspace: Workspace, declared: str, bulk: str
) -> None:
    workspace = postgresql_workspace
    _execute(
        workspace,
        *CREATED,
        f"CREATE TABLE plans (code {declared} NOT NULL PRIMARY KEY, plan {declared})",
        "INSERT INTO plans VALUES ('a', 'basic'), ('b', 'pro'), ('c', NULL)",
    )
    workspace.write_job("plans", PLANS.format(bulk=bulk))
    sample = pd.DataFrame({"plan": ["basic", "pro", None] * 20, "code": ["a", "b", "c"] * 20})
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["plan", "code"]))
    model = make_pipeline(encoder, LogisticRegression()).fit(sample, (sample["plan"] == "pro").astype(int))
    workspace.upgrade()
    workspace.register(model, sample, name="m")

    run = workspace.run("plans")

    assert (run.scored_count, run.unseen_category_count) == (3, 0)
    expected = model.predict_proba(sample.head(3))[:, 1]
    scores = [score for (score,) in workspace.query("SELECT score FROM predictions ORDER BY code")]
    assert scores == pytest.approx(list(expected), abs=1e-12)
    assert workspace.run("plans").read_count == 0
    assert command(workspace, "replay", "plans", "--run", "1").returncode == 0
    assert command_json(workspace, "why", "plans", "a")["state"] == "scored"
    assert command(workspace, "rescore", "plans", "--key", "a", "--reason", "test", "--yes").returncode == 0
    assert workspace.scalar("SELECT count(*) FROM predictions_history") == 4


def _table(columns: Mapping[str, SourceColumn]) -> str:
    lines = ["| type | a model is given | cast in a view for a number | cast in a view for text |", "| --- " * 4 + "|"]
    for declared, column in columns.items():
        name = f"`{declared}`" if declared else "no type"
        if column.family is not Family.OTHER:
            read = {Family.UNKNOWN: "each value as it is stored"}.get(column.family, str(column.family))
            read += ", without trailing blanks" if column.is_padded else ""
            lines.append(f"| {name} | {read} | | |")
            continue
        number, text = (column.cast_to(kind) for kind in ("number", "text"))
        number = "" if number == text else f"`{number}`"
        lines.append(f"| {name} | refused | {number} | `{text}` |")
    return "\n".join(lines)


def _documented(columns: Mapping[str, SourceColumn], types: Iterable[str]) -> str:
    return _table(
        {declared: dataclasses.replace(columns[_column_name(i)], name="x") for i, declared in enumerate(types)}
    )


def test_the_document_lists_every_type_of_postgresql_as_it_is_read(every_type: Workspace) -> None:
    types = _of_postgresql(every_type)

    documented(DOCUMENT, "postgresql", _documented(_inspected(every_type, "things").columns, types))


def test_the_document_lists_every_affinity_of_sqlite_as_it_is_read(every_affinity: Workspace) -> None:
    documented(DOCUMENT, "sqlite", _documented(_inspected(every_affinity, "things").columns, SQLITE))
