"""The scheduler service: one process that starts a run of each scheduled job at each slot of its schedule.

The service contains no scoring logic. For each slot it starts the command that cron would start, in a child process,
and waits for it. Which rows are due is decided by the database, so missed slots lose no rows: one run catches up,
however many slots were missed.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from apscheduler.events import EVENT_JOB_MAX_INSTANCES
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from batch_scoring.domain.job import Job
from batch_scoring.domain.runs import Run
from batch_scoring.domain.schedule import Schedule, latest_slot
from batch_scoring.errors import BatchScoringError
from batch_scoring.scheduling.child import GRACE, Ended, RunProcess
from batch_scoring.scheduling.job_files import JobFiles
from batch_scoring.scheduling.slot_trigger import SlotTrigger
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs import claim, records

_TICK = timedelta(seconds=0.5)
"""How often files, clock and signals are checked."""

_RETRY_AFTER = timedelta(seconds=10)
"""How long to wait before a failed database query is tried again."""

_CLOCK_TOLERANCE = timedelta(seconds=5)
"""A clock that is set back by less does not delay a slot noticeably and is not reported."""

_MOST_JOBS_AT_ONCE = 200
"""Threads that wait for runs; a waiting thread costs almost nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceStarted:
    """The service started, with these jobs."""

    jobs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class JobScheduled:
    """A job file was loaded; ``next_slot`` is when its next run starts."""

    job: str
    next_slot: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class JobUnscheduled:
    """A job file was removed, or no longer has a schedule."""

    job: str


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFileBroken:
    """A job file is invalid; its last valid version stays in use."""

    job: str
    problem: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotFired:
    """A run was started for a slot."""

    job: str
    slot: datetime
    process_id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotPassedOver:
    """The previous run is still active, so no run was started for this slot."""

    job: str
    slot: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEnded:
    """The process of a run ended; ``abandoned`` is its run if the process crashed and left it open."""

    job: str
    ended: Ended
    abandoned: Run | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceFault:
    """The service failed to do something and will try again."""

    job: str | None
    problem: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceStopped:
    """The service stopped, after the runs that it had started."""


ServiceEvent: TypeAlias = (
    ServiceStarted
    | JobScheduled
    | JobUnscheduled
    | JobFileBroken
    | SlotFired
    | SlotPassedOver
    | RunEnded
    | ServiceFault
    | ServiceStopped
)


class Service:
    """The service, from ``run`` to ``stop``."""

    def __init__(
        self,
        files: JobFiles,
        database: Database,
        *,
        emit: Callable[[ServiceEvent], None],
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.files = files
        self.database = database
        self._emit = emit
        self._environ = environ
        self._clock = clock
        self._is_asked_to_stop = False
        self._stop = threading.Event()
        self._scheduled: dict[str, Schedule] = {}
        self._running: dict[str, RunProcess] = {}
        self._lock = threading.Lock()
        self._caught_up: set[str] = set()
        self._catch_up_again = datetime.min.replace(tzinfo=UTC)
        self.last_tick: datetime | None = None
        self._resumes_at: datetime | None = None
        self.fault: str | None = None
        """The unexpected error of the last step of the main loop; None if it succeeded."""
        self.fault_count = 0
        """Unexpected errors of the main loop since the start."""
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(_MOST_JOBS_AT_ONCE)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._scheduler.add_listener(self._on_passed_over, EVENT_JOB_MAX_INSTANCES)
        logging.getLogger("apscheduler").addHandler(logging.NullHandler())  # the events of this service report the same

    @property
    def is_alive(self) -> bool:
        """Whether the main loop is running: it ticked within the last 30 seconds."""
        return self.last_tick is not None and self._clock() - self.last_tick < 60 * _TICK

    @property
    def paused(self) -> str | None:
        """Why no slots fire although the service is running; None if they do."""
        if self._resumes_at is None:
            return None
        return (
            f"the clock was set back; slots up to {self._resumes_at:%Y-%m-%d %H:%M:%S} UTC have passed, so runs start"
            " again once it has reached them"
        )

    def run(self) -> None:
        """Serve until ``stop`` is called; returns when the active runs have ended."""
        self._scheduler.start()
        self._guarded(self._refresh)
        self._emit(ServiceStarted(jobs=tuple(sorted(self.files.scheduled()))))
        try:
            while not self._is_asked_to_stop:
                self._guarded(self._step)
                time.sleep(_TICK.total_seconds())
        finally:
            self._end()

    def _step(self) -> None:
        self._tick()
        self._refresh()
        # after a suspend or a clock change, APScheduler must recompute its waits
        self._scheduler.wakeup()

    def _guarded(self, step: Callable[[], None]) -> None:
        """Take a step; an unexpected error is counted and reported, and does not end the service."""
        try:
            step()
        except Exception as exc:
            self.fault_count += 1
            is_new = self.fault is None
            self.fault = f"the service failed with an unexpected {type(exc).__name__}, and tries again"
            if is_new:
                with suppress(Exception):
                    self._emit(ServiceFault(job=None, problem=self.fault))
        else:
            self.fault = None

    def _tick(self) -> None:
        now = self._clock()
        if self.last_tick is not None and self.last_tick - now > _CLOCK_TOLERANCE:
            self._resumes_at = max(self.last_tick, self._resumes_at or self.last_tick)
            self._emit(ServiceFault(job=None, problem=f"{self.paused} (in {self._resumes_at - now})"))
        elif self._resumes_at is not None and now >= self._resumes_at:
            self._resumes_at = None
        self.last_tick = now

    def _end(self) -> None:
        with self._lock:
            self._stop.set()
            for process in self._running.values():
                process.stop()
        kill_timer = threading.Timer(GRACE.total_seconds(), self.kill)
        kill_timer.start()
        try:
            self._scheduler.shutdown(wait=True)
        finally:
            kill_timer.cancel()
        self._emit(ServiceStopped())

    def stop(self) -> None:
        """Start no more runs, and stop the active ones after their current chunk.

        Safe in a signal handler: it sets a flag, since ``Event.set`` could deadlock on a lock that the interrupted code
        holds.
        """
        self._is_asked_to_stop = True

    def kill(self) -> None:
        """Kill the active runs. Committed chunks stay; the other rows remain due."""
        for process in list(self._running.values()):
            process.kill()

    def _refresh(self) -> None:
        if self.files.refresh():
            self._reschedule()
        if self._clock() >= self._catch_up_again:
            for name, job in self.files.scheduled().items():
                if name not in self._caught_up:
                    self._catch_up(job)

    def _reschedule(self) -> None:
        if self.files.problem is not None:
            self._emit(ServiceFault(job=None, problem=self.files.problem))
            return
        for name, exc in self.files.broken.items():
            self._emit(JobFileBroken(job=name, problem=str(exc)))
        wanted = self.files.scheduled()
        for name in self._scheduled.keys() - wanted.keys():
            del self._scheduled[name]
            self._scheduler.remove_job(name)
            self._emit(JobUnscheduled(job=name))
        for name, job in wanted.items():
            assert job.schedule is not None
            if self._scheduled.get(name) == job.schedule:
                self._scheduler.modify_job(name, args=[job])
                continue
            self._scheduled[name] = job.schedule
            added = self._scheduler.add_job(
                self._fire, SlotTrigger(job.schedule), args=[job], id=name, replace_existing=True
            )
            self._emit(JobScheduled(job=name, next_slot=added.next_run_time))

    def _catch_up(self, job: Job) -> None:
        """Start one run if slots passed while the service was down."""
        assert job.schedule is not None
        slot = latest_slot(job.schedule, self._clock())
        try:
            filled = records.last_slot(self.database, job.name)
        except BatchScoringError as exc:
            self._emit(ServiceFault(job=job.name, problem=f"cannot see yet which slots were missed: {exc}"))
            self._catch_up_again = self._clock() + _RETRY_AFTER
            return
        self._caught_up.add(job.name)
        if slot is not None and filled is not None and filled < slot:
            self._scheduler.add_job(self._fire, args=[job, slot], id=f"{job.name} (missed)", replace_existing=True)

    def _fire(self, job: Job, slot: datetime | None = None) -> None:
        assert job.schedule is not None
        slot = slot or latest_slot(job.schedule, self._clock())
        if slot is None or self._is_stopped_in_jitter(job):
            return
        with self._lock:
            if self._stop.is_set():
                return
            if job.name in self._running:  # a catch-up run is active
                self._emit(SlotPassedOver(job=job.name, slot=slot))
                return
            process = RunProcess(job.name, slot, self._environ)
            self._running[job.name] = process
        self._emit(SlotFired(job=job.name, slot=slot, process_id=process.process_id))
        try:
            ended = process.wait(at_most=job.run.max_duration)
        finally:
            with self._lock:
                del self._running[job.name]
        self._emit(RunEnded(job=job.name, ended=ended, abandoned=self._close_crashed(job.name, ended)))

    def _is_stopped_in_jitter(self, job: Job) -> bool:
        assert job.schedule is not None
        jitter = job.schedule.jitter
        if jitter is None:
            return False
        return self._stop.wait(random.uniform(0, jitter.total_seconds()))  # noqa: S311 - spreads load, not for security

    def _close_crashed(self, job: str, ended: Ended) -> Run | None:
        if ended.killed_by is None:
            return None
        what = "took longer than max_duration and was killed" if ended.overran else "crashed or was killed"
        message = (
            f"its process {what} ({ended.killed_by}); its committed chunks stay, the rest is due."
            " Check the system log for the cause"
        )
        try:
            return claim.abandon_crashed(self.database, job, process_id=ended.process_id, message=message)
        except BatchScoringError as exc:
            self._emit(
                ServiceFault(job=job, problem=f"a crashed run could not be closed and will count as stalled: {exc}")
            )
            return None

    def _on_passed_over(self, event: object) -> None:
        name, times = event.job_id, event.scheduled_run_times  # type: ignore[attr-defined]  # APScheduler is untyped
        self._emit(SlotPassedOver(job=name, slot=times[-1].astimezone(UTC)))
