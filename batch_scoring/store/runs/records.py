"""Records of runs: heartbeat, fence, close, list."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from math import isfinite
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.domain.runs import ORDINARY, ChunkCounts, EndReason, Mode, Run, ScoredBy, StageSeconds, Status
from batch_scoring.errors import BatchScoringError, Fenced, InputFault
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import database_now
from batch_scoring.store.runs import chain
from batch_scoring.store.runs.profiles import merge_profiles
from batch_scoring.store.schema.tables import scoring_chunks, scoring_runs


def last_slot(database: Database, job: str) -> datetime | None:
    """The latest slot for which a run of the job was started, whatever its status is.

    The scheduler service does not retry a slot whose run failed; the next slot scores what is due. Raises
    DatabaseFault.
    """
    query = sa.select(sa.func.max(scoring_runs.c.scheduled_for)).where(scoring_runs.c.job == job)
    with database.read() as connection:
        slot: datetime | None = connection.execute(query).scalar_one()
    return slot


def session_label(run_id: int) -> str:
    """The application name of a run's sessions, by which a frozen session can be found."""
    return f"batch-scoring run {run_id}"


def heartbeat(database: Database, run_id: int) -> None:
    """Write a heartbeat. Raises Fenced where the run no longer owns its job, and DatabaseFault."""
    with database.write() as connection:
        _update_running(connection, run_id, {"heartbeat_at": database_now()})


def fence(connection: sa.Connection, run_id: int) -> datetime:
    """Inside a chunk's transaction: check that the run owns its job, and lock the run's row until the end.

    The lock is shared: other chunks of the run and its heartbeats do not wait for it, but a take-over and the close of
    the run do. Returns the database's time, read after the lock was acquired. Raises Fenced; the transaction must then
    not commit.
    """
    owns = sa.select(scoring_runs.c.run_id).where(
        scoring_runs.c.run_id == run_id, scoring_runs.c.status == Status.RUNNING
    )
    if connection.execute(owns.with_for_update(read=True, key_share=True)).first() is None:
        raise _fenced(run_id)
    return now(connection)


def record_chunk(
    connection: sa.Connection, run_id: int, counts: ChunkCounts, seconds: StageSeconds, committed_at: datetime
) -> None:
    """Inside a chunk's transaction, after the fence: record the chunk."""
    connection.execute(
        sa.insert(scoring_chunks).values(
            run_id=run_id,
            worker=os.getpid(),
            read_count=counts.scored + counts.quarantined,
            scored_count=counts.scored,
            superseded_count=counts.superseded,
            quarantined_count=counts.quarantined,
            unseen_category_count=counts.unseen_category,
            closed_count=counts.closed,
            read_seconds=seconds.read,
            score_seconds=seconds.score,
            write_seconds=seconds.write,
            committed_at=committed_at,
        )
    )


_NO_LIMIT = 1e308
"""Recorded where labels differ."""

_SUMMED = ("scored_count", "superseded_count", "quarantined_count", "unseen_category_count", "closed_count")


def sums(run_id: sa.ColumnElement[int] | int) -> dict[str, sa.ScalarSelect[Any]]:
    """The counts of a run as sums over its chunks, by column of ``scoring_runs``."""
    chunks = scoring_chunks.c
    of_run = sa.select(sa.func.count()).select_from(scoring_chunks).where(chunks.run_id == run_id)
    found = {"chunk_count": of_run.scalar_subquery()}
    for name in _SUMMED:
        total = sa.cast(sa.func.coalesce(sa.func.sum(chunks[name]), 0), sa.BigInteger)
        found[name] = of_run.with_only_columns(total).scalar_subquery()
    return found


def lock_for_close(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> Status | None:
    """Lock a run's row exclusively, which waits for its chunks under way; returns its status, None where there is none.

    The next statement sees all chunks of the run, and no chunk follows once its status is not running.
    """
    query = sa.select(scoring_runs.c.status).where(*conditions).with_for_update()
    status = connection.execute(query).scalar_one_or_none()
    return None if status is None else Status(status)


def record_plan(database: Database, run_id: int, *, mode: Mode | None, counts: Mapping[str, int]) -> None:
    """Record the numbers of rows due at the start of the run, by column, and the scan mode.

    Raises Fenced, DatabaseFault.
    """
    with database.write() as connection:
        _update_running(connection, run_id, {"mode": mode, **counts, "heartbeat_at": database_now()})


def record_purged(connection: sa.Connection, run_id: int, count: int) -> None:
    """Inside the transaction that deleted rows: check that the run owns its job, and count them. Raises Fenced."""
    purged = scoring_runs.c.purged_count + count
    _update_running(connection, run_id, {"purged_count": purged, "heartbeat_at": database_now()})


def request_stop(database: Database, run_id: int) -> None:
    """Request that a run stops at its next chunk boundary. Raises Fenced where it has ended, and DatabaseFault."""
    with database.write() as connection:
        _update_running(connection, run_id, {"stop_requested_at": database_now()})


def is_stop_requested(database: Database, run_id: int) -> bool:
    """Whether a stop of the run was requested. Raises DatabaseFault."""
    query = sa.select(scoring_runs.c.stop_requested_at.is_not(None)).where(scoring_runs.c.run_id == run_id)
    with database.read() as connection:
        return bool(connection.execute(query).scalar_one())


def record_model(database: Database, run_id: int, model: ModelVersion, policy: DecisionPolicy) -> None:
    """Record the model version of the run and its decision policy. Raises Fenced, DatabaseFault."""
    with database.write() as connection:
        values = {
            "model_name": model.name,
            "model_version": model.version,
            "artifact_sha256": model.artifact_sha256,
            "decision_policy": policy.record(),
            "heartbeat_at": database_now(),
        }
        _update_running(connection, run_id, values)


def record_engine(database: Database, run_id: int, scored_by: ScoredBy) -> None:
    """Record where the rows of the run are scored, and why there. Raises Fenced, DatabaseFault."""
    with database.write() as connection:
        _update_running(connection, run_id, _engine(scored_by))


def record_challengers(database: Database, run_id: int, challengers: Sequence[Mapping[str, Any]]) -> None:
    """Record what the challengers of the run did, see Run. Raises Fenced, DatabaseFault."""
    with database.write() as connection:
        _update_running(connection, run_id, {"challengers": [dict(one) for one in challengers]})


def record_environment(
    database: Database, run_id: int, environment: Mapping[str, Any], scored_by: ScoredBy | None = None
) -> None:
    """Record the versions of libraries, overridden checks and the engine. Raises Fenced, DatabaseFault.

    They are one UPDATE, as each needs space for another version of the run's row.
    """
    engine = {} if scored_by is None else _engine(scored_by)
    with database.write() as connection:
        values = {"environment": dict(environment), "heartbeat_at": database_now(), **engine}
        _update_running(connection, run_id, values)


def _engine(scored_by: ScoredBy) -> dict[str, Any]:
    largest = scored_by.largest_difference
    if largest is not None and not isfinite(largest):
        largest = _NO_LIMIT  # infinity is no value of a double in every database
    return {"engine": scored_by.engine, "engine_reason": scored_by.reason, "largest_difference": largest}


def close_run(database: Database, run_id: int, *, error: BatchScoringError | None = None) -> None:
    """End a run as succeeded, or with its error as failed or held; a run that already has that status is not changed.

    Raises Fenced where it no longer owned its job, and DatabaseFault.
    """
    with database.write() as connection:
        values: dict[str, Any] = {
            "status": Status.SUCCEEDED,
            "end_reason": EndReason.COMPLETED,
            "finished_at": database_now(),
        }
        if error is not None:
            values |= {
                "status": Status(error.run_status),
                "end_reason": error.end_reason,
                "error_type": type(error).__name__,
                "error_message": str(error)[:4000],
                "failed_keys": getattr(error, "failed_keys", None),
            }
        if lock_for_close(connection, scoring_runs.c.run_id == run_id) != values["status"]:
            merge_profiles(connection, run_id)
            _update_running(connection, run_id, {**values, **sums(run_id)})
            chain.append_run(connection, run_id)


def _update_running(connection: sa.Connection, run_id: int, values: Mapping[str, Any]) -> None:
    result = connection.execute(
        sa.update(scoring_runs)
        .where(scoring_runs.c.run_id == run_id, scoring_runs.c.status == Status.RUNNING)
        .values(values)
    )
    if result.rowcount != 1:
        raise _fenced(run_id)


def _fenced(run_id: int) -> Fenced:
    return Fenced(
        f"run {run_id} was fenced: it stalled and another run took its job over, so it wrote nothing more;"
        " what it had committed stays, the rest is scored by the other run",
        run_id=run_id,
    )


def counts_now() -> dict[str, sa.ColumnElement[int]]:
    """The counts of runs: stored when a run ended, and the sums over its chunks while it is running."""
    run = scoring_runs.c
    is_running = run.status == Status.RUNNING
    return {name: sa.case((is_running, total), else_=run[name]) for name, total in sums(run.run_id).items()}


_COUNTS = counts_now()
_COLUMNS = [
    _COUNTS[field.name].label(field.name) if field.name in _COUNTS else scoring_runs.c[field.name]
    for field in fields(Run)
]


def get_run(database: Database, run_id: int) -> Run | None:
    """A run by its number; None if there is none. Raises DatabaseFault."""
    with database.read() as connection:
        row = connection.execute(sa.select(*_COLUMNS).where(scoring_runs.c.run_id == run_id)).one_or_none()
    return None if row is None else _run(row)


def get_run_of(database: Database, job: str, run_id: int) -> Run:
    """A run of a job by its number. Raises InputFault where the job has no such run, and DatabaseFault."""
    run = get_run(database, run_id)
    if run is None or run.job != job:
        raise InputFault(f"job {job} has no run {run_id}; see `batch-scoring runs list --job {job}`")
    return run


def list_runs(
    database: Database,
    *,
    job: str | None = None,
    since: datetime | None = None,
    statuses: Sequence[Status] = (),
    limit: int = 20,
) -> Sequence[Run]:
    """The latest runs, newest first: of a job, started at ``since`` or later, with one of the statuses.

    Raises DatabaseFault.
    """
    query = sa.select(*_COLUMNS).order_by(scoring_runs.c.run_id.desc()).limit(limit)
    if job is not None:
        query = query.where(scoring_runs.c.job == job)
    if since is not None:
        query = query.where(scoring_runs.c.started_at >= since)
    if statuses:
        query = query.where(scoring_runs.c.status.in_(statuses))
    with database.read() as connection:
        return [_run(row) for row in connection.execute(query)]


def latest_ordinary(database: Database, job: str, *, limit: int, before: int | None = None) -> Sequence[Run]:
    """The latest ordinary runs that were not skipped, newest first; with ``before``, only runs with a lower number.

    Raises DatabaseFault.
    """
    query = (
        sa.select(*_COLUMNS)
        .where(
            scoring_runs.c.job == job,
            scoring_runs.c.trigger.in_(ORDINARY),
            scoring_runs.c.status != Status.SKIPPED,
        )
        .order_by(scoring_runs.c.run_id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(scoring_runs.c.run_id < before)
    with database.read() as connection:
        return [_run(row) for row in connection.execute(query)]


def failed_since(database: Database, job: str, *, after: int, limit: int = 20) -> Sequence[Run]:
    """Ordinary runs after a run number that failed, were held or abandoned, newest first. Raises DatabaseFault."""
    query = (
        sa.select(*_COLUMNS)
        .where(
            scoring_runs.c.job == job,
            scoring_runs.c.run_id > after,
            scoring_runs.c.trigger.in_(ORDINARY),
            scoring_runs.c.status.in_((Status.FAILED, Status.HELD, Status.ABANDONED)),
        )
        .order_by(scoring_runs.c.run_id.desc())
        .limit(limit)
    )
    with database.read() as connection:
        return [_run(row) for row in connection.execute(query)]


def run_of_claim(database: Database, token: str) -> int | None:
    """The running run that a claim has started; None if there is none. Raises DatabaseFault."""
    query = sa.select(scoring_runs.c.run_id).where(
        scoring_runs.c.claim_token == token, scoring_runs.c.status == Status.RUNNING
    )
    with database.read() as connection:
        return connection.execute(query).scalar_one_or_none()


def running(database: Database, job: str) -> Run | None:
    """The run that owns the job now; None if there is none. Raises DatabaseFault."""
    query = sa.select(*_COLUMNS).where(scoring_runs.c.running_job == job)
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else _run(row)


def filling(database: Database, job: str, slot: datetime) -> Run | None:
    """The run that fills a slot: one that is running or succeeded. No other run can start for that slot.

    Raises DatabaseFault.
    """
    query = sa.select(*_COLUMNS).where(
        scoring_runs.c.job == job,
        scoring_runs.c.scheduled_for == sa.literal(slot, scoring_runs.c.scheduled_for.type),
        scoring_runs.c.status.in_((Status.RUNNING, Status.SUCCEEDED)),
    )
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else _run(row)


def last_success(database: Database, job: str, *, mode: Mode | None = None) -> Run | None:
    """The latest ordinary run of the job that succeeded, or the latest in one mode. Raises DatabaseFault."""
    query = sa.select(*_COLUMNS).where(
        scoring_runs.c.job == job,
        scoring_runs.c.status == Status.SUCCEEDED,
        scoring_runs.c.trigger.in_(ORDINARY),
    )
    if mode is not None:
        query = query.where(scoring_runs.c.mode == mode)
    with database.read() as connection:
        row = connection.execute(query.order_by(scoring_runs.c.run_id.desc()).limit(1)).one_or_none()
    return None if row is None else _run(row)


def _run(row: sa.Row[Any]) -> Run:
    values = row._asdict()
    ended = values["end_reason"]
    return Run(
        **{**values, "status": Status(values["status"]), "end_reason": None if ended is None else EndReason(ended)}
    )
