"""How often ``monitor`` alarms without drift, and how soon it does with drift: ``make false-alarms``.

Nights of a year are drawn from the distribution of the reference, eleven features with ten bins each, and gathered into
windows as the runs of a job are. A night counts as an alarm if its window has any alert so far. The shift has a
population stability index of 0.18 in one feature. Everything is seeded.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import numpy as np

from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.limits import Monitoring
from batch_scoring.domain.profile import FeatureBins, FeatureCounts, Profile, Reference
from batch_scoring.model.drift import compare, psi

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


def _alarms(reference: Reference, nights: Iterator[Profile]) -> Iterator[bool]:
    """For each night whether its window has an alert so far."""
    window: list[Profile] = []
    for night in nights:
        if window and (sum(one.rows for one in window) >= SETTINGS.window_rows or len(window) > SETTINGS.window.days):
            window = []
        window.append(night)
        gathered = window[0]
        for one in window[1:]:
            gathered = gathered + one
        yield bool(compare(reference, POLICY, gathered, SETTINGS).breaches)


def main() -> None:
    """Print both tables."""
    random = np.random.default_rng(SEED)
    print("| rows a night | nights with an alarm, no drift |\n| --- | --- |")
    for rows in (50, 200, 1_000):
        found: list[bool] = []
        for _ in range(YEARS):
            reference = _reference(random)
            found += _alarms(reference, (_night(random, rows, EVEN) for _ in range(NIGHTS)))
        print(f"| {rows:,} | {sum(found) / len(found):.2%} of {len(found):,} |", flush=True)
    shifted = _shifted(0.18)
    print("\n| rows a night | median of nights until a shift is found | nine of ten within |\n| --- | --- | --- |")
    for rows in (50, 200, 1_000):
        nights = []
        for _ in range(SHIFTS):
            reference = _reference(random)
            alarms = _alarms(reference, (_night(random, rows, shifted) for _ in range(60)))
            nights.append(next((number for number, alarm in enumerate(alarms, start=1) if alarm), 60))
        within = sorted(nights)[int(0.9 * SHIFTS) - 1]
        print(f"| {rows:,} | {statistics.median(nights):g} | {within} |", flush=True)


if __name__ == "__main__":
    main()
