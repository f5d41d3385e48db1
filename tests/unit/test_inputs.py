"""Digests of inputs: the same however equal values are encoded, and the very columns that were altered are named."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from batch_scoring.domain.column_types import ColumnType
from batch_scoring.domain.manifest import Signature, SignatureColumn
from batch_scoring.model.inputs import DIGEST_BYTES, differing, digest, input_columns
from batch_scoring.model.signature import CheckedRows, check_rows

PROPERTY = settings(deadline=None, max_examples=60, derandomize=True, database=None)
WHOLE = st.integers(-(2**53), 2**53)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES: dict[ColumnType, st.SearchStrategy[Any]] = {
    ColumnType.NUMBER: st.floats(allow_nan=False, allow_infinity=False),
    ColumnType.INTEGER: WHOLE,
    ColumnType.BOOLEAN: st.booleans(),
    ColumnType.TEXT: TEXTS,
    ColumnType.TIMESTAMP: st.datetimes(),
}
NAMES = [type_.value for type_ in VALUES]


def signature(*, text_as: str = "category", nullable: bool = True) -> Signature:
    """One column of each type, named after it."""
    columns = tuple(
        SignatureColumn(
            name=type_.value,
            type=type_,
            nullable=nullable,
            categories=("", "0", "a") if type_ is ColumnType.TEXT else None,
        )
        for type_ in VALUES
    )
    return Signature(columns=columns, text_as="object" if text_as == "object" else "category")


def inputs(rows: list[tuple[Any, ...]], *, text_as: str = "category") -> dict[str, pa.Array]:
    """What is stored of rows."""
    columns = {name: [row[i] for row in rows] for i, name in enumerate(NAMES)}
    checked = check_rows(signature(text_as=text_as), columns)
    assert not checked.faults
    return input_columns(signature(text_as=text_as), checked)


def digests(columns: dict[str, pa.Array]) -> list[bytes]:
    """One byte string a row."""
    found: list[bytes] = digest(columns).to_pylist()
    return found


ROW = st.tuples(*(st.none() | values for values in VALUES.values()))
ROWS = st.lists(ROW, min_size=1, max_size=8)


@PROPERTY
@given(ROWS)
def test_text_has_one_digest_as_a_category_and_as_an_object(rows: list[tuple[Any, ...]]) -> None:
    as_category, as_object = inputs(rows), inputs(rows, text_as="object")
    assert pa.types.is_dictionary(as_category["text"].type)
    assert pa.types.is_string(as_object["text"].type)
    assert digests(as_category) == digests(as_object)
    assert differing(as_category, digests(as_object)) == [[] for _ in rows]


@PROPERTY
@given(st.lists(st.none() | TEXTS, min_size=1, max_size=8), st.lists(TEXTS, max_size=4), st.randoms())
def test_the_order_and_number_of_categories_do_not_matter(
    texts: list[str | None], more: list[str], chance: Any
) -> None:
    categories = list(dict.fromkeys([*(text for text in texts if text is not None), *more]))
    chance.shuffle(categories)
    place = {text: code for code, text in enumerate(categories)}
    indices = pa.array([None if text is None else place[text] for text in texts], pa.int32())
    encoded = pa.DictionaryArray.from_arrays(indices, pa.array(categories, pa.string()))
    assert digests({"t": encoded}) == digests({"t": pa.array(texts, pa.string())})


@PROPERTY
@given(st.lists(WHOLE, min_size=1, max_size=8))
def test_whole_numbers_have_one_digest_as_integers_and_as_floats(numbers: list[int]) -> None:
    forms = []
    for type_, nullable, values in (
        (ColumnType.INTEGER, False, numbers),
        (ColumnType.INTEGER, True, numbers),
        (ColumnType.INTEGER, False, list(map(float, numbers))),
        (ColumnType.NUMBER, False, numbers),
        (ColumnType.NUMBER, True, pa.array(numbers, pa.int64())),
    ):
        one = Signature(columns=(SignatureColumn(name="n", type=type_, nullable=nullable),))
        forms.append(digests(input_columns(one, check_rows(one, {"n": values}))))
    assert all(form == forms[0] for form in forms)


@PROPERTY
@given(ROWS, st.integers(1, 8))
def test_a_row_s_digest_does_not_depend_on_its_neighbours(rows: list[tuple[Any, ...]], cut: int) -> None:
    whole = digests(inputs(rows))
    pieces = [rows[start : start + cut] for start in range(0, len(rows), cut)]
    assert [one for piece in pieces for one in digests(inputs(piece))] == whole
    sliced = {name: values.slice(len(rows) // 2) for name, values in inputs(rows).items()}
    assert digests(sliced) == whole[len(rows) // 2 :]


@PROPERTY
@given(ROWS)
def test_what_is_kept_and_read_back_has_its_digest(rows: list[tuple[Any, ...]]) -> None:
    columns = inputs(rows)
    again = check_rows(signature(), {name: values.to_pylist() for name, values in columns.items()})
    assert not again.faults
    assert differing(input_columns(signature(), again), digests(columns)) == [[] for _ in rows]


def is_altered(before: Any, after: Any) -> bool:
    """Whether a value is another one to the model."""
    if before is None or after is None:
        return before is not after
    return bool(before != after)


def looks_missing(before: Any, after: Any) -> bool:
    """Whether a value that shares its bits with the mark of a missing one took that one's place, or it that value's."""
    first = datetime.fromisoformat("1970-01-01T00:00:00.000001")
    return None in (before, after) and any(value in (True, first, 5e-324) for value in (before, after))


@PROPERTY
@given(ROW, ROW, st.sets(st.sampled_from(NAMES)))
def test_exactly_the_columns_that_were_altered_are_named(
    row: tuple[Any, ...], other: tuple[Any, ...], chosen: set[str]
) -> None:
    altered = tuple(new if name in chosen else old for name, old, new in zip(NAMES, row, other, strict=True))
    pairs = list(zip(NAMES, row, altered, strict=True))
    assume(not any(looks_missing(old, new) for _, old, new in pairs))
    expected = [name for name, old, new in pairs if is_altered(old, new)]
    found = differing(inputs([row, altered, row]), digests(inputs([row, row, row])))
    assert found == [[], expected, []]


@PROPERTY
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_smallest_change_of_a_number_is_found(number: float) -> None:
    for near in (math.nextafter(number, math.inf), math.nextafter(number, -math.inf), -number):
        before, after = ({"x": pa.array([value], pa.float64())} for value in (number, near))
        is_same = near == number or not math.isfinite(near)
        assert is_same or differing(after, digests(before)) == [["x"]]


def test_minus_zero_is_zero() -> None:
    assert digests({"x": pa.array([-0.0])}) == digests({"x": pa.array([0.0])})


def test_columns_that_changed_places_are_named() -> None:
    before = {"a": pa.array(["p"]), "b": pa.array(["q"])}
    after = {"a": before["b"], "b": before["a"]}
    assert differing(after, digests(before)) == [["a", "b"]]


def test_a_digest_of_another_length_is_itself_what_was_altered() -> None:
    columns = {"a": pa.array(["p", "p", "p"]), "b": pa.array([1.0, 1.0, 1.0])}
    whole = digests(columns)[0]
    assert len(whole) == 2 * DIGEST_BYTES
    assert differing(columns, [whole, whole[:-1], whole + b"\0"]) == [[], ["digest"], ["digest"]]
    assert differing(columns, [b"", bytes(8), whole]) == [["digest"], ["a", "b"], []]


def test_no_rows_have_no_digests() -> None:
    columns = input_columns(signature(), check_rows(signature(), {name: [] for name in NAMES}))
    assert digests(columns) == []
    assert differing(columns, []) == []


def test_missing_values_are_kept_as_null_and_values_as_they_are() -> None:
    frame = pd.DataFrame(
        {
            "number": [1.5, np.nan],
            "integer": [2.0, np.nan],
            "boolean": pd.Series([True, np.nan], dtype=object),
            "text": pd.Series(["a", None], dtype="category"),
            "timestamp": pd.Series(["2026-01-01 00:00:00.000001", None], dtype="datetime64[us]"),
        }
    )
    checked = CheckedRows(frame=frame, positions=np.arange(2), faults={}, unseen_category=np.zeros(2, dtype=bool))
    columns = input_columns(signature(), checked)
    assert {name: values.to_pylist()[1] for name, values in columns.items()} == dict.fromkeys(NAMES)
    first = {name: values.to_pylist()[0] for name, values in columns.items()}
    assert first == {
        "number": 1.5,
        "integer": 2.0,
        "boolean": True,
        "text": "a",
        "timestamp": datetime.fromisoformat("2026-01-01T00:00:00.000001"),
    }
