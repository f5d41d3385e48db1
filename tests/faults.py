"""What the fault tests share: many applicants, runs as processes of their own, and the ledger at the end."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa
from conftest import prepare_loans
from processes import forks
from support import LOAN_JOB, Workspace, wait_until

from batch_scoring.domain.job_files import load_job
from batch_scoring.domain.profile import Profile, total
from batch_scoring.model.training import TrainedModel
from batch_scoring.operations import rescore
from batch_scoring.scoring.runner import RunOptions, run_job
from batch_scoring.store.engine.database import Database
from batch_scoring.store.source.selection import Request


def _run_in_child(jobs_dir: str, database_url: str, artifacts_dir: str, workers: int) -> None:
    options = RunOptions(workers=workers)
    run_job(Database(database_url), load_job(Path(jobs_dir), "loan_eligibility"), Path(artifacts_dir), options=options)


def start_run(workspace: Workspace, *, workers: int = 1) -> Any:
    """A run as a process of its own, forked from a server that has the libraries loaded."""
    arguments = (str(workspace.jobs_dir), workspace.database_url, str(workspace.artifacts_dir), workers)
    process = forks().Process(target=_run_in_child, args=arguments)
    process.start()
    return process


def _rescore_in_child(
    jobs_dir: str, database_url: str, artifacts_dir: str, request: Request, continues: int | None
) -> None:
    job = load_job(Path(jobs_dir), "loan_eligibility")
    database = Database(database_url)
    plan = rescore.plan(database, job, request) if continues is None else rescore.continuation(database, job, continues)
    database.dispose()
    options = RunOptions(trigger="rescore", rescore=plan.rescore, reason="a test")
    run_job(Database(database_url), job, Path(artifacts_dir), options=options)


def start_rescore(workspace: Workspace, request: Request, *, continues: int | None = None) -> Any:
    """A rescore, or the rest of one, as a process of its own."""
    arguments = (str(workspace.jobs_dir), workspace.database_url, str(workspace.artifacts_dir), request, continues)
    process = forks().Process(target=_rescore_in_child, args=arguments)
    process.start()
    return process


def _stop(pid: int) -> None:
    """SIGSTOP, and wait until it has reached every thread: on another processor they go on for a moment."""

    def is_stopped() -> bool:
        try:
            states = [
                file.read_text().rpartition(")")[2].split()[0] for file in Path(f"/proc/{pid}/task").glob("*/stat")
            ]
        except OSError:  # a thread has ended meanwhile
            return False
        return set(states) <= {"T"}

    os.kill(pid, signal.SIGSTOP)
    wait_until(is_stopped)


def freeze_between_transactions(workspace: Workspace, pid: int) -> None:
    """SIGSTOP, and not while it is writing: what it has locked would be locked for as long as it is frozen."""
    while True:
        _stop(pid)
        if writers := workspace.words.count_writers:
            time.sleep(0.1)  # the server ends what it was sent before
            if not workspace.scalar(writers):
                return
            os.kill(pid, signal.SIGCONT)
            continue
        engine = sa.create_engine(workspace.database_url, connect_args={"timeout": 0})
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                connection.exec_driver_sql("ROLLBACK")
            return
        except sa.exc.OperationalError:
            os.kill(pid, signal.SIGCONT)
        finally:
            engine.dispose()


def seconds_without_heartbeat(workspace: Workspace, run_id: int) -> float:
    """The age of a run's heartbeat by the database's clock."""
    age = workspace.words.seconds_since.format(time="heartbeat_at")
    return float(workspace.scalar(f"SELECT {age} FROM scoring_runs WHERE run_id = :run", run=run_id))


def children(process_id: int) -> list[int]:
    """The worker processes of a run: its children that are no helper of multiprocessing's own."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except OSError:  # it is gone
            continue
        if parent == process_id and b"popen_loky" in command:
            found.append(int(folder.name))
    return found


def loan_job(*, chunk_rows: int, stalled_after: str = "5 minutes") -> str:
    """The shipped job with chunks of a fixed size."""
    return LOAN_JOB.replace("# chunk_rows = 50000", f"chunk_rows = {chunk_rows}").replace(
        'stalled_after = "5 minutes"', f'stalled_after = "{stalled_after}"'
    )


def applicants(loan_test: pd.DataFrame, copies: int) -> pd.DataFrame:
    """The new applicants several times over, under keys of their own."""
    return pd.concat(
        [loan_test.assign(Loan_ID=loan_test["Loan_ID"] + f"-{copy}") for copy in range(copies)], ignore_index=True
    )


def ready(
    workspace: Workspace,
    model: TrainedModel,
    loan_test: pd.DataFrame,
    *,
    chunk_rows: int,
    stalled_after: str,
    copies: int,
) -> Workspace:
    """A workspace with the new applicants and copies of them, ready to run."""
    prepare_loans(workspace, model, job=loan_job(chunk_rows=chunk_rows, stalled_after=stalled_after))
    more = applicants(loan_test, copies).assign(updated_at="2026-01-01 00:00:00")
    workspace.insert_frame("applicants", more)
    return workspace


def assert_counters_equal_rows(workspace: Workspace, *, leave_out: Sequence[str] = ()) -> None:
    """What each run counted is what stands in the tables."""
    counted = workspace.query(
        "SELECT r.run_id, r.scored_count, (SELECT count(*) FROM predictions_history p WHERE p.run_id = r.run_id)"
        " FROM run_history r"
    )
    assert [(run, count) for run, count, _ in counted] == [(run, rows) for run, _, rows in counted]
    superseded = workspace.scalar("SELECT coalesce(sum(superseded_count), 0) FROM run_history")
    assert superseded == workspace.scalar("SELECT count(*) FROM predictions_superseded")
    assert_profiles_equal_counts(workspace, leave_out=leave_out)


def assert_profiles_equal_counts(workspace: Workspace, *, leave_out: Sequence[str] = ()) -> None:
    """The profile of each run counts the rows that it scored or quarantined; that of an ended run is one row.

    Runs with a status of ``leave_out`` are not looked at: a held run counts a sample that it does not score.
    """
    found = workspace.query(
        "SELECT r.run_id, r.status, r.scored_count, r.quarantined_count, p.read_count, p.profile"
        " FROM run_history r JOIN scoring_profiles p ON p.run_id = r.run_id"
    )
    counted: dict[int, list[Profile]] = {}
    found = [row for row in found if row[1] not in leave_out]
    for run_id, _, _, _, read_count, profile in found:
        one = Profile.model_validate(json.loads(profile) if isinstance(profile, str) else profile)
        assert one.rows == read_count
        counted.setdefault(run_id, []).append(one)
    for run_id, status, scored, quarantined, *_ in found:
        assert status == "running" or len(counted[run_id]) == 1
        profile = total(counted[run_id])
        assert profile is not None
        assert profile.rows == scored + quarantined
        assert profile.scored_count == scored == sum(profile.scores.values())
        assert all(sum(feature.counts) == profile.rows for feature in profile.features.values())
    scoring = "SELECT run_id FROM run_history WHERE scored_count + quarantined_count > 0"
    assert {run_id for (run_id,) in workspace.query(scoring)} <= set(counted)


def assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace: Workspace) -> None:
    """The ledger: lost 0, doubled 0, and no two lives of a key overlap."""
    same_version = 'p."Loan_ID" = s."Loan_ID" AND p.source_changed_at = s.updated_at'
    current = f"SELECT count(*) FROM predictions p WHERE {same_version}"
    assert workspace.query(f'SELECT s."Loan_ID" FROM applicants s WHERE ({current}) <> 1') == []
    assert workspace.scalar("SELECT count(*) FROM predictions_current") == workspace.scalar(
        "SELECT count(*) FROM applicants"
    )
    overlapping = workspace.query(
        'SELECT a."Loan_ID" FROM predictions_history a JOIN predictions_history b ON a."Loan_ID" = b."Loan_ID"'
        " AND a.valid_to < b.valid_to AND b.valid_from < a.valid_to"
    )
    assert overlapping == []
