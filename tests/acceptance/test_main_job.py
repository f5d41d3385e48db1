"""The main job as commands on the shipped applications: load, train, run, run again, change, run."""

from __future__ import annotations

import pandas as pd
from main_job import assert_scored_once_and_as_by_hand, first_day
from support import DATA, Workspace


def test_the_applicants_are_scored_once_and_as_the_artifact_scores_them_by_hand(workspace: Workspace) -> None:
    first_day(workspace, DATA)

    run = workspace.cli_json("run", "loan_eligibility")

    assert (run["due_count"], run["scored_count"], run["quarantined_count"]) == (367, 367, 0)
    assert_scored_once_and_as_by_hand(workspace, DATA)


def test_a_second_run_finds_nothing_due_and_writes_no_prediction(loan_workspace: Workspace) -> None:
    ready = loan_workspace
    ready.cli("run", "loan_eligibility")
    before = ready.query('SELECT * FROM predictions ORDER BY "Loan_ID"')

    again = ready.cli("run", "loan_eligibility")

    assert again.returncode == 0
    assert "nothing was due" in again.stdout
    assert ready.query('SELECT * FROM predictions ORDER BY "Loan_ID"') == before
    assert ready.query("SELECT status, due_count, scored_count FROM run_history ORDER BY run_id")[-1] == (
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
    assert ready.scalar("SELECT count(*) FROM predictions_history") == 367 + 5
    assert ready.scalar("SELECT count(*) FROM predictions_current") == 369
    for key in changed["Loan_ID"]:
        old, current = ready.query(
            'SELECT run_id, valid_from, valid_to FROM predictions_history WHERE "Loan_ID" = :key ORDER BY valid_from',
            key=key,
        )
        assert (old[0], current[0]) == (1, 2)
        assert old[2] == current[1], "a life ends where the next one begins"
        assert str(current[2]).startswith("9999-12-31")
