"""Scoring in worker processes: the source is partitioned into key ranges, each scored by the next free worker.

Workers are started by joblib, so an active joblib backend (Dask, Ray) is used instead of local processes. Workers
commit whole chunks, so one that is killed at any time leaves no partial chunk.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field

from batch_scoring.domain.keys import KeyRange
from batch_scoring.errors import DatabaseFault, Fenced, RunStopped, WorkerCrashed
from batch_scoring.model.scorer import Scorer, check_library_version
from batch_scoring.scoring import preparation
from batch_scoring.scoring.challengers import Challengers
from batch_scoring.scoring.chunk import ChunkStages
from batch_scoring.scoring.events import CommittedChunk
from batch_scoring.scoring.pipeline import Pipeline
from batch_scoring.scoring.plan import RunPlan
from batch_scoring.scoring.progress import STOPPED, Progress
from batch_scoring.scoring.transient import retry_transient
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.timeouts import Timeouts
from batch_scoring.store.runs import records

_SHARES = 2
"""A range has 1/``_SHARES`` of the rows that each worker would get if the remaining rows were divided evenly."""
_MOST_SHARES = 16
"""A range has at least 1/``_MOST_SHARES`` of a worker's even share of all rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What a worker needs in addition to the key range. Picklable."""

    plan: RunPlan
    database_url: str = field(repr=False)
    timeouts: Timeouts
    threads: int
    """BLAS and OpenMP threads of a worker."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredRange:
    """The result of a worker for a key range."""

    committed: Sequence[CommittedChunk]
    is_complete: bool
    """False if the worker was asked to stop before the end of the range."""


def guided(total: int, *, workers: int, fewest: int) -> Iterator[int]:
    """The row counts of the partitions of ``total`` rows, in decreasing order.

    The first ones are large, because each range starts with an empty pipeline; the last ones are small, so that workers
    finish at about the same time (guided self-scheduling, Polychronopoulos and Kuck 1987).
    """
    fewest = max(fewest, total // (_MOST_SHARES * workers))
    while total > 0:
        rows = max(fewest, -(-total // (_SHARES * workers)))
        yield rows
        total -= rows


def score(plan: RunPlan, database: Database, progress: Progress, ranges: Sequence[KeyRange]) -> None:
    """Score key ranges in worker processes.

    Raises WorkerCrashed if a process ended without reporting a result, ModelRefused, EveryRowFailed, Fenced,
    DatabaseFault, RunStopped, and what ``progress.check`` raises.
    """
    import joblib
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    model = plan.model
    progress.model_loaded(check_library_version(model.manifest, allow_mismatch=model.allow_version_mismatch))
    task = Task(
        plan=plan,
        database_url=database.url.render_as_string(hide_password=False),
        timeouts=database.timeouts,
        threads=max(1, joblib.cpu_count() // plan.workers),
    )
    parallel = joblib.Parallel(
        n_jobs=plan.workers, prefer="processes", return_as="generator_unordered", pre_dispatch="n_jobs", max_nbytes=None
    )
    try:
        results = parallel(joblib.delayed(score_range)(task, within) for within in ranges)
        with _stop_relayed_to_workers(database, plan.run_id, progress.stop), closing(results):
            is_complete = True
            for scored in results:
                for chunk in scored.committed:
                    progress.committed(chunk)
                is_complete = is_complete and scored.is_complete
                if not is_complete:
                    progress.check()
    except BrokenProcessPool as exc:
        raise WorkerCrashed(
            "a worker process ended without reporting a result (killed, out of memory, or a crash in the model's"
            " libraries); its committed chunks stay, the rest is due. Check the system log; fewer workers need"
            " less memory"
        ) from exc
    finally:
        get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)
    if not is_complete:
        progress.check()
        raise RunStopped(STOPPED)


def score_range(task: Task, within: KeyRange) -> ScoredRange:
    """Score one key range in a worker process, on its own connections.

    Raises ModelRefused, EveryRowFailed, Fenced, DatabaseFault.
    """
    committed: list[CommittedChunk] = []
    is_complete = True
    database = Database(task.database_url, label=records.session_label(task.plan.run_id), timeouts=task.timeouts)
    parent = os.getppid()

    def check() -> None:
        if os.getppid() != parent:
            raise RunStopped("the process of the run has ended")
        if retry_transient(lambda: records.is_stop_requested(database, task.plan.run_id)):
            raise RunStopped("the run was asked to stop")

    try:
        # output of libraries must not mix with the result on standard output
        with _signals_left_to_the_run(), redirect_stdout(sys.stderr):
            check()
            Pipeline(
                ChunkStages(
                    task.plan, task.plan.queries[0], database, lambda: scorer_of(task), _challengers_of(task.plan)
                ),
                committed.append,
                check,
            ).run(within)
    except RunStopped:
        is_complete = False  # the process of the run reports it once
    finally:
        database.dispose()
    if os.getppid() != parent:
        os._exit(1)  # no process is left to receive the result
    return ScoredRange(committed=committed, is_complete=is_complete)


_loaded: dict[int, Scorer] = {}
"""The scorer of the current run of this worker process, by run number."""


def scorer_of(task: Task) -> Scorer:
    """The scorer of a task, loaded and verified once in each process. Raises ModelRefused."""
    run_id = task.plan.run_id
    if run_id not in _loaded:
        _loaded.clear()
        _loaded[run_id], _ = preparation.load_scorer(task.plan.model, threads=task.threads)
    return _loaded[run_id]


_challengers: dict[int, Challengers] = {}
"""The challengers of the current run of this worker process, by run number. Their processes end with this one."""


def _challengers_of(plan: RunPlan) -> Challengers:
    if plan.run_id not in _challengers:
        for before in _challengers.values():
            before.end()
        _challengers.clear()
        _challengers[plan.run_id] = Challengers(plan.challengers)
    return _challengers[plan.run_id]


@contextmanager
def _stop_relayed_to_workers(database: Database, run_id: int, stop: threading.Event) -> Iterator[None]:
    """Relay a request to stop through the database, which every worker checks between two chunks."""
    ended = threading.Event()

    def relay() -> None:
        while not ended.wait(0.1):
            if stop.is_set():
                with suppress(DatabaseFault, Fenced):
                    records.request_stop(database, run_id)
                    return

    thread = threading.Thread(target=relay, name=f"stop of run {run_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _signals_left_to_the_run() -> Iterator[None]:
    """Ignore the signals that a terminal or a service manager also sends to workers; the run's process handles them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
