"""Signatures and the check of rows: whatever a database may give comes out typed, or as a fault of its own row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_scoring.domain.column_types import ColumnType
from batch_scoring.domain.columns import Column
from batch_scoring.domain.manifest import Signature, SignatureColumn
from batch_scoring.errors import UnusableModel
from batch_scoring.model.faults import ReasonCode
from batch_scoring.model.signature import MAX_CATEGORIES, CheckedRows, check_rows, derive_signature

INTEGER, NUMBER, BOOLEAN, TEXT, TIMESTAMP = ColumnType
PROPERTY = settings(deadline=None, max_examples=60, derandomize=True, database=None)
KNOWN = ("a", "b", "c")


def column(
    type_: ColumnType, *, name: str = "x", nullable: bool = False, categories: tuple[str, ...] | None = None
) -> SignatureColumn:
    return SignatureColumn(name=name, type=type_, nullable=nullable, categories=categories)


def one(
    type_: ColumnType, *, nullable: bool = False, categories: tuple[str, ...] | None = None, text_as: str = "category"
) -> Signature:
    """The signature of a model that takes one column, x."""
    columns = (column(type_, nullable=nullable, categories=categories),)
    return Signature(columns=columns, text_as="object" if text_as == "object" else "category")


def check(signature: Signature, values: Column, **options: Any) -> CheckedRows:
    return check_rows(signature, {"x": values}, **options)


def codes(checked: CheckedRows) -> dict[int, str]:
    return {position: fault.code.value for position, fault in checked.faults.items()}


def values_of(checked: CheckedRows, name: str = "x") -> list[Any]:
    """The values of the rows that fit, a missing one as None."""
    return [None if pd.isna(value) else value for value in checked.frame[name].tolist()]


MOMENT = datetime.fromisoformat("2026-03-01T12:30:15.250")
READINGS: list[Any] = [
    # column type, what the portable way reads, what COPY reads, what the model gets
    pytest.param(INTEGER, [1, -5, 2**40], pa.int64(), [1, -5, 2**40], "int64", id="integer"),
    pytest.param(INTEGER, [1.0, -5.0, 0.0], pa.float64(), [1, -5, 0], "int64", id="integer-from-numbers"),
    pytest.param(INTEGER, [True, False, True], pa.bool_(), [1, 0, 1], "int64", id="integer-from-booleans"),
    pytest.param(NUMBER, [1.5, -0.0, 1e300], pa.float64(), [1.5, -0.0, 1e300], "float64", id="number"),
    pytest.param(NUMBER, [1, 2, 2**40], pa.int64(), [1.0, 2.0, 2.0**40], "float64", id="number-from-integers"),
    pytest.param(NUMBER, [True, False, True], pa.bool_(), [1.0, 0.0, 1.0], "float64", id="number-from-booleans"),
    pytest.param(BOOLEAN, [True, False, True], pa.bool_(), [True, False, True], "bool", id="boolean"),
    pytest.param(BOOLEAN, [1, 0, 1], pa.int64(), [True, False, True], "bool", id="boolean-from-integers"),
    pytest.param(TEXT, ["b", "", "b"], pa.dictionary(pa.int32(), pa.string()), ["b", "", "b"], "object", id="text"),
    pytest.param(TEXT, ['ä\n,"', "b", "\t"], pa.string(), ['ä\n,"', "b", "\t"], "object", id="text-plain"),
    pytest.param(TEXT, [12, -1, 0], pa.int64(), ["12", "-1", "0"], "object", id="text-from-integers"),
    pytest.param(TEXT, [date(2026, 3, 1)], pa.date32(), ["2026-03-01"], "object", id="text-from-dates"),
    pytest.param(TIMESTAMP, [MOMENT], pa.timestamp("us"), [pd.Timestamp(MOMENT)], "datetime64[us]", id="timestamp"),
    pytest.param(
        TIMESTAMP,
        ["2026-03-01 12:30:15.25", "2026-03-01T14:30:15.250000+02:00", "2026-03-01"],
        pa.string(),
        [pd.Timestamp(MOMENT), pd.Timestamp(MOMENT), pd.Timestamp("2026-03-01")],
        "datetime64[us]",
        id="timestamp-from-text",
    ),
    pytest.param(
        TIMESTAMP,
        [MOMENT.replace(tzinfo=timezone(timedelta(hours=-5)))],
        pa.timestamp("us", "UTC"),
        [pd.Timestamp("2026-03-01 17:30:15.25")],
        "datetime64[us]",
        id="timestamp-with-zone",
    ),
    pytest.param(
        TIMESTAMP, [date(2026, 3, 1)], pa.date32(), [pd.Timestamp("2026-03-01")], "datetime64[us]", id="timestamp-date"
    ),
]


@pytest.mark.parametrize(("type_", "values", "arrow", "expected", "dtype"), READINGS)
def test_lists_and_arrow_arrays_give_the_same_typed_column(
    type_: ColumnType, values: list[Any], arrow: pa.DataType, expected: list[Any], dtype: str
) -> None:
    from_list = check(one(type_), values)
    from_arrow = check(one(type_), pa.array(values, arrow))

    assert str(from_list.frame["x"].dtype) == dtype
    assert from_list.frame["x"].tolist() == expected
    assert list(map(type, from_list.frame["x"])) == list(map(type, expected))
    pd.testing.assert_frame_equal(from_arrow.frame, from_list.frame, check_exact=True)
    assert from_list.faults == from_arrow.faults == {}


@pytest.mark.parametrize("text_as", ["category", "object"])
def test_text_reaches_the_model_as_its_signature_says(text_as: str) -> None:
    checked = check(one(TEXT, nullable=True, categories=KNOWN, text_as=text_as), ["b", None, "z"])

    is_categorical = text_as == "category"
    assert values_of(checked) == ["b", None, None if is_categorical else "z"]
    assert isinstance(checked.frame["x"].dtype, pd.CategoricalDtype) == is_categorical


def test_the_categories_of_a_categorical_are_those_of_the_signature_whatever_texts_the_chunk_holds() -> None:
    chunks: list[list[Any]] = [["b", "z", None], ["c"], [], ["zz", "0"], ["b"] * 3]

    columns = [check(one(TEXT, nullable=True, categories=("c", "b", "a")), chunk).frame["x"] for chunk in chunks]

    assert all(column.cat.categories.tolist() == ["c", "b", "a"] for column in columns)


def test_rows_with_an_unseen_category_come_apart_with_all_their_texts_as_objects() -> None:
    signature = Signature(
        columns=(
            column(TEXT, name="x", categories=KNOWN),
            column(NUMBER, name="n"),
            column(TEXT, name="y", nullable=True, categories=("u",)),
        )
    )
    rows: dict[str, list[Any]] = {"x": ["a", "z", "b", None], "n": [1.0, 2.0, 3.0, 4.0], "y": ["u", None, "w", "w"]}

    checked = check_rows(signature, rows)

    assert checked.unseen_category.tolist() == [False, True, True]
    assert checked.unseen_rows is not None
    assert checked.unseen_rows.astype(object).where(checked.unseen_rows.notna(), None).to_numpy().tolist() == [
        ["z", 2.0, None],
        ["b", 3.0, "w"],
    ]
    assert [str(dtype) for dtype in checked.unseen_rows.dtypes] == ["object", "float64", "object"]
    assert checked.frame["x"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize("type_", [TEXT, BOOLEAN])
def test_a_missing_value_reaches_a_model_fitted_on_none_as_none(type_: ColumnType) -> None:
    known: list[Any] = ["a"] if type_ is TEXT else [True]
    taken = column(type_, nullable=True).model_copy(update={"missing_as": "none"})

    checked = check(Signature(columns=(taken,), text_as="object"), [*known, None])

    assert checked.frame["x"].tolist() == [*known, None]
    assert checked.frame["x"].dtype == object


def test_columns_come_in_the_order_of_the_signature_and_others_are_left_out() -> None:
    signature = Signature(columns=(column(NUMBER, name="b"), column(NUMBER, name="a")))

    checked = check_rows(signature, {"key": ["k"], "a": [1.0], "b": [2.0]})

    assert checked.frame.columns.tolist() == ["b", "a"]
    assert checked.frame.iloc[0].tolist() == [2.0, 1.0]


@pytest.mark.parametrize("type_", ColumnType)
@pytest.mark.parametrize("values", [[], pa.array([], pa.string())])
def test_no_rows_are_an_empty_frame(type_: ColumnType, values: Column) -> None:
    checked = check(one(type_), values)

    assert checked.frame.shape == (0, 1)
    assert (checked.positions.tolist(), checked.faults) == ([], {})


def test_positions_say_where_the_rows_that_fit_stood() -> None:
    checked = check(one(NUMBER), [None, 1.0, "x", 2.0, math.inf])

    assert checked.positions.tolist() == [1, 3]
    assert checked.frame.index.tolist() == [0, 1]
    assert values_of(checked) == [1.0, 2.0]
    assert sorted(checked.faults) == [0, 2, 4]


@pytest.mark.parametrize("nullable", [False, True])
@pytest.mark.parametrize("text_as", ["category", "object"])
@pytest.mark.parametrize(
    ("type_", "good"),
    [(INTEGER, 7), (NUMBER, 1.5), (BOOLEAN, True), (TEXT, "a"), (TIMESTAMP, MOMENT)],
    ids=lambda value: value.value if isinstance(value, ColumnType) else "",
)
def test_the_type_of_a_column_does_not_depend_on_the_rows_of_the_chunk(
    type_: ColumnType, good: Any, text_as: str, nullable: bool
) -> None:
    signature = one(type_, nullable=nullable, categories=KNOWN if type_ is TEXT else None, text_as=text_as)
    chunks = [[good], [None], [], [good, None], [None, None], [good, good, "\ud800"], [good, "unseen"], ["unseen"]]

    dtypes = [check(signature, chunk).frame["x"].dtype for chunk in chunks]

    assert set(map(str, dtypes)) == {str(dtypes[0])}
    assert all(dtype == dtypes[0] for dtype in dtypes)


MISSING: list[Any] = [
    pytest.param(INTEGER, pa.int64(), id="integer"),
    pytest.param(NUMBER, pa.float64(), id="number"),
    pytest.param(BOOLEAN, pa.bool_(), id="boolean"),
    pytest.param(TEXT, pa.dictionary(pa.int32(), pa.string()), id="text"),
    pytest.param(TEXT, pa.string(), id="plain-text"),
    pytest.param(TIMESTAMP, pa.string(), id="timestamp"),
    pytest.param(TIMESTAMP, pa.date32(), id="date"),
    pytest.param(NUMBER, pa.null(), id="number-of-no-type"),
    pytest.param(TEXT, pa.null(), id="text-of-no-type"),
]


@pytest.mark.parametrize(("type_", "arrow"), MISSING)
@pytest.mark.parametrize("text_as", ["category", "object"])
def test_an_all_null_column_is_missing_values_where_the_model_takes_them(
    type_: ColumnType, arrow: pa.DataType, text_as: str
) -> None:
    signature = one(type_, nullable=True, categories=KNOWN if type_ is TEXT else None, text_as=text_as)
    nulls = [None, None, None]

    from_list, from_arrow = check(signature, nulls), check(signature, pa.array(nulls, arrow))

    assert values_of(from_list) == values_of(from_arrow) == nulls
    assert not any(value is None for value in from_list.frame["x"])  # scikit-learn tells None from NaN
    assert from_list.faults == from_arrow.faults == {}
    assert not from_list.unseen_category.any()
    pd.testing.assert_frame_equal(from_arrow.frame, from_list.frame)


@pytest.mark.parametrize(("type_", "arrow"), MISSING)
@pytest.mark.parametrize("text_as", ["category", "object"])
def test_an_all_null_column_is_a_fault_of_each_row_where_the_model_needs_a_value(
    type_: ColumnType, arrow: pa.DataType, text_as: str
) -> None:
    signature = one(type_, text_as=text_as)

    for values in ([None, None], pa.array([None, None], arrow)):
        checked = check(signature, values)
        assert codes(checked) == {0: "missing_value", 1: "missing_value"}
        assert {fault.column for fault in checked.faults.values()} == {"x"}
        assert checked.frame.shape == (0, 1)


@pytest.mark.parametrize(
    ("type_", "good"),
    [(INTEGER, 7), (NUMBER, 1.5), (BOOLEAN, True), (TEXT, "a"), (TIMESTAMP, pd.Timestamp(MOMENT))],
    ids=lambda value: value.value if isinstance(value, ColumnType) else "",
)
def test_a_null_costs_its_own_row_and_no_other(type_: ColumnType, good: Any) -> None:
    required = check(one(type_), [good, None, good])
    nullable = check(one(type_, nullable=True), [good, None, good])

    assert codes(required) == {1: "missing_value"}
    assert values_of(required) == [good, good]
    assert nullable.faults == {}
    assert values_of(nullable) == [good, None, good]


@pytest.mark.parametrize("nullable", [False, True])
@pytest.mark.parametrize("type_", [NUMBER, INTEGER])
def test_infinite_values_and_nan_are_faults_and_not_missing_values(type_: ColumnType, nullable: bool) -> None:
    values = [1.0, math.nan, math.inf, -math.inf]

    for given_as in (values, pa.array(values, pa.float64())):
        checked = check(one(type_, nullable=nullable), given_as)
        assert codes(checked) == dict.fromkeys((1, 2, 3), "non_finite_value")
        assert values_of(checked) == [1]


def test_decimals_are_numbers_unless_they_are_none() -> None:
    values = [Decimal("0.1"), Decimal("1e400"), Decimal("NaN"), Decimal("-Infinity"), Decimal("123456789.123456789")]

    checked = check(one(NUMBER), values)

    assert codes(checked) == dict.fromkeys((1, 2, 3), "non_finite_value")
    assert values_of(checked) == [0.1, 123456789.123456789]


def test_a_signaling_nan_costs_its_own_row_only() -> None:
    checked = check(one(NUMBER), [Decimal("sNaN"), Decimal(1)])

    assert codes(checked) == {0: "non_finite_value"}
    assert values_of(checked) == [1.0]


def test_a_whole_number_too_large_for_a_float_is_not_finite() -> None:
    checked = check(one(NUMBER), [10**400, 10**300, -(10**400), 1])

    assert codes(checked) == {0: "non_finite_value", 2: "non_finite_value"}
    assert values_of(checked) == [1e300, 1.0]


@pytest.mark.parametrize(
    "wrong", ["1.5", "", b"1", MOMENT, date(2026, 1, 1), [1], {"a": 1}, 1j, timedelta(1), UUID(int=1)]
)
@pytest.mark.parametrize("type_", [NUMBER, INTEGER])
def test_what_is_no_number_is_of_the_wrong_type(type_: ColumnType, wrong: Any) -> None:
    checked = check(one(type_), [1, wrong, 2])

    assert codes(checked) == {1: "wrong_type"}
    assert values_of(checked) == [1, 2]


@pytest.mark.parametrize("arrow", [pa.string(), pa.dictionary(pa.int32(), pa.string())])
@pytest.mark.parametrize("type_", [NUMBER, INTEGER])
def test_text_in_an_arrow_array_is_no_number(type_: ColumnType, arrow: pa.DataType) -> None:
    checked = check(one(type_, nullable=True), pa.array(["1", None], arrow))

    assert codes(checked) == {0: "wrong_type"}
    assert values_of(checked) == [None]


@pytest.mark.parametrize("nullable", [False, True])
def test_a_fraction_is_no_integer(nullable: bool) -> None:
    values = [1.0, 1.5, -0.25, 3.0]

    for given_as in (values, pa.array(values), [Decimal(str(value)) for value in values]):
        checked = check(one(INTEGER, nullable=nullable), given_as)
        assert codes(checked) == {1: "wrong_type", 2: "wrong_type"}
        assert values_of(checked) == [1, 3]


def test_an_integer_column_that_may_be_null_is_float64() -> None:
    checked = check(one(INTEGER, nullable=True), [1, 2, 3])

    assert checked.frame["x"].dtype == np.float64


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1025, 2**70, 1e300, Decimal(10) ** 30])
def test_an_integer_beyond_64_bits_is_a_fault_and_not_another_integer(value: Any) -> None:
    checked = check(one(INTEGER), [value, 1])

    assert sorted(checked.faults) == [0]
    assert values_of(checked) == [1]


@pytest.mark.parametrize("value", [2**53 + 1, 2**63 - 1, -(2**63)])
def test_an_integer_of_64_bits_keeps_its_value(value: int) -> None:
    for given_as in ([value], pa.array([value], pa.int64())):
        assert values_of(check(one(INTEGER), given_as)) == [value]


def test_only_truth_zero_and_one_are_boolean() -> None:
    wrong = [2, -1, 1.0, "t", "true", "", Decimal(1), math.nan, b"1"]

    checked = check(one(BOOLEAN), [True, *wrong, 0])

    assert codes(checked) == dict.fromkeys(range(1, len(wrong) + 1), "wrong_type")
    assert values_of(checked) == [True, False]


def test_booleans_as_text_are_of_the_wrong_type() -> None:
    assert codes(check(one(BOOLEAN), pa.array(["t", "f"]))) == {0: "wrong_type", 1: "wrong_type"}


@pytest.mark.parametrize("wrong", ["infinity", "yesterday", "", "2026-02-30", "\ud800", 5, 1.5, True, b"2026-01-01"])
def test_what_is_no_timestamp_is_of_the_wrong_type(wrong: Any) -> None:
    checked = check(one(TIMESTAMP), [wrong, MOMENT])

    assert codes(checked) == {0: "wrong_type"}
    assert values_of(checked) == [pd.Timestamp(MOMENT)]


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00", "9999-12-31T23:59:59.999999", "1677-01-01T00:00:00"])
def test_timestamps_of_any_year_keep_their_microseconds(text: str) -> None:
    moment = datetime.fromisoformat(text)
    for value in (text, moment, moment.replace(tzinfo=UTC)):
        (found,) = check(one(TIMESTAMP), [value]).frame["x"].to_numpy().tolist()
        assert found == moment


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5))),
    ],
)
def test_a_timestamp_that_has_no_utc_time_costs_its_own_row_only(moment: datetime) -> None:
    for value in (moment, moment.isoformat()):
        checked = check(one(TIMESTAMP), [value, MOMENT])
        assert codes(checked) == {0: "wrong_type"}
        assert values_of(checked) == [pd.Timestamp(MOMENT)]


@pytest.mark.parametrize("text_as", ["category", "object"])
def test_text_that_is_no_utf8_costs_its_own_row_only(text_as: str) -> None:
    values = ["a", "\ud800", None, "b\udcff", "c"]

    checked = check(one(TEXT, nullable=True, categories=KNOWN, text_as=text_as), values)

    assert codes(checked) == {1: "undecodable_text", 3: "undecodable_text"}
    assert values_of(checked) == ["a", None, "c"]
    assert not checked.unseen_category.any()


@pytest.mark.parametrize("wrong", [True, 1.5, Decimal(1), b"a", MOMENT, ["a"], math.nan])
def test_what_has_no_single_spelling_is_no_text(wrong: Any) -> None:
    checked = check(one(TEXT, nullable=True), ["a", wrong])

    assert codes(checked) == {1: "wrong_type"}
    assert values_of(checked) == ["a"]


def test_whole_numbers_dates_and_uuids_are_spelled_as_text() -> None:
    values = [7, date(2026, 3, 1), UUID(int=7), "7"]

    assert values_of(check(one(TEXT), values)) == ["7", "2026-03-01", "00000000-0000-0000-0000-000000000007", "7"]


def test_the_empty_text_is_a_text_and_not_a_missing_value() -> None:
    assert values_of(check(one(TEXT), ["", "a"])) == ["", "a"]


@pytest.mark.parametrize("text_as", ["category", "object"])
def test_an_unseen_category_is_scored_and_counted(text_as: str) -> None:
    checked = check(one(TEXT, nullable=True, categories=KNOWN, text_as=text_as), ["a", "z", None, "y", "z"])

    assert checked.faults == {}
    assert checked.unseen_category.tolist() == [False, True, False, True, True]
    assert checked.unseen_rows is not None
    assert checked.unseen_rows["x"].tolist() == ["z", "y", "z"]


@pytest.mark.parametrize("text_as", ["category", "object"])
@pytest.mark.parametrize("arrow", [None, pa.string(), pa.dictionary(pa.int32(), pa.string())])
def test_an_unseen_category_is_quarantined_where_the_job_says_so(text_as: str, arrow: pa.DataType | None) -> None:
    signature = one(TEXT, nullable=True, categories=KNOWN, text_as=text_as)
    values: Any = ["a", "z", None, "c"]

    checked = check(signature, values if arrow is None else pa.array(values, arrow), unseen_categories="quarantine")

    assert codes(checked) == {1: "unseen_category"}
    assert values_of(checked) == ["a", None, "c"]
    assert checked.unseen_category.tolist() == [False, False, False]


def test_a_text_that_stands_in_an_arrow_dictionary_only_is_not_unseen() -> None:
    values = pa.DictionaryArray.from_arrays(pa.array([0, 0], pa.int32()), pa.array(["a", "z"]))

    checked = check(one(TEXT, categories=KNOWN), values, unseen_categories="quarantine")

    assert checked.faults == {}
    assert not checked.unseen_category.any()


def test_nothing_is_unseen_in_a_column_of_too_many_texts() -> None:
    checked = check(one(TEXT, categories=None), ["a", "z"], unseen_categories="quarantine")

    assert checked.faults == {}
    assert not checked.unseen_category.any()


def test_every_text_is_unseen_in_a_column_that_was_empty_in_training() -> None:
    checked = check(one(TEXT, nullable=True, categories=()), ["a", None])

    assert checked.unseen_category.tolist() == [True, False]


def test_the_first_fault_of_a_row_wins_in_the_order_of_the_signature() -> None:
    signature = Signature(
        columns=(column(NUMBER, name="n"), column(TEXT, name="t", categories=KNOWN), column(TIMESTAMP, name="m"))
    )
    columns: dict[str, list[Any]] = {
        "m": [None, None, "never", MOMENT],
        "n": [math.inf, 1.0, 1.0, 1.0],
        "t": [None, "z", "a", "a"],
    }

    checked = check_rows(signature, columns, unseen_categories="quarantine")

    first = {position: (fault.column, fault.code) for position, fault in checked.faults.items()}
    assert first == {
        0: ("n", ReasonCode.NON_FINITE_VALUE),
        1: ("t", ReasonCode.UNSEEN_CATEGORY),
        2: ("m", ReasonCode.WRONG_TYPE),
    }
    assert checked.positions.tolist() == [3]


def test_a_value_of_the_wrong_type_is_not_reported_as_missing() -> None:
    assert codes(check(one(NUMBER), ["x"])) == {0: "wrong_type"}
    assert codes(check(one(TEXT), [1.5])) == {0: "wrong_type"}
    assert codes(check(one(TEXT), ["\ud800"])) == {0: "undecodable_text"}


TEXTS = st.one_of(st.sampled_from(["a", "b", "z", "", "naïve", "\ud800"]), st.text(max_size=5))
MOMENTS = st.datetimes(min_value=datetime.fromisoformat("1000-01-01"), max_value=datetime.fromisoformat("3000-01-01"))
NUMBERS = st.one_of(
    st.floats(),
    st.integers(-(2**53), 2**53),
    st.just(10**400),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9),
    st.sampled_from([Decimal("NaN"), Decimal("Infinity")]),
)
# whole numbers that a float holds: beyond them INTEGER has tests of its own
WHOLE = st.one_of(
    st.integers(-(2**53), 2**53), st.sampled_from([1.0, 2.5, math.nan, math.inf, Decimal(3), Decimal("3.5")])
)
ODD = st.sampled_from([None, None, True, False, "odd", b"odd", 0, 1, 1.5, MOMENT, date(2026, 1, 1)])
VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "integer": st.one_of(WHOLE, ODD),
    "number": st.one_of(NUMBERS, ODD),
    "boolean": st.one_of(st.booleans(), ODD),
    "text": st.one_of(TEXTS, ODD),
    "timestamp": st.one_of(MOMENTS, MOMENTS.map(datetime.isoformat), ODD),
}
ROWS = st.lists(st.fixed_dictionaries(dict(VALUES)), min_size=1, max_size=12)


@st.composite
def signatures(draw: st.DrawFn) -> Signature:
    """A column of each type, required or nullable, text in either form."""
    types = draw(st.permutations(list(ColumnType)))
    columns = [
        column(
            type_,
            name=type_.value,
            nullable=draw(st.booleans()),
            categories=draw(st.sampled_from([None, (), KNOWN])) if type_ is TEXT else None,
        )
        for type_ in types
    ]
    return Signature(columns=tuple(columns), text_as=draw(st.sampled_from(["category", "object"])))


def outcomes(signature: Signature, rows: Sequence[Mapping[str, Any]], unseen_categories: Any) -> list[Any]:
    """What comes of each row: its fault, or its typed values and whether a category was unseen."""
    columns = {name: [row[name] for row in rows] for name in signature.names}
    checked = check_rows(signature, columns, unseen_categories=unseen_categories)
    found: list[Any] = [checked.faults.get(position) for position in range(len(rows))]
    for row, position in enumerate(checked.positions.tolist()):
        assert found[position] is None
        values = [checked.frame[name].iloc[row] for name in signature.names]
        plain = [None if pd.isna(value) else (type(value).__name__, value) for value in values]
        found[position] = (plain, bool(checked.unseen_category[row]))
    return found


@PROPERTY
@given(signature=signatures(), rows=ROWS, policy=st.sampled_from(["score", "quarantine"]), data=st.data())
def test_a_row_comes_out_alike_alone_in_any_split_and_in_any_order(
    signature: Signature, rows: list[dict[str, Any]], policy: str, data: st.DataObject
) -> None:
    together = outcomes(signature, rows, policy)

    assert [outcomes(signature, [row], policy)[0] for row in rows] == together

    cut = data.draw(st.integers(0, len(rows)))
    split = [outcomes(signature, part, policy) for part in (rows[:cut], rows[cut:]) if part]
    assert [outcome for part in split for outcome in part] == together

    order = data.draw(st.permutations(range(len(rows))))
    shuffled = outcomes(signature, [rows[i] for i in order], policy)
    assert shuffled == [together[i] for i in order]


WHOLE_ARROW = st.integers(-(2**53), 2**53)
SOUND_TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
ARROW: list[tuple[ColumnType, pa.DataType, st.SearchStrategy[Any]]] = [
    (INTEGER, pa.int64(), WHOLE_ARROW),
    (INTEGER, pa.float64(), st.one_of(WHOLE_ARROW.map(float), st.sampled_from([0.5, math.nan, math.inf]))),
    (INTEGER, pa.bool_(), st.booleans()),
    (INTEGER, pa.string(), SOUND_TEXT),
    (NUMBER, pa.float64(), st.floats()),
    (NUMBER, pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (NUMBER, pa.bool_(), st.booleans()),
    (NUMBER, pa.string(), SOUND_TEXT),
    (BOOLEAN, pa.bool_(), st.booleans()),
    (BOOLEAN, pa.int64(), st.integers(-1, 2)),
    (BOOLEAN, pa.string(), SOUND_TEXT),
    (TEXT, pa.dictionary(pa.int32(), pa.string()), st.one_of(SOUND_TEXT, st.sampled_from(KNOWN))),
    (TEXT, pa.string(), st.one_of(SOUND_TEXT, st.sampled_from(KNOWN))),
    (TEXT, pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (TEXT, pa.date32(), st.dates()),
    (TIMESTAMP, pa.string(), st.one_of(SOUND_TEXT, MOMENTS.map(str))),
    (TIMESTAMP, pa.date32(), st.dates()),
    (TIMESTAMP, pa.timestamp("us"), MOMENTS),
    (TIMESTAMP, pa.timestamp("us", "UTC"), MOMENTS.map(lambda moment: moment.replace(tzinfo=UTC))),
]


@pytest.mark.parametrize(("type_", "arrow", "values"), ARROW, ids=[f"{kind.value}-{arrow}" for kind, arrow, _ in ARROW])
@settings(PROPERTY, max_examples=25)
@given(
    data=st.data(),
    nullable=st.booleans(),
    text_as=st.sampled_from(["category", "object"]),
    categories=st.sampled_from([None, KNOWN]),
    policy=st.sampled_from(["score", "quarantine"]),
)
def test_a_list_and_an_arrow_array_of_the_same_values_agree(
    type_: ColumnType,
    arrow: pa.DataType,
    values: st.SearchStrategy[Any],
    data: st.DataObject,
    nullable: bool,
    text_as: str,
    categories: tuple[str, ...] | None,
    policy: str,
) -> None:
    drawn = data.draw(st.lists(st.one_of(st.none(), values), max_size=8))
    signature = one(type_, nullable=nullable, categories=categories if type_ is TEXT else None, text_as=text_as)

    from_list = check(signature, drawn, unseen_categories=policy)
    from_arrow = check(signature, pa.array(drawn, arrow), unseen_categories=policy)

    pd.testing.assert_frame_equal(from_arrow.frame, from_list.frame, check_exact=True)
    assert from_arrow.faults == from_list.faults
    assert from_arrow.positions.tolist() == from_list.positions.tolist()
    assert from_arrow.unseen_category.tolist() == from_list.unseen_category.tolist()


# values that a message can only have from the row: with a mark, or of seven digits and more
PERSONAL = st.one_of(
    st.text(max_size=5).map(lambda text: f"Zyx{text}"),
    st.text(max_size=3).map(lambda text: f"Zyx\ud800{text}"),
    st.text(max_size=5).map(lambda text: f"Zyx{text}".encode("utf-8", "surrogatepass")),
    st.integers(10**6, 10**15),
    st.integers(10**6, 10**15).map(lambda number: number + 0.5),
    st.decimals(min_value=10**6, max_value=10**12, places=2),
    MOMENTS,
    st.dates(min_value=date(1900, 1, 1), max_value=date(2100, 1, 1)),
    st.just(10**400),
    st.none(),
)


@PROPERTY
@given(
    signature=signatures(),
    rows=st.lists(st.fixed_dictionaries(dict.fromkeys(VALUES, PERSONAL)), min_size=1, max_size=5),
)
def test_no_fault_says_a_value_of_the_row(signature: Signature, rows: list[dict[str, Any]]) -> None:
    columns = {name: [row[name] for row in rows] for name in signature.names}

    checked = check_rows(signature, columns, unseen_categories="quarantine")

    for position, fault in checked.faults.items():
        said = repr(fault)
        for value in rows[position].values():
            if value is not None:
                assert str(value) not in said
                assert repr(value) not in said
        assert "Zyx" not in said
        assert not any(character.isdigit() for character in said.replace("UTF-8", ""))


@pytest.mark.parametrize(
    ("values", "type_", "nullable"),
    [
        (pd.Series([1, 2]), INTEGER, False),
        (pd.Series([1, 2], dtype="uint8"), INTEGER, False),
        (pd.Series([1, None], dtype="Int64"), INTEGER, True),
        (pd.Series([1, None]), NUMBER, True),
        (pd.Series([1.5, 2], dtype="float32"), NUMBER, False),
        (pd.Series([Decimal(1), None]), NUMBER, True),
        (pd.Series([1, Decimal(1), 1.5], dtype=object), NUMBER, False),
        (pd.Series([True, False]), BOOLEAN, False),
        (pd.Series([True, None]), BOOLEAN, True),
        (pd.Series([True, None], dtype="boolean"), BOOLEAN, True),
        (pd.Series(["a", "b"]), TEXT, False),
        (pd.Series(["a", None], dtype=object), TEXT, True),
        (pd.Series(["a", "b"], dtype="category"), TEXT, False),
        (pd.Series([None, None], dtype=object), TEXT, True),
        (pd.to_datetime(pd.Series(["2026-01-01", None])), TIMESTAMP, True),
        (pd.to_datetime(pd.Series(["2026-01-01"]), utc=True), TIMESTAMP, False),
        (pd.Series([date(2026, 1, 1)]), TIMESTAMP, False),
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, pd.Series) else None,
)
def test_a_sample_says_type_and_nullability(values: pd.Series[Any], type_: ColumnType, nullable: bool) -> None:
    (found,) = derive_signature(pd.DataFrame({"x": values})).columns

    assert (found.name, found.type, found.nullable) == ("x", type_, nullable)


def test_categories_are_the_texts_of_the_sample_sorted() -> None:
    sample = pd.DataFrame({"x": ["b", None, "a", "b", ""], "n": [1.0] * 5})

    x, n = derive_signature(sample).columns

    assert x.categories == ("", "a", "b")
    assert n.categories is None


@pytest.mark.parametrize(("count", "are_categories"), [(MAX_CATEGORIES, True), (MAX_CATEGORIES + 1, False)])
def test_too_many_texts_are_no_categories(count: int, are_categories: bool) -> None:
    (found,) = derive_signature(pd.DataFrame({"x": [f"t{i:05d}" for i in range(count)]})).columns

    assert (found.categories is not None) == are_categories


def test_the_order_of_the_sample_is_the_order_of_the_signature() -> None:
    assert derive_signature(pd.DataFrame({"b": [1], "a": [1], "c": [1]})).names == ("b", "a", "c")


def test_text_as_is_category_unless_object_is_asked_for() -> None:
    sample = pd.DataFrame({"x": ["a"]})

    assert derive_signature(sample).text_as == "category"
    assert derive_signature(sample, text_as="object").text_as == "object"


def test_every_column_of_no_single_type_is_named() -> None:
    sample = pd.DataFrame(
        {
            "good": [1.0, 2.0],
            "mixed": ["Zyx", 1],
            "complex": [1j, 2j],
            "span": [timedelta(1), timedelta(2)],
            7: [1.0, 2.0],
        }
    )

    with pytest.raises(UnusableModel, match="columns mixed, complex, span, 7 hold no single type") as caught:
        derive_signature(sample)
    assert "Zyx" not in str(caught.value)


@PROPERTY
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "number": st.none() | st.floats(allow_nan=False, allow_infinity=False),
                "text": st.none() | SOUND_TEXT,
                "boolean": st.booleans(),
                "integer": WHOLE_ARROW,
            }
        ),
        min_size=1,
        max_size=10,
    ),
    text_as=st.sampled_from(["category", "object"]),
)
def test_a_sample_fits_the_signature_derived_from_it(
    rows: list[dict[str, Any]], text_as: Literal["category", "object"]
) -> None:
    sample = pd.DataFrame(rows).astype({"number": "float64", "text": object})
    columns = {name: [row[name] for row in rows] for name in sample.columns}

    checked = check_rows(derive_signature(sample, text_as=text_as), columns, unseen_categories="quarantine")

    assert checked.faults == {}
    assert not checked.unseen_category.any()
    assert len(checked.frame) == len(rows)
