"""Select the columns of a sample that a model takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from batch_scoring.domain.manifest import listed
from batch_scoring.errors import UnusableModel
from batch_scoring.model.kinds import parts

_COMPARED = 200
"""Rows of the sample that are predicted with and without the columns that the model drops."""

Notes = list[str]
"""Remarks for users of the model, one sentence each."""


def used_columns(model: Any, sample: pd.DataFrame, notes: Notes) -> pd.DataFrame:
    """The columns of the sample that the model takes, in the order in which it was fitted on them.

    Columns that the model was fitted on and drops unused (``remainder="drop"`` of a ColumnTransformer) are left out:
    neither the sample nor the source needs them. Raises UnusableModel naming the columns that the sample lacks.
    """
    names = _fitted_on(model)
    if names is None:
        notes.append(
            "the model was fitted without column names: it takes the sample's columns in their order"
            f" ({listed(sample.columns)})"
        )
        return sample
    dropped = _dropped(model, names)
    if missing := [name for name in names if name not in sample.columns and name not in dropped]:
        raise UnusableModel(
            f"the sample lacks the model's column{'s' if len(missing) > 1 else ''} {listed(missing)}; give rows with"
            " every column that the model takes"
        )
    present = [name for name in names if name in sample.columns]
    without = [name for name in present if name not in dropped]
    if dropped and _are_alike(model, sample[present], sample[without]):
        notes.append(f"the model drops {listed(dropped)} without use: the source need not have them")
        return sample[without]
    if missing := [name for name in names if name not in sample.columns]:
        raise UnusableModel(f"the sample lacks the model's column {listed(missing)}, and the model needs it")
    return sample[present]


def _fitted_on(model: Any) -> Sequence[str] | None:
    """Names of the columns that the model was fitted on; None where it was fitted on arrays or has no names."""
    for attribute in ("feature_names_in_", "feature_names_"):  # the second is CatBoost's
        try:
            names = getattr(model, attribute, None)
        except Exception:  # a property of a model that was fitted on arrays
            names = None
        if names is not None and len(names):
            found = [str(name) for name in names]
            return None if found == [str(i) for i in range(len(found))] and attribute == "feature_names_" else found
    return None


def _dropped(model: Any, names: Sequence[str]) -> list[str]:
    """Columns that every ColumnTransformer whose input has all of them leaves out."""
    from sklearn.compose import ColumnTransformer

    left_out = [
        _left_out(part, names)
        for part in parts(model)
        if isinstance(part, ColumnTransformer)
        and [str(name) for name in getattr(part, "feature_names_in_", ())] == names
    ]
    return [name for name in names if left_out and all(name in dropped for dropped in left_out)]


def _left_out(transformer: Any, names: Sequence[str]) -> set[str]:
    used: set[str] = set()
    for _, step, columns in transformer.transformers_:
        if isinstance(step, str) and step == "drop":
            continue
        chosen = pd.DataFrame(columns=list(names)).loc[:, _selector(columns, names)].columns
        used.update(map(str, chosen))
    return set(names) - used


def _selector(columns: Any, names: Sequence[str]) -> Any:
    """Columns of a fitted ColumnTransformer as names: they are given as names, positions, a mask or a slice."""
    if isinstance(columns, str):
        return [columns]
    positions = pd.Index(range(len(names)))
    if isinstance(columns, slice) and not isinstance(columns.start or columns.stop, str):
        return [names[i] for i in positions[columns]]
    if isinstance(columns, int):
        return [names[columns]]
    if isinstance(columns, slice):
        return columns
    found = list(columns)
    if found and all(isinstance(name, bool) or type(name).__name__ == "bool" for name in found):
        return [name for name, is_used in zip(names, found, strict=True) if is_used]
    return [names[name] if not isinstance(name, str) else name for name in found]


def _are_alike(model: Any, complete: pd.DataFrame, without: pd.DataFrame) -> bool:
    """Whether the model's predictions are the same without the columns that are left out."""
    try:
        predicted = model.predict(without.head(_COMPARED))
        return complete.shape == without.shape or bool(
            np.array_equal(model.predict(complete.head(_COMPARED)), predicted)
        )
    except Exception:
        return False
