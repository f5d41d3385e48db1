"""Executing a run, from its claim to its end."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from batch_scoring.domain.job import Job
from batch_scoring.domain.runs import Run, Trigger
from batch_scoring.errors import DatabaseFault, ExitCode
from batch_scoring.scoring import gate, preparation
from batch_scoring.scoring.deleted import close_deleted
from batch_scoring.scoring.diagnosis import diagnose
from batch_scoring.scoring.engines import choice as engine
from batch_scoring.scoring.events import ModelResolved, Observer, RunPlanned, emit
from batch_scoring.scoring.heartbeat import Heartbeat
from batch_scoring.scoring.lifecycle import execute_as_run
from batch_scoring.scoring.plan import Rescore, RunPlan
from batch_scoring.scoring.planning import Planner, count_due
from batch_scoring.scoring.progress import Progress
from batch_scoring.scoring.transient import retry_transient
from batch_scoring.store.drift.limits import record_limits
from batch_scoring.store.drift.windows import periods_of_window
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs import records


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """The options of a run."""

    trigger: Trigger = "cli"
    scheduled_for: datetime | None = None
    """The slot that the run fills, as an aware datetime."""
    allow_version_mismatch: bool = False
    workers: int | None = None
    """The number of worker processes; None for the job's."""
    rescore: Rescore | None = None
    """The rows to score again; None to score the due rows."""
    requested_by: str | None = None
    """Who requests the run; None for the login name."""
    reason: str | None = None


def run_job(
    database: Database,
    job: Job,
    artifacts_dir: Path,
    *,
    options: RunOptions = RunOptions(),
    observers: Sequence[Observer] = (),
    stop: threading.Event | None = None,
) -> Run:
    """Execute one run of a job and return its record.

    The run uses its own database sessions. An error that ends it is recorded with the run, if the database can be
    written, and raised: AnotherRunActive, SchemaOutOfDate, InputFault, ConfigurationError, SourceFault, ModelRefused,
    EveryRowFailed, WorkerCrashed, RunHeld, Fenced, DatabaseFault. Setting ``stop`` ends the run at the next chunk
    boundary with RunStopped.
    """
    rescore = options.rescore

    def work(own: Database, run_id: int, heartbeat: Heartbeat) -> None:
        planner = Planner(
            database=own,
            job=job,
            artifacts_dir=artifacts_dir,
            run_id=run_id,
            workers=options.workers or job.run.workers,
            allow_version_mismatch=options.allow_version_mismatch,
            rescore=rescore,
            slot=options.scheduled_for,
        )
        _execute(planner, heartbeat, stop or threading.Event(), partial(emit, observers))

    finished, _ = execute_as_run(
        database,
        job,
        work,
        trigger=options.trigger,
        scheduled_for=options.scheduled_for,
        requested_by=options.requested_by,
        reason=options.reason,
        continues_run_id=rescore.continued_run_id if rescore else None,
        observers=observers,
    )
    return finished


def _execute(planner: Planner, heartbeat: Heartbeat, stop: threading.Event, report: Observer) -> None:
    """Plan the run, score the due rows, close those that are gone. Chunks committed before an error stay."""
    database, job = planner.database, planner.job
    plan, due = planner.plan()
    if due.total and planner.rescore is None:
        plan = _monitored(plan, database)
    report(
        RunPlanned(
            run_id=plan.run_id,
            job=job.name,
            due_count=due.total,
            mode=plan.mode,
            is_first_of_unversioned=job.source.scores_once
            and planner.rescore is None
            and retry_transient(lambda: records.last_success(database, job.name)) is None,
        )
    )
    if plan.resolved is not None:
        report(ModelResolved.of(plan.run_id, job.name, plan.resolved))
    progress = Progress(database, plan, heartbeat, stop, report)
    progress.planned()
    try:
        if due.total and planner.rescore is None:
            gate.check(plan, database, due, report)
        if due.total:
            engine.score(plan, database, progress, due.total)
        elif (
            job.model.uri is None
        ):  # so that an idle run reports a missing model, too; one in MLflow is downloaded again
            preparation.check_artifact(plan.model)
        if progress.done_count < due.total:
            # on PostgreSQL, a table that was rewritten or truncated meanwhile appears empty: count again
            engine.score(plan, database, progress, retry_transient(lambda: count_due(database, plan)).total)
        progress.record_challengers()
        close_deleted(plan, database, progress)
    except DatabaseFault as exc:
        diagnose(database, plan, exc)
        raise


def _monitored(plan: RunPlan, database: Database) -> RunPlan:
    """The plan of an ordinary run with the window that it continues. Its limits are recorded."""
    retry_transient(lambda: record_limits(database, plan.job, plan.run_id))
    if plan.model.manifest.reference is None:
        return plan
    model = plan.model
    find = partial(periods_of_window, model_name=model.name, model_version=model.version, run_id=plan.run_id)
    return replace(plan, window=retry_transient(lambda: find(database, plan.job)))


def exit_code(run: Run, job: Job) -> ExitCode:
    """The exit code for a run that succeeded: TOO_MANY_QUARANTINED above the job's limit, else DONE."""
    if not job.predictions.allows(quarantined=run.quarantined_count, read=run.read_count):
        return ExitCode.TOO_MANY_QUARANTINED
    return ExitCode.DONE
