"""The lifecycle of a run: it claims its job first, and its record is closed however it ends."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from batch_scoring.domain.job import Job
from batch_scoring.domain.runs import Run, Takeover, Trigger
from batch_scoring.errors import (
    BatchScoringError,
    DatabaseFault,
    DatabaseFull,
    Fenced,
    InputFault,
    RunStopped,
    TransientError,
    UnexpectedFault,
)
from batch_scoring.scoring.events import Observer, RunFinished, RunStarted, RunTookOver, emit
from batch_scoring.scoring.heartbeat import Heartbeat
from batch_scoring.scoring.transient import retry_transient
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.timeouts import Timeouts
from batch_scoring.store.runs import records
from batch_scoring.store.runs.claim import Claim
from batch_scoring.store.schema import revision

Result = TypeVar("Result")

_LONGEST_NAME = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimedJob:
    """A run that owns its job."""

    database: Database
    """The run's own sessions, with its label and with timeouts shorter than ``stalled_after``."""
    run_id: int
    takeover: Takeover | None


def claim_job(
    database: Database,
    job: Job,
    *,
    trigger: Trigger,
    scheduled_for: datetime | None = None,
    requested_by: str | None = None,
    reason: str | None = None,
    continues_run_id: int | None = None,
) -> ClaimedJob:
    """Start a run that owns its job.

    Raises AnotherRunActive, SchemaOutOfDate, DatabaseFault, and InputFault if ``requested_by`` is too long.
    """
    if len(requested_by or "") > _LONGEST_NAME:
        raise InputFault(f"--requested-by is longer than the {_LONGEST_NAME} characters that are stored")
    own = database.with_timeouts(Timeouts().within(job.run.stalled_after))
    claim = Claim(
        database=own,
        job=job.name,
        job_config=job.model_dump(mode="json"),
        environment={"python": platform.python_version()},
        stalled_after=job.run.stalled_after,
        trigger=trigger,
        scheduled_for=scheduled_for,
        requested_by=requested_by,
        reason=reason,
        continues_run_id=continues_run_id,
    )
    try:
        revision.check_schema(own)  # without retry: a database that is unreachable at the start is reported at once
        started = retry_transient(claim.execute)
    except BaseException:
        own.dispose()
        raise
    own.label = records.session_label(started.run_id)
    return ClaimedJob(database=own, run_id=started.run_id, takeover=started.takeover)


@contextmanager
def closing(database: Database, run_id: int) -> Iterator[None]:
    """Close the run at the end of the block: as succeeded, or as failed with the error. Errors are raised again."""
    try:
        yield
        retry_transient(lambda: records.close_run(database, run_id))
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
    """Close the run as failed. A record that cannot be written is said in a note of the error.

    On a full disk it needs space for another version of the run's row. There often is some shortly after, when other
    transactions have ended and versions of the row that nobody sees any more can be overwritten.
    """
    try:
        retry_transient(lambda: records.close_run(database, run_id, error=error), (TransientError, DatabaseFull))
    except Fenced:
        return
    except DatabaseFault:
        error.add_note(
            f"the end of run {run_id} could not be recorded: it counts as running until its heartbeat is older than"
            " [run] stalled_after; the first run after that takes over"
        )


def recorded(database: Database, run_id: int) -> Run:
    """The record of a run that succeeded, read with retries. Raises DatabaseFault."""

    def read() -> Run:
        found = records.get_run(database, run_id)
        assert found is not None
        return found

    return retry_transient(read)


def as_closed(database: Database, run_id: int) -> Run | None:
    """The record of a run; None if the database cannot be read."""
    try:
        return records.get_run(database, run_id)
    except DatabaseFault:
        return None


def execute_as_run(
    database: Database,
    job: Job,
    work: Callable[[Database, int, Heartbeat], Result],
    *,
    trigger: Trigger,
    scheduled_for: datetime | None = None,
    requested_by: str | None = None,
    reason: str | None = None,
    continues_run_id: int | None = None,
    observers: Sequence[Observer] = (),
) -> tuple[Run, Result]:
    """Execute work on a job's tables as a run: exclusive, recorded, fenced, and with the events of a run.

    ``work`` is called with the run's own database sessions, its number and its heartbeat; its result is returned with
    the record of the run. Raises AnotherRunActive, SchemaOutOfDate, InputFault, Fenced, DatabaseFault, and what
    ``work`` raises.
    """
    claimed = claim_job(
        database,
        job,
        trigger=trigger,
        scheduled_for=scheduled_for,
        requested_by=requested_by,
        reason=reason,
        continues_run_id=continues_run_id,
    )
    own, run_id = claimed.database, claimed.run_id
    emit(observers, RunStarted(run_id=run_id, job=job.name))
    if claimed.takeover is not None:
        emit(observers, RunTookOver(run_id=run_id, job=job.name, abandoned=claimed.takeover))
    finished: Run | None = None
    try:
        with closing(own, run_id), Heartbeat(own, run_id, job.run.stalled_after) as heartbeat:
            result = work(own, run_id, heartbeat)
        finished = recorded(own, run_id)
        return finished, result
    finally:
        finished = finished or as_closed(own, run_id)
        own.dispose()
        if finished is not None:
            emit(observers, RunFinished(job=job.name, run=finished))
