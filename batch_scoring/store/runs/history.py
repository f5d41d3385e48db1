"""Statistics of the runs of each job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from statistics import median

import sqlalchemy as sa

from batch_scoring.domain.runs import ORDINARY, EndReason, Status
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs.records import counts_now
from batch_scoring.store.schema.tables import scoring_runs

_RUNS_CONSIDERED = 20
_FEWEST_RUNS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class RunTotals:
    """Totals of the runs of a job with one status."""

    job: str
    status: Status
    runs: int
    scored: int
    superseded: int
    quarantined: int


def crashes_in_a_row(database: Database, job: str, *, before: int) -> int:
    """The number of consecutive crashed runs of a job before this run, including those whose worker crashed.

    Skipped runs do not count; at most 20 runs are considered. Raises DatabaseFault.
    """
    c = scoring_runs.c
    query = (
        sa.select(c.end_reason)
        .where(c.job == job, c.run_id < before, c.status != Status.SKIPPED)
        .order_by(c.run_id.desc())
        .limit(_RUNS_CONSIDERED)
    )
    with database.read() as connection:
        reasons = list(connection.execute(query).scalars())
    return sum(1 for _ in takewhile(lambda reason: reason is not None and EndReason(reason).is_crash, reasons))


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A run that did not succeed."""

    run_id: int
    started_at: datetime
    status: Status
    error_type: str | None
    error_message: str | None


def failures_in_a_row(database: Database, job: str, *, until: int) -> Sequence[Failure]:
    """The job's ordinary runs that failed, were held or abandoned since the last success before a run, oldest first.

    ``until`` is the number of that run, which is included if it did not succeed. Raises DatabaseFault.
    """
    c = scoring_runs.c
    of_job = (c.job == job, c.trigger.in_(ORDINARY))
    success = sa.select(sa.func.max(c.run_id)).where(*of_job, c.status == Status.SUCCEEDED, c.run_id < until)
    with database.read() as connection:
        after = connection.execute(success).scalar_one() or 0
        rows = connection.execute(
            sa.select(c.run_id, c.started_at, c.status, c.error_type, c.error_message)
            .where(
                *of_job,
                c.run_id > after,
                c.run_id <= until,
                c.status.in_([Status.FAILED, Status.HELD, Status.ABANDONED]),
            )
            .order_by(c.run_id)
        )
        return [Failure(**{**row._asdict(), "status": Status(row.status)}) for row in rows]


def usual_due_count(database: Database, job: str, *, before: int) -> float | None:
    """The median number of rows that were new or had changed, of up to 20 runs that succeeded before a run.

    None with fewer than five of them. Raises DatabaseFault.
    """
    c = scoring_runs.c
    query = (
        sa.select(c.due_count - c.refresh_count - c.new_version_count)
        .where(c.job == job, c.trigger.in_(ORDINARY), c.status == Status.SUCCEEDED, c.run_id < before)
        .order_by(c.run_id.desc())
        .limit(_RUNS_CONSIDERED)
    )
    with database.read() as connection:
        counts = connection.execute(query).scalars().all()
    return median(counts) if len(counts) >= _FEWEST_RUNS else None


def over_limit_in_a_row(database: Database, job: str, limit: float, *, until: int) -> Sequence[datetime]:
    """Start times of the job's ordinary runs that quarantined more than a share of their rows, oldest first.

    They are the runs up to run ``until``, since the last one that read rows and stayed within the limit. Raises
    DatabaseFault.
    """
    c = scoring_runs.c
    read = c.scored_count + c.quarantined_count
    succeeded = (c.job == job, c.trigger.in_(ORDINARY), c.status == Status.SUCCEEDED)
    within = sa.select(sa.func.max(c.run_id)).where(
        *succeeded, c.run_id < until, read > 0, c.quarantined_count <= sa.literal(limit, sa.Double) * read
    )
    with database.read() as connection:
        after = connection.execute(within).scalar_one() or 0
        return list(
            connection.execute(
                sa.select(c.started_at)
                .where(*succeeded, c.run_id > after, c.run_id <= until)
                .where(c.quarantined_count > sa.literal(limit, sa.Double) * read)
                .order_by(c.run_id)
            ).scalars()
        )


def run_totals(database: Database) -> Sequence[RunTotals]:
    """Totals by job and status, ordered by name. Raises DatabaseFault."""
    c, counts = scoring_runs.c, counts_now()
    query = (
        sa.select(
            c.job,
            c.status,
            sa.func.count(),
            *(sa.func.sum(counts[name]) for name in ("scored_count", "superseded_count", "quarantined_count")),
        )
        .group_by(c.job, c.status)
        .order_by(c.job, c.status)
    )
    with database.read() as connection:
        return [
            RunTotals(
                job=job,
                status=Status(status),
                runs=count,
                scored=int(scored),
                superseded=int(superseded),
                quarantined=int(quarantined),
            )
            for job, status, count, scored, superseded, quarantined in connection.execute(query)
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionUse:
    """The runs of a job that scored with a model version."""

    job: str
    runs: int
    first_started_at: datetime
    last_started_at: datetime
    scored_count: int


def runs_of_version(database: Database, name: str, version: int) -> Sequence[VersionUse]:
    """The use of a model version by job, ordered by name. Raises DatabaseFault."""
    c, scored = scoring_runs.c, counts_now()["scored_count"]
    query = (
        sa.select(c.job, sa.func.count(), sa.func.min(c.started_at), sa.func.max(c.started_at), sa.func.sum(scored))
        .where(c.model_name == name, c.model_version == version)
        .group_by(c.job)
        .order_by(c.job)
    )
    with database.read() as connection:
        return [
            VersionUse(job=job, runs=runs, first_started_at=first, last_started_at=last, scored_count=int(count))
            for job, runs, first, last, count in connection.execute(query)
        ]
