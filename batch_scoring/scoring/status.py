"""``status``: is a job healthy, in one record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from batch_scoring.errors import ConfigurationError, SourceFault
from batch_scoring.job import Job
from batch_scoring.store import migrations, runs
from batch_scoring.store.database import Database, now
from batch_scoring.store.predictions import count_current
from batch_scoring.store.runs import Run
from batch_scoring.store.source import Source


@dataclass(frozen=True, kw_only=True, slots=True)
class JobStatus:
    """What a monitor or a person wants to know of a job."""

    job: str
    last_run: Run | None
    last_success: Run | None
    last_success_age: timedelta | None
    """By the database's clock."""
    due_count: int
    current_count: int
    quarantined_count: int
    unhealthy: str | None
    """Why the job is not healthy, None where it is."""


def job_status(database: Database, job: Job, *, max_age: timedelta | None = None) -> JobStatus:
    """The state of one job. Unhealthy: its last run failed, a run is stalled, or no run succeeded within ``max_age``.

    Raises SchemaOutOfDate, SourceFault, DatabaseFault.
    """
    with database.read() as connection:
        migrations.check_revision(connection)
        source = Source.inspect(database, connection, job)
        layout = source.layout(job)
        made = migrations.check_tables(connection, job, layout)
        due = source.count_due(connection, layout).total if made else source.count(connection)
        counts = count_current(connection, layout) if made else {"current": 0, "quarantined": 0}
        moment = now(connection)
    latest = [run for run in runs.list_runs(database, job=job.name, limit=50) if run.status is not runs.Status.SKIPPED]
    last_run = latest[0] if latest else None
    success = runs.last_success(database, job.name)
    age = moment - success.finished_at if success is not None and success.finished_at is not None else None
    return JobStatus(
        job=job.name,
        last_run=last_run,
        last_success=success,
        last_success_age=age,
        due_count=due,
        current_count=counts["current"],
        quarantined_count=counts["quarantined"],
        unhealthy=_unhealthy(job, last_run, age, moment, max_age),
    )


def status_of(database: Database, job: Job, *, max_age: timedelta | None = None) -> JobStatus:
    """The same, where a fault of the job itself, such as a missing source, is what makes it unhealthy.

    Raises SchemaOutOfDate and DatabaseFault, which are no job's.
    """
    try:
        return job_status(database, job, max_age=max_age)
    except (SourceFault, ConfigurationError) as exc:
        return JobStatus(
            job=job.name,
            last_run=None,
            last_success=None,
            last_success_age=None,
            due_count=0,
            current_count=0,
            quarantined_count=0,
            unhealthy=str(exc),
        )


def _unhealthy(
    job: Job, last_run: Run | None, age: timedelta | None, moment: datetime, max_age: timedelta | None
) -> str | None:
    if last_run is not None and last_run.status is runs.Status.RUNNING:
        if moment - last_run.heartbeat_at > job.run.stalled_after:
            return f"run {last_run.run_id} is stalled: no heartbeat since {last_run.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC"
    elif last_run is not None and last_run.status is not runs.Status.SUCCEEDED:
        return f"run {last_run.run_id} {last_run.status}: {last_run.error_message}"
    if max_age is not None:
        if age is None:
            return "no run has succeeded yet"
        if age > max_age:
            return f"the last success is {timedelta(seconds=int(age.total_seconds()))} old, {max_age} is allowed"
    return None
