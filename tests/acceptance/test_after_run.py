"""Telling somebody: what is sent, when, to whom, and that nobody being there fails no run. Metrics of cron's runs."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from email import message_from_string
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import prepare_loans
from prometheus_client.parser import text_string_to_metric_families
from support import LOAN_JOB, Workspace

from batch_scoring.model.training import TrainedModel

NAME = "loan_eligibility"


class Webhook:
    """A server that keeps what is posted to it."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.status = 204
        received, outer = self.received, self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/SECRET"

    @property
    def kinds(self) -> list[str]:
        return [notice["kind"] for notice in self.received]


class Mailbox:
    """A server that speaks enough SMTP to be handed a mail."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], str]] = []
        mails = self.mails

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 test\r\n")
                recipients: list[str] = []
                while line := self.rfile.readline():
                    verb = line[:4].upper()
                    if verb == b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        body = b"".join(iter(self.rfile.readline, b".\r\n"))
                        mails.append((recipients, body.decode()))
                    if verb == b"RCPT":
                        recipients.append(line.decode().partition("<")[2].partition(">")[0])
                    self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
                    if verb == b"QUIT":
                        return

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"smtp://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    threading.Thread(target=hook.server.serve_forever, daemon=True).start()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    threading.Thread(target=box.server.serve_forever, daemon=True).start()
    yield box
    box.server.shutdown()
    box.server.server_close()


@pytest.fixture
def told(sqlite_workspace: Workspace, loan_model: TrainedModel, webhook: Webhook, mailbox: Mailbox) -> Workspace:
    """The loan job, with somebody to tell."""
    workspace = prepare_loans(sqlite_workspace, loan_model)
    workspace.environ.update(
        {
            "BATCH_SCORING_WEBHOOK_URL": webhook.url,
            "BATCH_SCORING_SMTP_URL": mailbox.url,
            "BATCH_SCORING_MAIL_TO": "risk@example.com, data@example.com",
            "BATCH_SCORING_MAIL_FROM": "scorer@example.com",
        }
    )
    return workspace


@pytest.mark.slow
def test_a_run_that_succeeds_tells_nobody(told: Workspace, webhook: Webhook, mailbox: Mailbox) -> None:
    assert told.cli("run", NAME).returncode == 0
    assert (webhook.received, mailbox.mails) == ([], [])


@pytest.mark.slow
def test_a_run_that_fails_and_the_one_that_mends_it_are_told(
    told: Workspace, webhook: Webhook, mailbox: Mailbox
) -> None:
    told.sql("ALTER TABLE applicants RENAME TO elsewhere")
    failed = told.cli("run", NAME)
    told.sql("ALTER TABLE elsewhere RENAME TO applicants")
    assert told.cli("run", NAME).returncode == 0
    assert told.cli("run", NAME).returncode == 0

    assert failed.returncode == 2
    assert webhook.kinds == ["run_failed", "recovered"]
    notice = webhook.received[0]
    assert (notice["job"], notice["run_id"], notice["subject"]) == (NAME, 1, f"batch-scoring: {NAME}: run failed")
    assert "there is no table or view applicants" in notice["message"]
    assert len(mailbox.mails) == 2
    recipients, text = mailbox.mails[0]
    mail = message_from_string(text)
    assert recipients == ["risk@example.com", "data@example.com"]
    assert (mail["Subject"], mail["From"]) == (notice["subject"], "scorer@example.com")
    assert "batch-scoring runs show 1" in text


@pytest.mark.slow
def test_more_quarantined_rows_than_the_job_allows_are_told_without_their_data(
    told: Workspace, webhook: Webhook, mailbox: Mailbox
) -> None:
    told.sql("""UPDATE applicants SET "ApplicantIncome" = 'secret-income' WHERE rowid <= 200""")

    assert told.cli("run", NAME).returncode == 4

    assert sorted(webhook.kinds) == ["drift", "quarantine_over_limit"], "more values than usual are invalid, too"
    told_of = {notice["kind"]: notice["message"] for notice in webhook.received}
    assert "200 of 367 rows were quarantined" in told_of["quarantine_over_limit"]
    assert "ApplicantIncome: 54.5% invalid" in told_of["drift"]
    assert "secret" not in json.dumps(webhook.received) + json.dumps(mailbox.mails)


@pytest.mark.slow
def test_a_run_that_could_not_even_be_recorded_is_told(told: Workspace, webhook: Webhook) -> None:
    told.environ["BATCH_SCORING_DATABASE_URL"] = f"sqlite:///{told.folder}/nowhere.db"

    assert told.cli("run", NAME).returncode == 1
    assert webhook.kinds == ["run_failed"]
    assert webhook.received[0]["run_id"] is None
    assert "there is no database file" in webhook.received[0]["message"]


@pytest.mark.slow
def test_a_skipped_run_tells_nobody(told: Workspace, webhook: Webhook) -> None:
    columns = "job, trigger, status, started_at, heartbeat_at, host, process_id, package_version, environment"
    told.sql(
        f"INSERT INTO scoring_runs ({columns}, job_config, requested_by) VALUES ('loan_eligibility', 'cli', 'running',"
        " '2999-01-01 00:00:00.000000', '2999-01-01 00:00:00.000000', 'h', 1, '0', '{}', '{}', 'x')"
    )

    assert told.cli("run", NAME).returncode == 75
    assert webhook.received == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "addresses",
    [
        {
            "BATCH_SCORING_WEBHOOK_URL": "http://127.0.0.1:9/SECRET",
            "BATCH_SCORING_SMTP_URL": "smtp://u:SECRET@127.0.0.1:9",
        },
        {"BATCH_SCORING_WEBHOOK_URL": "http://nowhere.invalid/SECRET"},
    ],
)
def test_nobody_being_there_changes_neither_the_run_nor_its_exit_code_and_shows_no_secret(
    told: Workspace, addresses: dict[str, str]
) -> None:
    told.environ.update(addresses)
    told.sql("ALTER TABLE applicants RENAME TO elsewhere")

    done = told.cli("run", NAME)

    assert done.returncode == 2
    assert "webhook: not delivered" in done.stderr
    assert "SECRET" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_server_that_refuses_is_asked_three_times(told: Workspace, webhook: Webhook) -> None:
    webhook.status = 500
    told.sql("ALTER TABLE applicants RENAME TO elsewhere")

    assert "webhook: not delivered (HTTP 500" in told.cli("run", NAME).stderr
    assert webhook.kinds == ["run_failed"] * 3


@pytest.mark.slow
def test_addresses_may_stand_in_files(told: Workspace, webhook: Webhook) -> None:
    file = told.folder / "hook"
    file.write_text(webhook.url + "\n")
    del told.environ["BATCH_SCORING_WEBHOOK_URL"]
    told.environ["BATCH_SCORING_WEBHOOK_URL_FILE"] = str(file)
    told.sql("ALTER TABLE applicants RENAME TO elsewhere")

    told.cli("run", NAME)
    assert webhook.kinds == ["run_failed"]


def _metrics(file: Path) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels, key="scoring_job".__ne__))): sample.value
        for family in text_string_to_metric_families(file.read_text())
        for sample in family.samples
    }


@pytest.mark.slow
def test_a_run_leaves_metrics_in_a_file_of_its_job(
    workspace: Workspace, loan_model: TrainedModel, loan_test: pd.DataFrame
) -> None:
    prepare_loans(workspace, loan_model)
    workspace.environ["BATCH_SCORING_METRICS_DIR"] = str(workspace.folder)
    workspace.sql('UPDATE applicants SET "LoanAmount" = -5 WHERE "Loan_ID" = :key', {"key": loan_test["Loan_ID"][0]})
    assert workspace.cli("run", NAME).returncode == 0
    workspace.sql("UPDATE applicants SET updated_at = '2026-03-03 00:00:00'")

    assert workspace.cli("run", NAME).returncode == 0
    found = _metrics(workspace.folder / f"batch_scoring_{NAME}.prom")

    assert found["batch_scoring_runs_total", NAME, "succeeded"] == 2
    assert found["batch_scoring_runs_total", NAME, "failed"] == 0
    assert found["batch_scoring_rows_total", NAME, "scored"] == 2 * 366
    assert found["batch_scoring_rows_total", NAME, "superseded"] == 366
    assert found["batch_scoring_rows_total", NAME, "quarantined"] == 2
    assert found["batch_scoring_healthy", NAME] == 1
    assert found["batch_scoring_due_rows", NAME] == 0
    assert found["batch_scoring_quarantined_rows", NAME] == 1
    assert found["batch_scoring_last_run_seconds", NAME] > 0
    assert found["batch_scoring_last_success_age_seconds", NAME] >= 0


@pytest.mark.slow
def test_a_folder_for_metrics_that_is_not_there_is_said_and_fails_nothing(
    sqlite_workspace: Workspace, loan_model: TrainedModel
) -> None:
    workspace = prepare_loans(sqlite_workspace, loan_model)
    workspace.environ["BATCH_SCORING_METRICS_DIR"] = str(workspace.folder / "nowhere")

    done = workspace.cli("run", NAME)

    assert done.returncode == 0
    assert "nowhere/batch_scoring_loan_eligibility.prom: not delivered" in done.stderr


@pytest.mark.slow
def test_status_says_what_kind_of_trouble_a_job_is_in(workspace: Workspace, loan_model: TrainedModel) -> None:
    prepare_loans(workspace, loan_model)
    workspace.run()

    def state() -> tuple[int, str | None, str | None]:
        done = workspace.cli("status", NAME, "--json")
        (found,) = json.loads(done.stdout)
        return done.returncode, found["trouble"], found["unhealthy"]

    assert state() == (0, None, None)
    (artifact,) = workspace.artifacts_dir.rglob("*.joblib")
    artifact.rename(workspace.folder / "away")
    code, trouble, why = state()
    assert (code, trouble) == (5, "model")
    assert why is not None
    assert "cannot be read" in why
    (workspace.folder / "away").rename(artifact)

    workspace.sql('ALTER TABLE applicants RENAME COLUMN "Gender" TO sex')
    assert state()[:2] == (5, "model")
    workspace.sql("ALTER TABLE applicants RENAME TO elsewhere")
    assert state()[:2] == (5, "source")


@pytest.mark.slow
def test_a_backlog_that_grows_while_runs_take_all_the_time_there_is_is_trouble(
    workspace: Workspace, loan_model: TrainedModel
) -> None:
    prepare_loans(workspace, loan_model)
    for _ in range(3):
        workspace.run()
        workspace.sql("UPDATE applicants SET updated_at = '2026-03-03 00:00:00'")
        workspace.rewrite("DELETE FROM predictions")
    for run_id, due in ((1, 100), (2, 200), (3, 300)):
        workspace.sql(
            f"UPDATE scoring_runs SET due_count = {due}, started_at = '2026-01-01 0{run_id}:00:00',"
            f" finished_at = '2026-01-01 0{run_id}:50:00' WHERE run_id = {run_id}"
        )

    done = workspace.cli("status", NAME)
    assert done.returncode == 5
    assert "the backlog grows: 100, 200, 300, 367 rows were due at the last 3 runs and now" in done.stderr

    workspace.sql("UPDATE scoring_runs SET finished_at = '2026-01-01 03:01:00' WHERE run_id = 3")
    assert workspace.cli("status", NAME).returncode == 0, "a busy day whose runs keep up is no trouble"


# --- drift and held runs

NO_GENDER = """UPDATE applicants SET "Gender" = NULL, updated_at = '{time}'"""


@pytest.fixture
def watched(told: Workspace) -> Workspace:
    """The same after a first run, each of whose runs is a window of its own."""
    told.write_job(NAME, LOAN_JOB + "\n[monitoring]\nwindow_rows = 1\n")
    assert told.cli("run", NAME).returncode == 0
    return told


@pytest.mark.slow
def test_drift_is_told_once_with_what_and_how_much(watched: Workspace, webhook: Webhook, mailbox: Mailbox) -> None:
    watched.sql(NO_GENDER.format(time="2031-01-01 00:00:00"))
    first = watched.cli("run", NAME)
    assert first.returncode == 0
    assert "drift: Gender: 100.0% missing" in first.stderr
    watched.sql(NO_GENDER.format(time="2031-01-02 00:00:00"))
    assert watched.cli("run", NAME).returncode == 0

    missing = [notice for notice in webhook.received if "missing" in notice["message"]]
    assert [notice["kind"] for notice in missing] == ["drift"]
    assert missing[0]["run_id"] == 2
    assert missing[0]["subject"] == f"batch-scoring: {NAME}: drift"
    assert "Gender: 100.0% missing, " in missing[0]["message"]
    assert f"batch-scoring monitor {NAME}" in missing[0]["message"]
    assert len(mailbox.mails) == len(webhook.received)

    watched.rewrite("UPDATE drift_alerts SET notified_at = '2026-01-01 00:00:00'")
    watched.sql(NO_GENDER.format(time="2031-01-03 00:00:00"))
    assert watched.cli("run", NAME).returncode == 0
    assert "still Gender: 100.0% missing" in webhook.received[-1]["message"]


@pytest.mark.slow
def test_a_job_that_is_held_is_told_once(told: Workspace, webhook: Webhook) -> None:
    told.write_job(NAME, LOAN_JOB + '\n[monitoring]\non_breach = { missing = "hold" }\n')
    assert told.cli("run", NAME).returncode == 0
    told.sql(NO_GENDER.format(time="2031-01-01 00:00:00"))
    for _ in range(4):
        assert told.cli("run", NAME).returncode == 6
    assert webhook.kinds == ["run_held"]
    told.sql("""UPDATE applicants SET "LoanAmount" = NULL""")
    assert told.cli("run", NAME).returncode == 6
    assert webhook.kinds == ["run_held", "run_held"], "for another reason"
    assert "4 runs before it since" in told.cli("status").stderr
    assert told.cli("runs", "release", "6", "--reason", "known").returncode == 0
    assert told.cli("run", NAME).returncode == 0
    assert webhook.kinds[:2] == ["run_held", "run_held"]
    assert sorted(webhook.kinds[2:]) == ["drift", "recovered"]


@pytest.mark.slow
def test_metrics_know_drift_and_held_runs(told: Workspace, tmp_path: Path) -> None:
    told.environ["BATCH_SCORING_METRICS_DIR"] = str(tmp_path)
    told.write_job(NAME, LOAN_JOB + '\n[monitoring]\nwindow_rows = 1\non_breach = { unseen = "hold" }\n')
    assert told.cli("run", NAME).returncode == 0
    told.sql(NO_GENDER.format(time="2031-01-01 00:00:00"))
    assert told.cli("run", NAME).returncode == 0
    text = (tmp_path / f"batch_scoring_{NAME}.prom").read_text(encoding="utf-8")
    found = {
        (
            sample.name,
            *sorted((key, value) for key, value in sample.labels.items() if key != "scoring_job"),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["batch_scoring_drift_alerts", ("muted", "false")] >= 1
    assert found["batch_scoring_drift_alerts", ("muted", "true")] == 0
    assert found["batch_scoring_held_runs",] == 0
    assert found["batch_scoring_drift_psi", ("name", "Gender"), ("subject", "feature")] > 0.1
    told.sql("""UPDATE applicants SET "Property_Area" = 'Island', updated_at = '2031-01-02 00:00:00'""")
    assert told.cli("run", NAME).returncode == 6
    text = (tmp_path / f"batch_scoring_{NAME}.prom").read_text(encoding="utf-8")
    assert f'batch_scoring_held_runs{{scoring_job="{NAME}"}} 1.0' in text


def test_drift_that_cannot_be_evaluated_fails_no_run(told: Workspace) -> None:
    told.sql("DROP TABLE drift_metrics")
    done = told.cli("run", NAME)
    assert done.returncode == 0
    assert "drift_not_evaluated" in done.stderr
    assert told.scalar("SELECT status FROM scoring_runs") == "succeeded"
