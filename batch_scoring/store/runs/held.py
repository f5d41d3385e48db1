"""Decisions of people on runs that were held before their first write."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from batch_scoring.domain.profile import Profile
from batch_scoring.domain.runs import Status
from batch_scoring.errors import ConstraintViolated, InputFault
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs.profiles import profile_of
from batch_scoring.store.runs.records import get_run
from batch_scoring.store.schema.monitoring_tables import held_run_decisions
from batch_scoring.store.schema.tables import scoring_runs


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What was decided on a held run."""

    run_id: int
    is_released: bool
    expires_at: datetime | None
    """Until when rows like its own are let through; None if they are not."""
    reason: str
    decided_at: datetime
    decided_by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """Rows like those of this run are let through."""

    run_id: int
    profile: Profile | None
    """None where only the number of due rows was compared."""
    due_count: int
    """Rows that were due and had changed, or were new."""


def decide(
    database: Database, run_id: int, *, released_for: timedelta | None, reason: str, decided_by: str
) -> Decision:
    """Release a held run for a time, or, with None, reject it.

    Raises InputFault where the run was not held or was decided on before, and DatabaseFault.
    """
    run = get_run(database, run_id)
    if run is None:
        raise InputFault(f"there is no run {run_id}; see `batch-scoring runs list --status held`")
    if run.status is not Status.HELD:
        raise InputFault(f"run {run_id} of {run.job} was not held: it is {run.status}")
    try:
        with database.write() as connection:
            time = now(connection)
            decision = Decision(
                run_id=run_id,
                is_released=released_for is not None,
                expires_at=None if released_for is None else time + released_for,
                reason=reason,
                decided_at=time,
                decided_by=decided_by,
            )
            values = {name: getattr(decision, name) for name in decision.__slots__}
            connection.execute(sa.insert(held_run_decisions).values(values))
    except ConstraintViolated:
        raise InputFault(f"run {run_id} of {run.job} was decided on before; a decision is not changed") from None
    return decision


def releases(database: Database, job: str, *, model_name: str, model_version: int) -> list[Release]:
    """The releases of a job that are in force, of runs of a model version, the latest first. Raises DatabaseFault."""
    run, decision = scoring_runs.c, held_run_decisions.c
    with database.read() as connection:
        changed = (run.due_count - run.refresh_count - run.new_version_count).label("due_count")
        query = (
            sa.select(run.run_id, changed)
            .join_from(held_run_decisions, scoring_runs, decision.run_id == run.run_id)
            .where(
                run.job == job,
                run.model_name == model_name,
                run.model_version == model_version,
                decision.expires_at > sa.literal(now(connection), decision.expires_at.type),
            )
            .order_by(run.run_id.desc())
        )
        return [
            Release(run_id=row.run_id, profile=profile_of(connection, row.run_id), due_count=row.due_count)
            for row in connection.execute(query).all()
        ]
