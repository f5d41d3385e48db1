"""Chunks by ranges of the key: every row once, in exact order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from source_desk import (
    APPLICANTS,
    Desk,
    Key,
    Prepare,
    insert_keys,
    keys_of,
)

from batch_scoring.domain.keys import EVERYTHING, KeyRange
from batch_scoring.store.due.reader import KeysetReader
from batch_scoring.store.source.rows import SourceRows


def _cover(desk: Desk, ranges: Sequence[KeyRange]) -> list[list[Key]]:
    """The keys of each chunk; a chunk is a set of rows, its rows come in no promised order."""
    return [sorted(keys_of(desk.read(chunk))) for chunk in ranges]


def test_nothing_due_is_no_chunk(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS)

    assert desk.count() == 0
    assert desk.walk(10) == []
    assert len(desk.read()) == 0


@pytest.mark.slow
def test_chunks_of_every_size_cover_each_due_row_once_and_in_order(prepare: Prepare) -> None:
    desk = prepare(
        "CREATE TABLE applicants (branch TEXT NOT NULL, id INTEGER NOT NULL, updated_at TIMESTAMP,"
        " PRIMARY KEY (id, branch))",
        key=["branch", "id"],
    )
    keys = [(branch, id_) for id_ in range(5) for branch in ("b", "a", "", "B")]
    insert_keys(desk, keys)
    desk.settle(_first(desk, 3))
    due = desk.keys()
    assert len(due) == 17

    for chunk_rows in (1, 2, 5, 16, 17, 18):
        chunks = _cover(desk, desk.walk(chunk_rows))
        assert all(len(chunk) <= chunk_rows for chunk in chunks)
        assert sorted(key for chunk in chunks for key in chunk) == due


def _first(desk: Desk, count: int) -> SourceRows:
    return desk.read(desk.walk(count)[0])


@settings(
    deadline=None,
    max_examples=15,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    keys=st.sets(
        st.tuples(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3),
            st.integers(-(2**63), 2**63 - 1),
        ),
        max_size=12,
    ),
    chunk_rows=st.integers(1, 13),
)
def _check_cover(desk: Desk, keys: set[tuple[str, int]], chunk_rows: int) -> None:
    desk.execute("DELETE FROM applicants")
    insert_keys(desk, list(keys))

    assert desk.count() == len(keys)
    chunks = _cover(desk, desk.walk(chunk_rows))
    assert Counter(key for chunk in chunks for key in chunk) == Counter((text, str(id_)) for text, id_ in keys)
    assert all(len(chunk) <= chunk_rows for chunk in chunks)


def test_chunks_cover_any_keys_once(prepare: Prepare) -> None:
    desk = prepare(
        "CREATE TABLE applicants (branch TEXT NOT NULL, id BIGINT NOT NULL, updated_at TIMESTAMP)", key=["branch", "id"]
    )

    _check_cover(desk)


def test_a_row_inserted_behind_the_walk_waits_and_one_before_it_is_read(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, "INSERT INTO applicants (id) VALUES (10), (20), (30), (40)")
    first = desk.step(desk.start(), 2)
    assert keys_of(first.rows) == [("10",), ("20",)]
    desk.settle(first.rows)

    desk.execute("INSERT INTO applicants (id) VALUES (5), (15), (25), (45)")
    walked, walk = [], first.rest
    while walk is not None:
        chunk = desk.step(walk, 2)
        walked += keys_of(chunk.rows)
        desk.settle(chunk.rows)
        walk = chunk.rest

    assert walked == [("25",), ("30",), ("40",), ("45",)]
    assert desk.due() == ["15", "5"]


def test_rows_that_are_due_no_more_when_their_chunk_is_read_are_not_read(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, "INSERT INTO applicants (id) VALUES (10), (20), (30), (40)")
    ranges = desk.walk(2)
    desk.settle(desk.read(KeyRange(lower=(10,), upper=(30,))))
    desk.execute("DELETE FROM applicants WHERE id = 40")

    assert _cover(desk, ranges) == [[("10",)], []]


@pytest.mark.slow
def test_a_walk_through_few_due_rows_takes_wide_steps_and_misses_none(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS)
    with desk.database.write() as connection:
        rows = [{"id": i} for i in range(2_000)]
        connection.execute(sa.text("INSERT INTO applicants (id) VALUES (:id)"), rows)
    desk.settle()
    desk.execute("UPDATE applicants SET updated_at = '2026-02-02 00:00:00' WHERE id % 97 = 0 OR id BETWEEN 900 AND 960")
    changed = sorted(str(i) for i in range(2_000) if i % 97 == 0 or 900 <= i <= 960)

    for chunk_rows in (1, 5, 10, 60):
        for due_count in (None, len(changed)):
            walk: KeysetReader | None = desk.start(due_count=due_count)
            found, steps = [], 0
            while walk is not None:
                chunk = desk.step(walk, chunk_rows)
                assert len(chunk.rows) <= chunk_rows
                found += [key for (key,) in keys_of(chunk.rows)]
                steps += 1
                walk = chunk.rest
            assert sorted(found) == changed
            assert steps < 2_000 / chunk_rows


def test_a_step_can_be_taken_again(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, "INSERT INTO applicants (id) VALUES (1), (2), (3)")
    walk = desk.start()

    for _ in range(2):
        assert keys_of(desk.step(walk, 2).rows) == [("1",), ("2",)]
    rest = desk.step(walk, 2).rest
    assert rest is not None
    for _ in range(2):
        assert keys_of(desk.step(rest, 2).rows) == [("3",)]


@pytest.mark.parametrize("widths", [[], [20], [7, 5, 3], [1] * 30, [19, 1, 1]])
def test_a_source_is_cut_into_ranges_that_cover_it_once(prepare: Prepare, widths: list[int]) -> None:
    desk = prepare(
        "CREATE TABLE applicants (branch TEXT NOT NULL, id BIGINT NOT NULL, updated_at TIMESTAMP,"
        " PRIMARY KEY (id, branch))",
        key=["branch", "id"],
    )
    keys = [(branch, id_) for id_ in range(5) for branch in ("b", "a", "", "B")]
    insert_keys(desk, keys)

    with desk.database.read() as connection:
        ranges = desk.query.partition(connection, widths)
    held = _cover(desk, ranges)

    assert sorted(key for keys in held for key in keys) == sorted((branch, str(id_)) for branch, id_ in keys)
    assert all(len(keys) == width for keys, width in zip(held[:-1], widths, strict=False))
    assert (ranges[0].lower, ranges[-1].upper) == (None, None), "rows that come later are in a range too"


def test_an_empty_source_is_one_range(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS)
    with desk.database.read() as connection:
        assert desk.query.partition(connection, [4]) == [EVERYTHING]


def test_a_read_takes_no_more_rows_than_its_limit_and_the_rest_later(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, "INSERT INTO applicants (id) VALUES (1), (2), (3), (4), (5)")

    read = []
    while rows := desk.read(limit=2):
        read.append(keys_of(rows))
        desk.settle(rows)

    assert [len(keys) for keys in read] == [2, 2, 1]
    assert sorted(key for keys in read for (key,) in keys) == ["1", "2", "3", "4", "5"]


def test_ranges_are_open_below_and_closed_above(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, "INSERT INTO applicants (id) VALUES (1), (2), (3), (4)")

    assert desk.keys(KeyRange(lower=(1,), upper=(3,))) == [("2",), ("3",)]
    assert desk.keys(KeyRange(lower=(3,))) == [("4",)]
    assert desk.keys(KeyRange(upper=(1,))) == [("1",)]
