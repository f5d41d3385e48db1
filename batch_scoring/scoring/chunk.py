"""One chunk from end to end: read what is due in a key range, score it, commit its outcomes.

No transaction is open while the model computes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from batch_scoring.job import Job
from batch_scoring.model.scorer import ScoredRows, Scorer
from batch_scoring.scoring.retrying import persistently
from batch_scoring.store.bulk import Bulk
from batch_scoring.store.database import Database
from batch_scoring.store.predictions import Predictions, Quarantined, commit_chunk
from batch_scoring.store.runs import ChunkCounts
from batch_scoring.store.schema import PredictionsLayout
from batch_scoring.store.source import KeyRange, Source


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkWork:
    """What every chunk of a run has in common. Picklable."""

    job: Job
    run_id: int
    model_version: int
    source: Source
    layout: PredictionsLayout
    features: tuple[str, ...]

    @property
    def limit(self) -> int:
        """Rows read at once: a range may have filled up since it was planned."""
        return 2 * self.job.run.chunk_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class CommittedChunk:
    """What one committed transaction wrote."""

    counts: ChunkCounts
    reasons: Mapping[str, int]


def process_chunk(
    work: ChunkWork, chunk: KeyRange, *, database: Database, bulk: Bulk, scorer: Scorer
) -> Iterator[CommittedChunk]:
    """Score the due rows of a key range; yields once for each transaction committed, as a rule one.

    A passing database fault is retried by selecting again what is due, so a COMMIT whose outcome is unknown settles
    itself: rows it wrote are due no more. Raises DatabaseFault, Fenced, EveryRowFailed.
    """
    while True:
        committed, read = persistently(partial(_attempt, work, chunk, database, bulk, scorer))
        if committed is not None:
            yield committed
        if read < work.limit:
            return


def _attempt(
    work: ChunkWork, chunk: KeyRange, database: Database, bulk: Bulk, scorer: Scorer
) -> tuple[CommittedChunk | None, int]:
    with database.read() as connection:
        rows = work.source.read(connection, bulk, work.layout, chunk, work.features, work.limit)
    if not len(rows):
        return None, 0
    scored = scorer.score(rows.features)
    predictions = Predictions(
        positions=scored.positions,
        scores=scored.scores.tolist(),
        labels=scored.labels,
        model_version=work.model_version,
        unseen_category_count=scored.unseen_category_count,
    )
    quarantined = _quarantined(scored)
    counts = commit_chunk(database, bulk, work.layout, work.run_id, rows, predictions, quarantined)
    return CommittedChunk(counts=counts, reasons=Counter(quarantined.reason_codes)), len(rows)


def _quarantined(scored: ScoredRows) -> Quarantined:
    faults = sorted(scored.faults.items())
    return Quarantined(
        positions=[position for position, _ in faults],
        reason_codes=[str(fault.code) for _, fault in faults],
        column_names=[fault.column for _, fault in faults],
        messages=[fault.message for _, fault in faults],
    )
