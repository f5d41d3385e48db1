"""The service when its machine's clock jumps: asleep for six hours, set back by one.

The service and APScheduler are given a clock that the test sets while they run; runs are processes of their own, and
the database keeps its own time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from apscheduler.executors import base as executors
from apscheduler.schedulers import base as schedulers
from conftest import prepare_loans
from serving import without_schedule
from support import LOAN_JOB, Workspace, wait_until

from batch_scoring.model.training import TrainedModel
from batch_scoring.scheduling.job_files import JobFiles
from batch_scoring.scheduling.service import RunEnded, Service, ServiceEvent, ServiceFault, SlotFired


class _Clock:
    """This machine's clock, moved."""

    moved = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.moved


class _Served:
    """A service in a thread of this process, and what it said."""

    def __init__(self, workspace: Workspace, clock: _Clock) -> None:
        self.events: list[ServiceEvent] = []
        self.database = workspace.database()
        self.service = Service(
            JobFiles(workspace.jobs_dir),
            self.database.__enter__(),
            emit=self.events.append,
            environ=workspace.process_environ,
            clock=clock.now,
        )
        self.thread = threading.Thread(target=self.service.run)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def stop(self) -> None:
        self.service.stop()
        self.thread.join()
        self.database.__exit__(None, None, None)


@contextmanager
def _served(workspace: Workspace, clock: _Clock) -> Iterator[_Served]:
    served = _Served(workspace, clock)
    served.thread.start()
    try:
        yield served
    finally:
        served.stop()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()

    class Moved(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return clock.now().astimezone(tz)

    for module in (schedulers, executors):
        monkeypatch.setattr(module, "datetime", Moved)
    return clock


def _prepare(workspace: Workspace, model: TrainedModel, every: str) -> Workspace:
    return prepare_loans(workspace, model, job=f'{without_schedule(LOAN_JOB)}\n[schedule]\nevery = "{every}"\n')


def _slots(workspace: Workspace) -> list[datetime]:
    filled = "status <> 'skipped' AND scheduled_for IS NOT NULL"
    return [
        slot for (slot,) in workspace.query(f"SELECT scheduled_for FROM scoring_runs WHERE {filled} ORDER BY run_id")
    ]


@pytest.mark.slow
def test_after_six_hours_of_sleep_one_run_makes_up_for_all_the_slots_that_passed(
    postgresql_workspace: Workspace, loan_model: TrainedModel, clock: _Clock
) -> None:
    workspace = _prepare(postgresql_workspace, loan_model, "30 minutes")
    with _served(workspace, clock) as served:
        wait_until(lambda: served.service.last_tick)
        clock.moved = timedelta(hours=6)
        wait_until(lambda: served.of(RunEnded))
        fired = served.of(SlotFired)

    assert len(fired) == 1
    assert clock.now() - fired[0].slot < timedelta(minutes=31), "the latest of twelve slots is the one that is filled"
    assert _slots(workspace) == [fired[0].slot]
    assert workspace.scalar("SELECT count(*) FROM predictions_current") == 367


@pytest.mark.slow
def test_a_clock_that_is_set_back_is_said_and_no_slot_is_filled_twice(
    postgresql_workspace: Workspace, loan_model: TrainedModel, clock: _Clock
) -> None:
    workspace = _prepare(postgresql_workspace, loan_model, "1 second")
    with _served(workspace, clock) as served:
        wait_until(lambda: len(served.of(RunEnded)) >= 2)
        before = clock.now()
        clock.moved = -timedelta(hours=1)
        wait_until(lambda: served.of(ServiceFault))
        assert "the clock was set back" in (served.service.paused or ""), "what /readyz says"
        wait_until(lambda: len(served.of(RunEnded)) == len(served.of(SlotFired)))
        ended = len(served.of(RunEnded))
        assert served.service.is_alive
        clock.moved = timedelta(seconds=1)
        wait_until(lambda: len(served.of(RunEnded)) > ended + 1)
        assert served.service.paused is None

    (fault,) = served.of(ServiceFault)
    assert "the clock was set back" in fault.problem
    slots = _slots(workspace)
    assert len(set(slots)) == len(slots)
    assert slots == sorted(slots)
    assert slots[0] < before < slots[-1]
    assert all(event.ended.exit_code == 0 or event.ended.was_asked for event in served.of(RunEnded))
