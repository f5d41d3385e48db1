"""``monitor``: what runs read and predicted, compared with the reference of their model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from commands import assert_refused, said
from conftest import prepare_loans
from documents import blocks
from faults import assert_profiles_equal_counts, loan_job
from support import DATA, LOAN_JOB, REPOSITORY, Workspace

from batch_scoring.domain.profile import Profile, total
from batch_scoring.model.training import TrainedModel
from batch_scoring.store.runs.profiles import profile_of_run

NAME = "loan_eligibility"

BAD_BATCH = """UPDATE applicants SET updated_at = '{time}', "ApplicantIncome" = "ApplicantIncome" * 3,
  "Credit_History" = CASE WHEN substr("Loan_ID", 8, 1) IN ('0', '3', '6') THEN NULL ELSE "Credit_History" END,
  "Property_Area" = CASE WHEN substr("Loan_ID", 8, 1) IN ('1', '2') THEN 'Island' ELSE "Property_Area" END"""
"""Incomes times three, a third of the credit histories missing, a fifth in an area that is new."""


def trained(workspace: Workspace, folder: Path, *options: str) -> Workspace:
    """The loan job, a model trained by its command, and the applicants."""
    workspace.write_job(NAME, LOAN_JOB)
    workspace.upgrade()
    for arguments in (
        ("load", "applicants", str(folder / "loan_test.csv"), "--key", "Loan_ID"),
        ("train", NAME, "--data", str(folder / "loan_train.csv"), "--label", "Loan_Status", *options),
    ):
        done = workspace.cli(*arguments)
        assert done.returncode == 0, done.stderr
    return workspace


def drift(workspace: Workspace, *options: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The metrics of the latest window."""
    (window,) = workspace.cli_json("monitor", NAME, *options)["windows"]
    assert window["why_not"] is None
    return {(one["name"], one["measure"]): one for one in window["report"]["metrics"]}


def alerts(workspace: Workspace, *options: str) -> set[tuple[str, str]]:
    return {name for name, one in drift(workspace, *options).items() if one["is_alert"]}


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["logistic_regression", "random_forest", "hist_gradient_boosting"])
def test_real_applicants_are_quiet_and_a_bad_batch_is_named(
    workspace: Workspace, real_loans: Path, algorithm: str
) -> None:
    trained(workspace, real_loans, "--algorithm", algorithm)
    workspace.run()

    found = drift(workspace)
    assert {name for name, one in found.items() if one["is_alert"]} == set()
    assert found["LoanAmount", "distribution"]["value"] == pytest.approx(0.0979, abs=5e-5)
    if algorithm == "random_forest":
        assert found["score", "distribution"]["value"] < 0.08
    assert "no drift" in workspace.cli("monitor", NAME).stdout

    workspace.sql(BAD_BATCH.format(time="2030-01-01 00:00:00"))
    workspace.run()

    named = alerts(workspace, "--window", "1")
    assert named >= {
        ("ApplicantIncome", "distribution"),
        ("Credit_History", "missing"),
        ("Property_Area", "unseen"),
    }
    changed = {"ApplicantIncome", "Credit_History", "Property_Area", "score", "prediction"}
    assert {name for name, _ in named} <= changed
    printed = workspace.cli("monitor", NAME, "--window", "1").stdout
    assert "drift: Credit_History: " in printed
    assert "monitor profile 2" in printed


@pytest.mark.slow
def test_windows_gather_ordinary_runs_and_leave_rescores_out(workspace: Workspace) -> None:
    trained(workspace, DATA)
    for day in (1, 2, 3):
        workspace.sql(f"UPDATE applicants SET updated_at = '2030-01-0{day} 00:00:00'")
        workspace.run()
    assert workspace.cli("rescore", NAME, "--all", "--yes", "--reason", "test").returncode == 0

    by_default = workspace.cli_json("monitor", NAME, "--since", "2020-01-01")["windows"]
    each = workspace.cli_json("monitor", NAME, "--since", "2020-01-01", "--window", "1")["windows"]

    of = [(one["window"]["first_run"], one["window"]["last_run"], one["window"]["read_count"]) for one in by_default]
    assert of == [(1, 3, 3 * 367)]
    assert by_default[0]["window"]["is_complete"]
    assert [one["window"]["first_run"] for one in each] == [1, 2, 3]
    assert [one["report"]["rows"] for one in each] == [367] * 3
    assert workspace.cli_json("monitor", NAME, "--since", "2999-01-01")["windows"] == []
    assert "4" not in {one["window"]["last_run"] for one in each}
    profile = workspace.cli_json("monitor", "profile", "4")
    assert profile["profile"]["rows"] == 367, "a rescore has a profile of its own"
    assert "Property_Area" in workspace.cli("monitor", NAME, "--since", "2020-01-01").stdout or by_default


@pytest.mark.slow
def test_the_profile_of_a_run_is_the_same_however_it_is_cut(workspace: Workspace, loan_model: TrainedModel) -> None:
    prepare_loans(workspace, loan_model)
    workspace.sql("""UPDATE applicants SET "ApplicantIncome" = NULL WHERE "Loan_ID" LIKE 'LP00101%'""")
    found: list[Profile | None] = []
    for chunk_rows, workers in ((1000, 1), (50, 1), (30, 2), (7, 1)):
        workspace.write_job(NAME, loan_job(chunk_rows=chunk_rows))
        workspace.sql(f"UPDATE applicants SET updated_at = '2030-01-01 00:00:{len(found):02}'")
        run = workspace.run(workers=workers)
        with workspace.database() as database:
            found.append(profile_of_run(database, run.run_id))
    assert found[0] is not None
    assert found[0].quarantined[0].code == "missing_value"
    assert [profile == found[0] for profile in found] == [True] * 4
    assert_profiles_equal_counts(workspace)


def test_a_run_that_is_running_has_the_profile_of_its_chunks(workspace: Workspace, loan_model: TrainedModel) -> None:
    prepare_loans(workspace, loan_model, job=loan_job(chunk_rows=50))
    counted: list[int] = []

    def look(event: object) -> None:
        if type(event).__name__ == "ChunkCommitted":
            profile = profile_of_run(database, 1)
            counted.append(0 if profile is None else profile.rows)

    with workspace.database() as database:
        workspace.run(observers=[look])
    assert counted[0] >= 50
    assert counted == sorted(counted)
    assert counted[-1] == 367
    assert workspace.scalar("SELECT count(*) FROM scoring_profiles") == 1


def test_a_model_without_a_reference_scores_and_says_so(workspace: Workspace, loan_model: TrainedModel) -> None:
    prepare_loans(workspace, loan_model)
    ((manifest,),) = workspace.query("SELECT manifest FROM model_versions")
    content = json.loads(manifest) if isinstance(manifest, str) else manifest
    del content["reference"]
    workspace.rewrite("UPDATE model_versions SET manifest = '{}'".format(json.dumps(content).replace("'", "''")))
    assert workspace.run().scored_count == 367
    assert workspace.scalar("SELECT count(*) FROM scoring_profiles") == 0

    done = workspace.cli("monitor", NAME)
    assert done.returncode == 0
    assert "has no reference: it was registered before there were any" in done.stderr
    assert_refused(workspace.cli("monitor", "reference", NAME), 2, "has no reference")
    assert_refused(workspace.cli("monitor", "profile", "1"), 2, "run 1 of loan_eligibility has no profile")


def test_what_cannot_be_shown_is_said(workspace: Workspace, loan_model: TrainedModel) -> None:
    prepare_loans(workspace, loan_model)
    done = workspace.cli("monitor", NAME)
    assert (done.returncode, done.stdout) == (0, "")
    assert "no ordinary run of loan_eligibility has scored a row" in done.stderr
    assert_refused(workspace.cli("monitor", "profile", "7"), 2, "there is no run 7")
    assert_refused(workspace.cli("monitor", "nobody"), 2, "there is no job 'nobody'")
    for nonsense in (["profile", "x"], ["profile"], ["reference"], [NAME, "--window", "0"], [NAME, "--since", "then"]):
        done = workspace.cli("monitor", *nonsense)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
    reference = workspace.cli("monitor", "reference", NAME).stdout
    assert "the sample it was registered with" in reference
    assert "its drift is shown, and no alert" in reference


def test_a_single_row_gives_no_figure(workspace: Workspace, loan_model: TrainedModel) -> None:
    prepare_loans(workspace, loan_model)
    workspace.sql("""DELETE FROM applicants WHERE "Loan_ID" <> 'LP001015'""")
    workspace.run()
    assert {one["value"] for one in drift(workspace).values()} == {None}
    done = workspace.cli("monitor", NAME)
    assert done.returncode == 0
    assert "is not compared: the runs read 1 row, and 30 are needed" in done.stderr
    assert said(done) == ""


def test_every_command_of_the_document_runs(sqlite_workspace: Workspace, loan_model: TrainedModel) -> None:
    prepare_loans(sqlite_workspace, loan_model).run()
    found = [block.text for block in blocks(REPOSITORY / "docs" / "monitoring.md") if block.language == "sh"]
    assert len(found) == 4
    for command in found:
        program, *arguments = command.split()
        assert program == "batch-scoring"
        done = sqlite_workspace.cli(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout


def test_chunks_of_any_size_add_up(loan_test: pd.DataFrame) -> None:
    assert len(loan_test) == 367
    assert total([]) is None
    assert total([Profile(rows=2, features={}), Profile(rows=3, features={})]) == Profile(rows=5, features={})
