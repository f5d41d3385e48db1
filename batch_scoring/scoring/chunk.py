"""The stages of a chunk: read the due rows of a key range, score them, commit the outcomes.

No transaction is open while the model computes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from time import perf_counter
from typing import Protocol

from batch_scoring.domain.columns import Column
from batch_scoring.domain.keys import KeyRange, Version
from batch_scoring.domain.profile import Profile
from batch_scoring.domain.runs import StageSeconds
from batch_scoring.errors import ConnectionLost, EveryRowFailed, TooMuchAtOnce
from batch_scoring.model.inputs import digest
from batch_scoring.model.profiling import profile, reference_for
from batch_scoring.model.scorer import ScoredRows
from batch_scoring.scoring.challengers import Challengers
from batch_scoring.scoring.events import ChallengerCounts, CommittedChunk
from batch_scoring.scoring.plan import RunPlan
from batch_scoring.scoring.transient import retry_transient
from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.drift.windows import Period
from batch_scoring.store.due.comparison import has_outcome
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.engine.database import Database
from batch_scoring.store.outcomes.chunk import ChunkWrites, Predictions, Quarantined, commit_chunk, prepare_writes
from batch_scoring.store.source.rows import SourceRows

_ROWS_OF_A_RETRY = 50_000
"""Rows read at a time when a key range is scored again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredChunk:
    """Scored rows with their outcomes, not yet committed."""

    writes: ChunkWrites
    last: Version
    reasons: Mapping[str, int]
    read_seconds: float
    score_seconds: float
    challenged: Sequence[ChallengerCounts]
    profile: Profile | None
    """None where the model has no reference."""


class RowScorer(Protocol):
    """The scorer of a chunk: a Scorer, or an IsolatedScorer in a child process."""

    def score(self, columns: Mapping[str, Column]) -> ScoredRows:
        """Score the rows of a chunk, given as one array for each column. Raises EveryRowFailed, WorkerCrashed."""


class ChunkStages:
    """The stages of a chunk, for one database and one model, which is loaded when the first chunk is scored."""

    def __init__(
        self,
        plan: RunPlan,
        query: DueQuery,
        database: Database,
        load: Callable[[], RowScorer],
        challengers: Challengers | None = None,
    ) -> None:
        self.plan = plan
        self.query = query
        self.database = database
        self.bulk: Bulk = bulk_for(database, plan.job.run.bulk)
        self._load = load
        self._challengers = challengers
        self._reference = reference_for(plan.model.manifest, plan.model.policy)

    @cached_property
    def scorer(self) -> RowScorer:
        """The model, loaded and verified on first use. Raises ModelRefused."""
        return self._load()

    def score(self, rows: SourceRows, read_seconds: float) -> ScoredChunk:
        """Score the rows of a chunk and prepare the writes. Raises ModelRefused, EveryRowFailed, WorkerCrashed."""
        import pyarrow as pa

        started, plan, challengers = perf_counter(), self.plan, self._challengers
        begun = challengers.begin(rows.features) if challengers is not None else 0.0
        try:
            scored = self.scorer.score({name: rows.features[name] for name in plan.model.manifest.signature.names})
        except EveryRowFailed as exc:
            exc.failed_keys = rows.key_range
            raise
        predictions = Predictions(
            positions=scored.positions,
            scores=None if scored.scores is None else pa.array(scored.scores),
            labels=scored.labels,
            model_version=plan.model.version,
            unseen_category_count=scored.unseen_category_count,
            inputs=None if scored.inputs is None else {**scored.inputs, "digest": digest(scored.inputs)},
            stored_inputs=plan.stored_inputs,
        )
        quarantined = _quarantined(scored)
        results = list(challengers.finish(begun, scored.positions)) if challengers is not None else []
        challenged = [one for one, _ in results]
        return ScoredChunk(
            writes=prepare_writes(self.bulk, self.query.layout, rows, predictions, quarantined, challenged),
            last=rows.last,
            reasons=Counter(quarantined.reason_codes),
            read_seconds=read_seconds,
            score_seconds=perf_counter() - started,
            challenged=[counts for _, counts in results],
            profile=self._profile(rows, scored),
        )

    def _profile(self, rows: SourceRows, scored: ScoredRows) -> Profile | None:
        if self._reference is None:
            return None
        again = list(_written_in(self.plan.window, rows)) if self.plan.window else []
        return profile(self._reference, self.plan.model.manifest.signature, rows.features, scored, again)

    def commit(self, chunk: ScoredChunk) -> CommittedChunk:
        """Write the outcomes of a chunk in one transaction.

        Raises Fenced, ConstraintViolated, WrittenCountDiffers and any other DatabaseFault.
        """
        started = perf_counter()
        try:
            counts = commit_chunk(
                self.database,
                self.bulk,
                self.plan.run_id,
                chunk.writes,
                read_seconds=chunk.read_seconds,
                score_seconds=chunk.score_seconds,
                profile=chunk.profile,
            )
        except ConnectionLost:
            if not retry_transient(lambda: self._is_committed(chunk)):
                raise
            counts = chunk.writes.counts
        seconds = StageSeconds(read=chunk.read_seconds, score=chunk.score_seconds, write=perf_counter() - started)
        return CommittedChunk(counts=counts, reasons=chunk.reasons, seconds=seconds, challenged=chunk.challenged)

    def _is_committed(self, chunk: ScoredChunk) -> bool:
        """Whether the COMMIT took effect before the connection was lost. It is atomic, so one row is checked."""
        with self.database.read() as connection:
            return has_outcome(connection, self.query.layout, self.plan.run_id, chunk.last)

    def retry(self, chunk: KeyRange) -> Iterator[CommittedChunk]:
        """Score a key range again after a transient error; yields once for each committed transaction.

        The due rows are selected again. Rows that a COMMIT of unknown outcome wrote are no longer due, so none is
        scored twice. Raises DatabaseFault, Fenced, EveryRowFailed, WorkerCrashed.
        """
        limit = self.plan.job.run.chunk_rows or _ROWS_OF_A_RETRY
        while True:
            try:
                committed, read = retry_transient(partial(self._attempt, chunk, limit))
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
        started = perf_counter()
        with self.database.read() as connection:
            rows = self.query.read(connection, self.bulk, chunk, self.plan.features, limit)
        if not len(rows):
            return None, 0
        return self.commit(self.score(rows, perf_counter() - started)), len(rows)


def _written_in(periods: Sequence[Period], rows: SourceRows) -> Iterator[int]:
    """The positions of rows whose last outcome is of one of these periods."""
    for position, outcomes in enumerate(zip(rows.current_since, rows.quarantined_since, strict=True)):
        written = max((since for since in outcomes if since is not None), default=None)
        if written is not None and any(start <= written <= end for start, end in periods):
            yield position


def _quarantined(scored: ScoredRows) -> Quarantined:
    faults = sorted(scored.faults.items())
    return Quarantined(
        positions=[position for position, _ in faults],
        reason_codes=[str(fault.code) for _, fault in faults],
        column_names=[fault.column for _, fault in faults],
        messages=[fault.message for _, fault in faults],
    )
