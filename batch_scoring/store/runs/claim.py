"""How a run claims its job: it takes over from a stalled run, inserts itself as running, or is skipped."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from batch_scoring import __version__
from batch_scoring.domain.runs import EndReason, Run, StartedRun, Status, Takeover, Trigger
from batch_scoring.errors import AnotherRunActive, ConstraintViolated, TransientError
from batch_scoring.login import login, user_id
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import database_now
from batch_scoring.store.runs import chain
from batch_scoring.store.runs.profiles import merge_profiles
from batch_scoring.store.runs.records import (
    filling,
    get_run,
    lock_for_close,
    run_of_claim,
    running,
    session_label,
    sums,
)
from batch_scoring.store.schema.tables import scoring_runs


@dataclass(kw_only=True)
class Claim:
    """The claim of a run on its job.

    It may be executed again after a transient error: if a COMMIT took effect but its result was lost, the run is
    recognized by the claim token.
    """

    database: Database
    job: str
    job_config: Mapping[str, Any]
    environment: Mapping[str, Any]
    stalled_after: timedelta
    trigger: Trigger = "cli"
    scheduled_for: datetime | None = None
    requested_by: str | None = None
    reason: str | None = None
    continues_run_id: int | None = None
    _token: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Identifies the row of this claim."""
    _stalled: Takeover | None = None

    def execute(self) -> StartedRun:
        """Start the run: unique constraints decide who owns the job, and who fills a slot.

        A run whose heartbeat is older than ``stalled_after`` by the database's clock is marked abandoned first. Where
        an active run owns the job, or a run that succeeded filled the slot, a skipped run is recorded and
        AnotherRunActive raised. A slot whose runs all failed or were abandoned is free. Raises DatabaseFault.
        """
        takeover = self._take_over()
        try:
            with self.database.write() as connection:
                run_id = _insert(connection, {**self._values(), "status": Status.RUNNING, "claim_token": self._token})
        except ConstraintViolated:
            claimed = run_of_claim(self.database, self._token)
            if claimed is None:
                raise self._skip(running(self.database, self.job)) from None
            run_id = claimed
        return StartedRun(run_id=run_id, takeover=takeover)

    def _values(self) -> dict[str, Any]:
        return {
            "job": self.job,
            "job_config": dict(self.job_config),
            "environment": dict(self.environment),
            "trigger": self.trigger,
            "scheduled_for": self.scheduled_for,
            "requested_by": self.requested_by or login(),
            "os_user_id": user_id(),
            "reason": self.reason,
            "continues_run_id": self.continues_run_id,
            "host": socket.gethostname(),
            "process_id": os.getpid(),
            "package_version": __version__,
            "started_at": database_now(),
            "heartbeat_at": database_now(),
        }

    def _skip(self, holder: Run | None) -> AnotherRunActive:
        run_id: int | None = None
        message = f"job {self.job}: another run started and ended at the same time; nothing done"
        if self.scheduled_for is not None:
            slot = f"{self.scheduled_for:%Y-%m-%d %H:%M:%S}"
            by = filling(self.database, self.job, self.scheduled_for)
            run_id = None if by is None else by.run_id
            who = "another run" if by is None else f"run {by.run_id} ({by.status})"
            message = (
                f"job {self.job}: {who} fills the slot of {slot} UTC; nothing done. To score what is due now, run"
                " without --scheduled-for"
            )
        if holder is not None:
            run_id = holder.run_id
            message = (
                f"job {self.job}: run {holder.run_id} is active (process {holder.process_id} on {holder.host},"
                f" last heartbeat {holder.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC); nothing done"
            )
        skipped = {
            **self._values(),
            "status": Status.SKIPPED,
            "end_reason": EndReason.ANOTHER_RUN_ACTIVE,
            "finished_at": database_now(),
            "scheduled_for": None,
            "error_type": AnotherRunActive.__name__,
            "error_message": message,
        }
        with self.database.write() as connection:
            chain.append_run(connection, _insert(connection, skipped))
        return AnotherRunActive(message, run_id=run_id)

    def _take_over(self) -> Takeover | None:
        with self.database.read() as connection:
            found = _stalled(connection, self.job, self.stalled_after)
        if found is None:
            return self._taken_over_before()
        self._stalled = found
        try:
            return _abandon(self.database, found, self.stalled_after)
        except TransientError:  # its frozen session still locks the row: terminate that session, then try again
            _end_sessions(self.database, found.run_id)
            return _abandon(self.database, found, self.stalled_after)

    def _taken_over_before(self) -> Takeover | None:
        """The stalled run, if an earlier attempt abandoned it and the result of its COMMIT was lost."""
        if self._stalled is None:
            return None
        found = get_run(self.database, self._stalled.run_id)
        return self._stalled if found is not None and found.status is Status.ABANDONED else None


def _insert(connection: sa.Connection, values: Mapping[str, Any]) -> int:
    result = connection.execute(sa.insert(scoring_runs).values(values))
    assert result.inserted_primary_key is not None
    run_id: int = result.inserted_primary_key[0]
    return run_id


def _stalled(connection: sa.Connection, job: str, stalled_after: timedelta) -> Takeover | None:
    columns = [scoring_runs.c[field.name] for field in fields(Takeover)]
    row = connection.execute(
        sa.select(*columns).where(
            scoring_runs.c.job == job,
            scoring_runs.c.status == Status.RUNNING,
            scoring_runs.c.heartbeat_at < now(connection) - stalled_after,
        )
    ).one_or_none()
    return None if row is None else Takeover(**row._asdict())


def _abandon(database: Database, stalled: Takeover, stalled_after: timedelta) -> Takeover | None:
    message = (
        f"no heartbeat since {stalled.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC, longer than the {stalled_after} allowed;"
        " its finished chunks stay, the rest is due"
    )
    is_it = scoring_runs.c.run_id == stalled.run_id
    with database.write() as connection:
        is_stalled = (
            scoring_runs.c.status == Status.RUNNING,
            scoring_runs.c.heartbeat_at < now(connection) - stalled_after,
        )
        if lock_for_close(connection, is_it, *is_stalled) is None:
            return None
        _end_as_abandoned(connection, stalled.run_id, message, EndReason.STALLED)
    return stalled


def _end_as_abandoned(connection: sa.Connection, run_id: int, message: str, reason: EndReason) -> None:
    """Inside a transaction that has locked the row of a running run."""
    merge_profiles(connection, run_id)
    values = {
        **sums(run_id),
        "status": Status.ABANDONED,
        "end_reason": reason,
        "finished_at": database_now(),
        "error_type": "Abandoned",
        "error_message": message,
    }
    connection.execute(sa.update(scoring_runs).where(scoring_runs.c.run_id == run_id).values(values))
    chain.append_run(connection, run_id)


def _end_sessions(database: Database, run_id: int) -> None:
    if database.dialect.can_end_sessions:
        with database.write() as connection:
            database.dialect.end_sessions(connection, session_label(run_id))


def abandon_crashed(database: Database, job: str, *, process_id: int, message: str) -> Run | None:
    """Close the run of a process of this machine that is known to have crashed; None if it has no running run.

    The next run then need not wait until the run counts as stalled. Raises DatabaseFault.
    """
    with database.write() as connection:
        mine = sa.and_(
            scoring_runs.c.running_job == job,
            scoring_runs.c.host == socket.gethostname(),
            scoring_runs.c.process_id == process_id,
        )
        run_id = connection.execute(sa.select(scoring_runs.c.run_id).where(mine)).scalar_one_or_none()
        if run_id is None or lock_for_close(connection, mine) is None:
            return None
        _end_as_abandoned(connection, run_id, message, EndReason.PROCESS_CRASHED)
    return get_run(database, run_id)
