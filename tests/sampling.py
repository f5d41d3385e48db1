"""Which variants of a test ``make test`` runs: a sample of each sweep, and all of the rest.

A sweep is a test with many parameters that take long together: every point at which a run can be killed, every
estimator of scikit-learn, every width of a terminal. ``make test-all`` runs each of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import pytest


def mark_sweeps(items: Sequence[pytest.Item]) -> None:
    """Mark variants of tests with ``@pytest.mark.sweep(sample=n)`` as slow, but for n of them, evenly spaced.

    The first and the last variant are among the n, in the order of collection.
    """
    sweeps: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("sweep"):
            sweeps[item.nodeid.partition("[")[0]].append(item)
    for variants in sweeps.values():
        marker = variants[0].get_closest_marker("sweep")
        assert marker is not None
        sampled = positions(len(variants), marker.kwargs["sample"])
        for position, item in enumerate(variants):
            if position not in sampled:
                item.add_marker(pytest.mark.slow)


def positions(count: int, sample: int) -> set[int]:
    """``sample`` of ``count`` positions, evenly spaced, with the first and the last among them."""
    if sample >= count:
        return set(range(count))
    if sample == 1:
        return {0}
    return {round(number * (count - 1) / (sample - 1)) for number in range(sample)}
