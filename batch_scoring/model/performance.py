"""Performance: predictions compared with outcomes, with confidence intervals.

A figure that too few outcomes support is not computed. Intervals are at the level of ``model.intervals``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm, t

from batch_scoring.domain.performance import Band, Figure, Metric, Performance, ScoreSums
from batch_scoring.domain.profile import SCORE_BINS, histogram
from batch_scoring.model.intervals import LEVEL, roc_auc, share_interval

FEWEST_OF_OUTCOME = 5
"""With fewer rows of one of two outcomes, figures of the order of scores and of their calibration are not computed."""

_BANDS = 10
_CLIPPED = 1e-15
"""The smallest probability of which a logarithm is taken, as in scikit-learn's ``log_loss`` of doubles."""


def classification(
    outcomes: Any, predictions: Any, scores: Any, *, positive: str | None, fewest: int, hidden: str | None = None
) -> Performance:
    """Performance of n predicted labels, and of the probabilities of one of two labels.

    ``outcomes`` and ``predictions`` are arrays of n labels; ``scores``, shape (n,), are probabilities of the label
    ``positive``, or None where the model gives none or has more than two labels. ``hidden`` is a sentence that says
    why outcomes are not known of rows that were predicted otherwise, for figures that need those.
    """
    rows = len(outcomes)
    decided = _decided(outcomes, predictions)
    if rows < fewest:
        why_not = f"{rows:,} outcomes, and {fewest:,} are the fewest"
        names: Sequence[Metric] = _OF_TWO if scores is not None else _OF_LABELS
        return _none(rows, names, why_not, ScoreSums(decided=decided, **_histograms(outcomes, scores, positive)))
    right = int((outcomes == predictions).sum())
    _, counts = np.unique(outcomes.astype(str), return_counts=True)
    figures = [_share("accuracy", right, rows), _share("base_rate", int(counts.max()), rows)]
    if positive is not None:
        figures += _of_positive(outcomes == positive, predictions == positive, positive, hidden)
    if scores is None or positive is None:
        return Performance(rows=rows, figures=tuple(figures), sums=ScoreSums(decided=decided))
    is_positive = outcomes == positive
    figures += _of_scores(is_positive, scores)
    return Performance(
        rows=rows,
        figures=tuple(figures),
        bands=tuple(_bands(is_positive, scores)),
        sums=ScoreSums(decided=decided, **_histograms(outcomes, scores, positive)),
    )


def regression(outcomes: Any, predictions: Any, *, fewest: int) -> Performance:
    """Performance of n predicted numbers, shape (n,), where the outcomes are numbers.

    The intervals of means are Student's; that of the root mean squared error is the root of that of the mean.
    """
    rows = len(outcomes)
    if rows < fewest:
        return _none(rows, _OF_NUMBERS, f"{rows:,} outcomes, and {fewest:,} are the fewest", ScoreSums())
    errors = predictions - outcomes
    squared = _mean("root_mean_squared_error", errors**2)
    assert squared.value is not None
    root = Figure(
        metric=squared.metric, value=float(np.sqrt(squared.value)), low=_root(squared.low), high=_root(squared.high)
    )
    return Performance(rows=rows, figures=(_mean("mean_absolute_error", np.abs(errors)), root, _mean("bias", errors)))


def of_sums(sums: ScoreSums, *, positive: str | None, fewest: int) -> Performance:
    """Performance of predictions of which only the sums are known.

    Scores are those of the middle of their bin, so figures of scores are within a bin's width of those from rows.
    """
    outcomes, predictions = [], []
    for label, by_outcome in sums.decided.items():
        for outcome, count in by_outcome.items():
            outcomes += [outcome] * count
            predictions += [label] * count
    rows = len(outcomes)
    labels = classification(
        np.array(outcomes, dtype=object), np.array(predictions, dtype=object), None, positive=positive, fewest=fewest
    )
    if not (sums.positive or sums.negative) or rows < fewest:
        return Performance(rows=rows, figures=labels.figures, sums=sums)
    middles = (np.arange(SCORE_BINS) + 0.5) / SCORE_BINS
    of_bins = [_dense(sums.positive), _dense(sums.negative)]
    scores = np.concatenate([np.repeat(middles, counts) for counts in of_bins])
    is_positive = np.repeat([True, False], [counts.sum() for counts in of_bins])
    return Performance(
        rows=rows,
        figures=(*labels.figures, *_of_scores(is_positive, scores)),
        bands=tuple(_bands(is_positive, scores)),
        sums=sums,
    )


_OF_LABELS: Sequence[Metric] = ("accuracy", "base_rate", "precision", "recall")
_OF_SCORES: Sequence[Metric] = (
    "roc_auc",
    "gini",
    "ks",
    "log_loss",
    "brier_score",
    "calibration_intercept",
    "calibration_slope",
)
_OF_TWO: Sequence[Metric] = (*_OF_LABELS, *_OF_SCORES)
_OF_NUMBERS: Sequence[Metric] = ("mean_absolute_error", "root_mean_squared_error", "bias")


def _none(rows: int, names: Sequence[Metric], why_not: str, sums: ScoreSums) -> Performance:
    figures = tuple(Figure(metric=name, value=None, why_not=why_not) for name in names)
    return Performance(rows=rows, figures=figures, sums=sums)


def _of_positive(is_positive: Any, is_predicted: Any, positive: str, hidden: str | None) -> Iterator[Figure]:
    both, predicted, positives = (int(rows.sum()) for rows in (is_positive & is_predicted, is_predicted, is_positive))
    if predicted:
        yield _share("precision", both, predicted)
    else:
        yield Figure(metric="precision", value=None, why_not=f"no row was predicted {positive}")
    why_not = hidden or (None if positives else f"no outcome is {positive}")
    yield _share("recall", both, positives) if why_not is None else Figure(metric="recall", value=None, why_not=why_not)


def _of_scores(is_positive: Any, scores: Any) -> Iterator[Figure]:
    """Figures of the order of scores and of their calibration."""
    loss = -np.log(np.clip(np.where(is_positive, scores, 1 - scores), _CLIPPED, 1 - _CLIPPED))
    positives = int(is_positive.sum())
    fewer = min(positives, len(scores) - positives)
    if fewer < FEWEST_OF_OUTCOME:
        why_not = f"{fewer:,} of the {len(scores):,} outcomes are of the rarer kind, and {FEWEST_OF_OUTCOME} are needed"
        yield from (Figure(metric=name, value=None, why_not=why_not) for name in ("roc_auc", "gini", "ks"))
    else:
        yield from _of_order(is_positive, scores)
    yield _mean("log_loss", loss)
    yield _mean("brier_score", (scores - is_positive) ** 2)
    if fewer < FEWEST_OF_OUTCOME:
        yield from (Figure(metric=name, value=None, why_not=why_not) for name in _CALIBRATION)
    else:
        yield from calibration(is_positive, scores)


def _of_order(is_positive: Any, scores: Any) -> Iterator[Figure]:
    area = roc_auc(is_positive, scores)
    assert area is not None
    yield Figure(metric="roc_auc", value=area.value, low=area.low, high=area.high)
    yield Figure(metric="gini", value=2 * area.value - 1, low=2 * area.low - 1, high=2 * area.high - 1)
    yield Figure(metric="ks", value=kolmogorov_smirnov(is_positive, scores))


def kolmogorov_smirnov(is_positive: Any, scores: Any) -> float:
    """The largest difference between the distributions of the scores of two groups, shape (n,) each."""
    order = np.argsort(scores, kind="stable")
    ordered, of_positive = scores[order], np.cumsum(is_positive[order])
    of_negative = np.arange(1, len(order) + 1) - of_positive
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # equal scores are at one place
    difference = of_positive[ends] / of_positive[-1] - of_negative[ends] / of_negative[-1]
    return float(np.abs(difference).max())


_CALIBRATION: Sequence[Metric] = ("calibration_intercept", "calibration_slope")


def calibration(is_positive: Any, scores: Any) -> list[Figure]:
    """Calibration intercept and slope with Wald's intervals (Cox, 1958; Steyerberg, Clinical Prediction Models).

    The slope is that of a logistic regression of the outcome on the log odds of the score, 1 if they are as far apart
    as they should be. The intercept is that with a slope of 1, 0 if they are right on average.
    """
    odds = logit(np.clip(scores, 1e-6, 1 - 1e-6))
    positive = is_positive.astype(float)
    intercept = _fit(np.ones((len(odds), 1)), positive, offset=odds)
    why_not = "the scores separate the outcomes completely"
    slope = None if np.ptp(odds) == 0 else _fit(np.column_stack([np.ones_like(odds), odds]), positive, offset=0.0)
    if np.ptp(odds) == 0:
        why_not = "all scores are equal"
    return [
        _with_error("calibration_intercept", intercept, why_not),
        _with_error("calibration_slope", slope, why_not),
    ]


def _fit(design: Any, positive: Any, *, offset: Any) -> tuple[float, float] | None:
    """The last coefficient of a logistic regression by Newton's method, and its standard error; None without a fit."""
    weights = np.zeros(design.shape[1])
    for _ in range(50):
        chance = expit(design @ weights + offset)
        information = (design * (chance * (1 - chance))[:, None]).T @ design
        try:
            step = np.linalg.solve(information, design.T @ (positive - chance))
        except np.linalg.LinAlgError:
            return None
        weights = weights + step
        if not np.isfinite(weights).all() or np.abs(weights).max() > 100:
            return None
        if np.abs(step).max() < 1e-10:
            return float(weights[-1]), float(np.sqrt(np.linalg.inv(information)[-1, -1]))
    return None


def _with_error(metric: Metric, found: tuple[float, float] | None, why_not: str) -> Figure:
    if found is None:
        return Figure(metric=metric, value=None, why_not=why_not)
    value, error = found
    half = float(norm.ppf((1 + LEVEL) / 2)) * error
    return Figure(metric=metric, value=value, low=value - half, high=value + half)


def _bands(is_positive: Any, scores: Any) -> Iterator[Band]:
    """Up to ten bands of equally many rows; rows with the same score are in the same band."""
    order = np.argsort(scores, kind="stable")
    ordered, positive = scores[order], is_positive[order]
    count = min(_BANDS, len(ordered))
    cuts = [len(ordered) * number // count for number in range(1, count)]
    starts = sorted({0, *(int(np.searchsorted(ordered, ordered[cut], side="left")) for cut in cuts)})
    for start, end in zip(starts, [*starts[1:], len(ordered)], strict=True):
        rows, positives = end - start, int(positive[start:end].sum())
        low, high = share_interval(positives, rows)
        yield Band(
            low=float(ordered[start]),
            high=float(ordered[end - 1]),
            rows=rows,
            expected=float(ordered[start:end].mean()),
            observed=positives / rows,
            observed_low=low,
            observed_high=high,
        )


def _share(metric: Metric, count: int, of: int) -> Figure:
    low, high = share_interval(count, of)
    return Figure(metric=metric, value=count / of, low=low, high=high)


def _mean(metric: Metric, values: Any) -> Figure:
    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    value = float(values.mean())
    return Figure(metric=metric, value=value, low=value - half, high=value + half)


def _root(square: float | None) -> float | None:
    return None if square is None else float(np.sqrt(max(0.0, square)))


def _decided(outcomes: Any, predictions: Any) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for label in sorted(set(predictions.tolist())):
        of_label = outcomes[predictions == label].astype(str)
        names, counts = np.unique(of_label, return_counts=True)
        found[label] = dict(zip(names.tolist(), counts.tolist(), strict=True))
    return found


def _histograms(outcomes: Any, scores: Any, positive: str | None) -> dict[str, dict[int, int]]:
    if scores is None or positive is None:
        return {}
    is_positive = outcomes == positive
    return {
        "positive": histogram(scores[is_positive], 0.0, 1.0),
        "negative": histogram(scores[~is_positive], 0.0, 1.0),
    }


def _dense(counts: dict[int, int]) -> Any:
    dense = np.zeros(SCORE_BINS, dtype=np.int64)
    dense[list(counts)] = list(counts.values())
    return dense
