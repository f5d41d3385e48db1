"""A run is killed, or frozen and woken up, at each of its statements and COMMITs in turn."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial, wraps
from typing import Any, NamedTuple

import pandas as pd
import pytest
import sqlalchemy as sa
from conftest import prepare_loans
from faults import assert_counters_equal_rows, loan_job
from processes import forget_server
from rewriting import without_triggers
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sqlalchemy.engine.default import DefaultDialect
from support import Workspace, wait_until

from batch_scoring.domain.job import Job
from batch_scoring.domain.runs import Run
from batch_scoring.errors import Fenced, TransientError
from batch_scoring.model.training import TrainedModel
from batch_scoring.monitoring.evaluation import evaluate
from batch_scoring.scoring import lifecycle as record
from batch_scoring.scoring.runner import run_job
from batch_scoring.store.bulk.postgresql import CopyBulk, CopyRows, UpdatedRows
from batch_scoring.store.bulk.sqlite import SqliteBulk, SqliteRows, SqliteUpdatedRows
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.timeouts import Timeouts

pytestmark = [
    pytest.mark.slow,
    # forked in milliseconds; what the child uses of what it inherits is safe to use after a fork
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

_PARTS = 4
_FREEZE_EVERY = 7
"""Odd, so that points before and points after a statement take turns."""

_FENCED = 10
"""How a child says that it was fenced."""

_ENDINGS = {"not recorded": (0, 1), "running": (_FENCED,), "succeeded": (0,)}
"""How a woken run may end, by what was known of it when it was frozen: one that is not recorded yet begins anew and
finds nothing due, or finds its session ended.
"""

_TABLES = ("predictions", "predictions_superseded", "predictions_quarantine", "predictions_quarantine_closed")

_GATE = """
[monitoring]
on_breach = { distribution = "hold", missing = "hold", row_count = "hold" }
"""
"""Each run scores a sample first."""

_LONG_AGO = "2026-01-01 00:00:00.000000"

_ROLES = (
    *("changed", "new", "worse", "changed"),
    *("mended", "new", "unchanged", "changed"),
    *("changed", "unsound", "new", "changed"),
    *("new", "changed", "unchanged", "changed"),
)
"""What is about to become of the first applicants, in key order."""


@pytest.fixture(scope="module")
def light_model(loan_train: pd.DataFrame, loan_model: TrainedModel) -> TrainedModel:
    """One that loads, proves itself and scores in milliseconds, as it does so once or twice for each point."""
    features = loan_train[["Education", "Property_Area"]]
    pipeline = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(features, loan_train["Loan_Status"])
    return replace(loan_model, pipeline=pipeline, features=features)


class Point(NamedTuple):
    """A place in a run: the n-th of a thread. Threads are numbered as they turn up, so it is the same in each run."""

    thread: int
    number: int
    what: str


def _watch(act: Callable[[Point], object]) -> None:
    """From now on act at each point of this process: before and after every statement and every COMMIT."""
    lock = threading.Lock()
    passed: dict[int, int] = {}

    def passing(what: str) -> None:
        if threading.current_thread().name.startswith("heartbeat"):
            return  # how often it beats is a matter of time
        thread = threading.get_ident()
        with lock:
            passed[thread] = passed.get(thread, 0) + 1
            point = Point(list(passed).index(thread), passed[thread], what)
        act(point)

    def watch_statements(when: str) -> None:
        def statement(_connection: Any, _cursor: Any, text: str, *_others: Any) -> None:
            passing(f"{when} {' '.join(text.split()[:3])}")

        sa.event.listen(sa.Engine, f"{when}_cursor_execute", statement)

    def watch_method(owner: type, name: str) -> None:
        method = getattr(owner, name)

        @wraps(method)
        def watched(*arguments: Any, **named: Any) -> Any:
            passing(f"before {name}")
            result = method(*arguments, **named)
            passing(f"after {name}")
            return result

        setattr(owner, name, watched)

    watch_statements("before")
    watch_statements("after")
    watch_method(DefaultDialect, "do_commit")
    for rows in (CopyRows, UpdatedRows, SqliteRows, SqliteUpdatedRows):
        watch_method(rows, "write")
    for bulk in (CopyBulk, SqliteBulk):
        watch_method(bulk, "move")


def _run_in_child(job: Job, workspace: Workspace, act: Callable[[Point], object], finish: Callable[[], object]) -> None:
    forget_server()
    _watch(act)
    try:
        _evaluated_run(job, workspace)
    except Fenced:
        sys.exit(_FENCED)
    finish()


def _evaluated_run(job: Job, workspace: Workspace) -> Run:
    """A run, and the evaluation of its drift."""
    run = run_job(Database(workspace.database_url), job, workspace.artifacts_dir)
    with workspace.database() as database:
        evaluate(database, job, run)
    return run


def _fork(job: Job, workspace: Workspace, act: Callable[[Point], object], finish: Callable[[], object] = int) -> Any:
    process = multiprocessing.get_context("fork").Process(target=_run_in_child, args=(job, workspace, act, finish))
    process.start()
    return process


def _signal_at(at: Point, number: signal.Signals, passed: Point) -> None:
    if passed == at:
        signal.pthread_kill(threading.get_ident(), number)  # taken at once: the thread itself gets no further


@contextmanager
def _noted(point: Point) -> Iterator[None]:
    """Say at which point it was that something failed."""
    try:
        yield
    except BaseException as exc:
        exc.add_note(f"stopped at {point}")
        raise


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """What runs made of the applicants, whichever of them did."""

    lives: Counter[tuple[Any, ...]]
    entries: Counter[tuple[Any, ...]]
    scores: dict[tuple[Any, ...], float]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Applicants of every sort before a run; where the first run is stalled, the next one begins by taking it over."""

    workspace: Workspace
    job: Job
    first_run: int
    is_stalled: bool

    @classmethod
    def prepare(
        cls, workspace: Workspace, model: TrainedModel, loan_test: pd.DataFrame, *, is_stalled: bool = False
    ) -> Scene:
        """Make it so, and keep a copy to go back to."""
        prepare_loans(workspace, model, job=loan_job(chunk_rows=8) + _GATE)
        role_of = dict(zip(sorted(loan_test["Loan_ID"]), _ROLES, strict=False))

        def change(assignment: str, *roles: str, at: str) -> None:
            keys = [{"key": key, "at": at} for key, role in role_of.items() if role in roles]
            workspace.sql(f'UPDATE applicants SET updated_at = :at, {assignment} WHERE "Loan_ID" = :key', keys)

        new = [key for key, role in role_of.items() if role == "new"]
        workspace.sql('DELETE FROM applicants WHERE "Loan_ID" > :last', {"last": max(role_of)})
        workspace.sql('DELETE FROM applicants WHERE "Loan_ID" = :key', [{"key": key} for key in new])
        change('"Education" = NULL', "mended", "unsound", at="2026-01-01 00:00:00")
        first = workspace.run()
        assert (first.scored_count, first.quarantined_count) == (10, 2)

        added = loan_test[loan_test["Loan_ID"].isin(new)].assign(updated_at="2026-02-01 00:00:00")
        workspace.insert_frame("applicants", added)
        moved = """"Property_Area" = CASE "Property_Area" WHEN 'Urban' THEN 'Rural' ELSE 'Urban' END"""
        change(moved, "changed", "unsound", at="2026-02-01 00:00:00")
        change("\"Education\" = 'Graduate'", "mended", at="2026-02-01 00:00:00")
        change('"Education" = NULL', "worse", at="2026-02-01 00:00:00")
        for table in _TABLES:
            workspace.sql(f"CREATE TABLE {table}_before AS SELECT * FROM {table}")
        return cls(workspace=workspace, job=workspace.job(), first_run=first.run_id, is_stalled=is_stalled)

    def reset(self) -> None:
        """Go back to where the first run had ended, or, if it is stalled, had not yet said so."""
        with (
            self.workspace.database() as database,
            database.write() as connection,
            without_triggers(connection),
        ):
            for table in _TABLES:
                connection.exec_driver_sql(f"DELETE FROM {table}")
                connection.exec_driver_sql(f"INSERT INTO {table} SELECT * FROM {table}_before")
            connection.exec_driver_sql(f"DELETE FROM drift_alerts WHERE raised_run_id <> {self.first_run}")
            for table in (
                "drift_metrics",
                "drift_reports",
                "monitoring_limits",
                "scoring_chunks",
                "scoring_profiles",
            ):
                connection.exec_driver_sql(f"DELETE FROM {table} WHERE run_id <> {self.first_run}")
            connection.exec_driver_sql(f"DELETE FROM scoring_runs WHERE run_id <> {self.first_run}")
            if self.is_stalled:
                connection.exec_driver_sql(
                    "UPDATE scoring_runs SET status = 'running', finished_at = NULL, end_reason = NULL,"
                    f" heartbeat_at = '{_LONG_AGO}'"
                )

    def points(self) -> tuple[list[Point], Outcomes]:
        """The points of a run that completes, and what it leaves."""
        self.reset()
        receiver, sender = multiprocessing.Pipe(duplex=False)
        passed: list[Point] = []
        process = _fork(self.job, self.workspace, passed.append, lambda: sender.send(passed))
        sender.close()
        points: list[Point] = receiver.recv()
        process.join()
        assert process.exitcode == 0
        counted = "SELECT chunk_count, scored_count, superseded_count, quarantined_count FROM run_history"
        assert self.workspace.query(f"{counted} WHERE run_id <> {self.first_run}") == [(2, 12, 7, 2)]
        return points, self.outcomes()

    def run(self, job: Job | None = None) -> Run:
        """A run in this process."""
        return _evaluated_run(job or self.job, self.workspace)

    def outcomes(self) -> Outcomes:
        """What stands in the tables, without what differs from run to run."""
        version = '"Loan_ID", source_changed_at'
        lives = self.workspace.query(
            f"SELECT {version}, prediction, model_version, is_current, score FROM predictions_history"
        )
        entries = self.workspace.query(
            f"SELECT {version}, reason_code, column_name, attempts, valid_to > '9999-01-01'"
            f" FROM {self.workspace.with_past('predictions_quarantine')} q"
        )
        return Outcomes(
            lives=Counter(life[:-1] for life in lives),
            entries=Counter(entries),
            scores={life[:2]: life[-1] for life in lives},
        )

    def assert_whole_chunks(self) -> None:
        """What each run counted is what stands in the tables."""
        assert_counters_equal_rows(self.workspace)
        differing = self.workspace.query(
            "SELECT run_id FROM run_history r WHERE quarantined_count <>"
            f" (SELECT count(*) FROM {self.workspace.with_past('predictions_quarantine')} q WHERE q.run_id = r.run_id)"
        )
        assert differing == []
        without_figures = self.workspace.query(
            "SELECT run_id, scope FROM drift_reports EXCEPT SELECT run_id, scope FROM drift_metrics"
        )
        assert without_figures == [], "a report and its figures are one transaction"

    def assert_settled(self, undisturbed: Outcomes) -> None:
        """The ledger: lost 0, doubled 0, and no difference from what an undisturbed run leaves."""
        self.assert_whole_chunks()
        present = set(self.workspace.query('SELECT "Loan_ID", updated_at FROM applicants'))
        settled = Counter(
            version
            for table in ("predictions", "predictions_quarantine")
            for version in self.workspace.query(f'SELECT "Loan_ID", source_changed_at FROM {table}')
        )
        lost = present - settled.keys()
        doubled = {version for version, times in settled.items() if times > 1}
        assert (lost, doubled) == (set(), set())
        found = self.outcomes()
        assert (found.lives, found.entries) == (undisturbed.lives, undisturbed.entries)
        assert found.scores == pytest.approx(undisturbed.scores, abs=1e-12)
        assert self.workspace.scalar("SELECT count(*) FROM scoring_runs WHERE status = 'running'") == 0

    def wait_for_sessions(self, condition: str = "true") -> None:
        """Until the server has no session in which the condition holds, but the one that asks."""
        if count := self.workspace.words.count_other_sessions:
            others = count.format(condition=condition)
            wait_until(lambda: self.workspace.scalar(others) == 0)


def _reached_but_few(reached: int, points: Sequence[Point]) -> bool:
    """Whether all points were reached but one in fifty, or one: how many statements a thread makes is not fixed."""
    return len(points) - reached <= max(1, len(points) // 50)


def _kill_at_each(scene: Scene, points: Sequence[Point], undisturbed: Outcomes) -> str:
    """Kill a run at each of these points, let the next one do the rest, and look at the ledger each time."""
    killed = 0
    for point in points:
        with _noted(point):
            scene.reset()
            process = _fork(scene.job, scene.workspace, partial(_signal_at, point, signal.SIGKILL))
            process.join()
            killed += process.exitcode == -signal.SIGKILL
            scene.wait_for_sessions()
            scene.assert_whole_chunks()
            # as if the time-out had passed
            scene.workspace.sql(f"UPDATE scoring_runs SET heartbeat_at = '{_LONG_AGO}' WHERE status = 'running'")
            assert scene.run().status == "succeeded"
            scene.assert_settled(undisturbed)
    assert _reached_but_few(killed, points)
    return f"killed at {killed} of {len(points)} points; lost 0, doubled 0"


@pytest.mark.parametrize("part", range(_PARTS))
def test_wherever_a_run_is_killed_it_leaves_whole_chunks_and_the_next_run_does_the_rest_once(
    workspace: Workspace, light_model: TrainedModel, loan_test: pd.DataFrame, part: int
) -> None:
    scene = Scene.prepare(workspace, light_model, loan_test)
    points, undisturbed = scene.points()
    scene.assert_settled(undisturbed)
    print(_kill_at_each(scene, points[part::_PARTS], undisturbed))


def test_wherever_a_run_is_killed_while_it_takes_over_a_stalled_one_the_next_run_can_do_so(
    workspace: Workspace, light_model: TrainedModel, loan_test: pd.DataFrame
) -> None:
    scene = Scene.prepare(workspace, light_model, loan_test, is_stalled=True)
    points, undisturbed = scene.points()
    recorded = next(i for i, point in enumerate(points) if point.what.startswith("after INSERT INTO"))
    print(_kill_at_each(scene, points[: recorded + 2], undisturbed))


def _let_it_stall(scene: Scene) -> None:
    """Make the frozen run's heartbeat old; where it has locked its row, only time does."""
    # what it had sent is still done; a COPY without an end is not, and waits for the client
    scene.wait_for_sessions("state = 'active' AND wait_event IS DISTINCT FROM 'ClientRead'")
    scene.workspace.sql(
        f"UPDATE scoring_runs SET heartbeat_at = '{_LONG_AGO}' WHERE run_id IN"
        " (SELECT run_id FROM scoring_runs WHERE status = 'running' FOR UPDATE SKIP LOCKED)"
    )
    fresh = "status = 'running' AND heartbeat_at > clock_timestamp() - interval '1.1 seconds'"
    wait_until(lambda: scene.workspace.scalar(f"SELECT count(*) FROM scoring_runs WHERE {fresh}") == 0)


def _run_next(scene: Scene, job: Job, *, may_be_held_up: bool) -> tuple[Run, bool]:
    """The run that takes over, and whether it was held up.

    A session that is frozen before its run is recorded belongs to no run yet: the server's time-out ends it.
    """
    for attempt in range(20):
        try:
            return scene.run(job), attempt > 0
        except TransientError:
            if not may_be_held_up:
                raise
    raise AssertionError("the frozen session was not ended")


def _contents(workspace: Workspace, upto: int) -> list[list[tuple[Any, ...]]]:
    """All that stands in the tables, of runs up to this one."""
    return [
        workspace.query(f"SELECT * FROM {table} ORDER BY {order}")
        for table, order in (
            *((table, '"Loan_ID", valid_from') for table in _TABLES),
            (f"scoring_runs WHERE run_id <= {upto}", "run_id"),
        )
    ]


@pytest.mark.parametrize("part", range(_PARTS))
def test_wherever_a_run_freezes_it_is_taken_over_and_changes_nothing_when_it_wakes_up(
    postgresql_workspace: Workspace,
    light_model: TrainedModel,
    loan_test: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    part: int,
) -> None:
    limits = partial(Timeouts, lock=timedelta(seconds=0.5), idle_in_transaction=timedelta(seconds=5))
    monkeypatch.setattr(record, "Timeouts", limits)
    scene = Scene.prepare(postgresql_workspace, light_model, loan_test)
    workspace = scene.workspace
    points, undisturbed = scene.points()
    points = points[1 + part * _FREEZE_EVERY :: _PARTS * _FREEZE_EVERY]
    impatient = workspace.write_job("loan_eligibility", loan_job(chunk_rows=8, stalled_after="1 second") + _GATE)
    frozen = held_up = 0
    endings: Counter[tuple[str, int]] = Counter()
    for point in points:
        scene.reset()
        process = _fork(scene.job, workspace, partial(_signal_at, point, signal.SIGSTOP))
        try:
            with _noted(point):
                stopped = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
                frozen += stopped is not None and stopped.si_code == os.CLD_STOPPED
                _let_it_stall(scene)
                recorded = f"SELECT status FROM scoring_runs WHERE run_id <> {scene.first_run}"
                status = ([status for (status,) in workspace.query(recorded)] or ["not recorded"])[0]
                successor, was_held_up = _run_next(scene, impatient, may_be_held_up=status == "not recorded")
                held_up += was_held_up
                assert successor.status == "succeeded"
                scene.assert_settled(undisturbed)
                contents = _contents(workspace, successor.run_id)

                os.kill(process.pid, signal.SIGCONT)
                process.join(timeout=60)
                assert process.exitcode in _ENDINGS[status]
                endings[status, process.exitcode] += 1
                assert _contents(workspace, successor.run_id) == contents
                scene.assert_settled(undisturbed)
        finally:
            process.kill()
            process.join()

    assert _reached_but_few(frozen, points)
    print(f"froze at {frozen} of {len(points)} points, {dict(endings)}, held up {held_up}; lost 0, doubled 0")
