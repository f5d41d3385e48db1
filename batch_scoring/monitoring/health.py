"""The health of a job, as ``status`` and the scheduler service report it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from batch_scoring.counting import counted
from batch_scoring.domain.job import Job
from batch_scoring.domain.runs import Run, Status
from batch_scoring.errors import ConfigurationError, ModelRefused, SchemaOutOfDate, SourceFault
from batch_scoring.model.artifact import ArtifactReference, read_verified
from batch_scoring.scoring import preparation
from batch_scoring.scoring.scan import with_due_policy
from batch_scoring.store.drift import alerts, reports
from batch_scoring.store.drift.alerts import Alert
from batch_scoring.store.drift.reports import LatestDrift
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.job_models import number_of_job, version_of_job
from batch_scoring.store.outcomes.counts import VersionCount, count_by_version, count_quarantined
from batch_scoring.store.outcomes.deleted import DeletedRows
from batch_scoring.store.runs import records
from batch_scoring.store.runs.history import Failure, failures_in_a_row
from batch_scoring.store.schema import job_tables, revision
from batch_scoring.store.schema.layout import layout_of
from batch_scoring.store.source.rows import DueCount
from batch_scoring.store.source.table import SourceTable

_GROWING = 3
"""Consecutive runs with more rows due each time that count as a growing backlog."""


_NAMED_ALERTS = 3


class HealthIssue(StrEnum):
    """Why a job is unhealthy."""

    SCHEMA = "schema"
    """The schema is missing or out of date."""
    SOURCE = "source"
    """The source does not match the job file."""
    MODEL = "model"
    """The model would be refused."""
    STALLED = "stalled"
    """The active run has no recent heartbeat."""
    FAILED = "failed"
    """The last run did not succeed."""
    HELD = "held"
    """The last run was held before its first write."""
    STALE = "stale"
    """The last success is too old."""
    BACKLOG = "backlog"
    """Runs do not keep up: more rows are due at each run."""
    DRIFT = "drift"
    """There are alerts of drift that nobody has acknowledged or muted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobStatus:
    """The status of a job."""

    job: str
    last_run: Run | None
    last_success: Run | None
    last_success_age: timedelta | None
    """By the database's clock."""
    due_count: int
    due_by_refresh: int
    """Of the due rows, those that have not changed and whose outcome is older than ``refresh``."""
    due_by_new_version: int
    """Of the due rows, those that have not changed and whose prediction is of another model version."""
    deleted_count: int | None
    """Outcomes of rows that are not in the source; None unless the job closes them."""
    current_count: int
    quarantined_count: int
    model_version: int | None
    """The version that the job's alias points to; None if it points to none."""
    versions: Sequence[VersionCount]
    """The number of current predictions by model version."""
    held_count: int
    """Runs that were held since the last success."""
    held_since: datetime | None
    """The start of the first of them; None if none was."""
    drift: LatestDrift | None
    """The latest window that was compared with a reference; None if none was."""
    drift_alerts: Sequence[Alert]
    """The open ones."""
    issue: HealthIssue | None
    """Why the job is unhealthy; None if it is healthy."""
    unhealthy: str | None
    """The description of the issue."""

    def as_json(self) -> dict[str, Any]:
        """All fields but the figures of drift, as commands print them: the issue under its public name, ``trouble``."""
        return {
            "trouble" if field.name == "issue" else field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "drift"
        }


def job_status(database: Database, job: Job, artifacts_dir: Path, *, max_age: timedelta | None = None) -> JobStatus:
    """The status of one job. Of several issues the most severe is reported.

    ``max_age`` is the maximum age of the last success. Raises SchemaOutOfDate, SourceFault, ConfigurationError,
    DatabaseFault.
    """
    with database.read() as connection:
        revision.check_revision(connection)
        source = SourceTable.inspect(database, connection, job)
        layout = layout_of(job, source)
        has_tables = job_tables.check_tables(connection, job, layout)
    model_version = number_of_job(database, job)
    with database.read() as connection:
        if has_tables:
            query = with_due_policy(connection, job, DueQuery(source=source, layout=layout), version=model_version)
            due = query.count(connection)
        else:
            due = DueCount(total=source.count(connection))
        versions = count_by_version(connection, layout) if has_tables else []
        quarantined = count_quarantined(connection, layout) if has_tables else 0
        time = now(connection)
    deleted = None
    if has_tables and job.source.deleted == "close":
        deleted = DeletedRows(source=source, layout=layout).count(database).deleted
    with database.read() as connection:
        drift = reports.latest_window(connection, job.name)
        drift_alerts = alerts.open_alerts(connection, job.name)
    latest = records.latest_ordinary(database, job.name, limit=_GROWING)
    held = _held(database, job, latest)
    last_run = latest[0] if latest else None
    success = records.last_success(database, job.name)
    age = time - success.finished_at if success is not None and success.finished_at is not None else None
    issue = (
        _model_issue(database, job, source, artifacts_dir)
        or _run_issue(job, latest, held, time)
        or _age_issue(age, max_age)
        or _backlog_issue(latest, due.total)
        or _drift_issue(drift_alerts)
    )
    return JobStatus(
        job=job.name,
        last_run=last_run,
        last_success=success,
        last_success_age=age,
        due_count=due.total,
        due_by_refresh=due.by_age,
        due_by_new_version=due.by_version,
        deleted_count=deleted,
        current_count=sum(one.rows for one in versions),
        quarantined_count=quarantined,
        model_version=model_version,
        versions=versions,
        held_count=len(held),
        held_since=held[0].started_at if held else None,
        drift=drift,
        drift_alerts=drift_alerts,
        issue=issue[0] if issue else None,
        unhealthy=issue[1] if issue else None,
    )


def status_of(database: Database, job: Job, artifacts_dir: Path, *, max_age: timedelta | None = None) -> JobStatus:
    """Like ``job_status``, but a missing schema or source is reported as an issue. Raises DatabaseFault."""
    try:
        return job_status(database, job, artifacts_dir, max_age=max_age)
    except (SchemaOutOfDate, SourceFault, ConfigurationError) as exc:
        return JobStatus(
            job=job.name,
            last_run=None,
            last_success=None,
            last_success_age=None,
            due_count=0,
            due_by_refresh=0,
            due_by_new_version=0,
            deleted_count=None,
            current_count=0,
            quarantined_count=0,
            model_version=None,
            versions=(),
            held_count=0,
            held_since=None,
            drift=None,
            drift_alerts=(),
            issue=HealthIssue.SCHEMA if isinstance(exc, SchemaOutOfDate) else HealthIssue.SOURCE,
            unhealthy=str(exc),
        )


_Found = tuple[HealthIssue, str]


def _model_issue(database: Database, job: Job, source: SourceTable, artifacts_dir: Path) -> _Found | None:
    try:
        version = version_of_job(database, job)
        preparation.check_model(job, source, version)
        _check_artifact(preparation.artifact_of(artifacts_dir, version))
    except ModelRefused as exc:
        return HealthIssue.MODEL, str(exc)
    return None


def _check_artifact(reference: ArtifactReference) -> None:
    """Raise ModelRefused if the file is missing or its bytes differ from the registered ones."""
    try:
        found = reference.path.stat()
    except OSError:
        read_verified(reference)
    else:
        _verify(reference, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=64)
def _verify(reference: ArtifactReference, _changed_at: int, _size: int) -> None:
    """Hash a file, once for each modification time and size."""
    read_verified(reference)


def _held(database: Database, job: Job, latest: Sequence[Run]) -> Sequence[Failure]:
    """The runs that were held since the last success, the oldest first."""
    if not latest or latest[0].status is Status.SUCCEEDED:
        return ()
    failures = failures_in_a_row(database, job.name, until=latest[0].run_id)
    return [failure for failure in failures if failure.status is Status.HELD]


def _run_issue(job: Job, latest: Sequence[Run], held: Sequence[Failure], time: datetime) -> _Found | None:
    if latest and latest[0].status is Status.RUNNING:
        running = latest[0]
        if time - running.heartbeat_at > job.run.stalled_after:
            since = f"{running.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC"
            return HealthIssue.STALLED, f"run {running.run_id} is stalled: no heartbeat since {since}"
        latest = latest[1:]  # an earlier failure counts until a run succeeds
    if latest and latest[0].status is not Status.SUCCEEDED:
        if latest[0].status is Status.HELD:
            since = f", as {counted(len(held) - 1, 'run')} before it since {held[0].started_at:%Y-%m-%d %H:%M:%S} UTC"
            before = since if len(held) > 1 else ""
            return HealthIssue.HELD, f"run {latest[0].run_id} was held{before}: {latest[0].error_message}"
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
    """More rows are due at each run, and runs take more than half of the interval between them."""
    counts = [due, *(run.due_count for run in latest[:_GROWING])]
    grows = len(counts) > _GROWING and all(later > earlier for later, earlier in pairwise(counts))
    if not grows or latest[0].seconds is None:
        return None
    between = (latest[0].started_at - latest[1].started_at).total_seconds()
    if latest[0].seconds < between / 2:
        return None
    grown = ", ".join(f"{count:,}" for count in reversed(counts))
    return HealthIssue.BACKLOG, f"the backlog grows: {grown} rows were due at the last {_GROWING} runs and now"


def _drift_issue(drift_alerts: Sequence[Alert]) -> _Found | None:
    """Alerts that are neither acknowledged nor muted."""
    found = [one for one in drift_alerts if one.muted_until is None]
    if not found:
        return None
    named = "; ".join(f"{one.message} (since {one.raised_at:%Y-%m-%d})" for one in found[:_NAMED_ALERTS])
    more = f"; and {len(found) - _NAMED_ALERTS} more" if len(found) > _NAMED_ALERTS else ""
    return HealthIssue.DRIFT, f"drift: {named}{more}; see `batch-scoring monitor {found[0].job}`"
