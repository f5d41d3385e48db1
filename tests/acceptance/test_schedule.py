"""The scheduler service as a process: slots, signals, deaths, files that change, and what it answers."""

from __future__ import annotations

import os
import re
import signal
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import prepare_loans
from faults import (
    assert_counters_equal_rows,
    assert_each_applicant_has_one_current_prediction_of_its_present_version,
    loan_job,
)
from serving import EVERY_SECOND, NEVER, serving, without_schedule
from support import LOAN_JOB, Workspace, wait_until

from batch_scoring.domain.schedule import Schedule, latest_slot
from batch_scoring.model.training import TrainedModel

NAME = "loan_eligibility"


@pytest.fixture
def scheduled(workspace: Workspace, loan_model: TrainedModel) -> Workspace:
    """The loan job, every second."""
    return prepare_loans(workspace, loan_model, job=without_schedule(LOAN_JOB) + EVERY_SECOND)


@pytest.fixture
def embedded(sqlite_workspace: Workspace, loan_model: TrainedModel) -> Workspace:
    """The same on SQLite alone, for what does not depend on the database."""
    return prepare_loans(sqlite_workspace, loan_model, job=without_schedule(LOAN_JOB) + EVERY_SECOND)


def _succeeded(workspace: Workspace) -> int:
    found: int = workspace.scalar("SELECT count(*) FROM scoring_runs WHERE status = 'succeeded'")
    return found


def test_each_slot_is_filled_by_a_run_of_its_own_process(scheduled: Workspace) -> None:
    with serving(scheduled) as service:
        wait_until(lambda: _succeeded(scheduled) >= 3)
        assert service.stop() == 0
    runs = scheduled.query("SELECT trigger, status, scheduled_for, process_id FROM scoring_runs ORDER BY run_id")

    assert {trigger for trigger, *_ in runs} == {"schedule"}
    slots = [slot for _, status, slot, _ in runs if status != "skipped"]
    assert len(set(slots)) == len(slots)
    assert all(str(slot)[19:].strip("0.+:") == "" for slot in slots), "slots of every second fall on whole seconds"
    assert len({process for *_, process in runs}) == len(runs)
    assert service.process.pid not in {process for *_, process in runs}
    assert scheduled.scalar("SELECT count(*) FROM predictions_current") == 367
    assert_each_applicant_has_one_current_prediction_of_its_present_version(scheduled)


@pytest.mark.slow
def test_two_services_give_each_slot_one_run(scheduled: Workspace) -> None:
    with serving(scheduled) as one, serving(scheduled) as two:
        wait_until(lambda: _succeeded(scheduled) >= 3)
        wait_until(lambda: one.events("run_ended") and two.events("run_ended"))
        assert (one.stop(), two.stop()) == (0, 0)

    filled = scheduled.query("SELECT scheduled_for FROM scoring_runs WHERE status = 'succeeded'")
    assert len(set(filled)) == len(filled)
    exit_codes = {event["exit_code"] for service in (one, two) for event in service.events("run_ended")}
    assert exit_codes <= {0, 75, -signal.SIGTERM}, "one may be asked to stop before it has begun"
    assert_counters_equal_rows(scheduled)
    assert_each_applicant_has_one_current_prediction_of_its_present_version(scheduled)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_service_after_the_chunk_under_way(
    workspace: Workspace, loan_model: TrainedModel, number: signal.Signals
) -> None:
    prepare_loans(workspace, loan_model, job=without_schedule(loan_job(chunk_rows=1)) + EVERY_SECOND)
    with serving(workspace) as service:
        wait_until(lambda: workspace.scalar("SELECT count(*) FROM run_history WHERE chunk_count > 3"))
        assert service.stop(number) == 0

        assert not service.events("service_fault")
        assert service.events()[-1]["event"] == "service_stopped"
    ((status, error_type, scored),) = workspace.query("SELECT status, error_type, scored_count FROM run_history")
    assert (status, error_type) == ("failed", "RunStopped")
    assert 0 < scored < 367
    assert_counters_equal_rows(workspace)


@pytest.mark.slow
def test_a_second_signal_ends_everything_at_once_and_loses_nothing(
    workspace: Workspace, loan_model: TrainedModel
) -> None:
    prepare_loans(workspace, loan_model, job=without_schedule(loan_job(chunk_rows=1)) + EVERY_SECOND)
    with serving(workspace) as service:
        wait_until(lambda: workspace.scalar("SELECT count(*) FROM run_history WHERE chunk_count > 3"))
        (run,) = service.events("slot_fired")
        os.kill(run["process_id"], signal.SIGSTOP)  # a run that does not stop when asked
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "stopping after the current chunks" in service.log.read_text())
        assert service.stop(signal.SIGTERM) == 1
        wait_until(lambda: not Path(f"/proc/{run['process_id']}").exists() or _is_zombie(run["process_id"]))

    assert_counters_equal_rows(workspace)
    workspace.sql("UPDATE scoring_runs SET heartbeat_at = '2026-01-01 00:00:00.000000' WHERE status = 'running'")
    workspace.write_job(NAME, loan_job(chunk_rows=500))
    workspace.run()
    assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)


def _is_zombie(process_id: int) -> bool:
    return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.slow
def test_a_run_that_is_killed_costs_one_run_and_not_the_service(workspace: Workspace, loan_model: TrainedModel) -> None:
    prepare_loans(workspace, loan_model, job=without_schedule(loan_job(chunk_rows=1)) + EVERY_SECOND)
    with serving(workspace) as service:
        wait_until(lambda: workspace.scalar("SELECT count(*) FROM run_history WHERE chunk_count > 3"))
        workspace.write_job(NAME, without_schedule(loan_job(chunk_rows=100)) + EVERY_SECOND)
        os.kill(service.events("slot_fired")[0]["process_id"], signal.SIGKILL)
        wait_until(lambda: _succeeded(workspace))
        assert service.stop() == 0

        ended = service.events("run_ended")[0]
    assert (ended["killed_by"], ended["abandoned_run_id"]) == ("SIGKILL", 1)
    ((status, message),) = workspace.query("SELECT status, error_message FROM scoring_runs WHERE run_id = 1")
    assert status == "abandoned", "the next run need not wait until it counts as stalled"
    assert "SIGKILL" in message
    assert_counters_equal_rows(workspace)
    assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)


@pytest.mark.slow
def test_a_run_that_takes_too_long_is_stopped_between_two_chunks(
    workspace: Workspace, loan_model: TrainedModel
) -> None:
    job = without_schedule(loan_job(chunk_rows=1)).replace("[run]", '[run]\nmax_duration = "8 seconds"')
    prepare_loans(workspace, loan_model, job=job + '\n[schedule]\nevery = "10 seconds"\n')
    workspace.insert_frame("applicants", _many_applicants(workspace))
    with serving(workspace) as service:
        wait_until(lambda: service.events("run_ended"))
        ended = service.events("run_ended")[0]
        assert service.stop() == 0

    assert (ended["overran"], ended["killed_by"], ended["exit_code"]) == (True, None, 1)
    assert workspace.query("SELECT status, error_type FROM scoring_runs WHERE run_id = 1") == [("failed", "RunStopped")]
    assert_counters_equal_rows(workspace)


def _many_applicants(workspace: Workspace) -> Any:
    from batch_scoring.demo.synthetic import applicants

    return applicants(5_000, seed=3).assign(updated_at="2026-01-01 00:00:00")


def test_a_frozen_run_that_takes_too_long_is_killed_and_closed(embedded: Workspace) -> None:
    from batch_scoring.scheduling.child import RunProcess

    slot = datetime(2026, 1, 1, tzinfo=UTC)
    process = RunProcess(NAME, slot, {**os.environ, **embedded.process_environ})
    os.kill(process.process_id, signal.SIGSTOP)

    ended = process.wait(at_most=timedelta(seconds=0.2), grace=timedelta(seconds=0.2))

    assert (ended.overran, ended.killed_by) == (True, "SIGKILL")


@pytest.mark.slow
def test_slots_that_passed_while_no_service_was_up_become_one_run(
    workspace: Workspace, loan_model: TrainedModel
) -> None:
    prepare_loans(workspace, loan_model, job=without_schedule(LOAN_JOB) + '\n[schedule]\ncron = "*/10 * * * *"\n')
    missed = latest_slot(Schedule(cron="*/10 * * * *"), datetime.now(UTC))
    assert missed is not None
    six_hours_ago = missed - timedelta(hours=6)
    assert workspace.cli("run", NAME, "--scheduled-for", f"{six_hours_ago:%Y-%m-%dT%H:%M:%S}").returncode == 0
    workspace.sql("UPDATE applicants SET updated_at = '2026-03-03 00:00:00'")

    with serving(workspace) as service:
        wait_until(lambda: _succeeded(workspace) == 2)
        assert service.stop() == 0

    slots = [slot for (slot,) in workspace.query("SELECT scheduled_for FROM scoring_runs ORDER BY run_id")]
    assert [str(slot)[:19] for slot in slots] in (
        [f"{six_hours_ago:%Y-%m-%d %H:%M:%S}", f"{slot:%Y-%m-%d %H:%M:%S}"]
        for slot in (missed, missed + timedelta(minutes=10))
    )
    assert workspace.scalar("SELECT count(*) FROM predictions_superseded") == 367


@pytest.mark.slow
def test_a_new_job_waits_for_its_first_slot(embedded: Workspace) -> None:
    embedded.write_job(NAME, without_schedule(LOAN_JOB) + NEVER)
    with serving(embedded) as service:
        wait_until(lambda: service.get("/healthz")[0] == 200)
        assert service.events("slot_fired") == []
        assert service.stop() == 0
    assert embedded.scalar("SELECT count(*) FROM scoring_runs") == 0


@pytest.mark.slow
def test_job_files_are_read_again_and_a_broken_one_keeps_its_last_good_version(embedded: Workspace) -> None:
    embedded.write_job(NAME, without_schedule(LOAN_JOB) + NEVER)
    file = embedded.jobs_dir / f"{NAME}.toml"
    good = file.read_text()
    with serving(embedded) as service:
        wait_until(lambda: service.get("/readyz")[0] == 200)
        file.write_text(good.replace("[source]", "[sauce]"))
        wait_until(lambda: service.events("job_file_broken"))
        status, reason = service.get("/readyz")
        assert status == 503
        assert "sauce" in reason
        assert 'batch_scoring_job_file_broken{scoring_job="loan_eligibility"} 1.0' in service.get("/metrics")[1]
        assert service.get("/healthz")[0] == 200

        file.write_text(without_schedule(good) + EVERY_SECOND)
        wait_until(lambda: _succeeded(embedded) >= 1)
        assert service.get("/readyz")[0] == 200
        file.unlink()
        wait_until(lambda: service.events("job_unscheduled"))
        assert service.stop() == 0


@pytest.mark.slow
def test_it_answers_what_it_knows(scheduled: Workspace) -> None:
    with serving(scheduled) as service:
        wait_until(lambda: _succeeded(scheduled) >= 1)
        wait_until(lambda: 'batch_scoring_runs_total{scoring_job="loan_eligibility"' in service.get("/metrics")[1])
        _, metrics = service.get("/metrics")
        assert service.get("/nowhere")[0] == 404
        assert service.stop() == 0
    for name in ("runs_total", "rows_total", "healthy", "running", "quarantined_rows", "current_predictions"):
        assert re.search(rf'^batch_scoring_{name}{{.*scoring_job="loan_eligibility"', metrics, re.MULTILINE), name
    assert "process_resident_memory_bytes" in metrics
    assert "batch_scoring_database_up 1.0" in metrics


@pytest.mark.slow
def test_a_database_that_is_away_is_said_and_waited_for(embedded: Workspace) -> None:
    database = embedded.folder / "test.db"
    hidden = embedded.folder / "hidden.db"
    database.rename(hidden)
    with serving(embedded) as service:
        wait_until(lambda: service.events("service_fault"))
        wait_until(lambda: service.get("/readyz")[0] == 503)
        assert "test.db" in service.get("/readyz")[1]
        hidden.rename(database)
        wait_until(lambda: _succeeded(embedded) >= 1)
        assert service.stop() == 0


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"BATCH_SCORING_LISTEN": "here"}, "BATCH_SCORING_LISTEN: expected host:port"),
        ({"BATCH_SCORING_JOBS_DIR": "nowhere"}, "BATCH_SCORING_JOBS_DIR: there is no folder nowhere/"),
        ({"BATCH_SCORING_SMTP_URL": "mail.example.com"}, "BATCH_SCORING_SMTP_URL: expected smtp://"),
        ({"BATCH_SCORING_SMTP_URL": "smtp://mail.example.com"}, "BATCH_SCORING_MAIL_TO: expected both or neither"),
        ({"BATCH_SCORING_WEBHOOK_URL": "ftp://x"}, "BATCH_SCORING_WEBHOOK_URL: expected an https://"),
        (
            {"BATCH_SCORING_WEBHOOK_URL_FILE": "nowhere"},
            "BATCH_SCORING_WEBHOOK_URL_FILE: the file it names cannot be read",
        ),
    ],
)
def test_settings_that_cannot_be_used_are_named_with_exit_code_2(
    embedded: Workspace, environ: dict[str, str], said: str
) -> None:
    embedded.environ.update(environ)

    done = embedded.cli("schedule")

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_taken_is_named_with_exit_code_2(embedded: Workspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        embedded.environ["BATCH_SCORING_LISTEN"] = f"127.0.0.1:{taken.getsockname()[1]}"
        done = embedded.cli("schedule")

    assert done.returncode == 2
    assert "cannot listen on 127.0.0.1" in done.stderr


@pytest.mark.slow
def test_nothing_is_left_when_a_service_is_killed_but_the_run_that_ends_by_itself(embedded: Workspace) -> None:
    with serving(embedded) as service:
        wait_until(lambda: service.events("slot_fired"))
        service.process.kill()
        service.process.wait()
        wait_until(lambda: _succeeded(embedded) >= 1)
        (run, *_) = service.events("slot_fired")
        wait_until(lambda: not Path(f"/proc/{run['process_id']}").exists() or _is_zombie(run["process_id"]))
    assert_each_applicant_has_one_current_prediction_of_its_present_version(embedded)
