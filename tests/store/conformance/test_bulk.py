"""Moving many rows: what goes in comes out, by every strategy, to the last bit."""

from __future__ import annotations

import math
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import strategies as st
from round_trips import BOUNDED, MOMENT, NASTY, as_list, bits, create_table, insert_rows, round_trip, texts

from batch_scoring.domain.column_types import Family
from batch_scoring.domain.columns import Column
from batch_scoring.store.bulk.contract import Bulk, take
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import FOREVER, RawType, UtcTimestamp


@pytest.fixture
def way(database: Database, bulk: Bulk) -> tuple[Database, Bulk]:
    """A database and one strategy of moving its rows."""
    return database, bulk


EXTREMES = [0.0, -0.0, 5e-324, -5e-324, 2.2250738585072009e-308, 1.7976931348623157e308, 0.1 + 0.2, 1 / 3, 1e22, 1e23]


def test_texts_come_out_as_they_went_in(way: tuple[Database, Bulk]) -> None:
    table = create_table(way[0], {"text": "TEXT", "key": "VARCHAR(100000)"})
    families = {"text": Family.TEXT, "key": Family.OTHER}

    @BOUNDED
    @given(st.lists(st.tuples(st.none() | texts, st.sampled_from(NASTY)), min_size=1, max_size=6))
    @example([(text, text) for text in NASTY])
    @example([(text, text) for text in reversed(NASTY)])
    @example([(None, None)])
    @example([("", "")])
    def check(rows: list[tuple[str | None, str | None]]) -> None:
        columns = {"text": [text for text, _ in rows], "key": [key for _, key in rows]}
        assert round_trip(way, table, columns, families) == columns

    check()


def test_a_text_in_the_first_column_of_the_first_row_is_as_exact_as_any(way: tuple[Database, Bulk]) -> None:
    database, bulk = way
    table = create_table(database, {"key": "TEXT"})
    for text in NASTY:
        if text is not None:
            with database.write() as connection:
                connection.execute(sa.delete(table))
                insert_rows(bulk, connection, table, {"key": [text]})
                (values,) = bulk.fetch(connection, sa.select(table.c.key), [Family.OTHER])
                assert connection.execute(sa.select(table.c.key)).scalar_one() == text
            assert as_list(values) == [text]


def test_columns_of_more_than_a_megabyte_come_out_row_by_row(way: tuple[Database, Bulk]) -> None:
    table = create_table(way[0], {"text": "TEXT", "key": "TEXT", "number": "DOUBLE PRECISION"})
    count = 6_000
    columns: dict[str, Column] = {
        "text": [None if i % 7 == 0 else f"category {i * i % 1009}\n" * (i % 5) for i in range(count)],
        "key": [f'L\n"{i}"\r\n,' + "\n" * (i % 500) for i in range(count)],
        "number": [None if i % 11 == 0 else i / 7 for i in range(count)],
    }

    found = round_trip(way, table, columns, {"text": Family.TEXT, "key": Family.OTHER, "number": Family.NUMBER})

    assert found == columns


def test_floats_come_out_to_the_last_bit(way: tuple[Database, Bulk]) -> None:
    table = create_table(way[0], {"number": "DOUBLE PRECISION"})

    @BOUNDED
    @given(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
    @example(EXTREMES)
    def check(numbers: list[float | None]) -> None:
        found = round_trip(way, table, {"number": numbers}, {"number": Family.NUMBER})
        assert bits(found["number"]) == bits(numbers)

    check()


def test_infinities_come_out_as_such(way: tuple[Database, Bulk]) -> None:
    table = create_table(way[0], {"number": "DOUBLE PRECISION"})
    numbers = [math.inf, 1.5, -math.inf, None]

    assert round_trip(way, table, {"number": numbers}, {"number": Family.NUMBER}) == {"number": numbers}


def test_whole_numbers_come_out_exactly(way: tuple[Database, Bulk]) -> None:
    table = create_table(way[0], {"whole": "BIGINT", "key": "BIGINT"})
    families = {"whole": Family.INTEGER, "key": Family.OTHER}

    @BOUNDED
    @given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
    @example([2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 0])
    def check(numbers: list[int]) -> None:
        found = round_trip(way, table, {"whole": numbers, "key": numbers}, families)
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
    table = create_table(way[0], types)
    nothing: dict[str, list[None]] = {name: [None, None] for name in types}

    assert round_trip(way, table, nothing, families) == nothing


def test_a_null_is_a_row_even_where_it_stands_alone(way: tuple[Database, Bulk]) -> None:
    database, bulk = way
    table = create_table(database, {"text": "TEXT"})
    with database.write() as connection:
        insert_rows(bulk, connection, table, {"text": ["a", None, "", None]})
        (values,) = bulk.fetch(connection, sa.select(table.c.text), [Family.TEXT])

    assert sorted(map(str, as_list(values))) == ["", "None", "None", "a"]


def test_nothing_fetched_is_an_empty_column_for_each_family(way: tuple[Database, Bulk]) -> None:
    database, bulk = way
    table = create_table(database, {"text": "TEXT"})
    with database.read() as connection:
        columns = bulk.fetch(connection, sa.select(table.c.text, table.c.position), [Family.TEXT, Family.INTEGER])

    assert [as_list(values) for values in columns] == [[], []]


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
        assert insert_rows(bulk, connection, table, {"key": [1, 2, 3]}, constants) == 3
        found = connection.execute(sa.select(table).order_by(table.c.key)).all()

    assert [tuple(row) for row in found] == [(key, 2**53 + 1, None, MOMENT, FOREVER) for key in (1, 2, 3)]


def test_awkward_names_of_tables_and_columns_are_written_and_read(way: tuple[Database, Bulk]) -> None:
    names = ["Loan ID", 'say "hi"', "100%", "a:b", "%s", "select", "v0", "v1", "k0", "(x)"]
    table = create_table(way[0], dict.fromkeys(names, "INTEGER"), name='The "100%" table')
    columns = {name: [i, None] for i, name in enumerate(names)}

    assert round_trip(way, table, columns, dict.fromkeys(names, Family.INTEGER)) == columns


def _lives(database: Database, name: str, *more: sa.Column[Any]) -> sa.Table:
    """A table of rows by branch and id, with the start of their validity period."""
    table = sa.Table(
        name,
        sa.MetaData(),
        sa.Column("branch", RawType("TEXT"), primary_key=True),
        sa.Column("id", RawType("BIGINT"), primary_key=True, autoincrement=False),
        sa.Column("note", sa.Text),
        sa.Column("run_id", sa.BigInteger),
        sa.Column("valid_from", UtcTimestamp),
        *more,
    )
    with database.write(create=True) as connection:
        table.create(connection)
    return table


AWKWARD_KEYS = [("a", 1), ("a", 2), ("it's", 1), ("\\.", 2**53 + 1), ("", 3), ("A", 1), ('{"x",NULL}', 4)]
CHOSEN_KEYS = [("", 3), ("\\.", 2**53 + 1), ("a", 1), ("it's", 1), ("nowhere", 9), ('{"x",NULL}', 4)]
NOTES = [None, "", "NULL", 'a,"b"\\', "größe", "x"]


def _fill(connection: sa.Connection, table: sa.Table) -> None:
    rows = [
        {"branch": branch, "id": id_, "note": "old", "run_id": 1, "valid_from": MOMENT} for branch, id_ in AWKWARD_KEYS
    ]
    connection.execute(sa.insert(table), rows)


def test_an_update_writes_the_rows_of_the_keys_named_and_no_others(way: tuple[Database, Bulk]) -> None:
    database, bulk = way
    table = _lives(database, "lives")
    later = MOMENT.replace(year=2030)
    keys: dict[str, Column] = {"branch": [branch for branch, _ in CHOSEN_KEYS], "id": [id_ for _, id_ in CHOSEN_KEYS]}
    with database.write() as connection:
        _fill(connection, table)
        rows = bulk.prepare_update(table, {**keys, "note": list(NOTES)}, unchanged_since=MOMENT)
        assert len(rows) == 6
        assert rows.write(connection, {"valid_from": later, "run_id": 2}) == 5
        again = bulk.prepare_update(table, keys, unchanged_since=MOMENT)
        assert again.write(connection, {"valid_from": later, "run_id": 3}) == 0, "they were superseded since"
        found = {tuple(row) for row in connection.execute(sa.select(table))}

    noted = dict(zip(CHOSEN_KEYS, NOTES, strict=True))
    assert found == {(*key, noted[key], 2, later) if key in noted else (*key, "old", 1, MOMENT) for key in AWKWARD_KEYS}


def test_a_column_that_an_update_is_not_given_becomes_null(way: tuple[Database, Bulk]) -> None:
    database, bulk = way
    table = _lives(database, "lives")
    with database.write() as connection:
        _fill(connection, table)
        rows = bulk.prepare_update(table, {"branch": ["a"], "id": [1]}, unchanged_since=MOMENT)
        assert rows.write(connection, {"valid_from": MOMENT}) == 1
        found = connection.execute(sa.select(table).where(table.c.branch == "a", table.c.id == 1)).one()

    assert tuple(found) == ("a", 1, None, None, MOMENT)


def test_a_move_takes_the_rows_of_the_keys_named_and_no_others(way: tuple[Database, Bulk]) -> None:
    database, bulk = way
    current, past = _lives(database, "lives"), _lives(database, "past", sa.Column("valid_to", UtcTimestamp))
    later = MOMENT.replace(year=2030)
    keys: dict[str, Column] = {"branch": [branch for branch, _ in CHOSEN_KEYS], "id": [id_ for _, id_ in CHOSEN_KEYS]}
    with database.write() as connection:
        _fill(connection, current)
        moved = bulk.move(connection, current, past, keys, {"valid_to": later})
        left = {tuple(row) for row in connection.execute(sa.select(current))}
        found = {tuple(row) for row in connection.execute(sa.select(past))}

    assert moved == 5
    assert left == {(*key, "old", 1, MOMENT) for key in AWKWARD_KEYS if key not in CHOSEN_KEYS}
    assert found == {(*key, "old", 1, MOMENT, later) for key in AWKWARD_KEYS if key in CHOSEN_KEYS}


def test_values_are_taken_by_position_in_the_form_they_have(way: tuple[Database, Bulk]) -> None:
    database, bulk = way
    table = create_table(database, {"text": "TEXT"})
    with database.write() as connection:
        insert_rows(bulk, connection, table, {"position": [0, 1, 2], "text": ["a", None, "c"]})
        query = sa.select(table.c.position, table.c.text).order_by(table.c.position)
        _, values = bulk.fetch(connection, query, [Family.INTEGER, Family.TEXT])

    taken = take(values, [2, 0, 1])

    assert type(taken) is type(values)
    assert as_list(taken) == ["c", "a", None]
    assert as_list(take(values, [])) == []
