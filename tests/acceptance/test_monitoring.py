"""``monitor``: what runs read and predicted, compared with the reference of their model."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from commands import assert_refused, events, said
from conftest import prepare_loans
from documents import blocks
from faults import (
    assert_counters_equal_rows,
    assert_each_applicant_has_one_current_prediction_of_its_present_version,
    assert_profiles_equal_counts,
    loan_job,
)
from processes import forget_server
from serving import EVERY_SECOND, serving, without_schedule
from support import DATA, LOAN_JOB, REPOSITORY, Workspace, wait_until

from batch_scoring.domain.job import Job
from batch_scoring.domain.profile import Profile
from batch_scoring.model.training import TrainedModel
from batch_scoring.scoring import gate
from batch_scoring.scoring.runner import run_job
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs.profiles import profile_of_run
from batch_scoring.store.source.loading import load_csv

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

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
    return {name for name, one in drift(workspace, *options).items() if one["is_breach"]}


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["logistic_regression", "random_forest", "hist_gradient_boosting"])
def test_real_applicants_are_quiet_and_a_bad_batch_is_named(
    workspace: Workspace, real_loans: Path, algorithm: str
) -> None:
    trained(workspace, real_loans, "--algorithm", algorithm)
    workspace.run()

    found = drift(workspace)
    assert {name for name, one in found.items() if one["is_breach"]} == set()
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
    profile = workspace.cli_json("monitor", "profile", "4")
    assert profile["profile"]["rows"] == 367, "a rescore has a profile of its own"


@pytest.mark.slow
def test_the_profile_of_a_run_is_the_same_however_it_is_cut(workspace: Workspace, loan_model: TrainedModel) -> None:
    prepare_loans(workspace, loan_model)
    workspace.sql("""UPDATE applicants SET "ApplicantIncome" = NULL WHERE "Loan_ID" LIKE 'LP00101%'""")
    found: list[Profile | None] = []
    for chunk_rows, workers in ((1000, 1), (50, 1), (30, 2), (7, 1)):
        workspace.write_job(NAME, loan_job(chunk_rows=chunk_rows) + "\n[monitoring]\nwindow_rows = 1\n")
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_every_command_of_the_document_runs(sqlite_workspace: Workspace, loan_model: TrainedModel) -> None:
    prepare_loans(sqlite_workspace, loan_model).run()
    document = blocks(REPOSITORY / "docs" / "monitoring.md")
    found = [block.text for block in document if block.language == "sh" and block.why_not_run is None]
    assert len(found) == 6
    for command in found:
        program, *arguments = command.split()
        assert program == "batch-scoring"
        done = sqlite_workspace.cli(*arguments)
        assert done.returncode == 0
        assert done.stdout or "no alert of loan_eligibility is open" in done.stderr


# --- the gate

GATE = '\n[monitoring]\non_breach = { distribution = "hold", missing = "hold", unseen = "hold" }\n'
HOLDING = LOAN_JOB + GATE
ANOTHER_BATCH = """UPDATE applicants SET updated_at = '{time}', "LoanAmount" = "LoanAmount" * 4, "Gender" = NULL"""


@pytest.fixture
def held(workspace: Workspace) -> Workspace:
    """The loan job with a gate: a first run succeeded, and a second one was held for a bad batch."""
    trained(workspace, DATA)
    workspace.write_job(NAME, HOLDING)
    assert workspace.run().scored_count == 367
    workspace.sql(BAD_BATCH.format(time="2030-01-01 00:00:00"))
    done = workspace.cli("run", NAME)
    assert_refused(done, 6, "held before its first write", "Credit_History: ", "Property_Area: ", "runs release 2")
    return workspace


def statuses(workspace: Workspace) -> list[str]:
    return [status for (status,) in workspace.query("SELECT status FROM run_history ORDER BY run_id")]


def predictions(workspace: Workspace) -> list[tuple[Any, ...]]:
    return workspace.query('SELECT "Loan_ID", score, run_id FROM predictions ORDER BY "Loan_ID"')


@pytest.mark.slow
def test_a_bad_batch_is_held_before_anything_is_written(held: Workspace) -> None:
    columns = "status, end_reason, error_type, scored_count, due_count"
    (run,) = held.query(f"SELECT {columns} FROM scoring_runs WHERE run_id = 2")
    assert run == ("held", "held", "RunHeld", 0, 367)
    assert {run_id for _, _, run_id in predictions(held)} == {1}
    assert held.scalar("SELECT count(*) FROM predictions_superseded") == 0
    assert held.scalar("SELECT count(*) FROM predictions_quarantine") == 0
    profile = held.cli_json("monitor", "profile", "2")["profile"]
    assert profile["rows"] == 367
    assert "to decide whether the run is held" in held.cli("monitor", "profile", "2").stdout
    status = held.cli("status")
    assert status.returncode == 5
    assert "run 2 was held" in status.stdout + status.stderr
    assert alerts(held) == set(), "what was not scored is in no window"
    assert "2" in held.cli("runs", "list", "--status", "held").stdout
    assert held.cli("run", NAME).returncode == 6, "and held again"
    assert held.cli("runs", "verify").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["python", "database"])
def test_a_released_batch_is_scored_and_another_one_is_held_again(held: Workspace, engine: str) -> None:
    held.write_job(NAME, HOLDING.replace("[run]", f'[run]\nengine = "{engine}"'))
    before = predictions(held)
    released = held.cli("runs", "release", "2", "--reason", "checked with the source")
    assert released.returncode == 0
    assert "rows like its own are scored until" in released.stdout

    run = held.cli_json("run", NAME)

    assert (run["status"], run["scored_count"]) == ("succeeded", 367)
    assert {run_id for _, _, run_id in predictions(held)} == {3}
    assert predictions(held) != before
    raised = {alert["name"] for alert in held.cli_json("monitor", "alerts", NAME)["alerts"]}
    assert {"Credit_History", "Property_Area"} <= raised <= {"Credit_History", "Property_Area", "ApplicantIncome"}

    held.sql(ANOTHER_BATCH.format(time="2030-01-02 00:00:00"))
    done = held.cli("run", NAME)
    assert_refused(done, 6, "Gender: ", "LoanAmount: ")
    rejected = held.cli("runs", "reject", "4", "--reason", "another currency")
    assert "is rejected" in rejected.stdout
    assert held.cli("run", NAME).returncode == 6
    assert statuses(held) == ["succeeded", "held", "succeeded", "held", "held"]


@pytest.mark.slow
def test_a_release_ends_and_a_batch_that_is_right_again_needs_none(held: Workspace) -> None:
    assert held.cli("runs", "release", "2", "--reason", "for now", "--for", "1 hour").returncode == 0
    held.rewrite("UPDATE held_run_decisions SET expires_at = '2026-01-01 00:00:00'")
    assert held.cli("run", NAME).returncode == 6
    with held.database() as database:
        load_csv(database, "applicants", DATA / "loan_test.csv", key=["Loan_ID"])
    run = held.run()
    assert run.scored_count > 0
    assert statuses(held) == ["succeeded", "held", "held", "succeeded"]


@pytest.mark.slow
def test_decisions_on_runs_that_were_not_held_are_refused(held: Workspace) -> None:
    assert_refused(held.cli("runs", "release", "1", "--reason", "x"), 2, "was not held: it is succeeded")
    assert_refused(held.cli("runs", "release", "9", "--reason", "x"), 2, "there is no run 9")
    assert_refused(held.cli("runs", "release", "2"), 2, "--reason is missing")
    assert_refused(held.cli("runs", "release", "2", "--reason", "x", "--for", "soon"), 2, "--for soon")
    assert held.cli("runs", "reject", "2", "--reason", "x").returncode == 0
    assert_refused(held.cli("runs", "release", "2", "--reason", "x"), 2, "was decided on before")


@pytest.mark.slow
def test_a_rescore_is_not_held(held: Workspace) -> None:
    assert held.cli("rescore", NAME, "--all", "--yes", "--reason", "asked for").returncode == 0
    assert {run_id for _, _, run_id in predictions(held)} == {3}


def test_without_a_reference_the_gate_is_off_and_says_so(workspace: Workspace, loan_model: TrainedModel) -> None:
    prepare_loans(workspace, loan_model, job=HOLDING)
    ((manifest,),) = workspace.query("SELECT manifest FROM model_versions")
    content = json.loads(manifest) if isinstance(manifest, str) else manifest
    del content["reference"]
    workspace.rewrite("UPDATE model_versions SET manifest = '{}'".format(json.dumps(content).replace("'", "''")))
    done = workspace.cli("run", NAME)
    assert done.returncode == 0
    (event,) = [event for event in events(done.stderr) if event["event"] == "gate_not_checked"]
    assert event["reason"].startswith("version 1 of loan_eligibility has no reference")


@pytest.mark.slow
@pytest.mark.parametrize("point", ["sampled", "recorded"])
def test_a_gate_that_is_killed_leaves_no_half_state(held: Workspace, point: str) -> None:
    """The process ends before the profile of the sample is recorded, or right after it."""
    before = predictions(held)
    job = held.write_job(NAME, HOLDING.replace('"5 minutes"', '"1 second"'))
    arguments = (held.database_url, job, held.artifacts_dir, point)
    child = multiprocessing.get_context("fork").Process(target=_killed, args=arguments)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert predictions(held) == before
    held.sql("UPDATE scoring_runs SET heartbeat_at = '2026-01-01 00:00:00' WHERE status = 'running'")

    assert held.cli("run", NAME).returncode == 6

    assert statuses(held) == ["succeeded", "held", "abandoned", "held"]
    assert predictions(held) == before
    assert held.cli("runs", "release", "2", "--reason", "fine").returncode == 0
    assert held.run().scored_count == 367
    assert_profiles_equal_counts(held, leave_out=("held", "abandoned"))


@pytest.mark.slow
def test_two_services_hold_a_job_and_score_it_once_when_it_is_released(held: Workspace) -> None:
    held.write_job(NAME, without_schedule(HOLDING) + GATE + EVERY_SECOND)
    before = predictions(held)
    with serving(held) as one, serving(held) as two:
        wait_until(lambda: statuses(held).count("held") >= 4)
        assert predictions(held) == before
        ready, text = one.get("/readyz")
        assert (ready, text.splitlines()[0]) == (200, "ok")
        wait_until(lambda: f"job {NAME}: run " in one.get("/readyz")[1])
        assert "was held" in one.get("/readyz")[1]
        assert held.cli("runs", "release", "2", "--reason", "checked").returncode == 0
        wait_until(lambda: statuses(held).count("succeeded") >= 2)
        assert (one.stop(), two.stop()) == (0, 0)
    scored = held.query("SELECT scored_count FROM scoring_runs WHERE status = 'succeeded' ORDER BY run_id")
    assert [count for (count,) in scored][:2] == [367, 367]
    assert sum(count for (count,) in scored) == 367 * 2
    assert_counters_equal_rows(held, leave_out=("held",))
    assert_each_applicant_has_one_current_prediction_of_its_present_version(held)


def _killed(url: str, job: Job, artifacts_dir: Path, point: str) -> None:
    forget_server()
    record = gate._record

    def end(*arguments: Any) -> None:
        if point == "recorded":
            record(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(gate, "_record", end)
        run_job(Database(url), job, artifacts_dir)
