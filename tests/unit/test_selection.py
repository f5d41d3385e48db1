"""What people select, as values: what is kept with a run, batches."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_scoring.domain.column_types import Family
from batch_scoring.errors import InputFault
from batch_scoring.store.engine.columns import SourceColumn
from batch_scoring.store.source.conditions import Comparison, Condition, Value
from batch_scoring.store.source.selection import Request, Selection
from batch_scoring.store.source.values import candidates, unmatched

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=15)
MOMENTS = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=9)), timezone(-timedelta(hours=3))]))
CONDITIONS = st.builds(
    Comparison,
    column=TEXT.filter(bool),
    operator=st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "like"]),
    values=st.tuples(st.builds(Value, text=TEXT, is_quoted=st.just(True))),
)


@settings(deadline=None)
@given(
    keys=st.none() | st.lists(st.tuples(TEXT, TEXT), max_size=5).map(tuple),
    version=st.none() | st.integers(1, 2**31 - 1),
    before=st.none() | MOMENTS,
    after=st.none() | MOMENTS,
    where=st.lists(CONDITIONS, max_size=3).map(tuple),
)
def test_what_is_kept_with_a_run_is_what_was_asked(
    keys: tuple[tuple[str, str], ...] | None,
    version: int | None,
    before: datetime | None,
    after: datetime | None,
    where: tuple[Condition, ...],
) -> None:
    selection = Selection(scored_by_version=version, scored_before=before, scored_after=after, where=where)
    kept = json.dumps(
        Selection(
            keys=keys, scored_by_version=version, scored_before=before, scored_after=after, where=where, since_run=7
        ).record()
    )

    assert Request.from_record(json.loads(kept)) == Request(keys=keys, selection=selection)


def test_a_record_of_one_comparison_a_list_is_read_as_the_comparisons_it_means() -> None:
    old = {
        "keys": None,
        "scored_by_version": None,
        "scored_before": None,
        "scored_after": None,
        "where": [["a", "=", "two words", False], ["b", "is not null", None, False], ["c", "<", "5", False]],
    }
    assert [str(condition) for condition in Request.from_record(old).selection.where] == [
        "a = 'two words'",
        "b is not null",
        "c < 5",
    ]


@settings(deadline=None)
@given(
    keys=st.lists(st.tuples(st.integers(), st.text(max_size=2)), unique=True, max_size=1_300),
    most=st.none() | st.integers(1, 700),
)
def test_pieces_part_the_keys_in_their_order(keys: list[tuple[int, str]], most: int | None) -> None:
    selection = Selection(keys=tuple(keys), scored_by_version=3, since_run=9)
    batches = list(selection.batches(most))

    assert [key for batch in batches for key in batch.keys or ()] == keys
    for batch in batches:
        assert batch.keys
        assert len(batch.keys) <= min(most or 500, 500)
        assert (batch.scored_by_version, batch.since_run) == (3, 9)


@settings(deadline=None)
@given(count=st.integers(0, 12_000), most=st.none() | st.integers(100, 20_000))
def test_pieces_of_keys_of_one_column_are_as_large_as_they_may_be(count: int, most: int | None) -> None:
    keys = tuple((i,) for i in range(count))
    sizes = [len(batch.keys or ()) for batch in Selection(keys=keys).batches(most)]

    assert sum(sizes) == count
    assert all(size == min(most or 5_000, 5_000) for size in sizes[:-1])


def test_a_selection_without_keys_is_one_piece() -> None:
    selection = Selection(scored_by_version=1)
    assert list(selection.batches(1)) == [selection]
    assert list(Selection(keys=()).batches()) == []


def column(family: Family, ddl: str) -> SourceColumn:
    base = "uuid" if ddl == "UUID" else ""
    return SourceColumn(name="id", ddl=ddl, family=family, nullable=False, base=base)


INTEGERS = column(Family.INTEGER, "BIGINT")


@settings(deadline=None)
@given(number=st.integers(-(2**63), 2**63 - 1))
def test_a_whole_number_is_found_by_its_text(number: int) -> None:
    assert list(candidates((str(number),), [INTEGERS])) == [(number,)]
    assert list(candidates((f" {number} ",), [INTEGERS])) == [(number,)]


@settings(deadline=None)
@given(number=st.decimals(-(10**9), 10**9, places=4))
def test_a_number_is_equal_however_many_zeros_it_has(number: Any) -> None:
    numbers = column(Family.NUMBER, "NUMERIC(20, 4)")
    written = [(str(number.normalize()),), (f"{number}000",)]
    assert unmatched(written, [numbers], [(number,)]) == []
    assert unmatched(written, [numbers], [(number + 1,)]) == list(dict.fromkeys(written))


@settings(deadline=None)
@given(text=TEXT)
def test_text_is_found_as_it_is(text: str) -> None:
    assert list(candidates((text,), [column(Family.TEXT, "TEXT")])) == [(text,)]


@pytest.mark.parametrize(
    ("family", "ddl", "text", "words"),
    [
        (Family.INTEGER, "BIGINT", "1.0", "expected an integer"),
        (Family.INTEGER, "BIGINT", "", "expected an integer"),
        (Family.INTEGER, "BIGINT", "\uff11", "expected an integer"),
        (Family.NUMBER, "NUMERIC", "inf", "expected a number"),
        (Family.NUMBER, "NUMERIC", "1,5", "expected a number"),
        (Family.BOOLEAN, "BOOLEAN", "yes", "expected true or false"),
        (Family.DATE, "DATE", "2026-02-30", "expected a date"),
        (Family.TIMESTAMP, "TIMESTAMP", "25:00", "expected a timestamp"),
        (Family.TEXT, "UUID", "1234", "expected a UUID"),
        (Family.TEXT, "TEXT", "a\0b", "holds a NUL"),
    ],
)
def test_what_is_no_value_of_its_column_is_refused(family: Family, ddl: str, text: str, words: str) -> None:
    with pytest.raises(InputFault, match=words):
        list(candidates((text,), [column(family, ddl)]))
