"""When an alert is raised and when it is cleared.

An alert of a distribution is raised by a breach in two evaluations in a row, any other one by a single breach. It is
cleared by three evaluations in a row whose effect is below 0.8 of the limit. So a figure that moves around its limit is
one alert.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batch_scoring.domain.drift import Drift, Metric

_TO_RAISE = 2
TO_CLEAR = 3
"""Evaluations in a row, the latest one included."""

_CALM = 0.8
"""The share of the limit below which an evaluation counts for clearing."""


def merged(window: Mapping[Metric, Drift], run: Mapping[Metric, Drift]) -> dict[Metric, Drift]:
    """The figures of an evaluation: those of the window, or, where only the run by itself breaches a limit, its own.

    ``run`` is empty where every row of the run counts in the window.
    """
    return {
        metric: run[metric] if metric in run and run[metric].is_breach and not one.is_breach else one
        for metric, one in window.items()
    }


def is_raised(history: Sequence[Drift | None]) -> bool:
    """Whether an alert is raised, given the figures of the evaluations, the latest first; None where there was none."""
    latest = history[0]
    if latest is None:
        return False
    needed = _TO_RAISE if latest.measure == "distribution" else 1
    considered = history[:needed]
    return len(considered) == needed and all(one is not None and one.is_breach for one in considered)


def is_over(history: Sequence[Drift | None]) -> bool:
    """Whether an alert is cleared: the latest figures are calm, or there is none any longer to be calm."""
    latest = history[0]
    if latest is None or latest.action == "off":
        return True
    considered = history[:TO_CLEAR]
    return len(considered) == TO_CLEAR and all(one is not None and _is_calm(one) for one in considered)


def _is_calm(drift: Drift) -> bool:
    return drift.effect is not None and drift.limit is not None and drift.effect < _CALM * drift.limit
