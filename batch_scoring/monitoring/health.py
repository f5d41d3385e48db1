"""``status``: is a job healthy, in one record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from batch_scoring.domain.job import Job
from batch_scoring.domain.runs import Run, Status
from batch_scoring.errors import ConfigurationError, ModelRefused, SchemaOutOfDate, SourceFault
from batch_scoring.model.artifact import ArtifactReference, read_verified
from batch_scoring.scoring import preparation
from batch_scoring.store import registry
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.outcomes.counts import VersionCount, count_by_version, count_quarantined
from batch_scoring.store.runs import records
from batch_scoring.store.schema import job_tables, revision
from batch_scoring.store.schema.layout import layout_of
from batch_scoring.store.source.table import SourceTable

_GROWING = 3
"""Runs in a row, each with more due than the one before, that make a growing backlog."""


class HealthIssue(StrEnum):
    """What makes a job unhealthy."""

    SCHEMA = "schema"
    """The database lacks the tables of this version."""
    SOURCE = "source"
    """The source is not what the job says."""
    MODEL = "model"
    """The model would be refused."""
    STALLED = "stalled"
    """A run has no heartbeat."""
    FAILED = "failed"
    """The last run did not succeed."""
    STALE = "stale"
    """The last success is too old."""
    BACKLOG = "backlog"
    """Runs do not keep up: more is due at each than at the one before."""


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
    model_version: int | None
    """The version that the job's alias points to, None where it points to none."""
    versions: Sequence[VersionCount]
    """The current predictions by the version that made them."""
    trouble: HealthIssue | None
    """The kind of thing that makes the job unhealthy, None where it is healthy."""
    unhealthy: str | None
    """The same in words."""


def job_status(database: Database, job: Job, artifacts_dir: Path, *, max_age: timedelta | None = None) -> JobStatus:
    """The state of one job: unhealthy for one of the kinds of HealthIssue, the gravest if there are more.

    Raises SchemaOutOfDate, SourceFault, DatabaseFault.
    """
    with database.read() as connection:
        revision.check_revision(connection)
        source = SourceTable.inspect(database, connection, job)
        layout = layout_of(job, source)
        made = job_tables.check_tables(connection, job, layout)
        due = DueQuery(source=source, layout=layout).count(connection).total if made else source.count(connection)
        versions = count_by_version(connection, layout) if made else []
        quarantined = count_quarantined(connection, layout) if made else 0
        moment = now(connection)
    latest = records.latest_ordinary(database, job.name, limit=_GROWING)
    last_run = latest[0] if latest else None
    success = records.last_success(database, job.name)
    age = moment - success.finished_at if success is not None and success.finished_at is not None else None
    trouble = (
        _model_issue(database, job, source, artifacts_dir)
        or _run_issue(job, latest, moment)
        or _age_issue(age, max_age)
        or _backlog_issue(latest, due)
    )
    return JobStatus(
        job=job.name,
        last_run=last_run,
        last_success=success,
        last_success_age=age,
        due_count=due,
        current_count=sum(one.rows for one in versions),
        quarantined_count=quarantined,
        model_version=_model_version(database, job),
        versions=versions,
        trouble=trouble[0] if trouble else None,
        unhealthy=trouble[1] if trouble else None,
    )


def status_of(database: Database, job: Job, artifacts_dir: Path, *, max_age: timedelta | None = None) -> JobStatus:
    """The same, where a missing table or source is what makes the job unhealthy. Raises DatabaseFault."""
    try:
        return job_status(database, job, artifacts_dir, max_age=max_age)
    except (SchemaOutOfDate, SourceFault, ConfigurationError) as exc:
        return JobStatus(
            job=job.name,
            last_run=None,
            last_success=None,
            last_success_age=None,
            due_count=0,
            current_count=0,
            quarantined_count=0,
            model_version=None,
            versions=(),
            trouble=HealthIssue.SCHEMA if isinstance(exc, SchemaOutOfDate) else HealthIssue.SOURCE,
            unhealthy=str(exc),
        )


_Found = tuple[HealthIssue, str]


def _model_issue(database: Database, job: Job, source: SourceTable, artifacts_dir: Path) -> _Found | None:
    try:
        version = registry.resolve_alias(database, job.model.name, job.model.alias)
        preparation.check_model(job, source, version)
        _check_artifact(preparation.artifact_of(artifacts_dir, version))
    except ModelRefused as exc:
        return HealthIssue.MODEL, str(exc)
    return None


def _model_version(database: Database, job: Job) -> int | None:
    try:
        return registry.resolve_alias(database, job.model.name, job.model.alias).version
    except ModelRefused:
        return None


def _check_artifact(reference: ArtifactReference) -> None:
    """Raise ModelRefused where the file is not there, or its bytes are not those that were registered."""
    try:
        found = reference.path.stat()
    except OSError:
        read_verified(reference)
    else:
        _verify(reference, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=64)
def _verify(reference: ArtifactReference, _changed_at: int, _size: int) -> None:
    """Read a file whole, once for as long as it looks the same."""
    read_verified(reference)


def _run_issue(job: Job, latest: Sequence[Run], moment: datetime) -> _Found | None:
    if latest and latest[0].status is Status.RUNNING:
        running = latest[0]
        if moment - running.heartbeat_at > job.run.stalled_after:
            since = f"{running.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC"
            return HealthIssue.STALLED, f"run {running.run_id} is stalled: no heartbeat since {since}"
        latest = latest[1:]  # what went wrong before it is not over until it has succeeded
    if latest and latest[0].status is not Status.SUCCEEDED:
        return HealthIssue.FAILED, f"run {latest[0].run_id} {latest[0].status}: {latest[0].error_message}"
    return None


def _age_issue(age: timedelta | None, max_age: timedelta | None) -> _Found | None:
    if max_age is None:
        return None
    if age is None:
        return HealthIssue.STALE, "no run has succeeded yet"
    if age > max_age:
        return (
            HealthIssue.STALE,
            f"the last success is {timedelta(seconds=int(age.total_seconds()))} old, {max_age} is allowed",
        )
    return None


def _backlog_issue(latest: Sequence[Run], due: int) -> _Found | None:
    """More and more is due at each run, and runs take most of the time there is: they do not keep up."""
    counts = [due, *(run.due_count for run in latest[:_GROWING])]
    grows = len(counts) > _GROWING and all(later > earlier for later, earlier in pairwise(counts))
    if not grows or latest[0].seconds is None:
        return None
    between = (latest[0].started_at - latest[1].started_at).total_seconds()
    if latest[0].seconds < between / 2:
        return None
    grown = ", ".join(f"{count:,}" for count in reversed(counts))
    return HealthIssue.BACKLOG, f"the backlog grows: {grown} rows were due at the last {_GROWING} runs and now"
