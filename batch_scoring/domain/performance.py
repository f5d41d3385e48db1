"""Performance: how predictions compare with outcomes, by month and model version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, get_args

from pydantic import Field

from batch_scoring.domain.outcomes import Population
from batch_scoring.domain.record import Record

Metric = Literal[
    "accuracy",
    "base_rate",
    "precision",
    "recall",
    "roc_auc",
    "gini",
    "ks",
    "log_loss",
    "brier_score",
    "calibration_intercept",
    "calibration_slope",
    "mean_absolute_error",
    "root_mean_squared_error",
    "bias",
]
"""What is measured. ``base_rate`` is the share of the most frequent outcome: the accuracy of always predicting it.
``ks`` is the Kolmogorov-Smirnov statistic of the scores of both outcomes, ``gini`` is 2 AUC - 1. ``bias`` is the mean
of prediction less outcome."""


METRICS: Sequence[Metric] = get_args(Metric)


class ScoreSums(Record):
    """Counts of predictions with an outcome, from which figures are computed without the rows. They add up."""

    positive: dict[int, int] = Field(default_factory=dict)
    negative: dict[int, int] = Field(default_factory=dict)
    """Of a binary model: rows whose outcome is the positive label, or is not, by the bin of their score, see
    ``domain.profile.SCORE_BINS``."""
    decided: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Rows by predicted label and by outcome; empty for a regression."""

    def as_json(self) -> dict[str, Any]:
        """What is printed: a histogram of a thousand bins is for computing."""
        return {"decided": self.decided}

    def __add__(self, other: ScoreSums) -> ScoreSums:
        decided: dict[str, Counter[str]] = {}
        for one in (self, other):
            for label, outcomes in one.decided.items():
                decided.setdefault(label, Counter()).update(outcomes)
        return ScoreSums(
            positive=_added(self.positive, other.positive),
            negative=_added(self.negative, other.negative),
            decided={label: dict(sorted(outcomes.items())) for label, outcomes in sorted(decided.items())},
        )


def _added(one: Mapping[int, int], other: Mapping[int, int]) -> dict[int, int]:
    return dict(sorted((Counter(one) + Counter(other)).items()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One metric of n predictions with an outcome."""

    metric: Metric
    value: float | None
    """None where it was not computed."""
    low: float | None = None
    high: float | None = None
    """The 95 % confidence interval; None where there is none."""
    why_not: str | None = None
    """Why it was not computed; None if it was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """Predictions with similar scores: the mean score, and the share of positive outcomes."""

    low: float
    high: float
    """The smallest and the largest score."""
    rows: int
    expected: float
    observed: float
    observed_low: float
    observed_high: float
    """Wilson's 95 % confidence interval of ``observed``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Performance:
    """The figures of predictions with an outcome."""

    rows: int
    figures: tuple[Figure, ...]
    bands: tuple[Band, ...] = ()
    """In the order of scores; of a binary model only."""
    sums: ScoreSums = field(default_factory=ScoreSums)

    def figure(self, metric: Metric) -> Figure | None:
        """The figure of a metric; None if the kind of model has none."""
        return next((one for one in self.figures if one.metric == metric), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cohort:
    """The predictions of a model version whose decisions fall into a month, and what is known of them."""

    month: date
    """Its first day, UTC."""
    model_name: str
    model_version: int
    population: Population
    predicted_count: int
    """Predictions, with an outcome or without."""
    performance: Performance

    @property
    def identity(self) -> tuple[date, str, int, Population]:
        return self.month, self.model_name, self.model_version, self.population


@dataclass(frozen=True, kw_only=True, slots=True)
class OutcomeCounts:
    """What was read of outcomes, and what became of the rows."""

    read_count: int = 0
    unknown_count: int = 0
    """Rows whose outcome is NULL: it is not known yet."""
    invalid_count: int = 0
    """Rows whose outcome is neither a label of the model, or not a number where the model predicts one."""
    undated_count: int = 0
    """Rows without a time."""
    unknown_key_count: int = 0
    """Rows whose key was never scored."""
    unpredicted_count: int = 0
    """Rows whose key has no prediction that was current at the time."""
    duplicate_count: int = 0
    """Rows that repeat the outcome of a prediction."""
    reversal_count: int = 0
    """Rows that change the outcome of a prediction; the latest one counts."""
    immature_count: int = 0
    """Outcomes of months whose performance window is still open."""
    used_count: int = 0
    """Outcomes that figures are computed from."""
