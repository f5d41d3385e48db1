"""Confidence intervals of metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest, norm, rankdata
from scipy.stats.contingency import relative_risk

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A metric and its confidence interval."""

    value: float
    low: float
    high: float


def share_interval(count: int, of: int) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson, 1927), at LEVEL. ``of`` must not be 0."""
    found = binomtest(count, of).proportion_ci(confidence_level=LEVEL, method="wilson")
    return float(found.low), float(found.high)


def ratio_of_shares(count: int, of: int, other_count: int, of_other: int) -> Estimate | None:
    """The ratio of two shares with Katz's log interval (Katz et al., 1978), at LEVEL. None where a count is 0."""
    if not count or not other_count:
        return None
    found = relative_risk(count, of, other_count, of_other)
    interval = found.confidence_interval(confidence_level=LEVEL)
    return Estimate(value=float(found.relative_risk), low=float(interval.low), high=float(interval.high))


def roc_auc(positive: Any, scores: Any) -> Estimate | None:
    """The area under the ROC curve with DeLong's interval (DeLong et al., 1988; by ranks: Sun and Xu, 2014), at LEVEL.

    ``positive`` has shape (n,) and type bool, ``scores`` shape (n,). None with fewer than two rows of a label.
    """
    of_positive, of_negative = scores[positive], scores[~positive]
    m, n = len(of_positive), len(of_negative)
    if min(m, n) < 2:
        return None
    ranks = rankdata(np.concatenate([of_positive, of_negative]))
    above = (ranks[:m] - rankdata(of_positive)) / n
    below = 1 - (ranks[m:] - rankdata(of_negative)) / m
    area = float(above.mean())
    half = float(norm.ppf((1 + LEVEL) / 2) * np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n))
    return Estimate(value=area, low=max(0.0, area - half), high=min(1.0, area + half))
