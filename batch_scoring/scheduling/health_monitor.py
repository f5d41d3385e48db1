"""The health monitor of the scheduler service: polls the status of every scheduled job and notifies operators."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from batch_scoring.domain.job import Job
from batch_scoring.domain.runs import Status
from batch_scoring.domain.schedule import latest_slot
from batch_scoring.errors import BatchScoringError
from batch_scoring.monitoring.health import HealthIssue, JobStatus, status_of
from batch_scoring.scheduling.job_files import JobFiles
from batch_scoring.sinks.notifications import Kind, Notice
from batch_scoring.sinks.notifier import repeated_failure
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs.history import RunTotals, failures_in_a_row, run_totals

_POLL_INTERVAL = timedelta(seconds=30)

_IDLE_FACTOR = 20
"""After a slow poll, as with large tables, the monitor waits this many times as long as the poll took."""

_REMIND_AFTER = timedelta(days=1)
"""A job that stays unhealthy is notified again after this long."""

_TOLD_BY_RUNS = (HealthIssue.FAILED, HealthIssue.HELD, HealthIssue.DRIFT)

_SLOTS_WITHOUT_SUCCESS = 3
"""This many slots may pass before a job is stale, if its schedule sets no ``stale_after``."""


def stale_after(job: Job, now: datetime) -> timedelta | None:
    """The maximum age of the last success; None if the schedule has too few past slots to tell."""
    assert job.schedule is not None
    if job.schedule.stale_after is not None:
        return job.schedule.stale_after
    slot = now
    for _ in range(_SLOTS_WITHOUT_SUCCESS):
        earlier = latest_slot(job.schedule, slot - timedelta(microseconds=1))
        if earlier is None:
            return None
        slot = earlier
    return now - slot


@dataclass(frozen=True, kw_only=True, slots=True)
class _NotifiedIssue:
    """A health issue of a job, and when operators were notified of it."""

    issue: HealthIssue
    since: datetime
    notified_at: datetime
    count: int = 1


@dataclass
class HealthMonitor:
    """The status of every scheduled job at the last poll, and which issues operators were notified of."""

    files: JobFiles
    database: Database
    artifacts_dir: Path
    notify: Callable[[Notice], None]
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    states: Sequence[JobStatus] = ()
    totals: Sequence[RunTotals] = ()
    problem: str | None = "the jobs have not been polled yet"
    """Why the status of the jobs is unknown; None if the last poll succeeded."""
    wake: threading.Event = field(default_factory=threading.Event)
    """Set to start the next poll at once."""
    _notified: dict[str, _NotifiedIssue] = field(default_factory=dict)
    _notified_run: dict[str, int] = field(default_factory=dict)
    """The last abandoned run that operators were notified of, by job."""
    _started_at: datetime | None = None

    def run(self, stop: threading.Event) -> None:
        """Poll repeatedly until ``stop`` is set."""
        while not stop.is_set():
            started = time.monotonic()
            self.poll()
            self.wake.wait(max(_POLL_INTERVAL.total_seconds(), _IDLE_FACTOR * (time.monotonic() - started)))
            self.wake.clear()

    def poll(self) -> None:
        """Read the status of every scheduled job and notify operators of changes. Raises nothing."""
        now = self.clock()
        self._started_at = self._started_at or now
        try:
            totals = run_totals(self.database)
            states = [
                status_of(self.database, job, self.artifacts_dir, max_age=stale_after(job, now))
                for job in self.files.scheduled().values()
            ]
        except BatchScoringError as exc:
            self.problem = str(exc)
            return
        except Exception as exc:  # such as a row of the registry that nobody expects
            self.problem = f"the status of the jobs cannot be read (unexpected {type(exc).__name__})"
            return
        self.problem = None
        self.states, self.totals = states, totals  # together, so that a scrape never mixes two polls
        for state in states:
            self._notify_of(state, now)

    def _notify_of(self, state: JobStatus, now: datetime) -> None:
        self._notify_of_abandoned(state)
        before = self._notified.get(state.job)
        # a run sends notices of its own; a job that never succeeded first gets the time it needs for that
        is_young = state.last_success is None and self._is_young(state.job, now)
        if state.issue in _TOLD_BY_RUNS or (state.issue is HealthIssue.STALE and is_young):
            return
        if state.issue is not None and (before is None or state.issue is not before.issue):
            self._notified[state.job] = _NotifiedIssue(issue=state.issue, since=now, notified_at=now)
            self._send("unhealthy", state, state.unhealthy or "")
        elif state.issue is not None and before is not None and now - before.notified_at >= _REMIND_AFTER:
            reminder = replace(before, count=before.count + 1, notified_at=now)
            self._notified[state.job] = reminder
            self._send("unhealthy", state, state.unhealthy or "", count=reminder.count, since=reminder.since)
        elif state.issue is None and before is not None:
            del self._notified[state.job]
            message = (
                f"job {state.job} is healthy again (it was not: {before.issue.value},"
                f" since {before.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC)"
            )
            self._send("recovered", state, message)

    def _notify_of_abandoned(self, state: JobStatus) -> None:
        """A run whose process crashed could not send a notice itself."""
        run = state.last_run
        if run is None or run.status is not Status.ABANDONED or self._notified_run.get(state.job) == run.run_id:
            return
        try:
            repeated = repeated_failure(failures_in_a_row(self.database, state.job, until=run.run_id))
        except BatchScoringError:
            return  # the next poll tries again
        self._notified_run[state.job] = run.run_id
        if repeated is not None and repeated.is_notable:
            since = repeated.since if repeated.count > 1 else None
            self._send("run_failed", state, run.error_message or run.status.value, count=repeated.count, since=since)

    def _is_young(self, name: str, now: datetime) -> bool:
        allowed = stale_after(self.files.jobs[name], now) if name in self.files.jobs else None
        assert self._started_at is not None
        return allowed is None or now - self._started_at < allowed

    def _send(
        self, kind: Kind, state: JobStatus, message: str, *, count: int = 1, since: datetime | None = None
    ) -> None:
        run_id = state.last_run.run_id if state.last_run else None
        host = socket.gethostname()
        self.notify(
            Notice(kind=kind, job=state.job, message=message, run_id=run_id, host=host, count=count, since=since)
        )
