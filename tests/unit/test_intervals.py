"""Confidence intervals of metrics, compared with published and simulated ones."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from batch_scoring.model.intervals import roc_auc, share_interval


def test_the_interval_of_a_share_is_wilsons() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263 and 15 of 148
    assert share_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert share_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert share_interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert share_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_the_interval_of_the_area_is_that_of_the_structural_components() -> None:
    random = np.random.default_rng(1)
    positive = random.random(200) < 0.3
    scores = np.round(random.normal(positive * 0.8), 1)  # with ties

    found = roc_auc(positive, scores)

    x, y = scores[positive][:, None], scores[~positive][None, :]
    kernel = (x > y) + 0.5 * (x == y)
    error = np.sqrt(
        kernel.mean(axis=1).var(ddof=1) / positive.sum() + kernel.mean(axis=0).var(ddof=1) / (~positive).sum()
    )
    area = roc_auc_score(positive, scores)
    assert found is not None
    assert found.value == pytest.approx(area)
    assert (found.low, found.high) == pytest.approx((area - 1.959964 * error, area + 1.959964 * error), abs=1e-6)


def test_the_interval_covers_the_true_area_as_often_as_it_says() -> None:
    from scipy.stats import norm

    random = np.random.default_rng(2)
    truth = norm.cdf(1 / np.sqrt(2))
    hits = 0
    for _ in range(400):
        positive = np.arange(200) < 80
        found = roc_auc(positive, random.normal(positive * 1.0))
        assert found is not None
        hits += found.low <= truth <= found.high
    assert 0.92 <= hits / 400 <= 0.98


def test_too_few_rows_have_no_interval() -> None:
    assert roc_auc(np.array([True, False, False]), np.array([0.1, 0.2, 0.3])) is None
