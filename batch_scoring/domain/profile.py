"""Profiles: counts of what a run read and predicted, in the bins of a reference.

The counts are integers, so that the profiles of the chunks of a run add up to that of the run, in any order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from typing import Any, Literal, TypeVar

from pydantic import Field

from batch_scoring.domain.record import Record

_Key = TypeVar("_Key", int, str)

SCORE_BINS = 1_000
"""Bins of equal width of the histogram of the score."""

MOST_LEVELS = 30
"""Levels of a category that are counted by themselves, the most frequent ones."""

MOST_FEATURES = 500
"""Features that are counted: the most important ones, or the first where importance is not known."""

Origin = Literal["training", "sample", "runs"]
"""The rows of a reference: the training data, the sample that a model was registered with, or those of runs."""

OTHER, UNSEEN, MISSING, INVALID = "other", "unseen", "missing", "invalid"


class FeatureBins(Record):
    """How the values of a feature are counted, and the counts of the reference.

    The counts are, in this order: of each bin, or of each level and then of all other levels and of unseen ones; of
    missing values; of values that are not of the column's type, or not finite.
    """

    name: str
    edges: tuple[float, ...] | None = None
    """Of numbers, and of timestamps as seconds since 1970 UTC: k ascending edges make k + 1 bins, each with its upper
    edge (as of ``pandas.qcut``). They are quantiles of the reference. None for categories."""
    levels: tuple[str, ...] | None = None
    """Of categories: the levels with counts of their own, the most frequent first."""
    low: float | None = None
    high: float | None = None
    """The range of the reference; None for categories, and where all values are missing."""
    counts: tuple[int, ...]
    """Shape (bins,): those of the reference."""
    outside: int = 0
    """Values outside the range: none in a reference of a model, those of a profile that is used as one."""
    importance: float | None = None
    """How much the log loss of held-out rows rises when the feature is permuted (permutation importance); None where
    it was not measured."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The name of each bin, for people."""
        return (*self._own_labels, MISSING, INVALID)

    @property
    def _own_labels(self) -> tuple[str, ...]:
        if self.levels is not None:
            return (*self.levels, OTHER, UNSEEN)
        edges = [f"{edge:g}" for edge in self.edges or ()]
        if not edges:
            return ("any",)
        between = (f"{low} to {high}" for low, high in pairwise(edges))
        return (f"≤ {edges[0]}", *between, f"> {edges[-1]}")


class ScoreBins(Record):
    """The histogram of the reference's scores: SCORE_BINS bins of equal width from ``low`` to ``high``.

    Scores outside are counted in the first or last bin.
    """

    low: float
    high: float
    counts: dict[int, int]
    """By the number of the bin, from 0; bins without rows are left out."""
    is_out_of_fold: bool
    """Whether each score is of a model that was not fitted on its row. Otherwise they flatter the model."""


def histogram(scores: Any, low: float, high: float) -> dict[int, int]:
    """The counts of a histogram (see ``ScoreBins``) of n finite scores, an array of numpy."""
    import numpy as np

    width = SCORE_BINS / (high - low) if high > low else 0.0
    numbers = np.clip((scores - low) * width, 0, SCORE_BINS - 1).astype(np.intp)
    counts = np.bincount(numbers, minlength=SCORE_BINS)
    return {int(number): int(counts[number]) for number in np.flatnonzero(counts)}


class Reference(Record):
    """What profiles are compared with: the training rows, or the sample that a model was registered with."""

    origin: Origin
    rows: int
    features: tuple[FeatureBins, ...]
    scores: ScoreBins | None
    """Of a binary model: of the probability of its second label. None for a model that returns labels only."""
    labels: dict[str, int] = Field(default_factory=dict)
    """Decided labels; empty for a regression."""

    def of_profile(self, profile: Profile) -> Reference:
        """A reference with the same bins and the counts of a profile of runs, to compare another profile with it."""
        features = tuple(
            bins.model_copy(update={"counts": own.counts, "outside": own.below + own.above})
            for bins in self.features
            for own in [profile.features[bins.name]]
        )
        of_score = {"counts": profile.scores, "is_out_of_fold": True}  # no run has fitted the model
        scores = None if self.scores is None else self.scores.model_copy(update=of_score)
        return Reference(
            origin="runs", rows=profile.rows, features=features, scores=scores, labels=self._labels_of(profile)
        )

    def _labels_of(self, profile: Profile) -> dict[str, int]:
        return dict.fromkeys(self.labels, 0) | profile.labels

    def has_same_bins(self, other: Reference) -> bool:
        """Whether profiles in the bins of one are also in those of the other."""

        def bins(reference: Reference) -> list[tuple[object, ...]]:
            scores = reference.scores
            span = None if scores is None else (scores.low, scores.high)
            of_features = ((one.name, one.edges, one.levels, one.low, one.high) for one in reference.features)
            return [(span,), *of_features]

        return bins(self) == bins(other)

    def of_features(self, names: Collection[str]) -> Reference:
        """The reference of some features only."""
        return self.model_copy(update={"features": tuple(bins for bins in self.features if bins.name in names)})

    def mirrored(self, about: float) -> Reference:
        """The reference of scores that are ``about`` less what they are here: of the first of two labels."""
        if self.scores is None:
            return self
        counts = {SCORE_BINS - 1 - number: count for number, count in reversed(self.scores.counts.items())}
        scores = self.scores.model_copy(
            update={"low": about - self.scores.high, "high": about - self.scores.low, "counts": counts}
        )
        return self.model_copy(update={"scores": scores})


class FeatureCounts(Record):
    """The counts of a feature, in the bins of its reference."""

    counts: tuple[int, ...]
    below: int = 0
    above: int = 0
    """Numbers outside the range of the reference."""
    low: float | None = None
    high: float | None = None
    """The smallest and largest number; None where there is none."""

    def __add__(self, other: FeatureCounts) -> FeatureCounts:
        return FeatureCounts(
            counts=tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)),
            below=self.below + other.below,
            above=self.above + other.above,
            low=min((low for low in (self.low, other.low) if low is not None), default=None),
            high=max((high for high in (self.high, other.high) if high is not None), default=None),
        )

    def without(self, some: FeatureCounts) -> FeatureCounts:
        """The counts of the other rows, where ``some`` are among these; the range stays that of all."""
        return FeatureCounts(
            counts=tuple(a - b for a, b in zip(self.counts, some.counts, strict=True)),
            below=self.below - some.below,
            above=self.above - some.above,
            low=self.low,
            high=self.high,
        )


class Quarantined(Record):
    """Rows that were quarantined for the same reason."""

    code: str
    column: str | None
    rows: int


def quarantined(rows: Mapping[tuple[str, str | None], int]) -> tuple[Quarantined, ...]:
    """Rows by code and column, in their order."""
    ordered = sorted(rows.items(), key=lambda item: (item[0][0], item[0][1] or ""))
    return tuple(Quarantined(code=code, column=column, rows=count) for (code, column), count in ordered)


class Profile(Record):
    """Counts of rows as they were read, before any was quarantined, and of what was predicted."""

    rows: int
    features: dict[str, FeatureCounts]
    scores: dict[int, int] = Field(default_factory=dict)
    """By the number of the bin of the reference's histogram."""
    labels: dict[str, int] = Field(default_factory=dict)
    quarantined: tuple[Quarantined, ...] = ()
    """In the order of code and column."""
    again: Profile | None = None
    """Of these rows, those that an earlier run of the same window had counted; None if there are none."""

    def __add__(self, other: Profile) -> Profile:
        rows = self.by_reason
        rows.update(other.by_reason)
        return Profile(
            rows=self.rows + other.rows,
            features={name: counts + other.features[name] for name, counts in self.features.items()},
            scores=_added(self.scores, other.scores),
            labels=_added(self.labels, other.labels),
            quarantined=quarantined(rows),
            again=total(one for one in (self.again, other.again) if one is not None),
        )

    @property
    def once(self) -> Profile:
        """The counts without those rows, so that a row that changes counts once a window."""
        again = self.again
        if again is None:
            return self
        features = {name: counts.without(again.features[name]) for name, counts in self.features.items()}
        rows = self.by_reason
        rows.subtract(again.by_reason)
        return Profile(
            rows=self.rows - again.rows,
            features=features,
            scores=_less(self.scores, again.scores),
            labels=_less(self.labels, again.labels),
            quarantined=quarantined({reason: count for reason, count in rows.items() if count}),
        )

    @property
    def by_reason(self) -> Counter[tuple[str, str | None]]:
        """Quarantined rows by code and column."""
        return Counter({(one.code, one.column): one.rows for one in self.quarantined})

    @property
    def scored_count(self) -> int:
        """Rows with a prediction."""
        return self.rows - sum(one.rows for one in self.quarantined)


class SinceFirst(Record):
    """The rows of the reference of a version, counted in the bins of the first version of the model.

    Versions that are trained one after the other may move away from the first by steps of which none is an alert.
    """

    version: int
    """The number of the first version that has a reference."""
    profile: Profile


def total(profiles: Iterable[Profile]) -> Profile | None:
    """The profile of all rows together; None if there is none."""
    found: Profile | None = None
    for profile in profiles:
        found = profile if found is None else found + profile
    return found


def _less(all_of: Mapping[_Key, int], some: Mapping[_Key, int]) -> dict[_Key, int]:
    return {key: left for key, count in all_of.items() if (left := count - some.get(key, 0))}


def _added(one: Mapping[_Key, int], other: Mapping[_Key, int]) -> dict[_Key, int]:
    return dict(sorted((Counter(one) + Counter(other)).items()))
