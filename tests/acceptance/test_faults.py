"""What must survive anything: kill, freeze, race, lost connections, late commits. Real processes, real databases."""

from __future__ import annotations

import os
import random
import signal
import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from conftest import prepare_loans
from faults import (
    assert_counters_equal_rows,
    assert_each_applicant_has_one_current_prediction_of_its_present_version,
    freeze_between_transactions,
    loan_job,
    ready,
    seconds_without_heartbeat,
    start_run,
)
from support import Workspace, wait_until

from batch_scoring.model.training import TrainedModel

_KILLS = 20


@pytest.mark.slow
def test_a_run_killed_twenty_times_loses_and_doubles_nothing(
    workspace: Workspace, loan_model: TrainedModel, loan_test: pd.DataFrame
) -> None:
    ready(workspace, loan_model, loan_test, chunk_rows=4, stalled_after="1 minute", copies=8)
    chance = random.Random(20)
    keys = [key for (key,) in workspace.query('SELECT "Loan_ID" FROM applicants')]
    killed_midway = 0
    for kill in range(_KILLS):
        # a changed part keeps supersession under fire in every round
        changed = [{"key": key, "at": f"2026-02-01 00:00:{kill:02d}"} for key in chance.sample(keys, 400)]
        workspace.sql(
            'UPDATE applicants SET updated_at = :at, "LoanAmount" = 100 + "LoanAmount" WHERE "Loan_ID" = :key',
            changed,
        )
        process = start_run(workspace)
        process.join(timeout=chance.uniform(0.05, 0.8))
        process.kill()
        process.join()
        killed_midway += process.exitcode == -signal.SIGKILL
        assert_counters_equal_rows(workspace)
        # as if the time-out had passed
        workspace.sql("UPDATE scoring_runs SET heartbeat_at = '2026-01-01 00:00:00.000000' WHERE status = 'running'")
    workspace.write_job("loan_eligibility", loan_job(chunk_rows=500))
    clean = workspace.run()

    assert_counters_equal_rows(workspace)
    assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)
    statuses = dict(workspace.query("SELECT status, count(*) FROM scoring_runs GROUP BY status"))
    assert clean.status == "succeeded"
    assert statuses.get("running", 0) == 0
    assert killed_midway >= _KILLS // 2, "the kills came too late to mean anything"
    while_writing = workspace.scalar("SELECT count(*) FROM run_history WHERE status = 'abandoned' AND chunk_count > 0")
    print(
        f"killed {killed_midway} of {_KILLS} runs midway, {while_writing} of them between or in their chunks;"
        f" runs by status: {statuses}; lost 0, doubled 0"
    )


def test_of_two_runs_at_once_one_succeeds_and_the_other_is_skipped(
    workspace: Workspace, loan_model: TrainedModel
) -> None:
    prepare_loans(workspace, loan_model, job=loan_job(chunk_rows=2))
    first = start_run(workspace)
    wait_until(lambda: workspace.scalar("SELECT count(*) FROM run_history WHERE chunk_count > 0"))

    second = workspace.cli("run", "loan_eligibility")

    first.join()
    assert first.exitcode == 0
    assert second.returncode == 75
    assert "run 1 is active" in second.stderr
    assert [status for (status,) in workspace.query("SELECT status FROM scoring_runs ORDER BY run_id")] == [
        "succeeded",
        "skipped",
    ]
    assert_counters_equal_rows(workspace)
    assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)


@pytest.mark.slow
def test_a_frozen_run_is_taken_over_and_fenced_when_it_wakes_up(workspace: Workspace, loan_model: TrainedModel) -> None:
    prepare_loans(workspace, loan_model, job=loan_job(chunk_rows=1, stalled_after="2 seconds"))
    holder = workspace.start("run", "loan_eligibility")
    try:
        wait_until(lambda: workspace.scalar("SELECT count(*) FROM run_history WHERE chunk_count >= 3"))
        freeze_between_transactions(workspace, holder.pid)
        frozen_at = workspace.scalar("SELECT chunk_count FROM run_history")
        assert frozen_at < 367, "the run must be frozen midway"
        wait_until(lambda: seconds_without_heartbeat(workspace, 1) > 2.1)

        workspace.write_job("loan_eligibility", loan_job(chunk_rows=100, stalled_after="2 seconds"))
        successor = workspace.run()
        after_takeover = workspace.query('SELECT * FROM predictions_history ORDER BY "Loan_ID", valid_to')
        os.kill(holder.pid, signal.SIGCONT)
        _, err = holder.communicate(timeout=60)
    finally:
        holder.kill()

    assert successor.status == "succeeded"
    assert successor.run_id == 2
    assert holder.returncode == 1
    assert "fenced" in err
    assert workspace.query('SELECT * FROM predictions_history ORDER BY "Loan_ID", valid_to') == after_takeover
    assert workspace.query("SELECT status FROM scoring_runs ORDER BY run_id") == [("abandoned",), ("succeeded",)]
    assert_counters_equal_rows(workspace)
    assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)


@pytest.mark.slow
def test_a_row_committed_late_with_an_older_timestamp_and_a_lower_id_is_scored(
    postgresql_workspace: Workspace, loan_model: TrainedModel
) -> None:
    workspace = prepare_loans(postgresql_workspace, loan_model)
    with workspace.database() as database:
        with database.write() as late:
            late.execute(
                sa.text(
                    'INSERT INTO applicants SELECT \'AA000001\', "Gender", "Married", "Dependents", "Education",'
                    ' "Self_Employed", "ApplicantIncome", "CoapplicantIncome", "LoanAmount", "Loan_Amount_Term",'
                    ' "Credit_History", "Property_Area", \'2001-01-01\' FROM applicants LIMIT 1'
                )
            )
            before = workspace.run()
        after = workspace.run()

    assert before.scored_count == 367
    assert (after.due_count, after.scored_count) == (1, 1)
    assert workspace.scalar("SELECT run_id FROM predictions_current WHERE \"Loan_ID\" = 'AA000001'") == after.run_id


@pytest.mark.slow
def test_a_run_whose_connections_are_cut_again_and_again_finishes_and_doubles_nothing(
    postgresql_workspace: Workspace, loan_model: TrainedModel, loan_test: pd.DataFrame
) -> None:
    workspace = ready(postgresql_workspace, loan_model, loan_test, chunk_rows=40, stalled_after="1 minute", copies=2)
    done = threading.Event()
    cuts = 0

    def cut() -> None:
        nonlocal cuts
        engine = sa.create_engine(
            sa.make_url(workspace.database_url).set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            while not done.wait(0.15):
                cuts += connection.exec_driver_sql(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE application_name LIKE 'batch-scoring run %%' AND datname = current_database()"
                    " AND state <> 'idle'"
                ).scalar_one()
                if cuts >= 12:
                    return
        engine.dispose()

    cutter = threading.Thread(target=cut)
    wait_for_chunks = threading.Event()
    cutter_started = threading.Event()

    def start_cutting(_event: object) -> None:
        if not cutter_started.is_set() and wait_for_chunks.is_set():
            cutter_started.set()
            cutter.start()
        wait_for_chunks.set()

    try:
        run = workspace.run(observers=[start_cutting])
    finally:
        done.set()
        if cutter_started.is_set():
            cutter.join()

    assert run.status == "succeeded"
    assert_counters_equal_rows(workspace)
    assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)
    print(f"cut {cuts} connections; lost 0, doubled 0")


@pytest.mark.slow
def test_sigterm_ends_a_run_between_two_chunks_and_the_next_run_does_the_rest(
    sqlite_workspace: Workspace, loan_model: TrainedModel
) -> None:
    workspace = prepare_loans(sqlite_workspace, loan_model, job=loan_job(chunk_rows=1))
    process = workspace.start("run", "loan_eligibility")
    wait_until(lambda: workspace.scalar("SELECT count(*) FROM run_history WHERE chunk_count > 0"))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)

    stopped = workspace.query("SELECT status, error_type, scored_count FROM run_history")[0]
    assert process.returncode == 1
    assert "stopping after the current chunk" in err
    assert stopped[:2] == ("failed", "RunStopped")
    assert 0 < stopped[2] < 367
    assert workspace.run().scored_count == 367 - stopped[2]
    assert_counters_equal_rows(workspace)
    assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)


def test_a_row_changed_while_its_chunk_is_scored_is_due_again(
    workspace: Workspace, loan_model: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from batch_scoring.model import bisection

    prepare_loans(workspace, loan_model)
    outputs = bisection.model_outputs  # type: ignore[attr-defined]  # imported there
    changed = False

    def change_meanwhile(model: Any, kind: Any, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
        nonlocal changed
        if len(frame) == 367 and not changed:
            changed = True
            workspace.sql(
                "UPDATE applicants SET updated_at = '2020-05-05 00:00:00', \"ApplicantIncome\" = 1"
                " WHERE \"Loan_ID\" = 'LP001015'"
            )
        return outputs(model, kind, frame)

    monkeypatch.setattr(bisection, "model_outputs", change_meanwhile)
    workspace.run()
    assert changed
    again = workspace.run()
    assert (again.due_count, again.superseded_count) == (1, 1)
    assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)
