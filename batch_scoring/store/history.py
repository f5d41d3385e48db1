"""What the runs of each job add up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import sqlalchemy as sa

from batch_scoring.errors import WorkerDied
from batch_scoring.store.database import Database
from batch_scoring.store.runs import Status
from batch_scoring.store.schema import scoring_runs

_LOOKED_BACK = 20
"""Runs that are looked at to find out how the last ones ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunTotals:
    """All runs of a job that ended, or go on, in one way."""

    job: str
    status: Status
    runs: int
    scored: int
    superseded: int
    quarantined: int


def deaths_in_a_row(database: Database, job: str, *, before: int) -> int:
    """How many of the job's latest runs before this one lost their process, or a worker's, one after the other.

    Skipped runs do not count; at most 20 runs are looked at.
    """
    c = scoring_runs.c
    query = (
        sa.select(c.status, c.error_type)
        .where(c.job == job, c.run_id < before, c.status != Status.SKIPPED)
        .order_by(c.run_id.desc())
        .limit(_LOOKED_BACK)
    )
    with database.read() as connection:
        endings = list(connection.execute(query))
    died = takewhile(lambda end: end[0] == Status.ABANDONED or end[1] == WorkerDied.__name__, endings)
    return sum(1 for _ in died)


def run_totals(database: Database) -> Sequence[RunTotals]:
    """Every job and status there is a run of, by name."""
    c = scoring_runs.c
    query = (
        sa.select(
            c.job,
            c.status,
            sa.func.count(),
            sa.func.sum(c.scored_count),
            sa.func.sum(c.superseded_count),
            sa.func.sum(c.quarantined_count),
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
