"""A run in several processes: the same scores, and nothing lost or doubled whichever process dies or is cut off."""

from __future__ import annotations

import os
import pickle
import random
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from conftest import prepare_loans
from faults import (
    assert_counters_equal_rows,
    assert_each_applicant_has_one_current_prediction_of_its_present_version,
    children,
    loan_job,
    ready,
    start_run,
)
from support import Workspace, wait_until

from batch_scoring import errors
from batch_scoring.domain.runs import Run
from batch_scoring.errors import ArtifactChanged, BatchScoringError, Problem
from batch_scoring.model.training import TrainedModel
from batch_scoring.scoring.events import ChunkCommitted, Event
from batch_scoring.store.runs.claim import abandon_crashed

_KILLS = 4
_ALL = 3 * 367


def _run_the_rest(workspace: Workspace) -> Run:
    workspace.write_job("loan_eligibility", loan_job(chunk_rows=500))
    return workspace.run()


def _scores(workspace: Workspace) -> dict[str, float]:
    return dict(workspace.query('SELECT "Loan_ID", score FROM predictions_current'))


@pytest.mark.slow
def test_two_processes_score_what_one_scores(
    workspace: Workspace, loan_model: TrainedModel, loan_test: pd.DataFrame
) -> None:
    ready(workspace, loan_model, loan_test, chunk_rows=100, stalled_after="1 minute", copies=2)
    alone = workspace.run()
    by_one = _scores(workspace)
    workspace.sql("UPDATE applicants SET updated_at = '2026-03-03 00:00:00'")
    events: list[Event] = []

    together = workspace.run(workers=2, observers=[events.append])

    assert (alone.scored_count, together.scored_count, together.superseded_count) == (_ALL,) * 3
    assert together.environment["scikit-learn"]
    counted = sum(event.counts.scored for event in events if isinstance(event, ChunkCommitted))
    assert counted == together.scored_count
    by_two = _scores(workspace)
    assert by_two.keys() == by_one.keys()
    assert max(abs(by_two[key] - by_one[key]) for key in by_one) <= 1e-12
    assert_counters_equal_rows(workspace)
    assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)


@pytest.mark.slow
def test_the_job_may_ask_for_workers_and_the_command_line_for_others(
    sqlite_workspace: Workspace, loan_model: TrainedModel
) -> None:
    job = loan_job(chunk_rows=50).replace("[run]", "[run]\nworkers = 2")
    workspace = prepare_loans(sqlite_workspace, loan_model, job=job)

    run = workspace.cli_json("run", "loan_eligibility")
    assert (run["status"], run["scored_count"], run["job_config"]["run"]["workers"]) == ("succeeded", 367, 2)
    workspace.sql("UPDATE applicants SET updated_at = '2026-03-03 00:00:00'")
    assert workspace.cli_json("run", "loan_eligibility", "--workers", "1")["superseded_count"] == 367
    assert workspace.cli("run", "loan_eligibility", "--workers", "0").returncode == 2


@pytest.mark.slow
def test_a_changed_artifact_is_refused_before_a_worker_starts(
    sqlite_workspace: Workspace, loan_model: TrainedModel
) -> None:
    workspace = prepare_loans(sqlite_workspace, loan_model, job=loan_job(chunk_rows=50))
    (artifact,) = workspace.artifacts_dir.rglob("*.joblib")
    artifact.write_bytes(artifact.read_bytes() + b"x")

    with pytest.raises(ArtifactChanged):
        workspace.run(workers=2)

    assert workspace.query("SELECT status, error_type, chunk_count FROM run_history") == [
        ("failed", "ArtifactChanged", 0)
    ]


@pytest.mark.slow
def test_a_fault_in_a_worker_fails_the_run_with_its_own_name(workspace: Workspace, loan_model: TrainedModel) -> None:
    prepare_loans(workspace, loan_model, job=loan_job(chunk_rows=100))
    workspace.sql('UPDATE applicants SET "LoanAmount" = -1')

    done = workspace.cli("run", "loan_eligibility", "--workers", "2")

    assert done.returncode == 1
    assert "failed alike" in done.stderr or "failed with" in done.stderr
    assert "Traceback" not in done.stderr
    assert workspace.query("SELECT status, error_type, scored_count FROM run_history") == [
        ("failed", "EveryRowFailed", 0)
    ]
    assert workspace.scalar("SELECT count(*) FROM predictions_quarantine") == 0


def _is_midway_or_over(workspace: Workspace, process: Any) -> bool:
    chunks = workspace.query("SELECT chunk_count FROM run_history ORDER BY run_id DESC LIMIT 1")
    return not process.is_alive() or bool(chunks and chunks[0][0] > 2)


@pytest.mark.slow
def test_a_run_in_processes_killed_again_and_again_loses_and_doubles_nothing(
    workspace: Workspace, loan_model: TrainedModel, loan_test: pd.DataFrame
) -> None:
    ready(workspace, loan_model, loan_test, chunk_rows=5, stalled_after="1 minute", copies=8)
    chance = random.Random(4)
    keys = [key for (key,) in workspace.query('SELECT "Loan_ID" FROM applicants')]
    killed_midway = 0
    for kill in range(_KILLS):
        changed = [{"key": key, "at": f"2026-02-01 00:00:{kill:02d}"} for key in chance.sample(keys, 2_000)]
        workspace.sql('UPDATE applicants SET updated_at = :at WHERE "Loan_ID" = :key', changed)
        process = start_run(workspace, workers=2)
        wait_until(partial(_is_midway_or_over, workspace, process))
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
        process.join()
        killed_midway += process.exitcode == -signal.SIGKILL
        # as if the time-out had passed; workers that outlive their run are fenced by the next one
        workspace.sql("UPDATE scoring_runs SET heartbeat_at = '2026-01-01 00:00:00.000000' WHERE status = 'running'")
    workspace.write_job("loan_eligibility", loan_job(chunk_rows=500))
    clean = workspace.run()

    assert clean.status == "succeeded"
    assert_counters_equal_rows(workspace)
    assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)
    assert killed_midway >= _KILLS // 2, "the kills came too late to mean anything"
    print(f"killed {killed_midway} of {_KILLS} runs of two workers midway; lost 0, doubled 0")


@pytest.mark.slow
def test_workers_stop_when_the_process_of_their_run_is_gone(
    workspace: Workspace, loan_model: TrainedModel, loan_test: pd.DataFrame
) -> None:
    ready(workspace, loan_model, loan_test, chunk_rows=2, stalled_after="1 minute", copies=2)
    process = start_run(workspace, workers=2)
    wait_until(lambda: workspace.scalar("SELECT count(*) FROM run_history WHERE chunk_count > 0"))
    workers = children(process.pid)
    assert len(workers) == 2
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    assert workspace.scalar("SELECT scored_count FROM run_history") < _ALL
    assert_counters_equal_rows(workspace)


@pytest.mark.slow
def test_a_worker_that_is_killed_fails_the_run_and_the_next_run_does_the_rest(
    workspace: Workspace, loan_model: TrainedModel, loan_test: pd.DataFrame
) -> None:
    ready(workspace, loan_model, loan_test, chunk_rows=2, stalled_after="1 minute", copies=2)
    process = workspace.start("run", "loan_eligibility", "--workers", "2")
    wait_until(lambda: workspace.scalar("SELECT count(*) FROM run_history WHERE chunk_count > 0"))
    os.kill(children(process.pid)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "a worker process ended without reporting a result" in err
    ((status, error_type, scored),) = workspace.query("SELECT status, error_type, scored_count FROM run_history")
    assert (status, error_type) == ("failed", "WorkerCrashed")
    assert _run_the_rest(workspace).scored_count == _ALL - scored
    assert_counters_equal_rows(workspace)
    assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_ends_the_run_between_two_chunks(
    workspace: Workspace, loan_model: TrainedModel, loan_test: pd.DataFrame, number: signal.Signals
) -> None:
    ready(workspace, loan_model, loan_test, chunk_rows=2, stalled_after="1 minute", copies=2)
    process = workspace.start("run", "loan_eligibility", "--workers", "2")
    wait_until(lambda: workspace.scalar("SELECT count(*) FROM run_history WHERE chunk_count > 0"))
    for pid in [process.pid, *children(process.pid)]:  # as a terminal or a service manager does
        os.kill(pid, number)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 1, err
    assert "stopping after the current chunk" in err
    ((status, error_type, scored),) = workspace.query("SELECT status, error_type, scored_count FROM run_history")
    assert (status, error_type) == ("failed", "RunStopped")
    assert 0 < scored < _ALL
    assert _run_the_rest(workspace).scored_count == _ALL - scored
    assert_counters_equal_rows(workspace)
    assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)


@pytest.mark.slow
def test_workers_of_a_run_that_was_taken_over_are_fenced(
    workspace: Workspace, loan_model: TrainedModel, loan_test: pd.DataFrame
) -> None:
    ready(workspace, loan_model, loan_test, chunk_rows=2, stalled_after="1 minute", copies=2)
    process = workspace.start("run", "loan_eligibility", "--workers", "2")
    wait_until(lambda: workspace.scalar("SELECT count(*) FROM run_history WHERE chunk_count > 0"))
    with workspace.database() as database:
        assert abandon_crashed(database, "loan_eligibility", process_id=process.pid, message="it was given up")
    successor = _run_the_rest(workspace)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "fenced" in err
    assert successor.status == "succeeded"
    assert_counters_equal_rows(workspace)
    assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)


@pytest.mark.slow
def test_workers_whose_connections_are_cut_finish_and_double_nothing(
    postgresql_workspace: Workspace, loan_model: TrainedModel, loan_test: pd.DataFrame
) -> None:
    workspace = ready(postgresql_workspace, loan_model, loan_test, chunk_rows=10, stalled_after="1 minute", copies=4)
    done = threading.Event()
    cuts = 0

    def cut() -> None:
        nonlocal cuts
        url = sa.make_url(workspace.database_url).set(drivername="postgresql+psycopg2")
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            while not done.wait(0.3) and cuts < 10:
                cuts += connection.exec_driver_sql(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE application_name LIKE 'batch-scoring run %%' AND datname = current_database()"
                    " AND state <> 'idle'"
                ).scalar_one()
        engine.dispose()

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        run = workspace.run(workers=2)
    finally:
        done.set()
        cutter.join()

    assert run.status == "succeeded"
    assert_counters_equal_rows(workspace)
    assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)
    print(f"cut {cuts} connections of two workers; lost 0, doubled 0")


def test_every_error_of_the_package_reaches_the_run_from_a_worker_as_it_was() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BatchScoringError)]
    assert len(kinds) > 20
    for kind in kinds:
        problem = Problem(where="jobs/x.toml", key="source.table", message="is missing")
        error = kind([problem]) if kind is errors.ConfigurationError else kind("what is wrong; what to do")
        travelled = pickle.loads(pickle.dumps(error))
        assert (type(travelled), str(travelled)) == (kind, str(error))
