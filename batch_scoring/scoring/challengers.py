"""Challengers: versions that score the rows of a run for comparison, beside the model whose predictions count.

Each is in a process of its own, which scores a chunk while the model does. Whatever happens to it costs the run nothing
but the time it is waited for: it is left out from then on, and the reason is recorded with the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter, sleep
from types import TracebackType
from typing import Self

import numpy as np

from batch_scoring.domain.columns import Column
from batch_scoring.errors import BatchScoringError
from batch_scoring.model.scorer import ScoredRows, check_common_fault
from batch_scoring.scoring.events import ChallengerCounts
from batch_scoring.scoring.model_process import ModelProcess, ProcessEnded
from batch_scoring.scoring.plan import Challenger, ModelPlan
from batch_scoring.store.outcomes.chunk import Challenged

PATIENCE = 60.0
"""Seconds to wait for a challenger after the model has scored a chunk, which includes loading it."""

_TIMES = 20
"""The wait is longer where the model took long itself: so many times as long."""


@dataclass(slots=True)
class _Challenger:
    """A challenger that scores."""

    alias: str
    model: ModelPlan
    thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    process: ModelProcess | None = None
    loading: Future[None] | None = None
    scoring: Future[ScoredRows] | None = None

    def __post_init__(self) -> None:
        self.loading = self.thread.submit(self._load)  # while the run loads its own model

    def _load(self) -> None:
        self.process = ModelProcess(self.model)
        self.process.load()

    def begin(self, columns: Mapping[str, Column]) -> None:
        own = {name: columns[name] for name in self.model.manifest.signature.names}
        self.scoring = self.thread.submit(self._score, own)

    def _score(self, columns: Mapping[str, Column]) -> ScoredRows:
        assert self.loading is not None
        self.loading.result()
        assert self.process is not None
        scored = self.process.score(columns)
        check_common_fault(scored.faults, len(scored.positions) + len(scored.faults))
        return scored

    def end(self) -> None:
        while self.process is None and self.loading is not None and not self.loading.done():
            sleep(0.01)  # it is being started
        if self.process is not None:
            self.process.kill()
        self.thread.shutdown(wait=True)
        if self.process is not None:
            self.process.end()


class Challengers:
    """The challengers of a run, in this process. A context manager: leaving it ends their processes."""

    def __init__(self, challengers: Sequence[Challenger]) -> None:
        self._active = [_Challenger(one.alias, one.model) for one in challengers if one.model is not None]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """End their processes."""
        for challenger in self._active:
            challenger.end()
        self._active = []

    def begin(self, columns: Mapping[str, Column]) -> float:
        """Let them score the rows of a chunk, given by column; returns the time of the start, for ``finish``."""
        for challenger in self._active:
            challenger.begin(columns)
        return perf_counter()

    def finish(self, started: float, positions: Sequence[int]) -> Iterator[tuple[Challenged, ChallengerCounts]]:
        """What each gave for the rows at ``positions``, which have a prediction."""
        deadline = perf_counter() + max(PATIENCE, _TIMES * (perf_counter() - started))
        for challenger in list(self._active):
            assert challenger.scoring is not None
            failure = None
            try:
                scored = challenger.scoring.result(timeout=max(0.0, deadline - perf_counter()))
            except TimeoutError:
                failure = f"it took more than {PATIENCE:g} seconds longer than the model for a chunk"
            except ProcessEnded:
                failure = "its process ended without a result (killed, out of memory, or a crash in its libraries)"
            except BatchScoringError as exc:
                failure = str(exc)
            except Exception as exc:
                failure = f"an unexpected {type(exc).__name__} ended it"
            if failure is None:
                yield _of_predictions(challenger, scored, positions)
            else:
                self._active.remove(challenger)
                challenger.end()
                nothing = Challenged(model_version=challenger.model.version, positions=(), scores=None, labels=None)
                yield (
                    nothing,
                    ChallengerCounts(alias=challenger.alias, scored=0, failed=len(positions), failure=failure),
                )


def _of_predictions(
    challenger: _Challenger, scored: ScoredRows, positions: Sequence[int]
) -> tuple[Challenged, ChallengerCounts]:
    """The part of what a challenger scored that has a prediction."""
    import pyarrow as pa

    scores = None if scored.scores is None else pa.array(scored.scores)
    labels: Column | None = scored.labels
    own: Sequence[int] = scored.positions
    if len(own) != len(positions) or list(own) != list(positions):
        kept, places, _ = np.intersect1d(np.asarray(own), np.asarray(positions), return_indices=True)
        own = kept.tolist()
        scores = None if scores is None else scores.take(pa.array(places))
        labels = None if scored.labels is None else [scored.labels[place] for place in places]
    counts = ChallengerCounts(alias=challenger.alias, scored=len(own), failed=len(positions) - len(own))
    return Challenged(model_version=challenger.model.version, positions=own, scores=scores, labels=labels), counts
