"""Scorecards: bins and their weights of evidence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_scoring.model.scorecard import WeightOfEvidence


def test_a_weight_is_the_logarithm_of_the_ratio_of_shares() -> None:
    frame = pd.DataFrame({"area": ["a"] * 4 + ["b"] * 4, "known": [0.0, 0, 1, 1, 1, 1, 1, 1]})
    labels = ["N", "N", "N", "Y", "Y", "Y", "Y", "N"]

    found = WeightOfEvidence(smoothing=0.5).fit(frame, labels)

    # of "a": 1 of 4 Y and 3 of 4 N, in three bins (a, b, missing)
    expected = np.log(1.5 / 5.5) - np.log(3.5 / 5.5)
    assert found.transform(frame)[0, 0] == pytest.approx(expected)
    assert list(found.edges_[1]) == [1.0]
    # of 0: none of 4 Y and 2 of 4 N
    assert found.transform(frame)[0, 1] == pytest.approx(np.log(0.5 / 5.5) - np.log(2.5 / 5.5))


def test_missing_values_are_a_bin_of_their_own_and_an_unseen_category_says_nothing() -> None:
    frame = pd.DataFrame({"area": ["a", "b", None, None], "income": [1.0, 2.0, np.nan, np.nan]})
    found = WeightOfEvidence().fit(frame, [0, 0, 1, 1])

    given = pd.DataFrame({"area": [None, "c"], "income": [np.nan, 5.0]})
    weights = found.transform(given)

    assert weights[0, 0] > 0
    assert weights[0, 1] > 0
    assert weights[1, 0] == 0


def test_more_than_two_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="two labels"):
        WeightOfEvidence().fit(pd.DataFrame({"x": [1.0, 2, 3]}), [1, 2, 3])


@given(st.lists(st.one_of(st.none(), st.floats(-1e9, 1e9)), min_size=2, max_size=60), st.randoms())
def test_any_numbers_have_finite_weights_and_bins_in_order(values: list[float | None], random: object) -> None:
    labels = [i % 2 for i in range(len(values))]
    frame = pd.DataFrame({"x": pd.Series(values, dtype=float)})

    found = WeightOfEvidence(bins=4).fit(frame, labels)

    assert np.isfinite(found.transform(frame)).all()
    assert len(found.edges_[0]) <= 3
    assert (np.diff(found.edges_[0]) > 0).all()


def test_a_column_with_one_frequent_value_keeps_the_difference_to_the_rest() -> None:
    values = [1.0] * 90 + [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.1, 0.9, 0.15]
    found = WeightOfEvidence(bins=5).fit(pd.DataFrame({"x": values}), [1] * 90 + [0] * 10)

    weights = found.transform(pd.DataFrame({"x": [1.0, 0.5]}))[:, 0]
    assert weights[0] > 0 > weights[1]
