"""A model in a child process, so that a crash of it ends that process and not the run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any

from batch_scoring.domain.columns import Column
from batch_scoring.model.scorer import ScoredRows, let_idle_threads_sleep
from batch_scoring.scoring import preparation
from batch_scoring.scoring.plan import ModelPlan

_LONGEST_TEMPORARY = 64
"""Maximum length of the temporary folder's path in bytes: the path of a Unix socket in it is limited to 104."""


class ProcessEnded(Exception):
    """The child process ended without reporting a result."""


class ModelProcess:
    """A process that loads and verifies a model, and then scores what it is sent. It ends with its parent."""

    def __init__(self, model: ModelPlan) -> None:
        let_idle_threads_sleep()
        context = _context()
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, model), name="model", daemon=True)
        self._process.start()
        theirs.close()  # so that the pipe reports end-of-file when the child exits

    def load(self) -> str | None:
        """Wait until the model is verified; returns the library version mismatch, if one was allowed.

        Raises ModelRefused, and ProcessEnded if the process crashes.
        """
        differs: str | None = self._answer()
        return differs

    def score(self, columns: Mapping[str, Column]) -> ScoredRows:
        """As ``Scorer.score_singly``, after ``load``. Raises ProcessEnded if the process crashes."""
        try:
            self._connection.send(columns)
        except OSError:
            raise ProcessEnded from None
        scored: ScoredRows = self._answer()
        return scored

    def _answer(self) -> Any:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise ProcessEnded from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self) -> None:
        """End the process at once; another thread that waits for its answer gets ProcessEnded."""
        self._process.kill()

    def end(self) -> None:
        """End the process. Nothing is sent to it afterwards."""
        self._connection.close()
        self._process.join(timeout=5)
        self._process.kill()
        self._process.join()
        self._process.close()


def _context() -> ForkServerContext | SpawnContext:
    """The start method: a fork server with the libraries preloaded, or spawn if its socket path would be too long."""
    if len(os.fsencode(tempfile.gettempdir())) > _LONGEST_TEMPORARY:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")  # so that a restarted child only has to load the model
    context.set_forkserver_preload([__name__, "sklearn.pipeline", "sklearn.compose", "pyarrow"])
    return context


def _serve(connection: Connection, model: ModelPlan) -> None:
    """The child process: load the model, then score what is received until the parent closes the pipe."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the process of the run handles them
    # output of libraries must not mix with the result on standard output
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
                answer: Any = scorer.score_singly(columns)  # the parent checks for a fault common to all rows
            except Exception as exc:
                answer = exc
            connection.send(answer)
