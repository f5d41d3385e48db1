"""Build the reference of a model, and count chunks in its bins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from batch_scoring.domain.column_types import ColumnType
from batch_scoring.domain.columns import Column, as_list
from batch_scoring.domain.decision import DEFAULT_THRESHOLD, DecisionPolicy
from batch_scoring.domain.manifest import Manifest, ModelForm, Signature, SignatureColumn
from batch_scoring.domain.profile import (
    MOST_FEATURES,
    MOST_LEVELS,
    FeatureBins,
    FeatureCounts,
    Origin,
    Profile,
    Reference,
    ScoreBins,
    histogram,
    quarantined,
)
from batch_scoring.model.coercion import coerced, levels_of
from batch_scoring.model.decision import decide
from batch_scoring.model.faults import Faults
from batch_scoring.model.outputs import Floats
from batch_scoring.model.scorer import ScoredRows

_FEW_LABELS = 3

_BINS = 10
"""Bins of a number: between the deciles of the reference."""


# --- the reference


def build_reference(
    form: ModelForm,
    signature: Signature,
    columns: Mapping[str, Column],
    outputs: Floats,
    *,
    origin: Origin,
    is_out_of_fold: bool,
    importances: Mapping[str, float] | None = None,
) -> Reference:
    """The reference of n rows, given by column, with the model's outputs for them, shape (n, k), see ModelForm.

    ``importances`` are those of features, see FeatureBins.
    """
    known = importances or {}
    scores, labels = decide(_own_policy(form), form, outputs)
    chosen = sorted(signature.columns, key=lambda column: -known.get(column.name, 0.0))[:MOST_FEATURES]
    names = {column.name for column in chosen}
    return Reference(
        origin=origin,
        rows=len(outputs),
        features=tuple(
            _bins(column, columns[column.name], known.get(column.name))
            for column in signature.columns
            if column.name in names
        ),
        scores=_score_bins(form, scores, is_out_of_fold=is_out_of_fold),
        labels=dict.fromkeys(map(str, form.labels), 0) | _label_counts(labels or []),
    )


def _bins(column: SignatureColumn, values: Column, importance: float | None) -> FeatureBins:
    if _is_category(column):
        found = _categories(column, values)
        levels = sorted(found.counts, key=lambda level: (-found.counts[level], level))[:MOST_LEVELS]
        empty = FeatureBins(name=column.name, levels=tuple(levels), counts=(), importance=importance)
        return empty.model_copy(update={"counts": _counts_of_categories(column, empty, found)})
    numbers = _numbers(column, values)
    edges: tuple[float, ...] = ()
    low = high = None
    if len(numbers.finite):
        low, high = float(numbers.finite.min()), float(numbers.finite.max())
        edges = _edges(numbers.finite, high)
    empty = FeatureBins(name=column.name, edges=edges, low=low, high=high, counts=(), importance=importance)
    return empty.model_copy(update={"counts": _counts_of_numbers(empty, numbers).counts})


def _edges(values: Floats, high: float) -> tuple[float, ...]:
    """The deciles of n values. Where the largest is frequent enough to be one, it has a bin of its own."""
    deciles = np.unique(np.quantile(values, np.arange(1, _BINS) / _BINS))
    lower = values[values < high]
    if deciles[-1] == high and len(lower):
        deciles = np.unique(np.append(deciles[:-1], lower.max()))
    return tuple(deciles.tolist())


def _own_policy(form: ModelForm) -> DecisionPolicy:
    """How a model decides without a job: the score is that of its second label."""
    labels = [str(label) for label in form.labels]
    is_binary = form.kind == "binary"
    decided, threshold = (labels[1], DEFAULT_THRESHOLD) if is_binary else (None, None)
    if form.decision is not None:
        decided, threshold = str(form.decision.label), form.decision.threshold
    return DecisionPolicy(
        kind=form.kind,
        positive_label=labels[1] if len(labels) == 2 else None,
        decided_label=decided,
        threshold=threshold,
    )


def _score_bins(form: ModelForm, scores: Floats | None, *, is_out_of_fold: bool) -> ScoreBins | None:
    finite = np.empty(0) if scores is None else scores[np.isfinite(scores)]
    if not len(finite):
        return None
    low, high = (0.0, 1.0) if form.kind in ("binary", "multiclass") else (float(finite.min()), float(finite.max()))
    return ScoreBins(low=low, high=high, counts=histogram(finite, low, high), is_out_of_fold=is_out_of_fold)


def reference_for(manifest: Manifest, policy: DecisionPolicy) -> Reference | None:
    """The reference of a model as a job reads its score; None where the manifest has none."""
    reference = manifest.reference
    if reference is None or len(manifest.labels) != 2 or policy.positive_label != str(manifest.labels[0]):
        return reference
    if manifest.kind == "label" and manifest.margin != "decision_function":
        return reference
    return reference.mirrored(1.0 if manifest.kind == "binary" else 0.0)


# --- the profile of a chunk


def profile(
    reference: Reference,
    signature: Signature,
    columns: Mapping[str, Column],
    scored: ScoredRows,
    again: Sequence[int] = (),
) -> Profile:
    """Count a chunk: its columns as they were read, n values each, and what became of its rows.

    ``again`` are the positions of rows that an earlier run of the same window counted.
    """
    of_column = {column.name: column for column in signature.columns}
    features = {
        bins.name: _feature_counts(of_column[bins.name], bins, columns[bins.name]) for bins in reference.features
    }
    reasons = Counter((str(fault.code), fault.column) for fault in scored.faults.values())
    scores = reference.scores
    return Profile(
        rows=len(scored.positions) + len(scored.faults),
        features=features,
        scores={} if scored.scores is None or scores is None else histogram(scored.scores, scores.low, scores.high),
        labels=_label_counts(scored.labels or []),
        quarantined=quarantined(reasons),
        again=_profile_of_some(reference, signature, columns, scored, again) if again else None,
    )


def counted_in(
    first: Reference, form: ModelForm, signature: Signature, columns: Mapping[str, Column], outputs: Floats
) -> Profile:
    """Count n rows with their outputs, shape (n, k), in the bins of another version, of features that both have.

    Values of categories count as seen or not by the signature of this version.
    """
    of_column = {column.name: column for column in signature.columns}
    features = {}
    for bins in first.features:
        column = of_column.get(bins.name)
        if column is not None and _is_category(column) is (bins.levels is not None):
            features[bins.name] = _feature_counts(column, bins, columns[bins.name])
    scores, labels = decide(_own_policy(form), form, outputs)
    of_score = first.scores
    finite = None if scores is None else scores[np.isfinite(scores)]
    return Profile(
        rows=len(outputs),
        features=features,
        scores={} if finite is None or of_score is None else histogram(finite, of_score.low, of_score.high),
        labels=_label_counts(labels or []),
    )


def _profile_of_some(
    reference: Reference,
    signature: Signature,
    columns: Mapping[str, Column],
    scored: ScoredRows,
    chosen: Sequence[int],
) -> Profile:
    names = [bins.name for bins in reference.features]
    place = {position: number for number, position in enumerate(chosen)}
    among = [number for number, position in enumerate(scored.positions) if position in place]
    return profile(
        reference,
        signature,
        {name: _taken(columns[name], chosen) for name in names},
        ScoredRows(
            positions=[place[scored.positions[number]] for number in among],
            scores=None if scored.scores is None else scored.scores[among],
            labels=None if scored.labels is None else [scored.labels[number] for number in among],
            faults={place[position]: fault for position, fault in scored.faults.items() if position in place},
            unseen_category_count=0,
        ),
    )


def _taken(values: Column, positions: Sequence[int]) -> Column:
    if isinstance(values, list):
        return [values[position] for position in positions]
    return values.take(pa.array(positions))


def _label_counts(labels: list[str]) -> dict[str, int]:
    """The number of each label; a count for each of the few labels is faster than one over all of them."""
    found: dict[str, int] = {}
    counted = 0
    while counted < len(labels) and len(found) < _FEW_LABELS:
        label = next(label for label in labels if label not in found)
        found[label] = labels.count(label)
        counted += found[label]
    return dict(sorted((found if counted == len(labels) else Counter(labels)).items()))


def _feature_counts(column: SignatureColumn, bins: FeatureBins, values: Column) -> FeatureCounts:
    if bins.levels is not None:
        return FeatureCounts(counts=_counts_of_categories(column, bins, _categories(column, values)))
    return _counts_of_numbers(bins, _numbers(column, values))


# --- values


@dataclass(frozen=True, kw_only=True, slots=True)
class _Numbers:
    finite: Floats
    missing: int
    invalid: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Categories:
    counts: Mapping[str, int]
    missing: int
    invalid: int


def _is_category(column: SignatureColumn) -> bool:
    return column.type in (ColumnType.TEXT, ColumnType.BOOLEAN) or column.categories is not None


def _missing_count(values: Column) -> int:
    return values.count(None) if isinstance(values, list) else values.null_count


def _numbers(column: SignatureColumn, values: Column) -> _Numbers:
    missing = _missing_count(values)
    finite: Floats
    if column.type is ColumnType.TIMESTAMP:
        times = _timestamps(column, values)
        finite = times[~np.isnat(times)].astype(np.int64) / 1e6
    else:
        as_number = column.model_copy(update={"type": ColumnType.NUMBER})
        numbers = coerced(values, as_number, Faults())
        is_finite = np.isfinite(numbers)
        finite = numbers if is_finite.all() else numbers[is_finite]
    return _Numbers(finite=finite, missing=missing, invalid=len(values) - missing - len(finite))


def _timestamps(column: SignatureColumn, values: Column) -> Any:
    if isinstance(values, pa.Array) and pa.types.is_timestamp(values.type):
        return values.cast(pa.timestamp("us"), safe=False).to_numpy(zero_copy_only=False)
    return coerced(values, column, Faults())


def _categories(column: SignatureColumn, values: Column) -> _Categories:
    missing = _missing_count(values)
    if column.type is ColumnType.BOOLEAN:
        found = Counter(value for value in as_list(values) if isinstance(value, bool | int))
        counts = {"false": found[0], "true": found[1]}
    else:
        levels = levels_of(values, column, Faults())
        occurring = np.bincount(levels.codes + 1, minlength=len(levels.levels) + 1)[1:].tolist()
        counts = {str(level): count for level, count in zip(levels.levels, occurring, strict=True)}
    return _Categories(counts=counts, missing=missing, invalid=len(values) - missing - sum(counts.values()))


def _counts_of_numbers(bins: FeatureBins, numbers: _Numbers) -> FeatureCounts:
    edges = bins.edges or ()
    values = numbers.finite
    # a comparison for each of the few edges is several times as fast as a search for each value
    above = [len(values), *(int(np.count_nonzero(values > edge)) for edge in edges), 0]
    counts = [more - less for more, less in pairwise(above)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (None, None)
    return FeatureCounts(
        counts=(*counts, numbers.missing, numbers.invalid),
        below=int((values < bins.low).sum()) if low is not None and bins.low is not None and low < bins.low else 0,
        above=int((values > bins.high).sum()) if high is not None and bins.high is not None and high > bins.high else 0,
        low=low,
        high=high,
    )


def _counts_of_categories(column: SignatureColumn, bins: FeatureBins, found: _Categories) -> tuple[int, ...]:
    levels = bins.levels or ()
    own = dict.fromkeys(levels, 0)
    known = None if column.categories is None else set(column.categories)
    other = unseen = 0
    for level, count in found.counts.items():
        if level in own:
            own[level] = count
        elif known is None or level in known or column.type is ColumnType.BOOLEAN:
            other += count
        else:
            unseen += count
    return (*own.values(), other, unseen, found.missing, found.invalid)
