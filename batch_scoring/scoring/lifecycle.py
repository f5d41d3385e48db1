"""The record of a run: opened before anything is done, and closed whatever comes between."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from batch_scoring.domain.job import Job
from batch_scoring.domain.runs import OpenedRun, Run, Trigger
from batch_scoring.errors import BatchScoringError, DatabaseFault, Fenced, InputFault, RunStopped
from batch_scoring.scoring.heartbeat import Heartbeat
from batch_scoring.scoring.transient import persistently
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.timeouts import Timeouts
from batch_scoring.store.runs import records
from batch_scoring.store.runs.claim import Opening
from batch_scoring.store.schema import revision

Result = TypeVar("Result")

_LONGEST_NAME = 255


class UnexpectedFault(BatchScoringError):
    """Something failed that the package did not foresee. Recorded by its type: its text may quote a row."""


def database_of(job: Job, database_url: str) -> Database:
    """The database with the time-outs of a run of this job."""
    return Database(database_url, timeouts=Timeouts().within(job.run.stalled_after))


def open_run(database: Database, job: Job, *, trigger: Trigger, **said: Any) -> OpenedRun:
    """Begin a run, or leave nothing open; takes what Opening takes. Raises AnotherRunActive, DatabaseFault."""
    if len(said.get("requested_by") or "") > _LONGEST_NAME:
        raise InputFault(f"--requested-by is longer than the {_LONGEST_NAME} characters that are kept")
    opening = Opening(
        database=database,
        job=job.name,
        job_config=job.model_dump(mode="json"),
        environment={"python": platform.python_version()},
        stalled_after=job.run.stalled_after,
        trigger=trigger,
        **said,
    )
    try:
        with database.read() as connection:  # a database that is away from the start is reported at once
            revision.check_revision(connection)
        opened = persistently(opening.carry_out)
    except BaseException:
        database.dispose()
        raise
    database.label = records.session_label(opened.run_id)
    return opened


@contextmanager
def closing(database: Database, run_id: int) -> Iterator[None]:
    """Close the run as succeeded at the end of the block, or as failed with what ended it."""
    try:
        yield
        persistently(lambda: records.close_run(database, run_id))
    except Fenced:
        raise
    except BatchScoringError as exc:
        _record_failure(database, run_id, exc)
        raise
    except KeyboardInterrupt:
        _record_failure(database, run_id, RunStopped("the run was interrupted; what it had not committed is due"))
        raise
    except Exception as exc:
        fault = UnexpectedFault(f"an unexpected {type(exc).__name__} ended the run; see the log of the process")
        _record_failure(database, run_id, fault)
        raise


def _record_failure(database: Database, run_id: int, error: BatchScoringError) -> None:
    try:
        persistently(lambda: records.close_run(database, run_id, error=error))
    except (DatabaseFault, Fenced):
        return  # the database cannot be written; the run is taken over as abandoned, and the error is raised anyway


def recorded(database: Database, run_id: int) -> Run:
    """The record of a run that succeeded, whatever becomes of the connection that asks for it."""

    def read() -> Run:
        found = records.get_run(database, run_id)
        assert found is not None
        return found

    return persistently(read)


def as_closed(database: Database, run_id: int) -> Run | None:
    """The record, None where the database cannot say."""
    try:
        return records.get_run(database, run_id)
    except DatabaseFault:
        return None


def by_hand(
    job: Job,
    database_url: str,
    work: Callable[[Database, int], Result],
    *,
    trigger: Trigger,
    reason: str | None,
    requested_by: str | None,
) -> tuple[Run, Result]:
    """Let a person's work on a job's tables be a run of its own: alone, recorded, fenced.

    ``work`` is given the database and the run's number. Raises AnotherRunActive, and what ``work`` raises.
    """
    database = database_of(job, database_url)
    opened = open_run(database, job, trigger=trigger, reason=reason, requested_by=requested_by)
    try:
        with (
            closing(database, opened.run_id),
            Heartbeat(database, opened.run_id, job.run.stalled_after),
        ):
            result = work(database, opened.run_id)
        return recorded(database, opened.run_id), result
    finally:
        database.dispose()
