"""Derive a signature from a sample, and convert the columns of a chunk to it.

Columns are converted to the signature's types and never to types inferred from a chunk, so that the score of a row does
not depend on other rows. Values that cannot be converted are found row by row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from itertools import compress
from typing import Any, Literal

import numpy as np
import pandas as pd

from batch_scoring.domain.column_types import ColumnType
from batch_scoring.domain.columns import Column
from batch_scoring.domain.job import UnseenCategories
from batch_scoring.domain.manifest import Signature, SignatureColumn
from batch_scoring.errors import UnusableModel
from batch_scoring.model.coercion import Levels, coerced, levels_of
from batch_scoring.model.faults import Faults, ReasonCode, RowFault

MAX_CATEGORIES = 1000
"""More distinct texts than this are not categories, so none of them is reported as unseen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedRows:
    """The rows of a chunk, checked: n rows came in, m of them fit the signature."""

    frame: pd.DataFrame
    """The m rows that fit, typed by the signature."""
    positions: np.ndarray[Any, np.dtype[np.intp]]
    """Shape (m,): the positions of the rows of ``frame`` among the n."""
    faults: Mapping[int, RowFault]
    """The other rows by position."""
    unseen_category: np.ndarray[Any, np.dtype[np.bool_]]
    """Shape (m,): whether the row has a category that is not in the signature."""
    unseen_rows: pd.DataFrame | None = None
    """Those rows again, all their texts as objects; None where there are none. In ``frame`` their unseen texts are
    missing where text is categorical."""
    unseen_columns: Sequence[str] = ()
    """For each of those rows its first column with such a category."""

    def only(self, rows: np.ndarray[Any, np.dtype[np.bool_]]) -> CheckedRows:
        """Some of the m rows, given as a mask; the faults are unchanged."""
        return replace(
            self,
            frame=self.frame[rows],
            positions=self.positions[rows],
            unseen_category=self.unseen_category[rows],
            unseen_rows=None if self.unseen_rows is None else self.unseen_rows[rows[self.unseen_category]],
            unseen_columns=list(compress(self.unseen_columns, rows[self.unseen_category])),
        )


def derive_signature(
    sample: pd.DataFrame,
    *,
    text_as: Literal["category", "object"] = "category",
    unseen_as: Literal["text", "missing"] = "text",
    none_for: Collection[str] = (),
) -> Signature:
    """The signature of a model that takes this sample: types, nullability and categories as they are in it.

    ``none_for`` names the columns whose missing values reach the model as None. Raises UnusableModel naming every
    column whose values have no type that a model takes.
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
        # pandas stores integers with missing values as floats
        is_integer = found_type is ColumnType.NUMBER and bool((levels == np.trunc(levels.astype(float))).all())
        return ColumnType.INTEGER if is_integer else found_type
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
    columns: Mapping[str, Column],
    *,
    unseen_categories: UnseenCategories = "score",
) -> CheckedRows:
    """Convert a chunk's columns (Arrow arrays or lists of n values) to the signature.

    A row that cannot be converted is left out of the frame and reported with its first fault.
    """
    count = len(next(iter(columns.values()))) if columns else 0
    faults = Faults()
    data: dict[str, Any] = {}
    levels: dict[str, Levels] = {}
    unseen_in: dict[str, Any] = {}
    for column in signature.columns:
        values = columns[column.name]
        if column.type is ColumnType.TEXT or column.categories is not None:
            levels[column.name] = found = levels_of(values, column, faults)
            is_plain = signature.text_as == "object" or column.categories is None
            data[column.name] = found.as_plain() if is_plain else found.as_categories()
            unseen_in[column.name] = found.unseen
            if unseen_categories == "quarantine":
                faults.add(np.flatnonzero(found.unseen), column, ReasonCode.UNSEEN_CATEGORY)
        else:
            data[column.name] = coerced(values, column, faults)
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
    unseen_positions = positions[unseen]
    first = np.argmax(np.stack(list(unseen_in.values()))[:, unseen_positions], axis=0)
    return replace(
        checked,
        unseen_rows=_without_categoricals(frame[unseen], levels, unseen_positions),
        unseen_columns=np.array(list(unseen_in), dtype=object)[first].tolist(),
    )


def _without_categoricals(frame: pd.DataFrame, levels: Mapping[str, Levels], positions: Any) -> pd.DataFrame:
    plain = {name: found.as_plain().iloc[positions].reset_index(drop=True) for name, found in levels.items()}
    return frame.reset_index(drop=True).assign(**plain)
