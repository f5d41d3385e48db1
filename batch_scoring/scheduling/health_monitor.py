"""Looking after the jobs while the service runs: how they stand, and telling somebody when one needs help."""

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

_EVERY = timedelta(seconds=30)

_REST = 20
"""A look that took long, because tables are large, is followed by a rest so many times as long."""

_REMIND_AFTER = timedelta(days=1)
"""What is still unhealthy is notified again after so long."""

_SLOTS_WITHOUT_SUCCESS = 3
"""So many slots may pass before a job is stale, where its schedule does not say how old a success may be."""


def stale_after(job: Job, moment: datetime) -> timedelta | None:
    """How old the last success may be at a moment; None where the schedule is too young or too rare to say."""
    assert job.schedule is not None
    if job.schedule.stale_after is not None:
        return job.schedule.stale_after
    slot = moment
    for _ in range(_SLOTS_WITHOUT_SUCCESS):
        earlier = latest_slot(job.schedule, slot - timedelta(microseconds=1))
        if earlier is None:
            return None
        slot = earlier
    return moment - slot


@dataclass(frozen=True, kw_only=True, slots=True)
class _Told:
    """What is unhealthy about a job, and when that was notified."""

    trouble: HealthIssue
    since: datetime
    notified_at: datetime
    count: int = 1


@dataclass
class HealthMonitor:
    """What was last seen of the jobs, and who was told of what."""

    files: JobFiles
    database: Database
    artifacts_dir: Path
    tell: Callable[[Notice], None]
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    states: Sequence[JobStatus] = ()
    totals: Sequence[RunTotals] = ()
    problem: str | None = "nobody has looked at the jobs yet"
    """Why nothing can be said of the jobs now."""
    again: threading.Event = field(default_factory=threading.Event)
    """Set when there is something new to see."""
    _told: dict[str, _Told] = field(default_factory=dict)
    _told_run: dict[str, int] = field(default_factory=dict)
    """The run that was abandoned and notified of last, by job."""
    _begun: datetime | None = None

    def go_on(self, stop: threading.Event) -> None:
        """Look again and again until ``stop`` is set."""
        while not stop.is_set():
            begun = time.monotonic()
            self.look()
            self.again.wait(max(_EVERY.total_seconds(), _REST * (time.monotonic() - begun)))
            self.again.clear()

    def look(self) -> None:
        """See how every scheduled job stands, and tell of what changed. Raises nothing."""
        moment = self.clock()
        self._begun = self._begun or moment
        try:
            totals = run_totals(self.database)
            states = [
                status_of(self.database, job, self.artifacts_dir, max_age=stale_after(job, moment))
                for job in self.files.scheduled().values()
            ]
        except BatchScoringError as exc:
            self.problem = str(exc)
            return
        self.problem = None
        self.states, self.totals = states, totals  # at once: whoever asks meanwhile hears of one look, not of two
        for state in states:
            self._tell_of(state, moment)

    def _tell_of(self, state: JobStatus, moment: datetime) -> None:
        self._tell_of_abandoned(state)
        before = self._told.get(state.job)
        # a run that failed tells so itself; a job that never succeeded is given the time it needs for that
        is_young = state.last_success is None and self._is_young(state.job, moment)
        if state.trouble is HealthIssue.FAILED or (state.trouble is HealthIssue.STALE and is_young):
            return
        if state.trouble is not None and (before is None or state.trouble is not before.trouble):
            self._told[state.job] = _Told(trouble=state.trouble, since=moment, notified_at=moment)
            self._send("unhealthy", state, state.unhealthy or "")
        elif state.trouble is not None and before is not None and moment - before.notified_at >= _REMIND_AFTER:
            told = replace(before, count=before.count + 1, notified_at=moment)
            self._told[state.job] = told
            self._send("unhealthy", state, state.unhealthy or "", count=told.count, since=told.since)
        elif state.trouble is None and before is not None:
            del self._told[state.job]
            message = (
                f"job {state.job} is healthy again (it was not: {before.trouble.value},"
                f" since {before.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC)"
            )
            self._send("recovered", state, message)

    def _tell_of_abandoned(self, state: JobStatus) -> None:
        """A run whose process died could not notify anybody itself."""
        run = state.last_run
        if run is None or run.status is not Status.ABANDONED or self._told_run.get(state.job) == run.run_id:
            return
        try:
            repeated = repeated_failure(failures_in_a_row(self.database, state.job, until=run.run_id))
        except BatchScoringError:
            return  # the next look asks again
        self._told_run[state.job] = run.run_id
        if repeated is not None and repeated.is_notable:
            since = repeated.since if repeated.count > 1 else None
            self._send("run_failed", state, run.error_message or run.status.value, count=repeated.count, since=since)

    def _is_young(self, name: str, moment: datetime) -> bool:
        allowed = stale_after(self.files.jobs[name], moment) if name in self.files.jobs else None
        assert self._begun is not None
        return allowed is None or moment - self._begun < allowed

    def _send(
        self, kind: Kind, state: JobStatus, message: str, *, count: int = 1, since: datetime | None = None
    ) -> None:
        run_id = state.last_run.run_id if state.last_run else None
        host = socket.gethostname()
        self.tell(Notice(kind=kind, job=state.job, message=message, run_id=run_id, host=host, count=count, since=since))
