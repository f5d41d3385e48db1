"""Alerts of drift: when they are raised and cleared, who is told, the limits they go by, and what is recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
from commands import assert_refused
from conftest import prepare_loans
from support import DATA, LOAN_JOB, REPOSITORY, Workspace

from batch_scoring.model.training import TrainedModel
from batch_scoring.monitoring.evaluation import Evaluation, evaluate
from batch_scoring.store.drift.alerts import list_alerts
from batch_scoring.store.drift.windows import windows
from batch_scoring.store.source.loading import load_csv

NAME = "loan_eligibility"
EACH_RUN = "\n[monitoring]\nwindow_rows = 1\n"
"""Each run is a window."""

Night = Callable[..., Evaluation]


@pytest.fixture
def nights(workspace: Workspace) -> Night:
    """Changes the applicants, all of which are due then, runs the job and evaluates the run.

    The first night, without a change, is over.
    """
    workspace.upgrade()
    workspace.write_job(NAME, LOAN_JOB + EACH_RUN)
    for arguments in (
        ("load", "applicants", str(DATA / "loan_test.csv"), "--key", "Loan_ID"),
        ("train", NAME, "--data", str(DATA / "loan_train.csv"), "--label", "Loan_Status"),
    ):
        assert workspace.cli(*arguments).returncode == 0
    workspace.sql("CREATE TABLE as_they_were AS SELECT * FROM applicants")
    count = 0

    def night(change: str = "", rows: str = "") -> Evaluation:
        nonlocal count
        count += 1
        restored = ", ".join(
            f'"{name}" = (SELECT b."{name}" FROM as_they_were AS b WHERE b."Loan_ID" = applicants."Loan_ID")'
            for name in ("ApplicantIncome", "Gender", "LoanAmount")
        )
        workspace.sql(f"UPDATE applicants SET {restored}")
        changes = f", {change}" if change else ""
        workspace.sql(f"UPDATE applicants SET updated_at = '2031-01-01 00:00:{count:02}'{changes} {rows}")
        run = workspace.run()
        with workspace.database() as database:
            return evaluate(database, workspace.job(), run)

    assert night() == Evaluation()
    return night


def messages(evaluation: Evaluation, what: str) -> list[str]:
    return [alert.message for alert in getattr(evaluation, what)]


@pytest.mark.slow
def test_a_distribution_is_an_alert_after_two_windows_and_over_after_three_calm_ones(
    workspace: Workspace, nights: Night
) -> None:
    tripled = '"ApplicantIncome" = "ApplicantIncome" * 3'
    once = nights(tripled)
    assert "ApplicantIncome" not in str(once.raised), "one window may be chance"
    (raised,) = [alert for alert in nights(tripled).raised if alert.name == "ApplicantIncome"]
    assert raised.measure == "distribution"
    assert raised.message.startswith("ApplicantIncome: PSI ")
    again = nights(tripled)
    assert (again.raised, again.reminded) == ((), ()), "it is told once"

    workspace.rewrite("UPDATE drift_alerts SET notified_at = '2026-01-01 00:00:00'")
    assert "ApplicantIncome" in str(nights(tripled).reminded), "and again after a week"
    assert nights(tripled).reminded == ()

    assert [nights().cleared, nights().cleared] == [(), ()]
    assert nights(tripled).cleared == (), "three in a row"
    cleared = [messages(nights(), "cleared") for _ in range(3)]
    assert cleared[:2] == [[], []]
    assert any(message.startswith("ApplicantIncome: PSI ") for message in cleared[2])
    states = workspace.query(
        "SELECT is_open, count(*) FROM drift_alert_history WHERE name = 'ApplicantIncome' GROUP BY is_open"
    )
    assert [(bool(is_open), count) for is_open, count in states] == [(False, 1)]


@pytest.mark.slow
def test_missing_values_are_an_alert_at_once_until_they_are_acknowledged_or_muted(
    workspace: Workspace, nights: Night
) -> None:
    (raised,) = [alert for alert in nights('"Gender" = NULL').raised if alert.measure == "missing"]
    assert raised.message.startswith("Gender: 100.0% missing, ")
    status = workspace.cli("status")
    assert status.returncode == 5
    assert "drift: " in status.stderr
    assert "Gender: 100.0% missing" in status.stderr
    (state,) = json.loads(workspace.cli("status", "--json").stdout)
    assert state["trouble"] == "drift"
    listed = workspace.cli("monitor", "alerts", NAME)
    assert "Gender: 100.0% missing" in listed.stdout

    known = workspace.cli(
        "monitor", "acknowledge", NAME, "--name", "Gender", "--until", "2040-01-01", "--reason", "a form without it"
    )
    assert known.returncode == 0, known.stderr
    assert "is acknowledged until 2040-01-01" in known.stdout
    others = workspace.cli("monitor", "mute", NAME, "--until", "2040-01-01", "--reason", "quiet")
    assert others.returncode == 0, others.stderr
    assert workspace.cli("status").returncode == 0, "people know"
    workspace.rewrite("UPDATE drift_alerts SET notified_at = '2026-01-01 00:00:00'")
    assert nights('"Gender" = NULL').reminded == ()
    quiet = nights('"LoanAmount" = NULL')
    assert quiet.raised == ()
    assert "LoanAmount" in {alert["name"] for alert in workspace.cli_json("monitor", "alerts", NAME)["alerts"]}

    (mute,) = [one for one in workspace.cli_json("monitor", "alerts", NAME)["mutes"] if one["alert_id"] is None]
    assert workspace.cli("monitor", "unmute", str(mute["mute_id"])).returncode == 0
    told = nights('"LoanAmount" = NULL')
    assert "LoanAmount: 100.0% missing" in str(told.reminded), "nobody was told of it before"
    assert_refused(workspace.cli("monitor", "unmute", str(mute["mute_id"])), 2, "is not in force")


def bi_query(workspace: Workspace, name: str) -> list[tuple[Any, ...]]:
    """What a query of the folder for BI gives."""
    return workspace.query((REPOSITORY / "sql" / "bi" / f"{name}.sql").read_text(encoding="utf-8").rstrip().rstrip(";"))


@pytest.mark.slow
def test_figures_are_recorded_for_bi(workspace: Workspace, nights: Night) -> None:
    nights('"Gender" = NULL')
    latest = workspace.query(
        "SELECT run_id, value, is_breach FROM drift_latest WHERE name = 'Gender' AND measure = 'missing'"
    )
    assert [(run_id, value, bool(breach)) for run_id, value, breach in latest] == [(2, 1.0, True)]
    history = workspace.query(
        "SELECT run_id, is_breach FROM drift_history WHERE name = 'Gender' AND measure = 'missing' ORDER BY run_id"
    )
    assert [(run_id, bool(breach)) for run_id, breach in history] == [(1, False), (2, True)]
    assert workspace.scalar("SELECT count(*) FROM drift_reports WHERE scope = 'run'") == 2
    (wider,) = workspace.cli_json("monitor", NAME, "--window", "100000")["windows"]
    assert wider["window"]["run_count"] == 2, "a window of another size does not begin where a recorded one does"
    (window,) = workspace.cli_json("monitor", NAME)["windows"]
    shown = {(one["name"], one["measure"]): one["value"] for one in window["report"]["metrics"]}
    queries = {name: bi_query(workspace, name) for name in ("drift", "score_drift", "drift_alerts")}
    assert ("Gender", "missing", 1.0) in [row[:3] for row in queries["drift"]]
    of_score = "SELECT value, expected FROM drift_metrics WHERE scope = 'window' AND subject = 'score' ORDER BY run_id"
    assert [row[-2:] for row in queries["score_drift"]] == workspace.query(of_score)
    assert [row[2] for row in queries["drift_alerts"]] == [
        message for (message,) in workspace.query("SELECT message FROM drift_alerts ORDER BY raised_at DESC")
    ]
    stored = {
        (name, measure): value
        for name, measure, value in workspace.query("SELECT name, measure, value FROM drift_latest")
    }
    assert stored == pytest.approx(shown)


@pytest.mark.slow
def test_a_run_is_evaluated_once(workspace: Workspace, nights: Night) -> None:
    nights('"Gender" = NULL')
    with workspace.database() as database:
        from batch_scoring.store.runs.records import get_run

        run = get_run(database, 2)
        assert run is not None
        assert evaluate(database, workspace.job(), run) == Evaluation()
    assert workspace.scalar("SELECT count(*) FROM drift_alerts WHERE measure = 'missing'") == 1


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["python", "database"])
def test_a_row_that_changes_counts_once_a_window(workspace: Workspace, nights: Night, engine: str) -> None:
    in_engine = LOAN_JOB.replace("[run]", f'[run]\nengine = "{engine}"')
    workspace.write_job(NAME, in_engine + "\n[monitoring]\nwindow_rows = 100_000\n")
    nights()
    nights('"Gender" = NULL', """WHERE "Loan_ID" LIKE '%1'""")
    changed = workspace.scalar("""SELECT count(*) FROM applicants WHERE "Loan_ID" LIKE '%1'""")
    with workspace.database() as database:
        window = windows(database, workspace.job())[-1]
        assert window.run_count == 3
        assert window.read_count == 367 * 2 + changed
        assert window.uncounted == 0
        assert window.profile is not None
        assert window.profile.rows == 367
        gender = window.profile.features["Gender"]
        assert sum(gender.counts) == 367
        assert sum(window.profile.labels.values()) == 367
        assert sum(window.profile.scores.values()) == 367


# --- limits


@pytest.mark.slow
def test_limits_by_feature_and_their_register(workspace: Workspace, nights: Night) -> None:
    of_all = 'on_breach = { unseen = "off" }\nrationale = "first"\n'
    of_gender = "[monitoring.features.Gender]\nmissing = 1.0\n"
    of_amount = '[monitoring.features.LoanAmount]\non_breach = { missing = "off" }\n'
    workspace.write_job(NAME, LOAN_JOB + EACH_RUN + of_all + of_gender + of_amount)
    quiet = nights('"Gender" = NULL, "LoanAmount" = NULL')
    assert [alert for alert in quiet.raised if alert.measure == "missing"] == []
    figures = workspace.query("SELECT name, limit_value, action FROM drift_latest WHERE measure = 'missing'")
    found = {name: (limit, action) for name, limit, action in figures}
    assert found["Gender"] == (1.0, "warn")
    assert found["LoanAmount"] == (0.05, "off")
    assert found["Education"] == (0.05, "warn")
    assert "LoanAmount.on_breach.missing" in workspace.cli("monitor", "limits", NAME).stdout

    (first, second) = workspace.cli_json("monitor", "limits", NAME, "--history")["history"]
    assert (first["run_id"], first["rationale"]) == (1, None)
    assert (second["run_id"], second["rationale"]) == (2, "first")
    assert second["recorded_by"] == first["recorded_by"] != ""
    shown = workspace.cli("monitor", "limits", NAME, "--history").stdout
    assert "features.Gender.missing: none → 1.0" in shown


def test_a_limit_of_a_column_that_is_no_feature_is_refused(workspace: Workspace, loan_model: TrainedModel) -> None:
    prepare_loans(workspace, loan_model, job=LOAN_JOB + "\n[monitoring.features.Incom]\npsi = 0.2\n")
    for arguments in (("run", NAME), ("check",)):
        done = workspace.cli(*arguments)
        assert done.returncode in (2, 3)
        assert "Incom" in done.stderr + done.stdout
        assert "ApplicantIncome" in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('on_breach = { missing = "stop" }', "monitoring.on_breach.missing"),
        ('on_breach = { gone = "hold" }', "monitoring.on_breach.gone"),
        ("row_count = 1", "monitoring.row_count"),
        ('reference = "runs"', "monitoring.reference"),
        ("reference_from = 2026-01-01", "monitoring.reference_from"),
        ('reference = "runs"\nreference_from = 2026-02-01\nreference_to = 2026-01-01', "monitoring.reference_from"),
        ("[monitoring.features.Gender]\nhold = true", "monitoring.features.Gender.hold"),
    ],
)
def test_wrong_limits_are_named_by_key(sqlite_workspace: Workspace, text: str, key: str) -> None:
    sqlite_workspace.upgrade()
    (sqlite_workspace.jobs_dir / f"{NAME}.toml").write_text(f"{LOAN_JOB}\n[monitoring]\n{text}\n", encoding="utf-8")
    assert_refused(sqlite_workspace.cli("monitor", "limits", NAME), 2, key)


@pytest.mark.slow
def test_more_or_fewer_rows_than_usual_hold_a_run(workspace: Workspace, nights: Night) -> None:
    workspace.write_job(NAME, LOAN_JOB + EACH_RUN + 'on_breach = { row_count = "hold" }\n')
    for _ in range(4):
        nights()
    few = """WHERE "Loan_ID" IN (SELECT min("Loan_ID") FROM applicants)"""
    workspace.sql(f"UPDATE applicants SET updated_at = '2032-01-01 00:00:00' {few}")
    held = workspace.cli("run", NAME)
    assert_refused(held, 6, "held before its first write, by 1 of 1 due row", "1 row due, 367 are usual")
    released = workspace.cli("runs", "release", "6", "--reason", "a holiday")
    assert released.returncode == 0
    assert workspace.cli_json("run", NAME)["scored_count"] == 1
    (raised,) = workspace.cli_json("monitor", "alerts", NAME)["alerts"]
    assert (raised["subject"], raised["message"]) == ("rows", "1 row due, 367 are usual")


# --- the reference


@pytest.mark.slow
def test_a_job_may_be_compared_with_earlier_runs(workspace: Workspace, nights: Night) -> None:
    nights('"Gender" = NULL')
    workspace.rewrite("UPDATE scoring_runs SET started_at = '2026-02-01 00:00:00' WHERE run_id = 2")
    of_runs = 'reference = "runs"\nreference_from = 2026-01-15\nreference_to = 2026-02-01\n'
    workspace.write_job(NAME, LOAN_JOB + EACH_RUN + of_runs)
    assert [alert.name for alert in nights('"Gender" = NULL').raised] == []
    (window,) = workspace.cli_json("monitor", NAME)["windows"]
    assert (window["report"]["reference_origin"], window["report"]["reference_rows"]) == ("runs", 367)
    assert "earlier runs" in workspace.cli("monitor", "reference", NAME).stdout

    workspace.write_job(NAME, LOAN_JOB + EACH_RUN + 'reference = "last_year"\n')
    (window,) = workspace.cli_json("monitor", NAME)["windows"]
    assert "no run from " in window["why_not"]
    workspace.rewrite("UPDATE scoring_runs SET started_at = '2026-02-01 00:00:00' WHERE run_id = 3")
    workspace.rewrite("UPDATE scoring_runs SET started_at = '2025-02-05 00:00:00' WHERE run_id = 2")
    workspace.rewrite("UPDATE scoring_runs SET started_at = '2025-01-01 00:00:00' WHERE run_id = 1")
    (window,) = workspace.cli_json("monitor", NAME)["windows"]
    assert (window["report"]["reference_origin"], window["report"]["reference_rows"]) == ("runs", 367)
    assert window["report"]["metrics"][0]["value"] == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
def test_slow_drift_over_versions_shows_against_the_first(sqlite_workspace: Workspace, tmp_path: Path) -> None:
    sqlite_workspace.write_job(NAME, LOAN_JOB)
    sqlite_workspace.upgrade()
    frame = pd.read_csv(DATA / "loan_train.csv")
    for version in (1, 2):
        later = frame.assign(ApplicantIncome=(frame["ApplicantIncome"] * 1.5 ** (version - 1)).astype(int))
        later.to_csv(tmp_path / "train.csv", index=False)
        done = sqlite_workspace.cli("train", NAME, "--data", str(tmp_path / "train.csv"), "--label", "Loan_Status")
        assert done.returncode == 0, done.stderr
        sqlite_workspace.promote(version)
    with sqlite_workspace.database() as database:
        load_csv(database, "applicants", DATA / "loan_test.csv", key=["Loan_ID"])
    found = sqlite_workspace.cli_json("monitor", "reference", NAME)["since_first"]
    assert found["version"] == 1
    moved = {one["name"]: one["value"] for one in found["report"]["metrics"] if one["measure"] == "distribution"}
    assert moved["ApplicantIncome"] > 0.1
    assert moved["Gender"] == pytest.approx(0)
    assert "from those of version 1" in sqlite_workspace.cli("monitor", "reference", NAME).stdout


def test_a_registered_sample_with_outcomes_gives_importances_and_a_score_to_compare(
    sqlite_workspace: Workspace, loan_model: TrainedModel, tmp_path: Path
) -> None:
    sqlite_workspace.write_job(NAME, LOAN_JOB)
    sqlite_workspace.upgrade()
    joblib.dump(loan_model.pipeline, tmp_path / "model.joblib")
    sample = DATA / "loan_train.csv"
    arguments = ("model", "register", str(tmp_path / "model.joblib"), "--name", NAME, "--sample", str(sample))
    done = sqlite_workspace.cli(*arguments, "--labels", "Loan_Status", "--held-out")
    assert done.returncode == 0, done.stderr
    ((manifest,),) = sqlite_workspace.query("SELECT manifest FROM model_versions")
    reference = json.loads(manifest)["reference"]
    importances = {bins["name"]: bins["importance"] for bins in reference["features"]}
    assert max(importances, key=lambda name: importances[name]) == "Credit_History"
    assert reference["scores"]["is_out_of_fold"]
    assert_refused(sqlite_workspace.cli(*arguments, "--labels", "Outcome"), 2, "--labels Outcome", "Loan_Status")
    other = pd.read_csv(sample).assign(Loan_Status="maybe")
    other.to_csv(tmp_path / "other.csv", index=False)
    arguments = (*arguments[:-1], str(tmp_path / "other.csv"))
    assert_refused(sqlite_workspace.cli(*arguments, "--labels", "Loan_Status"), 2, "none of the model's labels (N, Y)")


# --- bad input


def test_mutes_without_an_end_a_reason_or_a_known_name_are_refused(
    sqlite_workspace: Workspace, loan_model: TrainedModel
) -> None:
    prepare_loans(sqlite_workspace, loan_model)

    def refused(*arguments: str, says: str) -> None:
        assert_refused(sqlite_workspace.cli("monitor", *arguments), 2, says)

    until, reason = ("--until", "2040-01-01"), ("--reason", "x")
    refused("mute", NAME, *reason, says="--until is missing")
    refused("mute", NAME, *until, says="--reason is missing")
    refused("mute", NAME, *reason, "--until", "2020-01-01", says="is not in the future")
    refused("mute", NAME, *until, *reason, "--name", "Incom", says="--name Incom: expected one of")
    refused("mute", NAME, *until, *reason, "--measure", "psi", says="--measure psi: expected one of distribution")
    refused("acknowledge", NAME, *until, *reason, says="no such alert")
    refused("unmute", "7", says="mute 7 is not in force")
    refused("limits", "no_such_job", says="there is no job")
    assert "no alert of" in sqlite_workspace.cli("monitor", "alerts", NAME).stderr
    with sqlite_workspace.database() as database:
        assert list_alerts(database, NAME) == []
