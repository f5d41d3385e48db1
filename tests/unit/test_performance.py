"""Metrics of predictions with an outcome, compared with scikit-learn, published figures and simulations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from batch_scoring.domain.performance import Metric, Performance, ScoreSums
from batch_scoring.model.intervals import roc_auc
from batch_scoring.model.performance import (
    calibration,
    classification,
    kolmogorov_smirnov,
    of_sums,
    regression,
)

# The data set aSAH of the R package pROC (Turck et al., 2010): S100B of patients in hundredths, by outcome
GOOD = """
13 14 10 4 47 18 10 10 4 8 4 9 11 7 17 7 11 13 19 5 16 14 34 9 50 46 16 7 43 45 11 8 9 8 6 13 10 14 15 6 5 9 4 9 8 16
9 8 33 11 28 7 10 32 7 5 24 38 10 15 8 14 10 7 4 19 15 47 17 15 50 48
"""
POOR = """
13 10 16 12 44 71 49 7 33 9 7 41 35 48 96 25 86 52 207 7 77 30 3 9 23 70 27 71 8 26 13 10 11 22 56 14 58 32 82 74 44
"""


def loans(count: int, *, seed: int = 0, bias: float = 0.0) -> tuple[Any, Any, Any]:
    """Outcomes, predictions and scores of loans; with a bias of 0 the scores are the true probabilities of Y."""
    random = np.random.default_rng(seed)
    scores = random.beta(2, 1.2, size=count).round(3)
    chance = 1 / (1 + np.exp(-(np.log(np.clip(scores, 1e-6, 1 - 1e-6) / np.clip(1 - scores, 1e-6, 1)) + bias)))
    outcomes = np.where(random.random(count) < chance, "Y", "N").astype(object)
    predictions = np.where(scores >= 0.5, "Y", "N").astype(object)
    return outcomes, predictions, scores


def value(found: Performance, metric: Metric) -> float:
    figure = found.figure(metric)
    assert figure is not None
    assert figure.value is not None, figure.why_not
    return figure.value


def why_not(found: Performance, metric: Metric) -> str:
    figure = found.figure(metric)
    assert figure is not None
    assert figure.value is None
    assert figure.why_not is not None
    return figure.why_not


def test_the_area_and_its_interval_are_those_of_proc() -> None:
    scores = np.array([*map(int, GOOD.split()), *map(int, POOR.split())]) / 100
    positive = np.arange(len(scores)) >= len(GOOD.split())
    assert (len(scores), positive.sum()) == (113, 41)
    found = roc_auc(positive, scores)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.7314, 0.6301, 0.8326), abs=5e-5)
    assert kolmogorov_smirnov(positive, scores) == pytest.approx(0.4397, abs=5e-5)
    assert 2 * found.value - 1 == pytest.approx(0.4627, abs=5e-5)


@pytest.mark.parametrize("seed", range(3))
def test_each_metric_of_probabilities_is_that_of_scikit_learn(seed: int) -> None:
    outcomes, predictions, scores = loans(400, seed=seed, bias=0.4)
    found = classification(outcomes, predictions, scores, positive="Y", fewest=30)
    truth = outcomes == "Y"
    false_positives, true_positives, _ = metrics.roc_curve(truth, scores)
    expected: dict[Metric, float] = {
        "accuracy": metrics.accuracy_score(outcomes, predictions),
        "base_rate": max(truth.mean(), 1 - truth.mean()),
        "precision": metrics.precision_score(outcomes, predictions, pos_label="Y"),
        "recall": metrics.recall_score(outcomes, predictions, pos_label="Y"),
        "roc_auc": metrics.roc_auc_score(truth, scores),
        "gini": 2 * metrics.roc_auc_score(truth, scores) - 1,
        "ks": (true_positives - false_positives).max(),
        "log_loss": metrics.log_loss(truth, scores),
        "brier_score": metrics.brier_score_loss(truth, scores),
    }
    for metric, number in expected.items():
        assert value(found, metric) == pytest.approx(number, abs=1e-12), metric
        figure = found.figure(metric)
        assert figure is not None
        if metric != "ks":
            assert figure.low is not None
            assert figure.high is not None
            assert figure.low <= number <= figure.high


def test_the_calibration_slope_is_that_of_a_logistic_regression() -> None:
    outcomes, _, scores = loans(1000, bias=0.5)
    odds = np.log(scores.clip(1e-6, 1 - 1e-6) / (1 - scores.clip(1e-6, 1 - 1e-6)))
    fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(odds[:, None], outcomes == "Y")
    _, slope = calibration(outcomes == "Y", scores)
    assert slope.value == pytest.approx(fitted.coef_[0, 0], abs=1e-5)


def test_intervals_of_calibration_cover_the_truth_as_often_as_they_say() -> None:
    hits = dict.fromkeys(("calibration_intercept", "calibration_slope"), 0)
    for seed in range(300):
        outcomes, _, scores = loans(300, seed=seed)
        for figure, truth in zip(calibration(outcomes == "Y", scores), (0.0, 1.0), strict=True):
            assert figure.low is not None
            assert figure.high is not None
            hits[figure.metric] += figure.low <= truth <= figure.high
    assert all(0.91 <= count / 300 <= 0.985 for count in hits.values()), hits


def test_scores_that_are_too_high_show_in_the_intercept_and_too_extreme_ones_in_the_slope() -> None:
    outcomes, predictions, scores = loans(2000, bias=-1.0)
    found = classification(outcomes, predictions, scores, positive="Y", fewest=30)
    assert value(found, "calibration_intercept") == pytest.approx(-1.0, abs=0.2)
    outcomes, predictions, scores = loans(2000)
    extreme = 1 / (1 + ((1 - scores) / scores.clip(1e-6)) ** 3)
    found = classification(outcomes, predictions, extreme, positive="Y", fewest=30)
    assert value(found, "calibration_slope") == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize(
    ("outcomes", "scores", "reason"),
    [
        ([0] * 50 + [1] * 50, [0.1] * 50 + [0.9] * 50, "the scores separate the outcomes completely"),
        ([0, 1] * 50, [0.4] * 100, "all scores are equal"),
    ],
    ids=["separated", "equal"],
)
def test_calibration_that_is_not_defined_says_why(outcomes: list[int], scores: list[float], reason: str) -> None:
    _, slope = calibration(np.array(outcomes) == 1, np.array(scores))
    assert (slope.value, slope.why_not) == (None, reason)


def test_bands_hold_each_row_once_and_keep_equal_scores_together() -> None:
    outcomes, predictions, scores = loans(1003, seed=4)
    scores = scores.round(1)
    found = classification(outcomes, predictions, scores, positive="Y", fewest=30)
    assert sum(band.rows for band in found.bands) == 1003
    assert all(one.high < other.low for one, other in zip(found.bands, found.bands[1:], strict=False))
    for band in found.bands:
        rows = (scores >= band.low) & (scores <= band.high)
        assert band.observed == pytest.approx((outcomes[rows] == "Y").mean())
        assert band.expected == pytest.approx(scores[rows].mean())
        assert band.observed_low <= band.observed <= band.observed_high


def test_figures_of_sums_are_those_of_the_rows_within_a_bin() -> None:
    outcomes, predictions, scores = loans(5000, seed=5)
    rows = classification(outcomes, predictions, scores, positive="Y", fewest=30)
    sums = of_sums(rows.sums, positive="Y", fewest=30)
    assert sums.rows == rows.rows
    for figure in rows.figures:
        exact = figure.metric in ("accuracy", "base_rate", "precision", "recall")
        assert value(sums, figure.metric) == pytest.approx(figure.value, abs=1e-12 if exact else 0.003), figure.metric


_cohort = st.integers(0, 120).flatmap(
    lambda count: st.tuples(
        st.lists(st.sampled_from("YN"), min_size=count, max_size=count),
        st.lists(st.floats(0, 1), min_size=count, max_size=count),
    )
)


@given(one=_cohort, other=_cohort)
def test_sums_of_parts_are_those_of_all(
    one: tuple[list[str], list[float]], other: tuple[list[str], list[float]]
) -> None:
    def sums(outcomes: list[str], scores: list[float]) -> ScoreSums:
        values = np.array(scores, dtype=float)
        labels = np.where(values >= 0.5, "Y", "N").astype(object)
        return classification(np.array(outcomes, dtype=object), labels, values, positive="Y", fewest=2).sums

    together = sums(one[0] + other[0], one[1] + other[1])
    assert sums(*one) + sums(*other) == together == sums(*other) + sums(*one)


def test_too_few_outcomes_give_no_figure_and_say_so() -> None:
    outcomes, predictions, scores = loans(29)
    found = classification(outcomes, predictions, scores, positive="Y", fewest=30)
    assert {figure.value for figure in found.figures} == {None}
    assert {figure.why_not for figure in found.figures} == {"29 outcomes, and 30 are the fewest"}
    assert sum(found.sums.positive.values()) + sum(found.sums.negative.values()) == 29, "they are counted all the same"
    assert why_not(regression(np.ones(3), np.ones(3), fewest=30), "bias") == "3 outcomes, and 30 are the fewest"


def test_outcomes_of_one_kind_have_no_order_to_judge() -> None:
    _, predictions, scores = loans(100)
    found = classification(np.array(["Y"] * 100, dtype=object), predictions, scores, positive="Y", fewest=30)
    for metric in ("roc_auc", "gini", "ks", "calibration_intercept", "calibration_slope"):
        assert why_not(found, metric) == "0 of the 100 outcomes are of the rarer kind, and 5 are needed"
    assert value(found, "base_rate") == 1.0
    assert value(found, "recall") == pytest.approx((predictions == "Y").mean())


def test_without_a_positive_outcome_there_is_no_recall_and_without_a_positive_prediction_no_precision() -> None:
    no = np.array(["N"] * 40, dtype=object)
    found = classification(no, no, np.full(40, 0.2), positive="Y", fewest=30)
    assert why_not(found, "recall") == "no outcome is Y"
    assert why_not(found, "precision") == "no row was predicted Y"
    assert value(found, "accuracy") == 1.0


def test_recall_is_not_computed_where_outcomes_of_refused_rows_are_not_known() -> None:
    outcomes, predictions, scores = loans(200)
    found = classification(outcomes, predictions, scores, positive="Y", fewest=30, hidden="outcomes are known of few")
    assert why_not(found, "recall") == "outcomes are known of few"
    assert value(found, "precision") > 0


def test_three_labels_have_the_figures_that_labels_give() -> None:
    random = np.random.default_rng(0)
    outcomes = random.choice(["a", "b", "c"], size=90).astype(object)
    predictions = np.where(random.random(90) < 0.7, outcomes, "a").astype(object)
    found = classification(outcomes, predictions, None, positive=None, fewest=30)
    assert [figure.metric for figure in found.figures] == ["accuracy", "base_rate"]
    assert value(found, "accuracy") == pytest.approx((outcomes == predictions).mean())
    assert sum(sum(of_label.values()) for of_label in found.sums.decided.values()) == 90


def test_metrics_of_numbers_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(1)
    outcomes = random.gamma(2, 100, size=300)
    predictions = outcomes + random.normal(5, 20, size=300)
    found = regression(outcomes, predictions, fewest=30)
    assert value(found, "mean_absolute_error") == pytest.approx(metrics.mean_absolute_error(outcomes, predictions))
    assert value(found, "root_mean_squared_error") == pytest.approx(
        metrics.root_mean_squared_error(outcomes, predictions)
    )
    assert value(found, "bias") == pytest.approx((predictions - outcomes).mean())
    bias = found.figure("bias")
    assert bias is not None
    assert bias.low is not None
    assert bias.low < 5 < (bias.high or 0)
