"""Retention: deleting old rows as a recorded run, and legal holds."""

from __future__ import annotations

from collections.abc import Sequence

from batch_scoring.domain.job import Job
from batch_scoring.domain.keys import TextKey, key_text
from batch_scoring.domain.runs import Run
from batch_scoring.errors import InputFault
from batch_scoring.scoring.events import HoldPlaced, HoldReleased, Observer, emit
from batch_scoring.scoring.heartbeat import Heartbeat
from batch_scoring.scoring.lifecycle import execute_as_run
from batch_scoring.scoring.transient import retry_transient
from batch_scoring.store.engine.database import Database
from batch_scoring.store.outcomes import history, retention
from batch_scoring.store.outcomes.retention import Cutoffs, Purged
from batch_scoring.store.runs import records
from batch_scoring.store.schema.job_tables import existing_layout


def preview_purge(database: Database, job: Job, cutoffs: Cutoffs) -> Purged:
    """Count the rows that a purge would delete now, and those that legal holds protect.

    Raises InputFault for a job without tables, DatabaseFault.
    """
    layout = existing_layout(database, job)
    with database.read() as connection:
        return retention.count_purgeable(connection, job.name, layout, cutoffs)


def purge(
    database: Database,
    job: Job,
    cutoffs: Cutoffs,
    *,
    reason: str,
    requested_by: str | None = None,
    observers: Sequence[Observer] = (),
) -> Run:
    """Delete rows that are older than the cutoffs and not on hold, a few thousand in each transaction.

    Executed as a run of trigger ``purge``. After an interruption, the next purge deletes the remaining rows. Raises
    AnotherRunActive, SchemaOutOfDate, InputFault, Fenced, DatabaseFault.
    """

    def work(own: Database, run_id: int, _heartbeat: Heartbeat) -> None:
        layout = existing_layout(own, job)
        while retry_transient(lambda: retention.purge_some(own, run_id, job.name, layout, cutoffs)):
            pass

    return execute_as_run(
        database, job, work, trigger="purge", reason=reason, requested_by=requested_by, observers=observers
    )[0]


def hold(
    database: Database,
    job: Job,
    *,
    key: TextKey | None,
    run_id: int | None,
    reason: str,
    created_by: str,
    observers: Sequence[Observer] = (),
) -> int:
    """Protect a key, or all that a run wrote, from `purge`; returns the number of the hold.

    Either ``key`` or ``run_id`` is given. Raises InputFault if the key was never scored or quarantined, or the job has
    no such run.
    """
    layout = existing_layout(database, job)
    stored: TextKey | None = None
    if key is not None:
        with database.read() as connection:
            stored = history.stored_text(connection, layout, history.keys_of(connection, layout, [key]))
        if stored is None:
            raise InputFault(f"{key_text(layout.key_names, key)} was never scored by job {job.name}: nothing to hold")
    else:
        assert run_id is not None
        records.get_run_of(database, job.name, run_id)
    source_key = None if stored is None else dict(zip(layout.key_names, stored, strict=True))
    hold_id = retention.add_hold(
        database, job=job.name, source_key=source_key, run_id=run_id, reason=reason, created_by=created_by
    )
    emit(observers, HoldPlaced(hold_id=hold_id, job=job.name, held_run_id=run_id, placed_by=created_by))
    return hold_id


def release(database: Database, hold_id: int, *, removed_by: str, observers: Sequence[Observer] = ()) -> None:
    """End a hold; its record is kept. Raises InputFault if there is no active hold with this number."""
    if not retention.remove_hold(database, hold_id, removed_by=removed_by):
        raise InputFault(f"there is no active hold {hold_id}; see `batch-scoring hold list --removed`")
    emit(observers, HoldReleased(hold_id=hold_id, released_by=removed_by))
