"""Scoring in a child process, used after consecutive runs of a job crashed.

A crashing row (a segmentation fault in a library, or memory that runs out) then ends the child process and not the
run. The child is restarted and the chunk bisected until the crashing row is found; that row is quarantined.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import TracebackType
from typing import Self

from batch_scoring.domain.columns import Column
from batch_scoring.errors import EveryRowFailed, WorkerCrashed
from batch_scoring.model.faults import ReasonCode, RowFault
from batch_scoring.model.scorer import ScoredRows, check_common_fault, joined
from batch_scoring.scoring.engines.python import score_with
from batch_scoring.scoring.model_process import ModelProcess, ProcessEnded
from batch_scoring.scoring.plan import ModelPlan, RunPlan
from batch_scoring.scoring.progress import Progress
from batch_scoring.store.engine.database import Database

_MOST_ROWS = 10
"""Crashing rows allowed in one run. More than that indicates that the rows are not the cause."""


def score(plan: RunPlan, database: Database, progress: Progress, due_count: int) -> None:
    """Score what is due with the model in a child process and quarantine crashing rows.

    Raises WorkerCrashed, ModelRefused, EveryRowFailed, DatabaseFault, and what ``progress.check`` raises.
    """
    with IsolatedScorer(plan.model) as isolated:

        @cache
        def load() -> IsolatedScorer:
            progress.model_loaded(isolated.load())
            return isolated

        score_with(plan, database, progress, due_count, load)


class IsolatedScorer:
    """A scorer whose model is loaded in a child process. A context manager: leaving it ends the child."""

    def __init__(self, model: ModelPlan) -> None:
        self._model = model
        self._child: ModelProcess | None = None
        self._crashing_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._end()

    def load(self) -> str | None:
        """Load and verify the model in the child; returns the library version mismatch, if one was allowed.

        Raises ModelRefused, and WorkerCrashed if the child crashes while it loads the model.
        """
        self._child = ModelProcess(self._model)
        try:
            return self._child.load()
        except ProcessEnded:
            self._end()
            raise WorkerCrashed(
                "the process crashed while it loaded the model; check the system log and the available memory"
            ) from None

    def score(self, columns: Mapping[str, Column]) -> ScoredRows:
        """Score a chunk as a Scorer does; a crashing row is returned as a fault with code ``model_crash``.

        Raises EveryRowFailed, and WorkerCrashed if too many rows crash the process.
        """
        total = len(next(iter(columns.values())))
        batches: list[tuple[int, ScoredRows]] = []
        faults: dict[int, RowFault] = {}

        def settle(start: int, stop: int) -> bool:
            """Score these rows, bisected if necessary; returns whether the child did not crash."""
            try:
                batches.append((start, self._ask({name: values[start:stop] for name, values in columns.items()})))
            except ProcessEnded:
                if stop - start == 1:
                    faults[start] = self._crash()
                else:
                    halve(start, stop)
                return False
            except EveryRowFailed:
                if stop - start == total:
                    raise
                middle = (start + stop) // 2  # the model fails on these rows only
                settle(start, middle)
                settle(middle, stop)
            return True

        def halve(start: int, stop: int) -> None:
            middle = (start + stop) // 2
            if settle(start, middle) and stop - middle > 1:
                halve(middle, stop)  # the crashing row is in this half, so the half as such need not be tried
            else:
                settle(middle, stop)

        settle(0, total)
        found = joined(batches, faults)
        check_common_fault(found.faults, total)
        return found

    def _crash(self) -> RowFault:
        self._crashing_rows += 1
        if self._crashing_rows > _MOST_ROWS:
            raise WorkerCrashed(
                f"more than {_MOST_ROWS} rows crashed the process that scored them, so the rows are not the cause;"
                " check the system log, the available memory, and the libraries of the model"
            )
        return RowFault(
            code=ReasonCode.MODEL_CRASH, column=None, message="the process that scored this row alone crashed"
        )

    def _ask(self, columns: Mapping[str, Column]) -> ScoredRows:
        if self._child is None:
            self.load()
        assert self._child is not None
        try:
            return self._child.score(columns)
        except ProcessEnded:
            self._end()
            raise

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None
