"""How often ``monitor`` alarms without drift, and how soon it does with drift: ``make false-alarms``.

Nights of a year are drawn from the distribution of the reference, eleven features with ten bins each, gathered into
windows and evaluated as the runs of a job are, by the window so far. A night counts as a breach if there is any, and as
an alarm if an alert is raised. The shift has a population stability index of 0.18 in one
feature. Everything is seeded.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.drift import Drift, Metric
from batch_scoring.domain.limits import Monitoring
from batch_scoring.domain.profile import FeatureBins, FeatureCounts, Profile, Reference, total
from batch_scoring.model.drift import compare, psi
from batch_scoring.monitoring.hysteresis import TO_CLEAR, is_over, is_raised

SEED = 20260101
REFERENCE_ROWS = 614
FEATURES = 11
BINS = 10
NIGHTS = 365
YEARS = 4
"""Each with a reference of its own."""
SHIFTS = 40
SETTINGS = Monitoring()
POLICY = DecisionPolicy(kind="regression", positive_label=None, decided_label=None, threshold=None)
EVEN = np.full(BINS, 1 / BINS)
MISSING = 0.02


def _shifted(target: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Shares that rise from bin to bin, with this population stability index against even ones."""
    slope = np.linspace(-1, 1, BINS)
    low, high = 0.0, 0.1
    while high - low > 1e-9:
        middle = (low + high) / 2
        shares = EVEN + middle * slope
        million = [int(share * 1e9) for share in shares]
        low, high = (middle, high) if psi([100_000_000] * BINS, million) < target else (low, middle)
    return EVEN + low * slope


def _reference(random: np.random.Generator) -> Reference:
    features = []
    for number in range(FEATURES):
        missing = int(random.binomial(REFERENCE_ROWS, MISSING))
        counts = random.multinomial(REFERENCE_ROWS - missing, EVEN).tolist()
        features.append(
            FeatureBins(
                name=f"feature {number}", edges=tuple(range(BINS - 1)), low=0, high=9, counts=(*counts, missing, 0)
            )
        )
    return Reference(origin="training", rows=REFERENCE_ROWS, features=tuple(features), scores=None)


def _night(random: np.random.Generator, rows: int, shifted: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Profile:
    features = {}
    for number in range(FEATURES):
        missing = int(random.binomial(rows, MISSING))
        counts = random.multinomial(rows - missing, shifted if number == 0 else EVEN).tolist()
        features[f"feature {number}"] = FeatureCounts(counts=(*counts, missing, 0), low=0, high=9)
    return Profile(rows=rows, features=features)


@dataclass(frozen=True)
class Night:
    """What the evaluation of a night gave."""

    has_breach: bool
    is_alarm: bool
    has_open_alert: bool


def _evaluated(reference: Reference, nights: Iterator[Profile]) -> Iterator[Night]:
    window: list[Profile] = []
    history: list[Mapping[Metric, Drift]] = []
    open_alerts: set[Metric] = set()
    for night in nights:
        if window and (sum(one.rows for one in window) >= SETTINGS.window_rows or len(window) > SETTINGS.window.days):
            window = []
        window.append(night)
        gathered = total(window)
        assert gathered is not None
        found = {one.metric: one for one in compare(reference, POLICY, gathered, SETTINGS).metrics}
        history = [found, *history][:TO_CLEAR]
        raised = {
            metric
            for metric in history[0]
            if metric not in open_alerts and is_raised([figures.get(metric) for figures in history])
        }
        open_alerts |= raised
        open_alerts -= {metric for metric in open_alerts if is_over([figures.get(metric) for figures in history])}
        yield Night(
            has_breach=any(one.is_breach for one in history[0].values()),
            is_alarm=bool(raised),
            has_open_alert=bool(open_alerts),
        )


def main() -> None:
    """Print both tables."""
    random = np.random.default_rng(SEED)
    print("No drift:\n\n| rows a night | nights | with a breach | with an alarm | with an open alert |")
    print("| --- | --- | --- | --- | --- |")
    for rows in (50, 200, 1_000):
        found: list[Night] = []
        for _ in range(YEARS):
            reference = _reference(random)
            found += _evaluated(reference, (_night(random, rows, EVEN) for _ in range(NIGHTS)))
        shares = [
            sum(getattr(night, name) for night in found) / len(found)
            for name in ("has_breach", "is_alarm", "has_open_alert")
        ]
        print(f"| {rows:,} | {len(found):,} | {' | '.join(f'{share:.2%}' for share in shares)} |", flush=True)
    shifted = _shifted(0.18)
    print("\nA shift:\n\n| rows a night | median of nights until an alarm | nine of ten within |\n| --- | --- | --- |")
    for rows in (50, 200, 1_000):
        nights = []
        for _ in range(SHIFTS):
            reference = _reference(random)
            evaluated = _evaluated(reference, (_night(random, rows, shifted) for _ in range(60)))
            nights.append(next((number for number, night in enumerate(evaluated, start=1) if night.is_alarm), 60))
        within = sorted(nights)[int(0.9 * SHIFTS) - 1]
        print(f"| {rows:,} | {statistics.median(nights):g} | {within} |", flush=True)


if __name__ == "__main__":
    main()
