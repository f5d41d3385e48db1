"""A run from its opening to its closing, whatever comes between."""

from __future__ import annotations

import platform
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from batch_scoring.errors import BatchScoringError, DatabaseFault, ExitCode, Fenced, RunStopped
from batch_scoring.job import Job
from batch_scoring.scoring.attempt import Attempt
from batch_scoring.scoring.events import Event, Observer, RunFinished, RunStarted, RunTookOver
from batch_scoring.scoring.rescore import Rescore
from batch_scoring.scoring.retrying import persistently
from batch_scoring.store import migrations, runs
from batch_scoring.store.database import Database, Timeouts
from batch_scoring.store.opening import OpenedRun, Opening
from batch_scoring.store.runs import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """What whoever starts a run may choose."""

    trigger: runs.Trigger = "cli"
    scheduled_for: datetime | None = None
    """The slot that the run fills, aware."""
    allow_version_mismatch: bool = False
    workers: int | None = None
    """Worker processes; None leaves it to the job."""
    rescore: Rescore | None = None
    """What to score again; None for what is due."""
    requested_by: str | None = None
    """Who asks for the run; None for the login."""
    reason: str | None = None


class UnexpectedFault(BatchScoringError):
    """Something failed that the package did not foresee. Recorded by its type: its text may quote a row."""


def run_job(
    job: Job,
    database_url: str,
    artifacts_dir: Path,
    *,
    options: RunOptions = RunOptions(),
    observers: Sequence[Observer] = (),
    stop: threading.Event | None = None,
) -> Run:
    """Carry out one run of a job and return its record.

    Whatever ends the run is recorded with it, as far as the database can be written, and raised: AnotherRunActive,
    ModelRefused, SourceFault, Fenced, DatabaseFault and other BatchScoringError. ``stop`` ends the run at the next
    chunk boundary with RunStopped.
    """

    def emit(event: Event) -> None:
        for observer in observers:
            observer(event)

    database = Database(database_url, timeouts=Timeouts().within(job.run.stalled_after))
    opened = _open(database, job, options)
    database.label = runs.session_label(opened.run_id)
    emit(RunStarted(run_id=opened.run_id, job=job.name))
    if opened.takeover is not None:
        emit(RunTookOver(run_id=opened.run_id, job=job.name, abandoned=opened.takeover))
    workers = options.workers or job.run.workers
    attempt = Attempt(
        job=job,
        database=database,
        artifacts_dir=artifacts_dir,
        run_id=opened.run_id,
        workers=workers,
        allow_version_mismatch=options.allow_version_mismatch,
        rescore=options.rescore,
        emit=emit,
        stop=stop or threading.Event(),
    )
    finished: Run | None = None
    try:
        attempt.carry_out()
        persistently(lambda: runs.close_run(database, opened.run_id))
    except Fenced:
        raise
    except BatchScoringError as exc:
        _record_failure(database, opened.run_id, exc)
        raise
    except KeyboardInterrupt:
        _record_failure(
            database, opened.run_id, RunStopped("the run was interrupted; what it had not committed is due")
        )
        raise
    except Exception as exc:
        fault = UnexpectedFault(f"an unexpected {type(exc).__name__} ended the run; see the log of the process")
        _record_failure(database, opened.run_id, fault)
        raise
    else:
        # the run has succeeded, whatever becomes of the connection that says so
        finished = persistently(lambda: _recorded(database, opened.run_id))
        return finished
    finally:
        finished = finished or _closed(database, opened.run_id)
        database.dispose()
        if finished is not None:
            emit(RunFinished(job=job.name, run=finished))


def exit_code(run: Run, job: Job) -> ExitCode:
    """What a finished run says to its caller."""
    if run.read_count and run.quarantined_count > job.predictions.max_quarantined * run.read_count:
        return ExitCode.TOO_MANY_QUARANTINED
    return ExitCode.DONE


def _open(database: Database, job: Job, options: RunOptions) -> OpenedRun:
    """Begin the run, or leave nothing open."""
    opening = Opening(
        database=database,
        job=job.name,
        job_config=job.model_dump(mode="json"),
        environment={"python": platform.python_version()},
        stalled_after=job.run.stalled_after,
        trigger=options.trigger,
        scheduled_for=options.scheduled_for,
        requested_by=options.requested_by,
        reason=options.reason,
        continues_run_id=options.rescore.begun_by if options.rescore else None,
    )
    try:
        with database.read() as connection:  # a database that is away from the start is reported at once
            migrations.check_revision(connection)
        return persistently(opening.carry_out)
    except BaseException:
        database.dispose()
        raise


def _record_failure(database: Database, run_id: int, error: BatchScoringError) -> None:
    try:
        persistently(lambda: runs.close_run(database, run_id, error=error))
    except (DatabaseFault, Fenced):
        return  # the database cannot be written; the run is taken over as abandoned, and the error is raised anyway


def _recorded(database: Database, run_id: int) -> Run:
    found = runs.get_run(database, run_id)
    assert found is not None
    return found


def _closed(database: Database, run_id: int) -> Run | None:
    try:
        return runs.get_run(database, run_id)
    except DatabaseFault:
        return None
