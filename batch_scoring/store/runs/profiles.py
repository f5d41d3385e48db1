"""Profiles of runs: added in the transaction of each chunk, and replaced by their sum when the run ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from batch_scoring.domain.profile import Profile, total
from batch_scoring.domain.runs import ORDINARY
from batch_scoring.store.engine.database import Database
from batch_scoring.store.schema.monitoring_tables import scoring_profiles
from batch_scoring.store.schema.tables import scoring_runs


def record_profile(connection: sa.Connection, run_id: int, profile: Profile) -> None:
    """Inside a chunk's transaction, after the fence: record what was counted."""
    connection.execute(
        sa.insert(scoring_profiles).values(
            run_id=run_id, read_count=profile.rows, profile=profile.model_dump(mode="json", exclude_defaults=True)
        )
    )


def merge_profiles(connection: sa.Connection, run_id: int) -> None:
    """Inside the transaction that ends a run, while it still counts as running: replace its profiles by their sum."""
    found = _profiles(connection, [run_id]).get(run_id, [])
    if len(found) < 2:
        return
    connection.execute(sa.delete(scoring_profiles).where(scoring_profiles.c.run_id == run_id))
    merged = total(found)
    assert merged is not None
    record_profile(connection, run_id, merged)


def profile_of_run(database: Database, run_id: int) -> Profile | None:
    """What a run has counted so far; None if it counted nothing. Raises DatabaseFault."""
    with database.read() as connection:
        return profile_of(connection, run_id)


def profile_of(connection: sa.Connection, run_id: int) -> Profile | None:
    """As ``profile_of_run``, on an open connection."""
    return total(_profiles(connection, [run_id]).get(run_id, []))


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfiledRun:
    """An ordinary run that scored or quarantined rows."""

    run_id: int
    started_at: datetime
    finished_at: datetime | None
    model_name: str
    model_version: int
    read_count: int
    """Rows that it scored or quarantined."""
    profile: Profile | None
    """None where it counted nothing."""


def profiled_runs(
    database: Database,
    job: str,
    *,
    after: int = 0,
    until: int | None = None,
    since: datetime | None = None,
    before: datetime | None = None,
) -> list[ProfiledRun]:
    """The ordinary runs of a job that have ended, the oldest first.

    ``after`` and ``until`` are numbers of runs; ``since`` and ``before`` are times between which they started. Raises
    DatabaseFault.
    """
    run = scoring_runs.c
    conditions = [
        run.job == job,
        run.trigger.in_(ORDINARY),
        run.model_version.is_not(None),
        run.scored_count + run.quarantined_count > 0,
        run.run_id > after,
    ]
    if until is not None:
        conditions.append(run.run_id <= until)
    if since is not None:
        conditions.append(run.started_at >= sa.literal(since, run.started_at.type))
    if before is not None:
        conditions.append(run.started_at < sa.literal(before, run.started_at.type))
    read_count = (run.scored_count + run.quarantined_count).label("read_count")
    query = (
        sa.select(run.run_id, run.started_at, run.finished_at, run.model_name, run.model_version, read_count)
        .where(*conditions)
        .order_by(run.run_id)
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
        found = _profiles(connection, sa.select(run.run_id).where(*conditions))
    return [ProfiledRun(**row._asdict(), profile=total(found.get(row.run_id, []))) for row in rows]


def _profiles(connection: sa.Connection, run_ids: Sequence[int] | sa.Select[tuple[int]]) -> dict[int, list[Profile]]:
    query = (
        sa.select(scoring_profiles.c.run_id, scoring_profiles.c.profile)
        .where(scoring_profiles.c.run_id.in_(run_ids))
        .order_by(scoring_profiles.c.number)
    )
    found: dict[int, list[Profile]] = {}
    for row in connection.execute(query):
        found.setdefault(row.run_id, []).append(Profile.model_validate(row.profile))
    return found
