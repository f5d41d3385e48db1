"""A run in many processes: the source cut into key ranges, each scored by whichever worker is free.

Workers come from joblib, so a backend that is active around the run (Dask, Ray) is used in place of this machine's
processes. A worker holds nothing that matters: killed at any moment it leaves whole chunks.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field

from batch_scoring.domain.keys import KeyRange
from batch_scoring.domain.manifest import Manifest
from batch_scoring.errors import DatabaseFault, Fenced, RunStopped, WorkerDied
from batch_scoring.model.artifact import ArtifactReference
from batch_scoring.model.scorer import Scorer
from batch_scoring.scoring import preparation
from batch_scoring.scoring.chunk import ChunkStages, ChunkWork, CommittedChunk
from batch_scoring.scoring.pipeline import Pipeline
from batch_scoring.scoring.transient import persistently
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.timeouts import Timeouts
from batch_scoring.store.runs import records

_SHARES = 2
"""A range is so many times smaller than what a worker would get if what is left were dealt out evenly."""
_LEAST_SHARES = 16
"""And never smaller by more than this than its share of the whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """All that a worker needs, whatever the key range. Picklable."""

    work: ChunkWork
    database_url: str = field(repr=False)
    timeouts: Timeouts
    artifact: ArtifactReference
    manifest: Manifest
    allow_version_mismatch: bool
    threads: int
    """BLAS and OpenMP threads of a worker."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredRange:
    """What a worker did with a key range."""

    committed: Sequence[CommittedChunk]
    is_whole: bool
    """It was not asked to stop before the end."""


def guided(total: int, *, workers: int, fewest: int) -> Iterator[int]:
    """Widths of ranges of ``total`` rows: wide at first, since each starts with empty stages, and ever narrower, so
    that no worker waits long for the last (guided self-scheduling, Polychronopoulos and Kuck 1987).
    """
    fewest = max(fewest, total // (_LEAST_SHARES * workers))
    while total > 0:
        width = max(fewest, -(-total // (_SHARES * workers)))
        yield width
        total -= width


def score_in_processes(
    task: Task,
    ranges: Sequence[KeyRange],
    *,
    workers: int,
    report: Callable[[CommittedChunk], None],
    check: Callable[[], None],
    stop: threading.Event,
) -> bool:
    """Score key ranges in worker processes; returns whether all are done, which ``stop`` may prevent.

    Raises what a worker raised, what ``check`` raises, and WorkerDied where a process ended without a word.
    """
    import joblib
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    parallel = joblib.Parallel(
        n_jobs=workers, prefer="processes", return_as="generator_unordered", pre_dispatch="n_jobs", max_nbytes=None
    )
    database = Database(task.database_url, label=records.session_label(task.work.run_id), timeouts=task.timeouts)
    try:
        results = parallel(joblib.delayed(score_range)(task, within) for within in ranges)
        with _stop_told_to_workers(database, task.work.run_id, stop), closing(results):
            whole = True
            for scored in results:
                for chunk in scored.committed:
                    report(chunk)
                whole = whole and scored.is_whole
                if not whole:
                    check()
            return whole
    except BrokenProcessPool as exc:
        raise WorkerDied(
            "a worker process ended without a word (killed, out of memory, or a crash in the model's libraries);"
            " what it had committed stays, the rest is due. Look at the machine's log; fewer workers need less memory"
        ) from exc
    finally:
        database.dispose()
        get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


def score_range(task: Task, within: KeyRange) -> ScoredRange:
    """What a worker does: score one key range on connections of its own."""
    committed: list[CommittedChunk] = []
    is_whole = True
    database = Database(task.database_url, label=records.session_label(task.work.run_id), timeouts=task.timeouts)
    parent = os.getppid()

    def check() -> None:
        if os.getppid() != parent:
            raise RunStopped("the process of the run is gone")
        if persistently(lambda: records.is_stop_requested(database, task.work.run_id)):
            raise RunStopped("the run was asked to stop")

    try:
        # what libraries print here is none of the result that the run prints
        with _signals_left_to_the_run(), redirect_stdout(sys.stderr):
            check()
            Pipeline(ChunkStages(task.work, database, lambda: scorer_of(task)), committed.append, check).run(within)
    except RunStopped:
        is_whole = False  # the process of the run says so, once
    finally:
        database.dispose()
    if os.getppid() != parent:
        os._exit(1)  # nobody is left to answer to
    return ScoredRange(committed=committed, is_whole=is_whole)


_loaded: dict[int, Scorer] = {}
"""The model of the run that this worker process works for, by the run's number."""


def scorer_of(task: Task) -> Scorer:
    """The model of a task, loaded and proven once in a process. Raises ModelRefused."""
    run_id = task.work.run_id
    if run_id not in _loaded:
        _loaded.clear()
        _loaded[run_id], _ = preparation.load_scorer(
            task.artifact,
            task.manifest,
            task.work.job,
            allow_version_mismatch=task.allow_version_mismatch,
            threads=task.threads,
        )
    return _loaded[run_id]


@contextmanager
def _stop_told_to_workers(database: Database, run_id: int, stop: threading.Event) -> Iterator[None]:
    """Pass a request to stop on through the database, which every worker asks between two chunks."""
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
    """A terminal or a service manager signals workers too; the run's own process decides what it means."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
