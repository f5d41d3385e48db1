"""The order of tests, and an end to them where time is short.

What ``make test`` runs comes first, then one variant of each slow test, then the other variants, the quickest kinds
first, in an order that changes from day to day. With ``TEST_MINUTES`` set, the variants that have not begun after so
many minutes are skipped, as CI does: a slow machine runs fewer of them each day, and every one over the days. On a
machine so slow that slow tests have not begun after twice as many minutes, these are skipped, too.
"""

from __future__ import annotations

import os
import time
import zlib
from datetime import date

import pytest
from sampling import is_left_out

_START = "TESTS_OF_BATCH_SCORING_START"
_DAY = "TESTS_OF_BATCH_SCORING_DAY"
_FOLDERS = ("unit", "store", "acceptance")


def start() -> None:
    """Note when the tests began; the processes that run them inherit it."""
    os.environ.setdefault(_DAY, date.today().isoformat())  # noqa: DTZ011 any day will do
    os.environ.setdefault(_START, str(time.time()))


def order(items: list[pytest.Item]) -> None:
    """Sort what ``sampling`` has marked."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> tuple[int, int]:
    if not is_left_out(item):
        return (1 if item.get_closest_marker("slow") else 0, 0)
    folder = next((number for number, name in enumerate(_FOLDERS) if f"/{name}/" in item.nodeid), 0)
    return 2 + folder, zlib.crc32(f"{os.environ[_DAY]} {item.nodeid}".encode())


def skip_if_out_of_time(item: pytest.Item) -> None:
    """Skip a variant, or a slow test, whose turn comes after the end of the time given."""
    minutes = os.environ.get("TEST_MINUTES")
    if not minutes:
        return
    passed = (time.time() - float(os.environ[_START])) / 60
    if is_left_out(item) and passed > float(minutes):
        pytest.skip(f"a variant that did not begin within TEST_MINUTES={minutes}")
    if item.get_closest_marker("slow") and passed > 2 * float(minutes):
        pytest.skip(f"a slow test that did not begin within twice TEST_MINUTES={minutes}")
