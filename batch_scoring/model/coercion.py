"""Convert a column of a chunk to the type of the signature, each value independently of the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa

from batch_scoring.domain.column_types import ColumnType
from batch_scoring.domain.columns import Column, as_list
from batch_scoring.domain.manifest import SignatureColumn
from batch_scoring.model.faults import Faults, ReasonCode


def coerced(values: Column, column: SignatureColumn, faults: Faults) -> Any:
    """Convert a column of n numbers, booleans or timestamps; other values are added to ``faults``."""
    return _COERCE[column.type](values, column, faults)


@dataclass(frozen=True, kw_only=True, slots=True)
class Levels:
    """A column of text, or of integers that are categories, encoded as codes of its distinct values."""

    codes: np.ndarray[Any, np.dtype[np.int64]]
    """Shape (n,): an index into ``levels``, -1 for a missing value."""
    levels: Sequence[str] | Sequence[int]
    """The signature's categories, followed by the values that are not among them."""
    column: SignatureColumn

    @property
    def unseen(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Shape (n,): whether the value is an unseen category; all False for a column without listed categories."""
        if self.column.categories is None:
            return np.zeros(len(self.codes), dtype=bool)
        return self.codes >= len(self.column.categories)

    def as_categories(self) -> Any:
        """A categorical with exactly the signature's categories; other values are missing."""
        known = self.levels[: len(self.column.categories or ())]
        codes = np.where(self.unseen, -1, self.codes) if len(self.levels) > len(known) else self.codes
        dtype = pd.CategoricalDtype(pd.Index(known, dtype=object if self.column.type is ColumnType.TEXT else np.int64))
        return pd.Categorical.from_codes(codes, dtype=dtype, validate=False)

    def as_plain(self) -> pd.Series[Any]:
        """Objects of str, or integers; missing values as the signature has them."""
        if self.column.type is ColumnType.INTEGER:
            numbers = np.array([*self.levels, np.nan if self.column.nullable else 0])[self.codes]
            return pd.Series(numbers, dtype=np.float64 if self.column.nullable else np.int64)
        missing = None if self.column.missing_as == "none" else np.nan
        # the dtype is given, or pandas would infer one from the texts
        return pd.Series(np.array([*self.levels, missing], dtype=object)[self.codes], dtype=object)


def levels_of(values: Column, column: SignatureColumn, faults: Faults) -> Levels:
    """Encode n texts, or integers that are categories; other values are added to ``faults``."""
    known: list[Any] = list(column.categories or ())
    found: Column
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
    code_of = {level: code for code, level in enumerate(levels)}
    # the last entry is for a missing value, whose code is -1
    translation = np.array([*(code_of[level] for level in found), -1], dtype=np.int64)
    return Levels(codes=translation[codes], levels=levels, column=column)


_EXACT_NUMBERS = {int, float, bool, type(None), Decimal}


def _number(values: Column, column: SignatureColumn, faults: Faults) -> Any:
    if isinstance(values, pa.Array):
        if pa.types.is_string(values.type) or pa.types.is_dictionary(values.type):
            return _number(as_list(values), column, faults)
        numbers = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    else:
        numbers = _numbers_of_list(values, column, faults)
    finite = np.isfinite(numbers)
    if not finite.all():
        missing = _missing(values)
        faults.add(np.flatnonzero(~finite & ~missing), column, ReasonCode.NON_FINITE_VALUE)
        _require(missing, column, faults)
    return numbers


def _missing(values: Column) -> Any:
    if isinstance(values, pa.Array):
        return values.is_null().to_numpy(zero_copy_only=False)
    return np.fromiter((value is None for value in values), dtype=bool, count=len(values))


def _numbers_of_list(values: Column, column: SignatureColumn, faults: Faults) -> Any:
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


def _integer(values: Column, column: SignatureColumn, faults: Faults) -> Any:
    numbers = _number(values, column, faults)
    is_integer = np.isfinite(numbers) & (numbers == np.trunc(numbers))
    faults.add(np.flatnonzero(np.isfinite(numbers) & ~is_integer), column, ReasonCode.WRONG_TYPE)
    if column.nullable:
        return numbers
    if isinstance(values, pa.Array) and pa.types.is_integer(values.type):
        return values.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    plain = as_list(values)
    if set(map(type, plain)) == {int}:
        try:
            return np.array(plain, dtype=np.int64)
        except OverflowError:
            pass
    integers = np.zeros(len(numbers), dtype=np.int64)
    too_large = []
    for position in np.flatnonzero(is_integer):
        integer = int(plain[position])  # exact, where the float might not be
        if -(2**63) <= integer < 2**63:
            integers[position] = integer
        else:
            too_large.append(position)
    faults.add(too_large, column, ReasonCode.WRONG_TYPE)
    return integers


def _boolean(values: Column, column: SignatureColumn, faults: Faults) -> Any:
    plain = as_list(values)
    booleans = np.zeros(len(plain), dtype=object if column.nullable else bool)
    missing = np.zeros(len(plain), dtype=bool)
    wrong = []
    for position, value in enumerate(plain):
        if value is None:
            missing[position] = True
        elif isinstance(value, bool | int) and value in (0, 1):
            booleans[position] = bool(value)
        else:
            wrong.append(position)
    faults.add(wrong, column, ReasonCode.WRONG_TYPE)
    if missing.any():
        _require(missing, column, faults)
        if column.nullable:
            booleans[missing] = None if column.missing_as == "none" else np.nan
    return booleans


def _timestamp(values: Column, column: SignatureColumn, faults: Faults) -> Any:
    plain = as_list(values)
    timestamps = np.full(len(plain), np.datetime64("NaT", "us"), dtype="datetime64[us]")
    missing = np.zeros(len(plain), dtype=bool)
    wrong = []
    for position, value in enumerate(plain):
        if value is None:
            missing[position] = True
            continue
        try:
            timestamps[position] = _as_datetime64(value)
        except (ValueError, OverflowError):
            wrong.append(position)
    faults.add(wrong, column, ReasonCode.WRONG_TYPE)
    if missing.any():
        _require(missing, column, faults)
    return timestamps


def _as_datetime64(value: Any) -> np.datetime64:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return np.datetime64(value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value, "us")
    if isinstance(value, date):
        return np.datetime64(value, "us")
    raise ValueError


def _integer_codes(numbers: Any) -> tuple[list[int], Any]:
    missing = np.isnan(numbers)
    found, codes = np.unique(np.where(missing, 0, numbers).astype(np.int64), return_inverse=True)
    return found.tolist(), np.where(missing, -1, codes)


def _codes(
    values: Column, column: SignatureColumn, faults: Faults
) -> tuple[list[str], np.ndarray[Any, np.dtype[np.int32]]]:
    """The distinct texts, and for each value the index of its text, -1 for a missing value."""
    if isinstance(values, pa.Array):
        encoded = values if pa.types.is_dictionary(values.type) else values.cast(pa.string()).dictionary_encode()
        return encoded.dictionary.to_pylist(), encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    if not set(map(type, values)) <= {str, type(None)}:
        values = _texts_of_list(values, column, faults)
    found = dict.fromkeys(values)
    found.pop(None, None)
    if undecodable := {text for text in found if not _is_encodable(text)}:
        faults.add([i for i, text in enumerate(values) if text in undecodable], column, ReasonCode.UNDECODABLE_TEXT)
    known = [text for text in found if text not in undecodable]
    code = dict.fromkeys([None, *undecodable], -1) | {text: i for i, text in enumerate(known)}
    return known, np.fromiter(map(code.__getitem__, values), np.int32, len(values))


def _texts_of_list(values: Column, column: SignatureColumn, faults: Faults) -> list[str | None]:
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


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _require(missing: Any, column: SignatureColumn, faults: Faults) -> None:
    if not column.nullable:
        faults.add(np.flatnonzero(missing), column, ReasonCode.MISSING_VALUE)


_COERCE: dict[ColumnType, Callable[[Column, SignatureColumn, Faults], Any]] = {
    ColumnType.NUMBER: _number,
    ColumnType.INTEGER: _integer,
    ColumnType.BOOLEAN: _boolean,
    ColumnType.TIMESTAMP: _timestamp,
}
