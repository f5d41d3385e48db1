"""Heartbeat, fence and take-over: a stalled run loses its job, and writes nothing when it wakes up."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from time import sleep
from typing import Any

import pytest
from run_steps import ONE_CHUNK, POLICY, count_chunk, get_run, open_run, set_heartbeat_back, write_chunk
from sql_words import words_of
from support import Workspace, wait_until

from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.domain.runs import StartedRun, Status
from batch_scoring.errors import AnotherRunActive, BatchScoringError, DatabaseFault, Fenced
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.timeouts import Timeouts
from batch_scoring.store.runs import records
from batch_scoring.store.runs.claim import abandon_crashed


def test_a_heartbeat_moves_the_time_and_nothing_else(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = open_run(database).run_id
        set_heartbeat_back(database, run_id, timedelta(minutes=1))
        before = get_run(database, run_id)

        records.heartbeat(database, run_id)

        after = get_run(database, run_id)
        assert after.heartbeat_at - before.heartbeat_at >= timedelta(minutes=1)
        assert before == replace(after, heartbeat_at=before.heartbeat_at)


def test_the_fence_counts_a_chunk_and_shows_that_the_run_is_alive(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = open_run(database).run_id
        set_heartbeat_back(database, run_id, timedelta(minutes=1))
        before = get_run(database, run_id)

        first = count_chunk(database, run_id)
        second = count_chunk(database, run_id)

        run = get_run(database, run_id)
        assert (run.scored_count, run.superseded_count, run.quarantined_count) == (14, 6, 4)
        assert (run.unseen_category_count, run.chunk_count, run.read_count) == (2, 2, 18)
        assert run.heartbeat_at == before.heartbeat_at, "the heartbeat has a session of its own"
        assert first <= second
        assert first.utcoffset() == timedelta(0)


def test_a_chunk_that_is_rolled_back_is_not_counted(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = open_run(database).run_id
        count_chunk(database, run_id)

        def fail_after_the_fence() -> None:
            with database.write() as connection:
                write_chunk(connection, run_id)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail_after_the_fence()

        assert get_run(database, run_id).chunk_count == 1


def test_a_run_that_was_taken_over_is_fenced_at_every_turn(ready: Workspace) -> None:
    with ready.database() as database:
        zombie = open_run(database).run_id
        count_chunk(database, zombie)
        set_heartbeat_back(database, zombie, timedelta(minutes=6))
        owner = open_run(database)
        before = get_run(database, zombie)
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
            lambda: count_chunk(database, zombie),
            lambda: records.heartbeat(database, zombie),
            lambda: records.record_plan(database, zombie, mode="sweep", counts={"due_count": 5}),
            lambda: records.record_model(database, zombie, version, POLICY),
            lambda: records.record_environment(database, zombie, {}),
            lambda: records.close_run(database, zombie),
            lambda: records.close_run(database, zombie, error=BatchScoringError("late")),
        ):
            with pytest.raises(Fenced, match=f"run {zombie} was fenced"):
                turn()

        assert get_run(database, zombie) == before
        assert get_run(database, owner.run_id).status is Status.RUNNING


def test_a_run_that_does_not_exist_is_fenced(ready: Workspace) -> None:
    with ready.database() as database, pytest.raises(Fenced):
        records.heartbeat(database, 4711)


def test_a_stalled_run_is_taken_over_and_marked_abandoned(ready: Workspace) -> None:
    with ready.database() as database:
        stalled = open_run(database).run_id
        count_chunk(database, stalled)
        set_heartbeat_back(database, stalled, timedelta(minutes=5, seconds=1))
        silent_since = get_run(database, stalled).heartbeat_at

        opened = open_run(database)

        assert opened.takeover is not None
        assert (opened.takeover.run_id, opened.takeover.heartbeat_at) == (stalled, silent_since)
        assert (opened.takeover.host, opened.takeover.process_id) == (socket.gethostname(), os.getpid())
        abandoned = get_run(database, stalled)
        assert (abandoned.status, abandoned.error_type) == (Status.ABANDONED, "Abandoned")
        assert "no heartbeat since" in (abandoned.error_message or "")
        assert abandoned.finished_at is not None
        assert abandoned.scored_count == ONE_CHUNK.scored
        assert abandoned.heartbeat_at == silent_since
        assert get_run(database, opened.run_id).status is Status.RUNNING


def test_a_run_that_was_silent_for_less_than_allowed_is_left_alone(ready: Workspace) -> None:
    with ready.database() as database:
        alive = open_run(database).run_id
        # far enough from the edge for the slowest machine
        set_heartbeat_back(database, alive, timedelta(minutes=3))

        with pytest.raises(AnotherRunActive):
            open_run(database)

        assert get_run(database, alive).status is Status.RUNNING


def test_a_stalled_run_of_another_job_is_left_alone(ready: Workspace) -> None:
    with ready.database() as database:
        other = open_run(database, "cards").run_id
        set_heartbeat_back(database, other, timedelta(days=1))

        assert open_run(database, "loans").takeover is None
        assert get_run(database, other).status is Status.RUNNING


def test_how_long_is_stalled_is_the_job_s_own_word(ready: Workspace) -> None:
    with ready.database() as database:
        first = open_run(database).run_id
        set_heartbeat_back(database, first, timedelta(minutes=6))

        with pytest.raises(AnotherRunActive):
            open_run(database, stalled_after=timedelta(hours=1))

        assert open_run(database, stalled_after=timedelta(minutes=1)).takeover is not None


def test_a_heartbeat_keeps_a_run_from_being_taken_over(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = open_run(database).run_id
        set_heartbeat_back(database, run_id, timedelta(minutes=6))
        records.heartbeat(database, run_id)

        with pytest.raises(AnotherRunActive):
            open_run(database)


def test_of_many_that_take_a_stalled_run_over_at_once_one_wins(ready: Workspace) -> None:
    many = 6
    with ready.database() as database:
        stalled = open_run(database).run_id
        set_heartbeat_back(database, stalled, timedelta(minutes=6))
    start = Barrier(many)

    def race(_: int) -> StartedRun | None:
        with ready.database() as database:
            start.wait()
            try:
                return open_run(database)
            except AnotherRunActive:
                return None

    with ThreadPoolExecutor(many) as pool:
        ends = [opened for opened in pool.map(race, range(many)) if opened is not None]

    assert len(ends) == 1
    found = dict(ready.query("SELECT status, count(*) FROM scoring_runs GROUP BY status"))
    assert found == {"abandoned": 1, "running": 1, "skipped": many - 1}


@pytest.mark.requires(can_end_sessions=True)
def test_a_frozen_run_that_holds_its_row_is_taken_over_and_its_session_ended(ready: Workspace) -> None:
    with ready.database() as database:
        frozen = open_run(database).run_id
        count_chunk(database, frozen)
        set_heartbeat_back(database, frozen, timedelta(minutes=6))
    holder = Database(ready.database_url, label=records.session_label(frozen))
    impatient = Database(ready.database_url, timeouts=Timeouts(lock=timedelta(seconds=1)))

    def freeze_and_thaw() -> None:
        with holder.write() as connection:
            write_chunk(connection, frozen)
            assert _sessions(ready, frozen) == 1
            opened.append(open_run(impatient))
            wait_until(lambda: _sessions(ready, frozen) == 0)

    opened: list[StartedRun] = []
    with pytest.raises(DatabaseFault):  # what it would commit goes with its session
        freeze_and_thaw()

    (owner,) = opened
    assert owner.takeover is not None
    assert owner.takeover.run_id == frozen
    assert get_run(impatient, frozen).status is Status.ABANDONED
    assert get_run(impatient, frozen).chunk_count == 1
    assert get_run(impatient, owner.run_id).status is Status.RUNNING
    holder.dispose()
    impatient.dispose()


@pytest.mark.requires(can_end_sessions=True)
def test_sessions_of_other_runs_are_not_ended_by_a_takeover(ready: Workspace) -> None:
    with ready.database() as database:
        frozen = open_run(database).run_id
        bystander = open_run(database, "cards").run_id
        set_heartbeat_back(database, frozen, timedelta(minutes=6))
    holder = Database(ready.database_url, label=records.session_label(frozen))
    other = Database(ready.database_url, label=records.session_label(bystander))
    impatient = Database(ready.database_url, timeouts=Timeouts(lock=timedelta(seconds=1)))

    def freeze_and_thaw() -> None:
        with holder.write() as connection:
            write_chunk(connection, frozen)
            assert open_run(impatient).takeover is not None

    with other.write() as untouched:
        write_chunk(untouched, bystander)
        with pytest.raises(DatabaseFault):
            freeze_and_thaw()

    assert get_run(impatient, bystander).chunk_count == 1
    for database in (holder, other, impatient):
        database.dispose()


def _sessions(workspace: Workspace, run_id: int) -> Any:
    query = words_of(workspace.dialect).count_sessions
    return workspace.scalar(query, label=records.session_label(run_id))


@pytest.mark.requires(locks_rows=True)
def test_chunks_and_heartbeats_of_a_run_do_not_wait_for_each_other(ready: Workspace) -> None:
    impatient = Database(ready.database_url, timeouts=Timeouts(lock=timedelta(milliseconds=200)))
    run_id = open_run(impatient).run_id
    with impatient.write() as one, impatient.write() as other:
        write_chunk(one, run_id)
        write_chunk(other, run_id)
        records.heartbeat(impatient, run_id)
        records.record_plan(impatient, run_id, mode="sweep", counts={"due_count": 14})
        assert get_run(impatient, run_id).chunk_count == 0

    assert get_run(impatient, run_id).chunk_count == 2
    impatient.dispose()


@pytest.mark.requires(locks_rows=True)
@pytest.mark.parametrize("how", ["taken over", "closed", "known to have crashed"])
def test_the_end_of_a_run_waits_for_a_chunk_under_way_and_counts_it(ready: Workspace, how: str) -> None:
    writer, ender = Database(ready.database_url), Database(ready.database_url)
    run_id = open_run(writer).run_id
    count_chunk(writer, run_id)
    set_heartbeat_back(writer, run_id, timedelta(minutes=6) if how == "taken over" else timedelta())

    def end() -> None:
        if how == "taken over":
            open_run(ender)
        elif how == "closed":
            records.close_run(ender, run_id)
        else:
            abandon_crashed(ender, "loans", process_id=os.getpid(), message="it crashed")

    with ThreadPoolExecutor(1) as pool:
        with writer.write() as connection:
            write_chunk(connection, run_id)
            ended = pool.submit(end)
            sleep(0.5)
            assert not ended.done(), "it waits"
        ended.result()

    run = get_run(writer, run_id)
    assert run.status is not Status.RUNNING
    assert (run.chunk_count, run.scored_count) == (2, 2 * ONE_CHUNK.scored)
    stored = "SELECT chunk_count, scored_count, superseded_count, quarantined_count, unseen_category_count"
    assert ready.query(f"{stored} FROM scoring_runs WHERE run_id = :run", run=run_id) == [(2, 14, 6, 4, 2)]
    with pytest.raises(Fenced):
        count_chunk(writer, run_id)
    for database in (writer, ender):
        database.dispose()


def test_each_chunk_has_a_record_of_its_own(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = open_run(database).run_id
        times = [count_chunk(database, run_id) for _ in range(2)]
        seen = ready.query("SELECT chunk_count, scored_count FROM run_history WHERE run_id = :run", run=run_id)
        assert seen == [(2, 14)], "while the run is running"
        records.close_run(database, run_id)

    chunks = ready.query(
        "SELECT run_id, worker, read_count, scored_count, superseded_count, quarantined_count, unseen_category_count,"
        " read_seconds, score_seconds, write_seconds FROM scoring_chunks ORDER BY number"
    )
    assert chunks == [(run_id, os.getpid(), 9, 7, 3, 2, 1, 0.1, 0.2, 0.3)] * 2
    assert times == sorted(times)
    assert ready.query("SELECT chunk_count, scored_count FROM run_history WHERE run_id = :run", run=run_id) == seen
