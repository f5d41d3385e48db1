"""Deriving a signature from a sample, and bringing the columns of a chunk to it.

Columns are coerced to the signature's types and never to what a chunk happens to look like, so that a row's score
does not depend on its neighbours. What cannot be coerced is found row by row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from itertools import compress
from typing import Any, Literal
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa

from batch_scoring.errors import UnusableModel
from batch_scoring.job import UnseenCategories
from batch_scoring.model.manifest import ColumnType, Signature, SignatureColumn

MAX_CATEGORIES = 1000
"""More distinct texts than this are not categories, so none of them is reported as unseen."""


class ReasonCode(StrEnum):
    """Why a row could not be scored."""

    MISSING_VALUE = "missing_value"
    WRONG_TYPE = "wrong_type"
    NON_FINITE_VALUE = "non_finite_value"
    UNDECODABLE_TEXT = "undecodable_text"
    UNSEEN_CATEGORY = "unseen_category"
    MODEL_ERROR = "model_error"
    MODEL_CRASH = "model_crash"
    NON_FINITE_SCORE = "non_finite_score"
    SCORE_OUT_OF_RANGE = "score_out_of_range"


@dataclass(frozen=True, kw_only=True, slots=True)
class RowFault:
    """Why one row cannot be scored: a code, the column where there is one, and words without data."""

    code: ReasonCode
    column: str | None
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedRows:
    """The rows of a chunk, checked: n rows came in, m of them fit the signature."""

    frame: pd.DataFrame
    """The m rows that fit, typed by the signature."""
    positions: np.ndarray[Any, np.dtype[np.intp]]
    """Shape (m,): where the rows of ``frame`` stood among the n."""
    faults: Mapping[int, RowFault]
    """The other rows by position."""
    unseen_category: np.ndarray[Any, np.dtype[np.bool_]]
    """Shape (m,): rows with a category that is not in the signature."""
    unseen_rows: pd.DataFrame | None = None
    """Those rows again, all their texts as objects; None where there are none. In ``frame`` their unseen texts are
    missing where text is categorical."""
    unseen_columns: Sequence[str] = ()
    """For each of those rows its first column with such a category."""

    def only(self, rows: np.ndarray[Any, np.dtype[np.bool_]]) -> CheckedRows:
        """Some of the m rows, given as a mask; the faults stay."""
        return replace(
            self,
            frame=self.frame[rows],
            positions=self.positions[rows],
            unseen_category=self.unseen_category[rows],
            unseen_rows=None if self.unseen_rows is None else self.unseen_rows[rows[self.unseen_category]],
            unseen_columns=list(compress(self.unseen_columns, rows[self.unseen_category])),
        )


class _Faults:
    """Collects the first fault of each row."""

    def __init__(self) -> None:
        self.by_position: dict[int, RowFault] = {}

    def add(self, positions: Any, column: SignatureColumn, code: ReasonCode) -> None:
        message = _MESSAGES[code].format(type=column.type)
        fault = RowFault(code=code, column=column.name, message=message)
        for position in positions:
            self.by_position.setdefault(int(position), fault)


_MESSAGES = {
    ReasonCode.MISSING_VALUE: "the model needs a value here and the column is NULL",
    ReasonCode.WRONG_TYPE: "the value is not of the type the model takes ({type})",
    ReasonCode.NON_FINITE_VALUE: "the value is infinite or not a number",
    ReasonCode.UNDECODABLE_TEXT: "the text is not valid UTF-8",
    ReasonCode.UNSEEN_CATEGORY: "the model was not trained on this category",
}


def derive_signature(
    sample: pd.DataFrame,
    *,
    text_as: Literal["category", "object"] = "category",
    unseen_as: Literal["text", "missing"] = "text",
    none_for: Collection[str] = (),
) -> Signature:
    """The signature of a model that takes this sample: types, nullability and categories as they are in it.

    ``none_for`` names the columns whose missing values reach the model as None. Raises UnusableModel naming every
    column whose values are of no type a model takes.
    """
    columns, unknown = [], []
    for name in sample.columns:
        type_ = _column_type(sample[name])
        if type_ is None or not isinstance(name, str):
            unknown.append(str(name))
            continue
        categories: tuple[str, ...] | None = None
        if type_ is ColumnType.TEXT or (type_ is ColumnType.INTEGER and _is_categorical(sample[name])):
            found = _categories(sample[name])
            categories = found if len(found) <= MAX_CATEGORIES else None
        nullable = bool(sample[name].isna().any())
        columns.append(
            SignatureColumn(
                name=name,
                type=type_,
                nullable=nullable,
                categories=categories,
                missing_as="none" if name in none_for else "nan",
            )
        )
    if unknown:
        raise UnusableModel(
            f"columns {', '.join(unknown)} hold no single type that a model takes (number, boolean, text, timestamp)"
        )
    return Signature(columns=tuple(columns), text_as=text_as, unseen_as=unseen_as)


def _is_categorical(values: pd.Series[Any]) -> bool:
    return isinstance(values.dtype, pd.CategoricalDtype)


def _categories(values: pd.Series[Any]) -> tuple[str, ...]:
    """The texts of a column, sorted; of a categorical those it declares, in its order, whether they occur or not."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        levels = values.cat.categories
        return tuple(str(int(level)) if pd.api.types.is_numeric_dtype(levels.dtype) else str(level) for level in levels)
    return tuple(sorted(str(text) for text in values.dropna().unique()))


def _column_type(values: pd.Series[Any]) -> ColumnType | None:
    if isinstance(values.dtype, pd.CategoricalDtype):
        levels = pd.Series(values.cat.categories)
        found_type = _column_type(levels)
        # integers beside missing values are floats where they come from
        is_whole = found_type is ColumnType.NUMBER and bool((levels == np.trunc(levels.astype(float))).all())
        return ColumnType.INTEGER if is_whole else found_type
    if pd.api.types.is_bool_dtype(values.dtype):
        return ColumnType.BOOLEAN
    if pd.api.types.is_integer_dtype(values.dtype):
        return ColumnType.INTEGER
    if pd.api.types.is_float_dtype(values.dtype):
        return ColumnType.NUMBER
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return ColumnType.TIMESTAMP
    found = {type(value) for value in values.dropna()}
    for types, column_type in (
        ({str}, ColumnType.TEXT),
        ({bool}, ColumnType.BOOLEAN),
        ({int, float, Decimal}, ColumnType.NUMBER),
        ({date, datetime, pd.Timestamp}, ColumnType.TIMESTAMP),
    ):
        if found <= types:
            return column_type
    return None


def check_rows(
    signature: Signature,
    columns: Mapping[str, Sequence[Any]],
    *,
    unseen_categories: UnseenCategories = "score",
) -> CheckedRows:
    """Bring a chunk's columns (Arrow arrays or lists of n values) to the signature.

    A row that cannot be brought there is left out of the frame and named with its first fault.
    """
    count = len(next(iter(columns.values()))) if columns else 0
    faults = _Faults()
    data: dict[str, Any] = {}
    levels: dict[str, _Levels] = {}
    unseen_in: dict[str, Any] = {}
    for column in signature.columns:
        values = columns[column.name]
        if column.type is ColumnType.TEXT or column.categories is not None:
            levels[column.name] = found = _levels(values, column, faults)
            is_plain = signature.text_as == "object" or column.categories is None
            data[column.name] = found.as_plain() if is_plain else found.as_categories()
            unseen_in[column.name] = found.unseen
            if unseen_categories == "quarantine":
                faults.add(np.flatnonzero(found.unseen), column, ReasonCode.UNSEEN_CATEGORY)
        else:
            data[column.name] = _COERCE[column.type](values, column, faults)
    unseen = np.logical_or.reduce([np.zeros(count, dtype=bool), *unseen_in.values()])
    frame = pd.DataFrame(data, columns=pd.Index(signature.names), index=pd.RangeIndex(count), copy=False)
    positions = np.arange(count)
    if faults.by_position:
        positions = np.delete(positions, list(faults.by_position))
        frame = frame.iloc[positions].reset_index(drop=True)
        unseen = unseen[positions]
    checked = CheckedRows(frame=frame, positions=positions, faults=faults.by_position, unseen_category=unseen)
    if not unseen.any():
        return checked
    places = positions[unseen]
    first = np.argmax(np.stack(list(unseen_in.values()))[:, places], axis=0)
    return replace(
        checked,
        unseen_rows=_without_categoricals(frame[unseen], levels, places),
        unseen_columns=np.array(list(unseen_in), dtype=object)[first].tolist(),
    )


def _without_categoricals(frame: pd.DataFrame, levels: Mapping[str, _Levels], positions: Any) -> pd.DataFrame:
    plain = {name: found.as_plain().iloc[positions].reset_index(drop=True) for name, found in levels.items()}
    return frame.reset_index(drop=True).assign(**plain)


_EXACT_NUMBERS = {int, float, bool, type(None), Decimal}


def _number(values: Sequence[Any], column: SignatureColumn, faults: _Faults) -> Any:
    if isinstance(values, pa.Array):
        if pa.types.is_string(values.type) or pa.types.is_dictionary(values.type):
            return _number(_as_list(values), column, faults)
        numbers = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    else:
        numbers = _numbers_of_list(values, column, faults)
    finite = np.isfinite(numbers)
    if not finite.all():
        missing = _missing(values)
        faults.add(np.flatnonzero(~finite & ~missing), column, ReasonCode.NON_FINITE_VALUE)
        _require(missing, column, faults)
    return numbers


def _missing(values: Sequence[Any]) -> Any:
    if isinstance(values, pa.Array):
        return values.is_null().to_numpy(zero_copy_only=False)
    return np.fromiter((value is None for value in values), dtype=bool, count=len(values))


def _numbers_of_list(values: Sequence[Any], column: SignatureColumn, faults: _Faults) -> Any:
    if set(map(type, values)) <= _EXACT_NUMBERS:
        try:
            return np.array(values, dtype=np.float64)
        except (OverflowError, ValueError):  # an integer too large for a float, or a signaling NaN
            pass
    numbers = np.full(len(values), np.nan)
    wrong = []
    for position, value in enumerate(values):
        if value is None:
            continue
        if type(value) not in _EXACT_NUMBERS:
            wrong.append(position)
            continue
        try:
            numbers[position] = float(value)
        except (OverflowError, ValueError):
            numbers[position] = math.inf
    faults.add(wrong, column, ReasonCode.WRONG_TYPE)
    return numbers


def _integer(values: Sequence[Any], column: SignatureColumn, faults: _Faults) -> Any:
    numbers = _number(values, column, faults)
    whole = np.isfinite(numbers) & (numbers == np.trunc(numbers))
    faults.add(np.flatnonzero(np.isfinite(numbers) & ~whole), column, ReasonCode.WRONG_TYPE)
    if column.nullable:
        return numbers
    if isinstance(values, pa.Array) and pa.types.is_integer(values.type):
        return values.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    plain = _as_list(values)
    if set(map(type, plain)) == {int}:
        try:
            return np.array(plain, dtype=np.int64)
        except OverflowError:
            pass
    integers = np.zeros(len(numbers), dtype=np.int64)
    too_large = []
    for position in np.flatnonzero(whole):
        integer = int(plain[position])  # exact, where the float might not be
        if -(2**63) <= integer < 2**63:
            integers[position] = integer
        else:
            too_large.append(position)
    faults.add(too_large, column, ReasonCode.WRONG_TYPE)
    return integers


def _boolean(values: Sequence[Any], column: SignatureColumn, faults: _Faults) -> Any:
    plain = _as_list(values)
    truth = np.zeros(len(plain), dtype=object if column.nullable else bool)
    missing = np.zeros(len(plain), dtype=bool)
    wrong = []
    for position, value in enumerate(plain):
        if value is None:
            missing[position] = True
        elif isinstance(value, bool | int) and value in (0, 1):
            truth[position] = bool(value)
        else:
            wrong.append(position)
    faults.add(wrong, column, ReasonCode.WRONG_TYPE)
    if missing.any():
        _require(missing, column, faults)
        if column.nullable:
            truth[missing] = None if column.missing_as == "none" else np.nan
    return truth


def _timestamp(values: Sequence[Any], column: SignatureColumn, faults: _Faults) -> Any:
    plain = _as_list(values)
    moments = np.full(len(plain), np.datetime64("NaT"), dtype="datetime64[us]")
    missing = np.zeros(len(plain), dtype=bool)
    wrong = []
    for position, value in enumerate(plain):
        if value is None:
            missing[position] = True
            continue
        try:
            moments[position] = _moment(value)
        except (ValueError, OverflowError):
            wrong.append(position)
    faults.add(wrong, column, ReasonCode.WRONG_TYPE)
    if missing.any():
        _require(missing, column, faults)
    return moments


def _moment(value: Any) -> np.datetime64:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return np.datetime64(value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value, "us")
    if isinstance(value, date):
        return np.datetime64(value, "us")
    raise ValueError


@dataclass(frozen=True, kw_only=True, slots=True)
class _Levels:
    """A column of text, or of integers that are categories: for each value which of the distinct ones it is."""

    codes: np.ndarray[Any, np.dtype[np.int64]]
    """Shape (n,): a place in ``levels``, -1 where the value is missing."""
    levels: Sequence[str] | Sequence[int]
    """The signature's categories, and after them the values that are none of these."""
    column: SignatureColumn

    @property
    def unseen(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Shape (n,): the value is none of the signature's categories; none is where it has too many to list."""
        if self.column.categories is None:
            return np.zeros(len(self.codes), dtype=bool)
        return self.codes >= len(self.column.categories)

    def as_categories(self) -> Any:
        """A categorical of the signature's categories, whatever values the chunk holds: others are missing."""
        known = self.levels[: len(self.column.categories or ())]
        codes = np.where(self.unseen, -1, self.codes) if len(self.levels) > len(known) else self.codes
        dtype = pd.CategoricalDtype(pd.Index(known, dtype=object if self.column.type is ColumnType.TEXT else np.int64))
        return pd.Categorical.from_codes(codes, dtype=dtype, validate=False)

    def as_plain(self) -> pd.Series[Any]:
        """Objects of str, or integers; missing ones as the signature has them."""
        if self.column.type is ColumnType.INTEGER:
            numbers = np.array([*self.levels, np.nan if self.column.nullable else 0])[self.codes]
            return pd.Series(numbers, dtype=np.float64 if self.column.nullable else np.int64)
        missing = None if self.column.missing_as == "none" else np.nan
        # the dtype is given, or pandas would infer one from the texts
        return pd.Series(np.array([*self.levels, missing], dtype=object)[self.codes], dtype=object)


def _levels(values: Sequence[Any], column: SignatureColumn, faults: _Faults) -> _Levels:
    known: list[Any] = list(column.categories or ())
    found: Sequence[Any]
    if column.type is ColumnType.INTEGER:
        known = list(map(int, known))
        found, codes = _integer_codes(_integer(values, column, faults))
    else:
        found, codes = _codes(values, column, faults)
        missing = codes < 0
        if missing.any():
            _require(missing, column, faults)
    new: set[Any] = set(found).difference(known)
    levels = [*known, *sorted(new)]
    place = {level: code for code, level in enumerate(levels)}
    # the last entry stands for a missing value, whose code is -1
    translation = np.array([*(place[level] for level in found), -1], dtype=np.int64)
    return _Levels(codes=translation[codes], levels=levels, column=column)


def _integer_codes(numbers: Any) -> tuple[list[int], Any]:
    missing = np.isnan(numbers)
    found, codes = np.unique(np.where(missing, 0, numbers).astype(np.int64), return_inverse=True)
    return found.tolist(), np.where(missing, -1, codes)


def _codes(
    values: Sequence[Any], column: SignatureColumn, faults: _Faults
) -> tuple[list[str], np.ndarray[Any, np.dtype[np.int32]]]:
    """The distinct texts, and for each value which of them it is, or -1 where it is none."""
    if isinstance(values, pa.Array):
        encoded = values if pa.types.is_dictionary(values.type) else values.cast(pa.string()).dictionary_encode()
        return encoded.dictionary.to_pylist(), encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    if not set(map(type, values)) <= {str, type(None)}:
        values = _texts_of_list(values, column, faults)
    found = dict.fromkeys(values)
    found.pop(None, None)
    if unsound := {text for text in found if not _is_sound(text)}:
        faults.add([i for i, text in enumerate(values) if text in unsound], column, ReasonCode.UNDECODABLE_TEXT)
    sound = [text for text in found if text not in unsound]
    code = dict.fromkeys([None, *unsound], -1) | {text: i for i, text in enumerate(sound)}
    return sound, np.fromiter(map(code.__getitem__, values), np.int32, len(values))


def _texts_of_list(values: Sequence[Any], column: SignatureColumn, faults: _Faults) -> list[str | None]:
    texts: list[str | None] = []
    wrong = []
    for position, value in enumerate(values):
        if value is None or isinstance(value, str):
            texts.append(value)
        elif isinstance(value, int | UUID) and not isinstance(value, bool):
            texts.append(str(value))
        elif isinstance(value, date) and not isinstance(value, datetime):
            texts.append(value.isoformat())
        else:
            texts.append(None)
            wrong.append(position)
    faults.add(wrong, column, ReasonCode.WRONG_TYPE)
    return texts


def _is_sound(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_list(values: Sequence[Any]) -> list[Any]:
    plain: list[Any] = values.to_pylist() if isinstance(values, pa.Array) else list(values)
    return plain


def _require(missing: Any, column: SignatureColumn, faults: _Faults) -> None:
    if not column.nullable:
        faults.add(np.flatnonzero(missing), column, ReasonCode.MISSING_VALUE)


_COERCE: dict[ColumnType, Callable[[Sequence[Any], SignatureColumn, _Faults], Any]] = {
    ColumnType.NUMBER: _number,
    ColumnType.INTEGER: _integer,
    ColumnType.BOOLEAN: _boolean,
    ColumnType.TIMESTAMP: _timestamp,
}
