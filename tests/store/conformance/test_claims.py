"""One running run per job, held by a constraint; runs that start at once, and slots of the schedule."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier

import pytest
from run_steps import get_run, open_run
from support import Workspace

from batch_scoring import __version__
from batch_scoring.domain.runs import Status
from batch_scoring.errors import AnotherRunActive, BatchScoringError, ConstraintViolated
from batch_scoring.store.engine.clock import now
from batch_scoring.store.runs import records


def test_a_run_records_who_started_it_where_and_with_what(ready: Workspace) -> None:
    with ready.database() as database:
        with database.read() as connection:
            before = now(connection)
        opened = open_run(
            database,
            trigger="rescore",
            requested_by="ada",
            reason="the income was wrong",
            job_config={"deep": {"a": 1}},
        )
        with database.read() as connection:
            after = now(connection)
        run = get_run(database, opened.run_id)

    assert opened.takeover is None
    assert (run.job, run.trigger, run.status) == ("loans", "rescore", Status.RUNNING)
    assert (run.host, run.process_id, run.package_version) == (socket.gethostname(), os.getpid(), __version__)
    assert (run.requested_by, run.reason) == ("ada", "the income was wrong")
    assert run.job_config == {"deep": {"a": 1}}
    assert run.environment.items() >= {"python": "3"}.items()
    assert before <= run.started_at <= after
    assert before <= run.heartbeat_at <= after
    assert run.started_at.utcoffset() == timedelta(0)
    assert (run.finished_at, run.seconds) == (None, None)
    assert (run.due_count, run.scored_count, run.superseded_count, run.quarantined_count, run.chunk_count) == (0,) * 5


def test_run_numbers_grow_and_jobs_run_beside_each_other(ready: Workspace) -> None:
    with ready.database() as database:
        first, second = open_run(database, "loans"), open_run(database, "cards")

        assert first.run_id < second.run_id
        assert get_run(database, first.run_id).status == get_run(database, second.run_id).status == Status.RUNNING


def test_a_second_run_of_a_running_job_is_refused_by_the_database_itself(ready: Workspace) -> None:
    by_hand = (
        "INSERT INTO scoring_runs (job, trigger, status, started_at, heartbeat_at, host, process_id, package_version,"
        " environment, job_config, requested_by) VALUES (:job, 'cli', 'running', '2026-01-01 00:00:00.000000',"
        " '2026-01-01 00:00:00.000000', 'h', 1, '1', '{}', '{}', 'me')"
    )
    ready.sql(by_hand, {"job": "loans"})
    ready.sql(by_hand, {"job": "cards"})

    with pytest.raises(ConstraintViolated):
        ready.sql(by_hand, {"job": "loans"})

    assert ready.query("SELECT job, running_job FROM scoring_runs ORDER BY job") == [
        ("cards", "cards"),
        ("loans", "loans"),
    ]


def test_a_finished_run_cannot_be_set_running_by_hand_while_another_runs(ready: Workspace) -> None:
    with ready.database() as database:
        first = open_run(database).run_id
        records.close_run(database, first)
        open_run(database)

    with pytest.raises(ConstraintViolated):
        ready.sql(
            f"UPDATE scoring_runs SET status = 'running', finished_at = NULL, end_reason = NULL WHERE run_id = {first}"
        )


@pytest.mark.parametrize(
    "change",
    [
        "status = 'paused', finished_at = started_at, end_reason = 'error'",
        "status = 'failed', finished_at = started_at",
        "status = 'failed', finished_at = started_at, end_reason = 'magic'",
        "end_reason = 'error'",
        "trigger = 'magic'",
        "status = 'succeeded'",
        "finished_at = started_at",
    ],
)
def test_a_state_that_means_nothing_is_refused_by_the_database(ready: Workspace, change: str) -> None:
    with ready.database() as database:
        open_run(database)

    with pytest.raises(ConstraintViolated):
        ready.sql(f"UPDATE scoring_runs SET {change}")


def test_a_slot_of_the_schedule_is_filled_once(ready: Workspace) -> None:
    slot = datetime.fromisoformat("2026-03-01T12:00:00+00:00")
    with ready.database() as database:
        first = open_run(database, trigger="schedule", scheduled_for=slot)
        records.close_run(database, first.run_id)

        with pytest.raises(BatchScoringError):
            open_run(database, trigger="schedule", scheduled_for=slot)

        assert get_run(database, first.run_id).scheduled_for == slot
        filled = ready.query("SELECT run_id FROM scoring_runs WHERE scheduled_for IS NOT NULL")
        assert filled == [(first.run_id,)]


def test_a_slot_filled_before_is_not_called_an_active_run(ready: Workspace) -> None:
    slot = datetime.fromisoformat("2026-03-01T12:00:00+00:00")
    with ready.database() as database:
        records.close_run(database, open_run(database, trigger="schedule", scheduled_for=slot).run_id)

        with pytest.raises(BatchScoringError) as refused:
            open_run(database, trigger="schedule", scheduled_for=slot)

    assert "is being run by another process" not in str(refused.value)


def test_a_run_that_finds_another_active_records_itself_as_skipped_and_names_it(ready: Workspace) -> None:
    with ready.database() as database:
        holder = open_run(database).run_id

        with pytest.raises(
            AnotherRunActive, match=rf"run {holder} is active \(process {os.getpid()} on .*nothing done"
        ):
            open_run(database, trigger="schedule", scheduled_for=datetime.fromisoformat("2026-03-01T12:00:00+00:00"))

        skipped, running = records.list_runs(database)
        assert (skipped.status, skipped.error_type, skipped.trigger) == (Status.SKIPPED, "AnotherRunActive", "schedule")
        assert f"run {holder} is active" in (skipped.error_message or "")
        assert skipped.finished_at is not None
        assert skipped.scheduled_for is None, "the slot stays free for the run that will fill it"
        assert (running.run_id, running.status) == (holder, Status.RUNNING)


def test_of_many_runs_opened_at_once_exactly_one_owns_the_job_and_the_others_are_skipped(ready: Workspace) -> None:
    many = 8
    start = Barrier(many)

    def race(_: int) -> int | None:
        with ready.database() as database:
            start.wait()
            try:
                return open_run(database).run_id
            except AnotherRunActive:
                return None

    with ThreadPoolExecutor(many) as pool:
        ends = list(pool.map(race, range(many)))

    (winner,) = [run_id for run_id in ends if run_id is not None]
    found = dict(ready.query("SELECT status, count(*) FROM scoring_runs GROUP BY status"))
    assert found == {"running": 1, "skipped": many - 1}
    assert ready.scalar("SELECT run_id FROM scoring_runs WHERE status = 'running'") == winner
