"""What the runs of each job add up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from batch_scoring.store.database import Database
from batch_scoring.store.runs import Status
from batch_scoring.store.schema import scoring_runs


@dataclass(frozen=True, kw_only=True, slots=True)
class RunTotals:
    """All runs of a job that ended, or go on, in one way."""

    job: str
    status: Status
    runs: int
    scored: int
    superseded: int
    quarantined: int


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
