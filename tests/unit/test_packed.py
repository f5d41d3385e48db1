"""Columns that come as one value are taken apart into what they were put together from, or said to be none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batch_scoring.domain.column_types import Family
from batch_scoring.store.bulk.packed import SEPARATOR, NotPacked, null_of, unpack

BOUNDED = settings(deadline=None, max_examples=200, derandomize=True)

texts = st.text(st.characters(exclude_characters=SEPARATOR, exclude_categories=["Cs"]), max_size=6)
FAMILIES: dict[Family, tuple[st.SearchStrategy[Any], Callable[[Any], str]]] = {
    Family.INTEGER: (st.integers(-(2**63), 2**63 - 1), str),
    Family.NUMBER: (st.floats(allow_nan=False), lambda value: repr(value).replace("inf", "Infinity")),
    Family.BOOLEAN: (st.booleans(), lambda value: str(value).lower()),
    Family.TEXT: (texts, str),
    Family.OTHER: (texts, str),
    Family.DATE: (st.dates().map(str), str),
    Family.TIMESTAMP: (st.datetimes().map(str), str),
}
"""Values of each family, and how PostgreSQL writes them."""


def _packed(values: Sequence[Any], family: Family) -> str | None:
    write = FAMILIES[family][1]
    return SEPARATOR.join(null_of(family) if value is None else write(value) for value in values) if values else None


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_put_together_comes_apart(family: Family) -> None:
    one = FAMILIES[family][0]

    @BOUNDED
    @given(st.lists(st.none() | one, max_size=8))
    @example([])
    @example([None])
    @example([None, None, None])
    def check(values: list[Any]) -> None:
        array = unpack(_packed(values, family), len(values), family)
        assert array.to_pylist() == values
        array.validate(full=True)

    check()


@BOUNDED
@given(st.lists(st.none() | texts, min_size=1, max_size=8))
def test_what_stands_for_null_is_no_category(values: list[str | None]) -> None:
    array = unpack(_packed(values, Family.TEXT), len(values), Family.TEXT)

    assert set(array.dictionary.to_pylist()) == set(values) - {None}


@pytest.mark.parametrize("family", [Family.TEXT, Family.OTHER])
def test_texts_that_hold_the_separator_are_told(family: Family) -> None:
    with pytest.raises(NotPacked):
        unpack(f"a{SEPARATOR}b{SEPARATOR}c", 2, family)


@pytest.mark.parametrize("family", [Family.INTEGER, Family.NUMBER, Family.BOOLEAN])
def test_what_is_none_of_the_family_is_told(family: Family) -> None:
    with pytest.raises(NotPacked):
        unpack(f"1{SEPARATOR}x", 2, family)


def test_what_is_no_number_is_one_value_of_a_float() -> None:
    found = unpack(f"NaN{SEPARATOR}1.5{SEPARATOR}", 3, Family.NUMBER)

    assert math.isnan(found[0].as_py())
    assert found[1:].equals(pa.array([1.5, None]))
