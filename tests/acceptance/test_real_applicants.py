"""The real applications, as commands: load, train, run, run again, change, run."""

from __future__ import annotations

import joblib
import numpy as np
import pandas as pd
import pytest
from support import DATA, LOAN_JOB, Workspace

from batch_scoring.job import Job
from batch_scoring.model.training import Algorithm, train

LOAD = ("load", "applicants", str(DATA / "loan_test.csv"), "--key", "Loan_ID")
TRAIN = ("train", "loan_eligibility", "--data", str(DATA / "loan_train.csv"), "--label", "Loan_Status")


@pytest.fixture
def ready(workspace: Workspace) -> Workspace:
    """What a user does on the first day, by commands alone."""
    workspace.write_job("loan_eligibility", LOAN_JOB)
    for arguments in (("db", "upgrade"), LOAD, TRAIN):
        done = workspace.cli(*arguments)
        assert done.returncode == 0, done.stderr
    return workspace


def test_the_real_applicants_are_scored_once_and_as_the_artifact_scores_them_by_hand(ready: Workspace) -> None:
    run = ready.cli_json("run", "loan_eligibility")
    assert (run["due_count"], run["scored_count"], run["quarantined_count"]) == (367, 367, 0)

    (artifact,) = (ready.artifacts_dir / "loan_eligibility").glob("*.joblib")
    model = joblib.load(artifact)
    applicants = pd.read_csv(DATA / "loan_test.csv").set_index("Loan_ID")
    by_hand = pd.Series(model.predict_proba(applicants)[:, list(model.classes_).index("Y")], index=applicants.index)
    stored = pd.DataFrame(
        ready.query('SELECT "Loan_ID", score, prediction FROM predictions_current'), columns=["key", "score", "label"]
    ).set_index("key")
    assert len(stored) == 367
    assert np.abs(stored["score"] - by_hand).max() <= 1e-12
    assert (stored["label"] == np.where(by_hand.reindex(stored.index) >= 0.5, "Y", "N")).all()


def test_a_second_run_finds_nothing_due_and_writes_no_prediction(loan_workspace: Workspace) -> None:
    ready = loan_workspace
    ready.cli("run", "loan_eligibility")
    before = ready.query('SELECT * FROM predictions ORDER BY "Loan_ID"')

    again = ready.cli("run", "loan_eligibility")

    assert again.returncode == 0
    assert "nothing was due" in again.stdout
    assert ready.query('SELECT * FROM predictions ORDER BY "Loan_ID"') == before
    assert ready.query("SELECT status, due_count, scored_count FROM scoring_runs ORDER BY run_id")[-1] == (
        "succeeded",
        0,
        0,
    )


def test_changed_and_new_applicants_are_scored_and_the_old_predictions_stay_as_history(
    loan_workspace: Workspace,
) -> None:
    ready = loan_workspace
    ready.run()
    applicants = pd.read_csv(DATA / "loan_test.csv")
    changed = applicants.head(3).assign(ApplicantIncome=lambda rows: rows["ApplicantIncome"] * 3)
    new = applicants.tail(2).assign(Loan_ID=["NEW001", "NEW002"])
    day_two = ready.folder / "day_two.csv"
    pd.concat([changed, new, applicants.iloc[10:20]]).to_csv(day_two, index=False)
    loaded = ready.cli_json("load", "applicants", str(day_two), "--key", "Loan_ID")
    assert (loaded["inserted"], loaded["updated"]) == (2, 3)

    run = ready.cli_json("run", "loan_eligibility")

    assert (run["due_count"], run["scored_count"], run["superseded_count"]) == (5, 5, 3)
    assert ready.scalar("SELECT count(*) FROM predictions") == 367 + 5
    assert ready.scalar("SELECT count(*) FROM predictions_current") == 369
    for key in changed["Loan_ID"]:
        old, current = ready.query(
            'SELECT run_id, valid_from, valid_to FROM predictions WHERE "Loan_ID" = :key ORDER BY valid_from', key=key
        )
        assert (old[0], current[0]) == (1, 2)
        assert old[2] == current[1], "a life ends where the next one begins"
        assert str(current[2]).startswith("9999-12-31")


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_accuracy_is_that_of_the_published_trials(
    loan_job: Job, loan_train: pd.DataFrame, algorithm: Algorithm
) -> None:
    metrics = train(loan_job, loan_train, "Loan_Status", algorithm).metrics
    assert 0.78 <= metrics["cross_validation"]["accuracy"] <= 0.83
    assert 0.70 <= metrics["cross_validation"]["roc_auc"] <= 0.80
    assert 0.4 <= metrics["cross_validation"]["log_loss"] <= 1.0
    assert np.sum(metrics["held_out"]["confusion_matrix"]) == 123
