"""One chunk from end to end: read what is due in a key range, score it, commit its outcomes.

No transaction is open while the model computes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from time import perf_counter
from typing import Protocol

from batch_scoring.domain.column_types import InputColumn
from batch_scoring.domain.job import Job
from batch_scoring.domain.keys import KeyRange, Version
from batch_scoring.domain.runs import ChunkCounts
from batch_scoring.errors import ConnectionLost, EveryRowFailed, TooMuchAtOnce
from batch_scoring.model.inputs import digest
from batch_scoring.model.scorer import ScoredRows
from batch_scoring.scoring.events import StageSeconds
from batch_scoring.scoring.transient import persistently
from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.bulk.contract import Bulk, Values
from batch_scoring.store.due.comparison import has_outcome
from batch_scoring.store.engine.database import Database
from batch_scoring.store.outcomes.chunk import Outcomes, Predictions, Quarantined, commit_chunk, prepare_outcomes
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.source.rows import SourceRows
from batch_scoring.store.source.table import Source

_ROWS_OF_A_RETRY = 50_000
"""Rows read at once while a range is done over again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkWork:
    """What every chunk of a run has in common. Picklable."""

    job: Job
    run_id: int
    model_version: int
    source: Source
    layout: PredictionsLayout
    features: tuple[str, ...]
    kept: tuple[InputColumn, ...] = ()
    """The inputs that are kept beside each prediction; none where they are not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CommittedChunk:
    """What one committed transaction wrote."""

    counts: ChunkCounts
    reasons: Mapping[str, int]
    seconds: StageSeconds


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredChunk:
    """Rows with their outcomes, not yet written."""

    outcomes: Outcomes
    last: Version
    reasons: Mapping[str, int]
    read_seconds: float
    score_seconds: float


class RowScorer(Protocol):
    """What scores the rows of a chunk: a Scorer, or one in a process of its own."""

    def score(self, columns: Mapping[str, Values]) -> ScoredRows:
        """Score a chunk given by column. Raises EveryRowFailed."""


class ChunkStages:
    """The stages of a chunk, on one database and with one model, which is loaded when the first chunk is scored."""

    def __init__(self, work: ChunkWork, database: Database, load: Callable[[], RowScorer]) -> None:
        self.work = work
        self.database = database
        self.bulk: Bulk = bulk_for(database, work.job.run.bulk)
        self._load = load

    @cached_property
    def scorer(self) -> RowScorer:
        """The model, loaded and proven. Raises ModelRefused."""
        return self._load()

    def score(self, rows: SourceRows, read_seconds: float) -> ScoredChunk:
        """Score the rows of a chunk and make them ready to be written. Raises EveryRowFailed."""
        begun, work = perf_counter(), self.work
        try:
            scored = self.scorer.score(rows.features)
        except EveryRowFailed as exc:
            exc.failed_keys = rows.key_range
            raise
        predictions = Predictions(
            positions=scored.positions,
            scores=scored.scores,  # type: ignore[arg-type]  # an array is a sequence
            labels=scored.labels,
            model_version=work.model_version,
            unseen_category_count=scored.unseen_category_count,
            inputs=None if scored.inputs is None else {**scored.inputs, "digest": digest(scored.inputs)},
            kept=work.kept,
        )
        quarantined = _quarantined(scored)
        return ScoredChunk(
            outcomes=prepare_outcomes(self.bulk, work.layout, rows, predictions, quarantined),
            last=rows.last,
            reasons=Counter(quarantined.reason_codes),
            read_seconds=read_seconds,
            score_seconds=perf_counter() - begun,
        )

    def commit(self, chunk: ScoredChunk) -> CommittedChunk:
        """Write the outcomes of a chunk in one transaction. Raises DatabaseFault, Fenced."""
        begun = perf_counter()
        try:
            counts = commit_chunk(self.database, self.bulk, self.work.layout, self.work.run_id, chunk.outcomes)
        except ConnectionLost:
            if not persistently(lambda: self._stands(chunk)):
                raise
            counts = chunk.outcomes.counts
        seconds = StageSeconds(read=chunk.read_seconds, score=chunk.score_seconds, write=perf_counter() - begun)
        return CommittedChunk(counts=counts, reasons=chunk.reasons, seconds=seconds)

    def _stands(self, chunk: ScoredChunk) -> bool:
        """Whether a chunk was committed though the answer was lost. All of it stands or nothing, so one row tells."""
        with self.database.read() as connection:
            return has_outcome(connection, self.work.layout, self.work.run_id, chunk.last)

    def redo(self, chunk: KeyRange) -> Iterator[CommittedChunk]:
        """Do a range over again after a fault that passes; yields once for each transaction committed.

        What is due is selected anew, so a COMMIT whose outcome is not known settles itself: rows it wrote are due no
        more. Raises DatabaseFault, Fenced, EveryRowFailed.
        """
        limit = self.work.job.run.chunk_rows or _ROWS_OF_A_RETRY
        while True:
            try:
                committed, read = persistently(partial(self._attempt, chunk, limit))
            except TooMuchAtOnce:
                if limit == 1:
                    raise
                limit = limit // 2
                continue
            if committed is not None:
                yield committed
            if read < limit:
                return

    def _attempt(self, chunk: KeyRange, limit: int) -> tuple[CommittedChunk | None, int]:
        begun = perf_counter()
        work = self.work
        with self.database.read() as connection:
            rows = work.source.read(connection, self.bulk, work.layout, chunk, work.features, limit)
        if not len(rows):
            return None, 0
        return self.commit(self.score(rows, perf_counter() - begun)), len(rows)


def _quarantined(scored: ScoredRows) -> Quarantined:
    faults = sorted(scored.faults.items())
    return Quarantined(
        positions=[position for position, _ in faults],
        reason_codes=[str(fault.code) for _, fault in faults],
        column_names=[fault.column for _, fault in faults],
        messages=[fault.message for _, fault in faults],
    )
