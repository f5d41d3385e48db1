"""A slot of the schedule whose run failed can be filled again, by one run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from support import Workspace, claim_run

from batch_scoring.domain.runs import Status
from batch_scoring.errors import AnotherRunActive, ConstraintViolated, RunStopped
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs import records
from batch_scoring.store.schema import upgrade

SLOT = datetime(2026, 3, 1, 12, tzinfo=UTC)
STALLED_AFTER = timedelta(minutes=5)


@pytest.fixture
def ready(workspace: Workspace) -> Workspace:
    with workspace.database() as database:
        upgrade.upgrade(database, [])
    return workspace


def _open(database: Database, slot: datetime = SLOT, *, job: str = "loans") -> int:
    opened = claim_run(
        database,
        job=job,
        job_config={},
        environment={},
        stalled_after=STALLED_AFTER,
        trigger="schedule",
        scheduled_for=slot,
    )
    return opened.run_id


def _fail(database: Database) -> int:
    run_id = _open(database)
    records.close_run(database, run_id, error=RunStopped("stopped"))
    return run_id


def _stall(ready: Workspace) -> None:
    ready.sql("UPDATE scoring_runs SET heartbeat_at = '2026-01-01 00:00:00' WHERE status = 'running'")


def test_a_slot_whose_run_failed_is_filled_by_the_next_one_that_asks(ready: Workspace) -> None:
    with ready.database() as database:
        failed = [_fail(database), _fail(database)]
        run_id = _open(database)
        records.close_run(database, run_id)

        found = ready.query("SELECT run_id, status FROM scoring_runs WHERE scheduled_for IS NOT NULL ORDER BY run_id")
        assert found == [*((number, "failed") for number in failed), (run_id, "succeeded")]


def test_a_slot_whose_run_was_abandoned_is_filled_by_the_one_that_takes_over(ready: Workspace) -> None:
    with ready.database() as database:
        first = _open(database)
        _stall(ready)
        second = _open(database)

        statuses = dict(ready.query("SELECT run_id, status FROM scoring_runs WHERE scheduled_for IS NOT NULL"))
        assert statuses == {first: "abandoned", second: "running"}


def test_a_slot_whose_run_succeeded_stays_filled_and_the_refusal_names_that_run(ready: Workspace) -> None:
    with ready.database() as database:
        _fail(database)
        run_id = _open(database)
        records.close_run(database, run_id)

        with pytest.raises(
            AnotherRunActive, match=rf"run {run_id} \(succeeded\) fills the slot of 2026-03-01 12:00:00"
        ):
            _open(database)

        assert records.filling(database, "loans", SLOT) == records.get_run(database, run_id)


def test_a_slot_whose_run_is_running_is_not_given_away(ready: Workspace) -> None:
    with ready.database() as database:
        _fail(database)
        run_id = _open(database)

        with pytest.raises(AnotherRunActive, match=f"run {run_id} is active"):
            _open(database)


def test_the_same_slot_of_another_job_is_another_slot(ready: Workspace) -> None:
    with ready.database() as database:
        records.close_run(database, _open(database))
        records.close_run(database, _open(database, job="other"))
    assert ready.scalar("SELECT count(*) FROM scoring_runs WHERE status = 'succeeded'") == 2


@pytest.mark.parametrize("status", ["running", "succeeded"])
def test_the_database_itself_refuses_a_second_run_that_fills_a_slot(ready: Workspace, status: str) -> None:
    with ready.database() as database:
        failed = _fail(database)
        records.close_run(database, _open(database))
    ended = "NULL, end_reason = NULL" if status == "running" else "finished_at"

    with pytest.raises(ConstraintViolated):
        ready.sql(f"UPDATE scoring_runs SET status = '{status}', finished_at = {ended} WHERE run_id = {failed}")


def test_of_many_that_ask_at_once_for_a_failed_slot_exactly_one_fills_it(ready: Workspace) -> None:
    many = 8
    start = Barrier(many)
    with ready.database() as database:
        failed = _fail(database)

        def race(_: int) -> int | None:
            start.wait()
            try:
                run_id = _open(database)
            except AnotherRunActive:
                return None
            records.close_run(
                database, run_id
            )  # at once, so that the slot and not the active run refuses the late ones
            return run_id

        with ThreadPoolExecutor(many) as pool:
            ends = list(pool.map(race, range(many)))

    (winner,) = [run_id for run_id in ends if run_id is not None]
    found = dict(ready.query("SELECT run_id, status FROM scoring_runs WHERE scheduled_for IS NOT NULL"))
    assert found == {failed: "failed", winner: "succeeded"}
    assert ready.scalar("SELECT count(*) FROM scoring_runs WHERE status = 'skipped'") == many - 1


def test_a_failed_slot_counts_as_tried_for_a_service_that_catches_up(ready: Workspace) -> None:
    with ready.database() as database:
        run = records.get_run(database, _fail(database))
        assert run is not None
        assert run.status is Status.FAILED
        assert records.last_slot(database, "loans") == SLOT
