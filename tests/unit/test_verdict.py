"""The verdict on a model: by cause, by intervals over some months together, and never by a single value."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import numpy as np
import pytest

from batch_scoring.domain.performance import Cohort
from batch_scoring.domain.retraining import Retraining, Verdict
from batch_scoring.model.performance import classification, regression
from batch_scoring.monitoring.verdict import judge

SETTINGS = Retraining(accuracy=0.68, roc_auc=0.65, fewest=50)


def month(number: int, *, accuracy: float = 0.75, rows: int = 400, version: int = 1, shift: float = 0.0) -> Cohort:
    """A month whose scores are calibrated but for a shift of the log odds, and of an accuracy or better."""
    random = np.random.default_rng(number)
    odds = random.normal(0.8, 1.6, rows)
    scores = 1 / (1 + np.exp(-odds))
    outcomes = random.random(rows) < 1 / (1 + np.exp(-odds - shift))
    if accuracy < 0.7:  # the order of the scores is lost, too
        outcomes = np.where(random.random(rows) < accuracy, scores >= 0.5, scores < 0.5)
    return _cohort(number, version, outcomes, scores)


def _cohort(number: int, version: int, outcomes: np.ndarray[tuple[int], np.dtype[np.bool_]], scores: object) -> Cohort:
    labels = np.where(outcomes, "Y", "N").astype(object)
    predictions = np.where(np.asarray(scores) >= 0.5, "Y", "N").astype(object)
    return Cohort(
        month=date(2026, number, 1),
        model_name="m",
        model_version=version,
        population="all",
        predicted_count=len(labels),
        performance=classification(labels, predictions, np.asarray(scores), positive="Y", fewest=30),
    )


def verdict(cohorts: Iterable[Cohort], settings: Retraining = SETTINGS, faults: Iterable[str] = ()) -> Verdict:
    return judge(settings, cohorts, positive="Y", data_faults=tuple(faults))


def test_a_model_that_does_what_it_should_is_left_alone() -> None:
    found = verdict([month(1), month(2)])
    assert (found.advice, found.reasons) == ("none", ())
    assert (found.model_version, found.months) == (1, (date(2026, 2, 1), date(2026, 1, 1)))


def test_accuracy_and_order_that_have_fallen_ask_for_another_model() -> None:
    found = verdict([month(1, accuracy=0.5), month(2, accuracy=0.5)])
    assert found.advice == "retrain"
    assert found.reasons[0].startswith("the accuracy of 2026-01 and 2026-02 is 0.")
    assert found.reasons[0].endswith("and the limit is 0.68")
    assert "the ROC AUC" in found.reasons[1]


def test_one_bad_month_is_watched() -> None:
    found = verdict([month(1), month(2, accuracy=0.6, rows=60)], Retraining(accuracy=0.68, fewest=50))
    assert found.advice in ("watch", "recalibrate")
    settings = Retraining(accuracy=0.95, fewest=50)
    found = verdict([month(1, rows=60), month(2, rows=60)], settings.model_copy(update={"accuracy": 0.8}))
    assert found.advice in ("watch", "none"), "60 outcomes a month do not tell 0.75 from 0.8"


def test_faulty_data_come_first() -> None:
    found = verdict([month(1, accuracy=0.5), month(2, accuracy=0.5)], faults=["an alert is open: income: 40% missing"])
    assert found.advice == "fix_data"
    assert "an alert is open: income: 40% missing" in found.reasons


def test_scores_that_are_off_while_their_order_holds_ask_for_calibration() -> None:
    found = verdict([month(1, shift=-1.5), month(2, shift=-1.5)])
    assert found.advice == "recalibrate"
    assert any("calibration intercept is -1." in reason for reason in found.reasons)
    without = Retraining(accuracy=0.72, fewest=50)
    fallen = verdict([month(1, shift=-2.5), month(2, shift=-2.5)], without)
    assert fallen.advice == "retrain", "without a limit of the order it is not known to hold"
    held = verdict([month(1, shift=-2.5), month(2, shift=-2.5)], without.model_copy(update={"roc_auc": 0.6}))
    assert (held.advice, held.reasons[-1]) == ("recalibrate", "the order of the scores holds")


@pytest.mark.parametrize(
    ("cohorts", "reason"),
    [
        ([], "no month of decisions has outcomes that are final"),
        ([month(1)], "2 months of version 1 with at least 50 outcomes are needed, and there is 1"),
        ([month(1, rows=40), month(2)], "2 months of version 1 with at least 50 outcomes are needed, and there is 1"),
        ([month(1), month(2, version=2)], "2 months of version 2 with at least 50 outcomes are needed, and there is 1"),
    ],
    ids=["none", "one", "small", "another version"],
)
def test_too_few_months_are_not_judged(cohorts: list[Cohort], reason: str) -> None:
    found = verdict(cohorts)
    assert (found.advice, found.reasons) == ("unknown", (reason,))


def test_only_the_latest_months_are_judged() -> None:
    found = verdict([month(1, accuracy=0.4), month(2), month(3)])
    assert found.advice == "none"
    assert found.months == (date(2026, 3, 1), date(2026, 2, 1))


def test_without_limits_and_for_numbers_there_is_nothing_to_fall() -> None:
    assert verdict([month(1, accuracy=0.5), month(2, accuracy=0.5)], Retraining()).advice != "retrain"
    numbers = [
        Cohort(
            month=date(2026, number, 1),
            model_name="m",
            model_version=1,
            population="all",
            predicted_count=60,
            performance=regression(np.arange(60.0), np.arange(60.0) + 1, fewest=30),
        )
        for number in (1, 2)
    ]
    assert judge(SETTINGS, numbers, positive=None, data_faults=()).advice == "none"
