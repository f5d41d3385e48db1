"""Groups compared: four fifths by integers, intervals, small groups, and how often equal groups are flagged."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats.contingency import relative_risk

from batch_scoring.domain.fairness import UNKNOWN, GroupCounts, GroupFigures
from batch_scoring.model.fairness import compare_groups, is_below_four_fifths
from batch_scoring.model.intervals import ratio_of_shares

MAY = date(2026, 5, 1)


def compared(reference: str | None = None, fewest: int = 30, **groups: tuple[int, int]) -> dict[str, GroupFigures]:
    counts = {name: GroupCounts(rows=rows, selected=selected) for name, (selected, rows) in groups.items()}
    figures, _ = compare_groups(MAY, "sex", counts, reference=reference, fewest=fewest)
    return {one.group: one for one in figures}


def test_the_example_of_the_guidelines_is_decided_as_there() -> None:
    # Uniform Guidelines, Questions and Answers (1979), number 12: rates of 60, 45, 48 and 51 percent
    found = compared("A", A=(600, 1000), B=(450, 1000), C=(480, 1000), D=(510, 1000))
    assert [found[name].ratio for name in "BCD"] == pytest.approx([0.75, 0.80, 0.85])
    assert [found[name].is_below_four_fifths for name in "ABCD"] == [False, True, False, False]


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 50))
def test_exactly_four_fifths_is_not_below(rows: int, reference_rows: int, share: int) -> None:
    """Rates of 4 s and 5 s out of rows that differ by a factor: floats would decide by rounding."""
    selected, reference_selected = 4 * share * rows, 5 * share * reference_rows
    own, other = 500 * rows, 500 * reference_rows
    assert not is_below_four_fifths(selected, own, reference_selected, other)
    assert is_below_four_fifths(selected - 1, own, reference_selected, other)


def test_the_interval_of_a_ratio_is_katzs() -> None:
    found = ratio_of_shares(1, 10, 3, 20)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.667, 0.079, 5.62), abs=5e-3)
    known = relative_risk(45, 100, 60, 100).confidence_interval(0.95)
    figures = compared("A", A=(60, 100), B=(45, 100))["B"]
    assert (figures.ratio_low, figures.ratio_high) == pytest.approx((known.low, known.high))


def test_the_largest_known_group_is_the_reference_unless_one_is_named() -> None:
    groups = {"a": (40, 100), "b": (20, 60), UNKNOWN: (100, 500)}
    assert [one.group for one in compared(None, 30, **groups).values() if one.is_reference] == ["a"]
    assert [one.group for one in compared("b", 30, **groups).values() if one.is_reference] == ["b"]
    assert compared(None, 30, **groups)[UNKNOWN].ratio == pytest.approx(0.5), "rows without a value are a group"


def test_a_single_group_and_a_reference_without_enough_rows_give_no_ratio() -> None:
    alone = compared(None, 30, a=(40, 100))
    assert (alone["a"].is_reference, alone["a"].ratio) == (True, None)
    without = compared("b", 30, a=(40, 100), b=(3, 12), c=(50, 80))
    assert set(without) == {"a", "c"}, "a small group is not shown"
    assert {one.ratio for one in without.values()} == {None}
    assert not any(one.is_flagged for one in without.values())


def test_small_groups_are_counted_and_not_shown() -> None:
    counts = {name: GroupCounts(rows=rows, selected=1) for name, rows in (("a", 300), ("b", 29), ("c", 2))}
    figures, small = compare_groups(MAY, "sex", counts, reference=None, fewest=30)
    assert [one.group for one in figures] == ["a"]
    assert small is not None
    assert small.count == 2
    assert compare_groups(MAY, "sex", {"a": counts["a"]}, reference=None, fewest=30)[1] is None


def test_a_group_of_which_nobody_is_selected_is_flagged_where_it_is_large_enough() -> None:
    found = compared("a", 30, a=(90, 100), b=(0, 60))["b"]
    assert (found.ratio, found.is_below_four_fifths, found.is_flagged) == (None, True, True)
    assert not compared("a", 10, a=(2, 100), b=(0, 12))["b"].is_flagged, "that may be chance"


def test_outcomes_of_a_group_are_its_true_positive_rate_and_its_calibration() -> None:
    counts = GroupCounts(rows=200, selected=120, outcomes=150, positives=100, selected_positives=80, score_sum=97.5)
    (found,), _ = compare_groups(MAY, "sex", {"a": counts}, reference=None, fewest=30)
    assert (found.true_positive_rate, found.expected, found.observed) == pytest.approx((0.8, 0.65, 2 / 3))
    few = GroupCounts(rows=200, selected=120, outcomes=29, positives=20, selected_positives=20, score_sum=20.0)
    (found,), _ = compare_groups(MAY, "sex", {"a": few}, reference=None, fewest=30)
    assert (found.true_positive_rate, found.expected, found.observed) == (None, None, None)


@settings(max_examples=20)
@given(
    rate=st.sampled_from([0.2, 0.5, 0.8]),
    sizes=st.sampled_from([(40, 40), (200, 60), (1000, 100)]),
)
def test_groups_with_equal_rates_are_seldom_flagged(rate: float, sizes: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    flagged = 0
    for _ in range(400):
        a, b = (int(random.binomial(size, rate)) for size in sizes)
        flagged += compared("a", 30, a=(a, sizes[0]), b=(b, sizes[1]))["b"].is_flagged
    assert flagged / 400 <= 0.05


def test_groups_that_differ_are_flagged() -> None:
    random = np.random.default_rng(0)
    flagged = sum(
        compared("a", 30, a=(int(random.binomial(500, 0.7)), 500), b=(int(random.binomial(200, 0.45)), 200))[
            "b"
        ].is_flagged
        for _ in range(200)
    )
    assert flagged / 200 > 0.95
