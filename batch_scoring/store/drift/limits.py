"""The register of limits: what [monitoring] of a job said, from which run on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.job import Job
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs.records import fence
from batch_scoring.store.schema.monitoring_tables import monitoring_limits
from batch_scoring.store.schema.tables import scoring_runs


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedLimits:
    """The limits of a job from a run on."""

    run_id: int
    limits: dict[str, Any]
    rationale: str | None
    valid_from: datetime
    recorded_by: str
    """The login that started the run."""


_COLUMNS = [monitoring_limits.c[field.name] for field in fields(RecordedLimits)]


def record_limits(database: Database, job: Job, run_id: int) -> None:
    """Record the limits of a job with a run, if they are not those of the run before. Raises Fenced, DatabaseFault."""
    limits = job.monitoring.model_dump(mode="json")
    with database.read() as connection:
        known = connection.execute(_of_job(job.name).order_by(monitoring_limits.c.run_id.desc()).limit(1)).one_or_none()
    if known is not None and (known.limits == limits or known.run_id >= run_id):
        return
    run = scoring_runs.c
    with database.write() as connection:
        fence(connection, run_id)
        started = sa.select(run.started_at, run.requested_by).where(run.run_id == run_id)
        started_at, requested_by = connection.execute(started).one()
        connection.execute(
            sa.insert(monitoring_limits).values(
                job=job.name,
                run_id=run_id,
                limits=limits,
                rationale=job.monitoring.rationale,
                valid_from=started_at,
                recorded_by=requested_by,
            )
        )


def recorded_limits(database: Database, job: str) -> list[RecordedLimits]:
    """The limits of a job over time, the oldest first. Raises DatabaseFault."""
    with database.read() as connection:
        rows = connection.execute(_of_job(job).order_by(monitoring_limits.c.run_id))
        return [RecordedLimits(**row._asdict()) for row in rows]


def _of_job(job: str) -> sa.Select[Any]:
    return sa.select(*_COLUMNS).where(monitoring_limits.c.job == job)
