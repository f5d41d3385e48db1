"""Scoring in a child process, for a job whose runs die one after the other: a row that kills the process that scores it
(a crash inside a library, memory that runs out) then costs a child and not the run.

A child that dies is started again and given half of the rows, until the row is found and set aside.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

from batch_scoring.domain.columns import Column
from batch_scoring.errors import EveryRowFailed, WorkerCrashed
from batch_scoring.model.faults import ReasonCode, RowFault
from batch_scoring.model.scorer import (
    ScoredRows,
    check_common_fault,
    joined,
    let_idle_threads_sleep,
)
from batch_scoring.scoring import preparation
from batch_scoring.scoring.engines.python import score_with
from batch_scoring.scoring.plan import ModelPlan, RunPlan
from batch_scoring.scoring.progress import Progress
from batch_scoring.store.engine.database import Database

_MOST_ROWS = 10
"""Rows that may kill a child in one run; if there are more the fault is not the rows'."""


_LONGEST_TEMPORARY = 64
"""Bytes of the temporary folder's path that leave multiprocessing enough of the 104 a socket's path may have."""


class _Died(Exception):
    """The child ended without an answer."""


def _context() -> ForkServerContext | SpawnContext:
    """How a child starts: forked from a server with the libraries loaded, if the path of its socket is short enough."""
    if len(os.fsencode(tempfile.gettempdir())) > _LONGEST_TEMPORARY:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")  # another child costs little more than loading the model
    context.set_forkserver_preload([__name__, "sklearn.pipeline", "sklearn.compose", "pyarrow"])
    return context


def score(plan: RunPlan, database: Database, progress: Progress, due_count: int) -> None:
    """Score what is due with the model in a child process, in which a crashing row is found. Raises WorkerCrashed."""
    with IsolatedScorer(plan.model) as isolated:

        @cache
        def load() -> IsolatedScorer:
            progress.model_loaded(isolated.load())
            return isolated

        score_with(plan, database, progress, due_count, load)


class IsolatedScorer:
    """A scorer whose model lives in a child process. A context manager: leaving it ends the child."""

    def __init__(self, model: ModelPlan) -> None:
        self._model = model
        self._child: tuple[BaseProcess, Connection] | None = None
        self._rows_that_kill = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._end()

    def load(self) -> str | None:
        """Load and prove the model in the child; returns what differs in the library's version, if that was allowed.

        Raises ModelRefused, and WorkerCrashed where loading it kills the process.
        """
        let_idle_threads_sleep()
        context = _context()
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._model), name="isolated scorer", daemon=True)
        process.start()
        theirs.close()  # so that the child's end is the only one, and its death is heard
        self._child = process, ours
        try:
            differs: str | None = self._answer()
        except _Died:
            raise WorkerCrashed(
                "the process died while it loaded the model; look at the machine's log, and at the memory it has"
            ) from None
        return differs

    def score(self, columns: Mapping[str, Column]) -> ScoredRows:
        """Score a chunk as a Scorer does; a row that kills the process comes back as a fault.

        Raises EveryRowFailed, and WorkerCrashed where too many rows kill it.
        """
        total = len(next(iter(columns.values())))
        pieces: list[tuple[int, ScoredRows]] = []
        faults: dict[int, RowFault] = {}

        def settle(start: int, stop: int) -> bool:
            """Score these rows, in pieces if need be; whether they did so without killing the child."""
            try:
                pieces.append((start, self._ask({name: values[start:stop] for name, values in columns.items()})))
            except _Died:
                if stop - start == 1:
                    faults[start] = self._crash()
                else:
                    halve(start, stop)
                return False
            except EveryRowFailed:
                if stop - start == total:
                    raise
                middle = (start + stop) // 2  # the model fails on these, and not on the chunk's others
                settle(start, middle)
                settle(middle, stop)
            return True

        def halve(start: int, stop: int) -> None:
            middle = (start + stop) // 2
            if settle(start, middle) and stop - middle > 1:
                halve(middle, stop)  # what kills is in this half: no need to see it once more
            else:
                settle(middle, stop)

        settle(0, total)
        found = joined(pieces, faults)
        check_common_fault(found.faults, total)
        return found

    def _crash(self) -> RowFault:
        self._rows_that_kill += 1
        if self._rows_that_kill > _MOST_ROWS:
            raise WorkerCrashed(
                f"more than {_MOST_ROWS} rows killed the process that scored them, so the fault is not the rows':"
                " look at the machine's log, its memory, and the libraries of the model"
            )
        return RowFault(
            code=ReasonCode.MODEL_CRASH, column=None, message="the process that scored the row alone was killed by it"
        )

    def _ask(self, columns: Mapping[str, Column]) -> ScoredRows:
        if self._child is None:
            self.load()
        assert self._child is not None
        try:
            self._child[1].send(columns)
        except OSError:
            self._end()
            raise _Died from None
        scored: ScoredRows = self._answer()
        return scored

    def _answer(self) -> Any:
        assert self._child is not None
        try:
            answer = self._child[1].recv()
        except (EOFError, OSError):
            self._end()
            raise _Died from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _end(self) -> None:
        if self._child is None:
            return
        process, connection = self._child
        self._child = None
        connection.close()
        process.join(timeout=5)
        process.kill()
        process.join()
        process.close()


def _serve(connection: Connection, model: ModelPlan) -> None:
    """What the child does: load, then score whatever comes, until nobody is at the other end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the run decides what they mean
    # what libraries print is none of the result that the run prints
    with suppress(EOFError, BrokenPipeError), redirect_stdout(sys.stderr):
        try:
            scorer, differs = preparation.load_scorer(model)
        except Exception as exc:
            connection.send(exc)
            return
        connection.send(differs)
        while True:
            columns = connection.recv()
            try:
                answer: Any = scorer.score_singly(columns)  # what all rows share is seen where all are
            except Exception as exc:
                answer = exc
            connection.send(answer)
