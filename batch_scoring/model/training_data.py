"""Convert training data from a file or a database to numbers and text, as the pipeline takes it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd

from batch_scoring.domain.job import Job
from batch_scoring.errors import InputFault

_NUMBERS = "numbers"
_TEXT = "text"
_EMPTY = "no value"

_KINDS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((bool, np.bool_, int, float, Decimal, np.integer, np.floating), _NUMBERS),
    ((str,), _TEXT),
    ((datetime, np.datetime64), "timestamps"),
    ((date,), "dates"),
    ((time,), "times"),
    ((timedelta, np.timedelta64), "durations"),
    ((bytes, bytearray, memoryview), "bytes"),
    ((UUID,), "UUIDs"),
    ((list, tuple, set, dict, np.ndarray), "lists or records"),
)
"""The kind of a value by its type; the first match counts. A timestamp is a date too, so it comes first."""


def plain_features(job: Job, features: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The features as float64 and text, and a note on the columns that are left out.

    Booleans, decimals and nullable integers are numbers; a categorical has the type of its categories. A column without
    any value is left out. Raises InputFault naming every column of another type.
    """
    kinds = {name: _kind(features[name]) for name in features.columns}
    unusable = [f"{name} ({kind})" for name, kind in kinds.items() if kind not in (_NUMBERS, _TEXT, _EMPTY)]
    if unusable:
        one = len(unusable) == 1
        raise InputFault(
            f"train uses numbers, booleans and text, and not column{'' if one else 's'} {', '.join(unusable)};"
            f" cast {'it' if one else 'them'} in the data and in the source alike (a date to a number of days),"
            f" or list {'it' if one else 'them'} in [training] ignore of job {job.name}"
        )
    derived_from = {*job.training.logs, *(part for parts in job.training.sums.values() for part in parts)}
    empty = [name for name, kind in kinds.items() if kind == _EMPTY and name not in derived_from]
    plain = {
        name: _texts(features[name]) if kinds[name] == _TEXT else _floats(features[name])
        for name in features.columns
        if name not in empty
    }
    notes = (f"{', '.join(map(str, empty))}: no row has a value, left out of the features",) if empty else ()
    return pd.DataFrame(plain, index=features.index), notes


def plain_labels(job: Job, labels: pd.Series[Any]) -> pd.Series[Any]:
    """The labels as text, integers or booleans, spelled as the job spells its positive label.

    Raises InputFault where a label is anything else.
    """
    kind = _kind(labels)
    if kind == _TEXT:
        plain = _texts(labels)
    elif kind == _NUMBERS:
        plain = _integers_or_booleans(labels)
    else:
        raise InputFault(f"column {labels.name} holds {kind}; labels are text, integers or booleans")
    return _spelled(plain, job.predictions.positive_label)


def _kind(values: pd.Series[Any]) -> str:
    """The kind of all values of a column, as text."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _kind(pd.Series(values.cat.remove_unused_categories().cat.categories))
    if pd.api.types.is_complex_dtype(dtype):
        return "complex numbers"
    if pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_numeric_dtype(dtype):
        return _NUMBERS if not _is_empty_float(values) else _EMPTY
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "timestamps"
    if pd.api.types.is_timedelta64_dtype(dtype):
        return "durations"
    if isinstance(dtype, pd.PeriodDtype | pd.IntervalDtype):
        return "periods or intervals"
    found = {_kind_of_type(type_) for type_ in {type(value) for value in values[values.notna()]}}
    if not found:
        return _EMPTY
    return found.pop() if len(found) == 1 else "values of several types"


def _is_empty_float(values: pd.Series[Any]) -> bool:
    return bool(values.isna().all()) and len(values) > 0


def _kind_of_type(type_: type) -> str:
    return next((kind for types, kind in _KINDS if issubclass(type_, types)), f"values of type {type_.__name__}")


def _floats(values: pd.Series[Any]) -> pd.Series[Any]:
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype if not values.isna().any() else object)
    if values.dtype == object:
        plain = [np.nan if missing else float(value) for value, missing in zip(values, values.isna(), strict=True)]
        return pd.Series(plain, index=values.index, dtype=np.float64)
    return pd.Series(values.to_numpy(dtype=np.float64, na_value=np.nan), index=values.index)


def _texts(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.astype("str") if isinstance(values.dtype, pd.CategoricalDtype) else values


def _integers_or_booleans(labels: pd.Series[Any]) -> pd.Series[Any]:
    """Numbers as bool or int64, as a database returns them for the same column."""
    if isinstance(labels.dtype, pd.CategoricalDtype):
        labels = pd.Series(labels.astype(object).tolist(), index=labels.index, name=labels.name)
    if pd.api.types.is_bool_dtype(labels.dtype) or {type(label) for label in labels} <= {bool, np.bool_}:
        return labels.astype(bool)
    if pd.api.types.is_integer_dtype(labels.dtype):
        return labels.astype(np.int64)
    numbers = _floats(labels)
    if not (np.isfinite(numbers) & (numbers == numbers.round())).all():
        raise InputFault(f"column {labels.name} holds numbers with decimals; labels are text, integers or booleans")
    return labels if labels.dtype == np.float64 else pd.Series(numbers.astype(np.int64), name=labels.name)


def _spelled(labels: pd.Series[Any], positive: str | None) -> pd.Series[Any]:
    """The labels in the job's spelling, where the data spells the same label differently: true, 1, 1.0."""
    if positive is None or positive in {str(label) for label in labels.unique()}:
        return labels
    if labels.dtype == bool:
        spellings: Mapping[str, Any] = {"true": str.lower, "false": str.lower, "TRUE": str.upper, "FALSE": str.upper}
        if positive in spellings:
            return labels.astype(str).map(spellings[positive])
        return labels.astype(np.int64) if positive in ("0", "1") else labels
    if pd.api.types.is_numeric_dtype(labels.dtype):
        for type_ in (np.int64, np.float64):
            if positive in {str(label) for label in labels.astype(type_).unique()}:
                return labels.astype(type_)
        return labels
    return labels.map({text: positive if text.strip() == positive.strip() else text for text in labels.unique()})
