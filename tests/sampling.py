"""Which variants of each test ``make test`` runs; ``make test-all`` runs every one, CI as many as it has time for.

A test, a claim, that takes more than about three seconds is marked slow in the code; each of the others runs at least
once. Commands and whole runs (``tests/acceptance``) run on one of the two databases,
half of the tests on each, since ``tests/store`` holds both databases to the same behaviour. Of a test with many other
parameters (every estimator of scikit-learn, every type of column) a few run, evenly spaced.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence

import pytest

_MOST = {"acceptance": 1, "store": 2, "unit": 3}
"""Variants of one test, by the folder it is in."""

_DATABASES = ("postgresql", "sqlite")

_left_out = pytest.StashKey[bool]()


def is_left_out(item: pytest.Item) -> bool:
    """Whether it is a variant of a test of which others run; a slow test has one variant that is not."""
    return item.stash.get(_left_out, False)


def mark_what_is_left_out(items: Sequence[pytest.Item]) -> None:
    """Mark the variants that ``make test`` does not run as slow, before ``-m`` deselects them."""
    variants: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        variants[item.nodeid.partition("[")[0]].append(item)
    for name, of_test in variants.items():
        folder = next((part for part in name.split("/") if part in _MOST), None)
        if folder is None:
            continue
        candidates = _on_one_database(name, of_test) if folder == "acceptance" else of_test
        sampled = {id(candidates[position]) for position in positions(len(candidates), _MOST[folder])}
        for item in of_test:
            if id(item) not in sampled:
                item.stash[_left_out] = True
                item.add_marker(pytest.mark.slow)


def _on_one_database(name: str, items: Sequence[pytest.Item]) -> Sequence[pytest.Item]:
    """The variants on one database, where there are some on each; which one is decided by the name of the test."""
    on = {database: [item for item in items if database in item.nodeid.partition("[")[2]] for database in _DATABASES}
    if not all(on.values()):
        return items
    return on[_DATABASES[zlib.crc32(name.encode()) % 2]]


def positions(count: int, sample: int) -> set[int]:
    """``sample`` of ``count`` positions, evenly spaced, with the first and the last among them."""
    if sample >= count:
        return set(range(count))
    if sample == 1:
        return {0}
    return {round(number * (count - 1) / (sample - 1)) for number in range(sample)}
