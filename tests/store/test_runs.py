"""Runs: one owner of a job, whoever races, freezes or wakes up again."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa
from support import Workspace, claim_run, wait_until

from batch_scoring import __version__
from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.domain.runs import ChunkCounts, Mode, Run, StartedRun, Status
from batch_scoring.errors import AnotherRunActive, BatchScoringError, ConstraintViolated, DatabaseFault, Fenced
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.timeouts import Timeouts
from batch_scoring.store.runs import records
from batch_scoring.store.schema import upgrade
from batch_scoring.store.schema.tables import scoring_runs

STALLED_AFTER = timedelta(minutes=5)
ONE_CHUNK = ChunkCounts(scored=7, superseded=3, quarantined=2, unseen_category=1)

POLICY = DecisionPolicy(kind="binary", positive_label="Y", decided_label="Y", threshold=0.5)


@pytest.fixture
def ready(workspace: Workspace) -> Workspace:
    """A database with our schema and no job."""
    with workspace.database() as database:
        upgrade.upgrade(database, [])
    return workspace


@pytest.fixture
def ready_postgresql(postgresql_workspace: Workspace) -> Workspace:
    with postgresql_workspace.database() as database:
        upgrade.upgrade(database, [])
    return postgresql_workspace


def _open(database: Database, job: str = "loans", **values: Any) -> StartedRun:
    return claim_run(
        database,
        job=job,
        **{"job_config": {"chunk_rows": 5}, "environment": {"python": "3"}, "stalled_after": STALLED_AFTER, **values},
    )


def _get(database: Database, run_id: int) -> Run:
    run = records.get_run(database, run_id)
    assert run is not None
    return run


def _set_heartbeat_back(database: Database, run_id: int, by: timedelta) -> None:
    """As if the run had been silent for so long, by the database's clock."""
    with database.write() as connection:
        moment = now(connection) - by
        connection.execute(sa.update(scoring_runs).where(scoring_runs.c.run_id == run_id).values(heartbeat_at=moment))


def _count_chunk(database: Database, run_id: int, counts: ChunkCounts = ONE_CHUNK) -> datetime:
    with database.write() as connection:
        return records.fence(connection, run_id, counts)


def test_a_run_records_who_started_it_where_and_with_what(ready: Workspace) -> None:
    with ready.database() as database:
        with database.read() as connection:
            before = now(connection)
        opened = _open(
            database,
            trigger="rescore",
            requested_by="ada",
            reason="the income was wrong",
            job_config={"deep": {"a": 1}},
        )
        with database.read() as connection:
            after = now(connection)
        run = _get(database, opened.run_id)

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
        first, second = _open(database, "loans"), _open(database, "cards")

        assert first.run_id < second.run_id
        assert _get(database, first.run_id).status == _get(database, second.run_id).status == Status.RUNNING


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
        first = _open(database).run_id
        records.close_run(database, first)
        _open(database)

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
        _open(database)

    with pytest.raises(ConstraintViolated):
        ready.sql(f"UPDATE scoring_runs SET {change}")


def test_a_slot_of_the_schedule_is_filled_once(ready: Workspace) -> None:
    slot = datetime.fromisoformat("2026-03-01T12:00:00+00:00")
    with ready.database() as database:
        first = _open(database, trigger="schedule", scheduled_for=slot)
        records.close_run(database, first.run_id)

        with pytest.raises(BatchScoringError):
            _open(database, trigger="schedule", scheduled_for=slot)

        assert _get(database, first.run_id).scheduled_for == slot
        filled = ready.query("SELECT run_id FROM scoring_runs WHERE scheduled_for IS NOT NULL")
        assert filled == [(first.run_id,)]


def test_a_slot_filled_before_is_not_called_an_active_run(ready: Workspace) -> None:
    slot = datetime.fromisoformat("2026-03-01T12:00:00+00:00")
    with ready.database() as database:
        records.close_run(database, _open(database, trigger="schedule", scheduled_for=slot).run_id)

        with pytest.raises(BatchScoringError) as refused:
            _open(database, trigger="schedule", scheduled_for=slot)

    assert "is being run by another process" not in str(refused.value)


def test_a_run_that_finds_another_active_records_itself_as_skipped_and_names_it(ready: Workspace) -> None:
    with ready.database() as database:
        holder = _open(database).run_id

        with pytest.raises(
            AnotherRunActive, match=rf"run {holder} is active \(process {os.getpid()} on .*nothing done"
        ):
            _open(database, trigger="schedule", scheduled_for=datetime.fromisoformat("2026-03-01T12:00:00+00:00"))

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
                return _open(database).run_id
            except AnotherRunActive:
                return None

    with ThreadPoolExecutor(many) as pool:
        ends = list(pool.map(race, range(many)))

    (winner,) = [run_id for run_id in ends if run_id is not None]
    found = dict(ready.query("SELECT status, count(*) FROM scoring_runs GROUP BY status"))
    assert found == {"running": 1, "skipped": many - 1}
    assert ready.scalar("SELECT run_id FROM scoring_runs WHERE status = 'running'") == winner


def test_a_heartbeat_moves_the_time_and_nothing_else(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = _open(database).run_id
        _set_heartbeat_back(database, run_id, timedelta(minutes=1))
        before = _get(database, run_id)

        records.heartbeat(database, run_id)

        after = _get(database, run_id)
        assert after.heartbeat_at - before.heartbeat_at >= timedelta(minutes=1)
        assert before == replace(after, heartbeat_at=before.heartbeat_at)


def test_the_fence_counts_a_chunk_and_shows_that_the_run_is_alive(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = _open(database).run_id
        _set_heartbeat_back(database, run_id, timedelta(minutes=1))
        before = _get(database, run_id)

        first = _count_chunk(database, run_id)
        second = _count_chunk(database, run_id)

        run = _get(database, run_id)
        assert (run.scored_count, run.superseded_count, run.quarantined_count) == (14, 6, 4)
        assert (run.unseen_category_count, run.chunk_count, run.read_count) == (2, 2, 18)
        assert run.heartbeat_at - before.heartbeat_at >= timedelta(minutes=1)
        assert first <= second
        assert first.utcoffset() == timedelta(0)


def test_a_chunk_that_is_rolled_back_is_not_counted(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = _open(database).run_id
        _count_chunk(database, run_id)

        def fail_after_the_fence() -> None:
            with database.write() as connection:
                records.fence(connection, run_id, ONE_CHUNK)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail_after_the_fence()

        assert _get(database, run_id).chunk_count == 1


def test_a_run_that_was_taken_over_is_fenced_at_every_turn(ready: Workspace) -> None:
    with ready.database() as database:
        zombie = _open(database).run_id
        _count_chunk(database, zombie)
        _set_heartbeat_back(database, zombie, timedelta(minutes=6))
        owner = _open(database)
        before = _get(database, zombie)
        version = ModelVersion(
            name="loans",
            version=1,
            artifact_uri="",
            artifact_sha256="",
            stored_manifest={},
            created_at=before.started_at,
            created_by="",
        )

        for turn in (
            lambda: _count_chunk(database, zombie),
            lambda: records.heartbeat(database, zombie),
            lambda: records.record_plan(database, zombie, mode="sweep", due_count=5),
            lambda: records.record_model(database, zombie, version, POLICY),
            lambda: records.record_environment(database, zombie, {}),
            lambda: records.close_run(database, zombie),
            lambda: records.close_run(database, zombie, error=BatchScoringError("late")),
        ):
            with pytest.raises(Fenced, match=f"run {zombie} was fenced"):
                turn()

        assert _get(database, zombie) == before
        assert _get(database, owner.run_id).status is Status.RUNNING


def test_a_run_that_does_not_exist_is_fenced(ready: Workspace) -> None:
    with ready.database() as database, pytest.raises(Fenced):
        records.heartbeat(database, 4711)


def test_a_stalled_run_is_taken_over_and_marked_abandoned(ready: Workspace) -> None:
    with ready.database() as database:
        stalled = _open(database).run_id
        _count_chunk(database, stalled)
        _set_heartbeat_back(database, stalled, timedelta(minutes=5, seconds=1))
        silent_since = _get(database, stalled).heartbeat_at

        opened = _open(database)

        assert opened.takeover is not None
        assert (opened.takeover.run_id, opened.takeover.heartbeat_at) == (stalled, silent_since)
        assert (opened.takeover.host, opened.takeover.process_id) == (socket.gethostname(), os.getpid())
        abandoned = _get(database, stalled)
        assert (abandoned.status, abandoned.error_type) == (Status.ABANDONED, "Abandoned")
        assert "no heartbeat since" in (abandoned.error_message or "")
        assert abandoned.finished_at is not None
        assert abandoned.scored_count == ONE_CHUNK.scored
        assert abandoned.heartbeat_at == silent_since
        assert _get(database, opened.run_id).status is Status.RUNNING


def test_a_run_that_was_silent_for_less_than_allowed_is_left_alone(ready: Workspace) -> None:
    with ready.database() as database:
        alive = _open(database).run_id
        # far enough from the edge for the slowest machine
        _set_heartbeat_back(database, alive, timedelta(minutes=3))

        with pytest.raises(AnotherRunActive):
            _open(database)

        assert _get(database, alive).status is Status.RUNNING


def test_a_stalled_run_of_another_job_is_left_alone(ready: Workspace) -> None:
    with ready.database() as database:
        other = _open(database, "cards").run_id
        _set_heartbeat_back(database, other, timedelta(days=1))

        assert _open(database, "loans").takeover is None
        assert _get(database, other).status is Status.RUNNING


def test_how_long_is_stalled_is_the_job_s_own_word(ready: Workspace) -> None:
    with ready.database() as database:
        first = _open(database).run_id
        _set_heartbeat_back(database, first, timedelta(minutes=6))

        with pytest.raises(AnotherRunActive):
            _open(database, stalled_after=timedelta(hours=1))

        assert _open(database, stalled_after=timedelta(minutes=1)).takeover is not None


def test_a_heartbeat_keeps_a_run_from_being_taken_over(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = _open(database).run_id
        _set_heartbeat_back(database, run_id, timedelta(minutes=6))
        records.heartbeat(database, run_id)

        with pytest.raises(AnotherRunActive):
            _open(database)


def test_of_many_that_take_a_stalled_run_over_at_once_one_wins(ready: Workspace) -> None:
    many = 6
    with ready.database() as database:
        stalled = _open(database).run_id
        _set_heartbeat_back(database, stalled, timedelta(minutes=6))
    start = Barrier(many)

    def race(_: int) -> StartedRun | None:
        with ready.database() as database:
            start.wait()
            try:
                return _open(database)
            except AnotherRunActive:
                return None

    with ThreadPoolExecutor(many) as pool:
        ends = [opened for opened in pool.map(race, range(many)) if opened is not None]

    assert len(ends) == 1
    found = dict(ready.query("SELECT status, count(*) FROM scoring_runs GROUP BY status"))
    assert found == {"abandoned": 1, "running": 1, "skipped": many - 1}


def test_a_frozen_run_that_holds_its_row_is_taken_over_and_its_session_ended(ready_postgresql: Workspace) -> None:
    with ready_postgresql.database() as database:
        frozen = _open(database).run_id
        _count_chunk(database, frozen)
        _set_heartbeat_back(database, frozen, timedelta(minutes=6))
    holder = Database(ready_postgresql.database_url, label=records.session_label(frozen))
    impatient = Database(ready_postgresql.database_url, timeouts=Timeouts(lock=timedelta(seconds=1)))

    def freeze_and_thaw() -> None:
        with holder.write() as connection:
            records.fence(connection, frozen, ONE_CHUNK)
            assert _sessions(ready_postgresql, frozen) == 1
            opened.append(_open(impatient))
            wait_until(lambda: _sessions(ready_postgresql, frozen) == 0)

    opened: list[StartedRun] = []
    with pytest.raises(DatabaseFault):  # what it would commit goes with its session
        freeze_and_thaw()

    (owner,) = opened
    assert owner.takeover is not None
    assert owner.takeover.run_id == frozen
    assert _get(impatient, frozen).status is Status.ABANDONED
    assert _get(impatient, frozen).chunk_count == 1
    assert _get(impatient, owner.run_id).status is Status.RUNNING
    holder.dispose()
    impatient.dispose()


def test_sessions_of_other_runs_are_not_ended_by_a_takeover(ready_postgresql: Workspace) -> None:
    with ready_postgresql.database() as database:
        frozen = _open(database).run_id
        bystander = _open(database, "cards").run_id
        _set_heartbeat_back(database, frozen, timedelta(minutes=6))
    holder = Database(ready_postgresql.database_url, label=records.session_label(frozen))
    other = Database(ready_postgresql.database_url, label=records.session_label(bystander))
    impatient = Database(ready_postgresql.database_url, timeouts=Timeouts(lock=timedelta(seconds=1)))

    def freeze_and_thaw() -> None:
        with holder.write() as connection:
            records.fence(connection, frozen, ONE_CHUNK)
            assert _open(impatient).takeover is not None

    with other.write() as untouched:
        records.fence(untouched, bystander, ONE_CHUNK)
        with pytest.raises(DatabaseFault):
            freeze_and_thaw()

    assert _get(impatient, bystander).chunk_count == 1
    for database in (holder, other, impatient):
        database.dispose()


def _sessions(workspace: Workspace, run_id: int) -> Any:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = :label"
    return workspace.scalar(query, label=records.session_label(run_id))


def test_a_run_that_succeeded_is_closed_and_gives_the_job_free(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = _open(database).run_id
        records.close_run(database, run_id)

        run = _get(database, run_id)
        assert (run.status, run.error_type, run.error_message) == (Status.SUCCEEDED, None, None)
        assert run.finished_at is not None
        assert run.seconds is not None
        assert run.seconds >= 0
        assert records.running(database, "loans") is None
        assert _open(database).run_id > run_id


def test_a_run_that_failed_says_why(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = _open(database).run_id
        records.close_run(database, run_id, error=ConstraintViolated("constraint x refused the write"))

        run = _get(database, run_id)
        assert (run.status, run.error_type) == (Status.FAILED, "ConstraintViolated")
        assert run.error_message == "constraint x refused the write"


def test_a_run_that_ended_one_way_cannot_end_another_way(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = _open(database).run_id
        records.close_run(database, run_id)
        closed = _get(database, run_id)

        with pytest.raises(Fenced):
            records.close_run(database, run_id, error=BatchScoringError("too late"))

        assert _get(database, run_id) == closed


@pytest.mark.parametrize("error", [None, BatchScoringError("no")])
def test_closing_a_run_again_the_same_way_leaves_it_as_it_is(ready: Workspace, error: BatchScoringError | None) -> None:
    with ready.database() as database:
        run_id = _open(database).run_id
        records.close_run(database, run_id, error=error)
        closed = _get(database, run_id)

        records.close_run(database, run_id, error=error)

        assert _get(database, run_id) == closed


def test_a_run_records_its_plan_its_model_and_its_environment(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = _open(database).run_id
        version = ModelVersion(
            name="loans",
            version=3,
            artifact_uri="loans/x.joblib",
            artifact_sha256="f" * 64,
            stored_manifest={},
            created_at=_get(database, run_id).started_at,
            created_by="ada",
        )

        records.record_plan(database, run_id, mode="lookback", due_count=2**40, sweep_only_count=7)
        records.record_model(database, run_id, version, POLICY)
        records.record_environment(database, run_id, {"scikit-learn": "1.8"})

        run = _get(database, run_id)
        assert (run.mode, run.due_count, run.sweep_only_count) == ("lookback", 2**40, 7)
        assert (run.model_name, run.model_version, run.artifact_sha256) == ("loans", 3, "f" * 64)
        assert run.environment == {"scikit-learn": "1.8"}


def test_the_last_success_is_the_newest_succeeded_run_of_the_job(ready: Workspace) -> None:
    with ready.database() as database:
        assert records.last_success(database, "loans") is None
        succeeded = []
        for _ in range(2):
            succeeded.append(_open(database).run_id)
            records.close_run(database, succeeded[-1])
        records.close_run(database, _open(database).run_id, error=BatchScoringError("no"))
        records.close_run(database, _open(database, "cards").run_id)
        _open(database)

        found = records.last_success(database, "loans")
        assert found is not None
        assert found.run_id == succeeded[-1]
        assert records.last_success(database, "loans", mode="sweep") is None


def test_the_last_sweep_that_succeeded_is_found_behind_runs_of_the_other_mode(ready: Workspace) -> None:
    with ready.database() as database:
        modes: list[Mode] = ["sweep", "sweep", "lookback"]
        for mode in modes:
            run_id = _open(database).run_id
            records.record_plan(database, run_id, mode=mode, due_count=0)
            records.close_run(database, run_id)
        failed = _open(database).run_id
        records.record_plan(database, failed, mode="sweep", due_count=0)
        records.close_run(database, failed, error=BatchScoringError("no"))

        found = records.last_success(database, "loans", mode="sweep")
        assert found is not None
        assert (found.run_id, found.mode) == (2, "sweep")


def test_a_run_is_asked_to_stop_through_the_database(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = _open(database).run_id
        assert not records.is_stop_requested(database, run_id)
        records.request_stop(database, run_id)
        assert records.is_stop_requested(database, run_id)

        records.close_run(database, run_id)
        with pytest.raises(Fenced):
            records.request_stop(database, run_id)


def test_runs_are_listed_newest_first_by_job_and_up_to_a_limit(ready: Workspace) -> None:
    with ready.database() as database:
        opened = []
        for job in ("loans", "cards", "loans", "cards"):
            opened.append(_open(database, job).run_id)
            records.close_run(database, opened[-1])

        assert [run.run_id for run in records.list_runs(database)] == opened[::-1]
        assert [run.run_id for run in records.list_runs(database, job="loans")] == [opened[2], opened[0]]
        assert [run.run_id for run in records.list_runs(database, limit=1)] == opened[-1:]
        assert records.list_runs(database, job="nobody's") == []


def test_the_running_run_is_found_by_its_job(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = _open(database).run_id

        running = records.running(database, "loans")
        assert running is not None
        assert running.run_id == run_id
        assert records.running(database, "cards") is None
        assert records.get_run(database, 4711) is None
