"""What is due, whatever the key, the clock and the names of columns; cut into chunks that miss and repeat nothing."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from source_desk import (
    APPLICANTS,
    NASTY_TEXTS,
    THREE,
    Prepare,
    assert_each_key_is_scored_once_and_superseded_once,
    insert_keys,
    prepared_desk,
    source_keys,
    stored_keys,
)
from support import Workspace

from batch_scoring.errors import DatabaseFault, SourceFault


@pytest.fixture
def prepare_postgresql(postgresql_workspace: Workspace) -> Iterator[Prepare]:
    with ExitStack() as stack:
        yield lambda *statements, **job: prepared_desk(stack, postgresql_workspace, statements, job)


@pytest.fixture
def prepare_sqlite(sqlite_workspace: Workspace) -> Iterator[Prepare]:
    with ExitStack() as stack:
        yield lambda *statements, **job: prepared_desk(stack, sqlite_workspace, statements, job)


@pytest.mark.parametrize("changed", ["infinity", "-infinity", "0044-03-15 12:00:00 BC"])
@pytest.mark.parametrize("ddl", ["TIMESTAMP", "TIMESTAMPTZ", "DATE"])
def test_a_timestamp_that_python_cannot_hold_is_scored_once_too(
    prepare_postgresql: Prepare, changed: str, ddl: str
) -> None:
    desk = prepare_postgresql(
        f"CREATE TABLE applicants (id INTEGER PRIMARY KEY, updated_at {ddl})",
        f"INSERT INTO applicants VALUES (1, '{changed}'), (2, '2026-01-01')",
    )
    desk.settle(way=0)
    assert desk.count() == 0


@pytest.mark.parametrize("changed", ["infinity", "-infinity", "0044-03-15 12:00:00 BC"])
def test_a_timestamp_that_python_cannot_hold_is_scored_once_by_the_portable_way_too(
    prepare_postgresql: Prepare, changed: str
) -> None:
    desk = prepare_postgresql(
        "CREATE TABLE applicants (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)",
        f"INSERT INTO applicants VALUES (1, '{changed}'), (2, '2026-01-01')",
    )
    desk.settle(way=1)
    assert desk.count() == 0


NOTES = (
    "CREATE TABLE applicants (id INTEGER NOT NULL PRIMARY KEY, note TEXT, score REAL, run_id INTEGER, valid_to TEXT)"
)
NOTED = (
    "INSERT INTO applicants VALUES (1, '100%', 0.9, 1, NULL), (2, 'a:b', 0.1, NULL, 'x'), (3, 'it''s', 0.5, 3, 'x'),"
    " (4, ':note %s %(id)s', NULL, 4, NULL)"
)


def test_where_takes_postgresql_casts(prepare_postgresql: Prepare) -> None:
    desk = prepare_postgresql(
        NOTES, NOTED, where="""id::text = '2' OR note ~ '^100' AND '{"a": 1}'::jsonb ->> 'a' = '1'""", changed_at=None
    )

    assert desk.due() == ["1", "2"]


def test_a_source_in_another_schema_is_found_there(prepare_postgresql: Prepare) -> None:
    desk = prepare_postgresql(
        "CREATE SCHEMA staging",
        APPLICANTS.replace("applicants", "staging.applicants"),
        THREE.replace("applicants", "staging.applicants"),
        "CREATE TABLE applicants (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)",
        table="staging.applicants",
    )

    assert desk.due() == ["1", "2", "3"]
    desk.settle()
    assert desk.due() == []


def test_a_primary_key_that_sqlite_lets_be_null_is_checked(prepare_sqlite: Prepare) -> None:
    desk = prepare_sqlite(
        "CREATE TABLE applicants (id TEXT PRIMARY KEY, updated_at TIMESTAMP)",
        "INSERT INTO applicants (id) VALUES (NULL), ('a')",
    )

    with desk.database.read() as connection, pytest.raises(SourceFault, match=r"\(id\) is NULL in 1 row;"):
        desk.source.check_key(connection)


POSTGRESQL_KEY_TYPES: dict[str, Sequence[Any]] = {
    "SMALLINT": [-32768, 32767],
    "NUMERIC": ["1", "1.5", "-0.00000000000000000001", "123456789012345678901234567890.123456789"],
    "NUMERIC(20, 3)": ["12345678901234567.125", "0.001"],
    "CHAR(6)": ["a", "ab", "ab c"],
    "TIMESTAMP": ["2026-01-01 00:00:00.000001", "2026-01-01 00:00:00"],
    "TIMESTAMPTZ": ["2026-03-29 02:30:00.5+02", "2026-03-29 01:30:00.5+02"],
    "TIME": ["12:00:00.5", "23:59:59"],
    "BOOLEAN": [True, False],
    "BYTEA": ["\\x00ff", "\\x"],
    "INET": ["10.0.0.1", "::1"],
    'TEXT COLLATE "C"': NASTY_TEXTS[:8],
    'VARCHAR(500) COLLATE "pg_c_utf8"': NASTY_TEXTS[:8],
    'TEXT COLLATE "Odd name"': NASTY_TEXTS[:8],
    '"Grade"': ["low", "it's high", "%s"],
    '"Loan number"': ["L-2", "l-10", "L-1"],
    "staging.code": [2**53 + 1, 7],
}
TYPES_OF_ITS_OWN = (
    "CREATE SCHEMA staging",
    """CREATE TYPE "Grade" AS ENUM ('low', 'it''s high', '%s')""",
    """CREATE DOMAIN "Loan number" AS TEXT CHECK (VALUE ~ '^[Ll]-')""",
    "CREATE DOMAIN staging.code AS BIGINT",
    """CREATE COLLATION "Odd name" FROM "C" """,
)


@pytest.mark.parametrize("ddl", POSTGRESQL_KEY_TYPES)
def test_keys_are_exact_whatever_their_type_on_postgresql(prepare_postgresql: Prepare, ddl: str) -> None:
    desk = prepare_postgresql(
        *TYPES_OF_ITS_OWN, f"CREATE TABLE applicants (id {ddl} NOT NULL PRIMARY KEY, updated_at TIMESTAMP)"
    )
    insert_keys(desk, [(value,) for value in POSTGRESQL_KEY_TYPES[ddl]])

    assert_each_key_is_scored_once_and_superseded_once(desk, len(POSTGRESQL_KEY_TYPES[ddl]))
    assert stored_keys(desk) == source_keys(desk)


SQLITE_KEY_TYPES: dict[str, Sequence[Any]] = {
    "NUMERIC(20, 3)": [110.5, 2**53 + 1, 7, "7.50 EUR"],
    "DECIMAL": [110.5, 2**53 + 1, 7, "7.50 EUR"],
    "BLOB": [b"\x00\xff", b"", b"7"],
    "": [b"7", "7", 7],
    "BOOLEAN": [0, 1],
    "TIMESTAMP": ["2026-01-01 00:00:00.5", "2026-01-01"],
}


@pytest.mark.parametrize("ddl", SQLITE_KEY_TYPES)
def test_keys_are_exact_whatever_their_type_on_sqlite(prepare_sqlite: Prepare, ddl: str) -> None:
    desk = prepare_sqlite(f"CREATE TABLE applicants (id {ddl} NOT NULL PRIMARY KEY, updated_at TIMESTAMP)")
    insert_keys(desk, [(value,) for value in SQLITE_KEY_TYPES[ddl]])

    assert_each_key_is_scored_once_and_superseded_once(desk, len(SQLITE_KEY_TYPES[ddl]))
    assert stored_keys(desk) == source_keys(desk)


@pytest.mark.parametrize("ddl", ["DATE", "TIMESTAMP"])
def test_keys_that_python_cannot_hold_are_scored_once_too(prepare_postgresql: Prepare, ddl: str) -> None:
    desk = prepare_postgresql(
        f"CREATE TABLE applicants (id {ddl} PRIMARY KEY, updated_at TIMESTAMP)",
        "INSERT INTO applicants VALUES ('infinity'), ('-infinity'), ('0044-03-15 BC'), ('2026-01-01')",
    )
    for chunk in desk.walk(1):
        desk.settle(desk.read(chunk))

    assert desk.workspace.scalar("SELECT count(*) FROM predictions_current") == 4
    assert desk.count() == 0


def test_keys_that_differ_in_case_only_are_two_keys_even_where_sqlite_compares_without_case(
    prepare_sqlite: Prepare,
) -> None:
    desk = prepare_sqlite(
        "CREATE TABLE applicants (id TEXT COLLATE NOCASE NOT NULL, updated_at TIMESTAMP)",
        "INSERT INTO applicants (id) VALUES ('b'), ('B'), ('a'), ('C')",
    )
    with desk.database.read() as connection:
        desk.source.check_key(connection)

    assert_each_key_is_scored_once_and_superseded_once(desk, 4)

    assert stored_keys(desk) == Counter([("b",), ("B",), ("a",), ("C",)])


def test_a_key_that_changes_its_case_is_a_new_key(prepare_sqlite: Prepare) -> None:
    desk = prepare_sqlite(
        "CREATE TABLE applicants (id VARCHAR(9) COLLATE NOCASE NOT NULL PRIMARY KEY, updated_at TIMESTAMP)",
        "INSERT INTO applicants (id) VALUES ('b'), ('A')",
    )
    desk.settle()

    desk.execute("UPDATE applicants SET id = 'B' WHERE id = 'b'")

    assert desk.due() == ["B"]


def test_keys_that_sqlite_pads_or_trims_in_comparison_stay_apart(prepare_sqlite: Prepare) -> None:
    desk = prepare_sqlite(
        "CREATE TABLE applicants (id TEXT COLLATE RTRIM NOT NULL, updated_at TIMESTAMP)",
        "INSERT INTO applicants (id) VALUES ('b'), ('b '), ('b  ')",
    )

    assert_each_key_is_scored_once_and_superseded_once(desk, 3)


def test_a_key_that_is_no_utf_8_is_a_fault_of_the_job_that_names_no_value(prepare_sqlite: Prepare) -> None:
    desk = prepare_sqlite(
        "CREATE TABLE applicants (id TEXT NOT NULL PRIMARY KEY, updated_at TIMESTAMP)",
        "INSERT INTO applicants (id) VALUES ('a'), ('b'), (CAST(x'733363723374ff' AS TEXT))",
    )

    with pytest.raises(DatabaseFault, match="a key is not valid UTF-8; correct it") as named:
        desk.walk(1)
    assert "s3cr3t" not in str(named.value)

    left_out = dataclasses.replace(desk, source=dataclasses.replace(desk.source, where="length(id) = 1"))
    left_out.settle()
    assert left_out.count() == 0


def test_a_materialized_view_is_a_source(prepare_postgresql: Prepare) -> None:
    desk = prepare_postgresql(
        APPLICANTS.replace("applicants", "raw_applicants"),
        THREE.replace("applicants", "raw_applicants"),
        "CREATE MATERIALIZED VIEW applicants AS SELECT * FROM raw_applicants",
    )
    desk.settle()

    assert desk.due() == []
