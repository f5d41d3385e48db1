"""A run from its opening to its closing, whatever comes between."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from batch_scoring.domain.job import Job
from batch_scoring.domain.runs import Run, Trigger
from batch_scoring.errors import ExitCode
from batch_scoring.operations.rescore import Rescore
from batch_scoring.scoring.attempt import Attempt
from batch_scoring.scoring.events import Event, Observer, RunFinished, RunStarted, RunTookOver
from batch_scoring.scoring.lifecycle import as_closed, closing, database_of, open_run, recorded


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """What whoever starts a run may choose."""

    trigger: Trigger = "cli"
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

    database = database_of(job, database_url)
    opened = open_run(
        database,
        job,
        trigger=options.trigger,
        scheduled_for=options.scheduled_for,
        requested_by=options.requested_by,
        reason=options.reason,
        continues_run_id=options.rescore.begun_by if options.rescore else None,
    )
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
        with closing(database, opened.run_id):
            attempt.carry_out()
        finished = recorded(database, opened.run_id)
        return finished
    finally:
        finished = finished or as_closed(database, opened.run_id)
        database.dispose()
        if finished is not None:
            emit(RunFinished(job=job.name, run=finished))


def exit_code(run: Run, job: Job) -> ExitCode:
    """What a finished run says to its caller."""
    if run.read_count and run.quarantined_count > job.predictions.max_quarantined * run.read_count:
        return ExitCode.TOO_MANY_QUARANTINED
    return ExitCode.DONE
