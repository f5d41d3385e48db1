"""Rows on which a translation is compared with its model before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from batch_scoring.domain.column_types import ColumnType
from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.manifest import Manifest, SignatureColumn
from batch_scoring.model.decision import decide
from batch_scoring.model.scorer import outputs_of_checked
from batch_scoring.model.signature import check_rows

TOLERANCE = 1e-12
"""The difference that the order of additions makes; relative where scores are larger than 1."""

_COMBINED = 200
"""Rows whose values are taken from different golden rows."""
_VALUES = 12
"""Different numbers of each column."""
_NEAR = 2e-9
"""A label whose probability is so near to its threshold is decided by scikit-learn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Probes:
    """n rows with what the model makes of them."""

    columns: Mapping[str, list[Any]]
    expected: Mapping[int, tuple[float, str | None]]
    """Score and label of the rows that the model can score."""
    required: frozenset[int]
    """Rows that a translation must score: golden rows, and golden rows with one value missing."""


def probes_of(model: Any, manifest: Manifest, policy: DecisionPolicy) -> Probes:
    """Golden rows, rows with each category and each missing value, and rows that combine the values of others."""
    columns = manifest.signature.columns
    rows = [list(row) for row in manifest.golden.rows]
    golden = len(rows)
    complete = min(rows, key=lambda row: sum(value is None for value in row))
    values = [_values_of(column, [row[i] for row in rows]) for i, column in enumerate(columns)]
    missing = []
    for i, of_column in enumerate(values):
        for value in of_column:
            if value is None:
                missing.append(len(rows))
            rows.append([*complete[:i], value, *complete[i + 1 :]])
    rng = np.random.default_rng(0)
    rows += [[of_column[rng.integers(len(of_column))] for of_column in values] for _ in range(_COMBINED)]
    by_column = {column.name: [row[i] for row in rows] for i, column in enumerate(columns)}
    expected, undecided = _expected(model, manifest, policy, by_column)
    required = frozenset(row for row in (*range(golden), *missing) if row in expected and row not in undecided)
    return Probes(columns=by_column, expected=expected, required=required)


def _values_of(column: SignatureColumn, found: list[Any]) -> list[Any]:
    """Values that a column may hold: each category, or some numbers, and a missing value where it may be missing."""
    if column.categories is not None:
        is_text = column.type is ColumnType.TEXT
        values: list[Any] = [category if is_text else int(category) for category in column.categories]
    else:
        present = sorted({value for value in found if value is not None})
        chosen = np.linspace(0, len(present) - 1, min(len(present), _VALUES)).astype(int).tolist()
        values = [present[position] for position in chosen]
    return [*values, *([None] if column.nullable else [])] or [None]


def _expected(
    model: Any, manifest: Manifest, policy: DecisionPolicy, columns: Mapping[str, list[Any]]
) -> tuple[dict[int, tuple[float, str | None]], set[int]]:
    """Score and label by row, and the rows whose label depends on the last bits of a probability."""
    checked = check_rows(manifest.signature, columns)
    outputs, faults = outputs_of_checked(model, manifest, checked)
    scores, labels = decide(policy, manifest, outputs)
    assert scores is not None
    positions = np.delete(checked.positions, list(faults)).tolist()
    decided = labels if labels is not None else [None] * len(positions)
    expected = {row: (float(score), label) for row, score, label in zip(positions, scores, decided, strict=True)}
    return expected, {row for row, found in zip(positions, outputs, strict=True) if _is_near(found, manifest, policy)}


def _is_near(outputs: Any, manifest: Manifest, policy: DecisionPolicy) -> bool:
    if manifest.kind == "binary":
        decided = [str(label) for label in manifest.labels].index(str(policy.decided_label))
        return abs(float(outputs[decided]) - float(policy.threshold or 0)) <= _NEAR
    if manifest.kind == "multiclass":
        *_, second, first = sorted(outputs)
        return float(first - second) <= _NEAR
    return False


def difference(expected: tuple[float, str | None], found: tuple[float, str | None]) -> float:
    """The difference of two scores, relative where they are larger than 1; infinite where the labels differ."""
    if expected[1] != found[1] or not np.isfinite(found[0]):
        return float("inf")
    return abs(expected[0] - found[0]) / max(1.0, abs(expected[0]))
