"""The real applications, which are no part of the repository: the main job as commands, and what training reaches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from main_job import assert_scored_once_and_as_by_hand, first_day
from support import Workspace

from batch_scoring.domain.job import Job
from batch_scoring.model.training import Algorithm, train


@pytest.fixture(params=list(Algorithm))
def algorithm(request: pytest.FixtureRequest) -> Algorithm:
    """Each algorithm; as a fixture, because skips of tests with a marker of their own are reported apart."""
    chosen: Algorithm = request.param
    return chosen


@pytest.fixture(scope="module")
def real_history(real_loans: Path) -> pd.DataFrame:
    """The 614 real labelled applications."""
    return pd.read_csv(real_loans / "loan_train.csv")


def test_the_real_applicants_are_scored_once_and_as_the_artifact_scores_them_by_hand(
    workspace: Workspace, real_loans: Path
) -> None:
    first_day(workspace, real_loans)

    run = workspace.cli_json("run", "loan_eligibility")

    assert (run["due_count"], run["scored_count"], run["quarantined_count"]) == (367, 367, 0)
    assert_scored_once_and_as_by_hand(workspace, real_loans)
    again = workspace.cli_json("run", "loan_eligibility")
    assert (again["due_count"], again["scored_count"], again["quarantined_count"]) == (0, 0, 0)


def test_accuracy_is_that_of_the_published_trials(
    loan_job: Job, real_history: pd.DataFrame, algorithm: Algorithm
) -> None:
    metrics = train(loan_job, real_history, "Loan_Status", algorithm).metrics
    assert 0.78 <= metrics.cross_validation.accuracy <= 0.83
    assert 0.70 <= metrics.cross_validation.roc_auc <= 0.80
    assert 0.4 <= metrics.cross_validation.log_loss <= 1.0
    assert np.sum(metrics.held_out.confusion_matrix) == 123


def test_the_real_history_is_learned_better_than_by_guessing(loan_job: Job, real_history: pd.DataFrame) -> None:
    trained = train(loan_job, real_history, "Loan_Status", Algorithm.LOGISTIC_REGRESSION)

    assert trained.label_counts == {"N": 192, "Y": 422}
    assert trained.metrics.cross_validation.accuracy > 422 / 614 + 0.05
    assert trained.metrics.cross_validation.roc_auc > 0.7
