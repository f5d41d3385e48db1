"""Previewing a rescore: which predictions would change, computed without writing anything."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from batch_scoring.domain.columns import as_list
from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.job import Job
from batch_scoring.domain.keys import key_text
from batch_scoring.model.scorer import ScoredRows, Scorer
from batch_scoring.operations.rescore import Plan
from batch_scoring.scoring import preparation
from batch_scoring.scoring.transient import retry_transient
from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.due.reader import Chunk, KeysetReader
from batch_scoring.store.due.scan import RescoreScan
from batch_scoring.store.engine.database import Database
from batch_scoring.store.schema.layout import layout_of
from batch_scoring.store.source.rows import SourceRows

LARGEST = 20
"""The number of rows with the largest differences that a preview lists."""

_BINS = 11
"""Bins of the histogram; odd, so that the middle one contains the differences around 0."""
_ROWS_AT_ONCE = 20_000


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedRow:
    """The current and the new prediction of a row; None for no current prediction, or if it would be quarantined."""

    key: str
    key_values: tuple[Any, ...]
    """The values of the key columns."""
    score: float | None
    label: str | None
    new_score: float | None
    new_label: str | None

    @property
    def is_scored(self) -> bool:
        """Whether it would get a prediction. A regression has no label; a model of kind label may have no score."""
        return self.new_score is not None or self.new_label is not None

    @property
    def has_current(self) -> bool:
        """Whether it has a current prediction."""
        return self.score is not None or self.label is not None

    @property
    def difference(self) -> float | None:
        """New score minus current score."""
        return None if self.score is None or self.new_score is None else self.new_score - self.score


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One bin of the histogram: the number of rows whose score would change by ``low`` to ``high``."""

    low: float
    high: float
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """The changes that a rescore would make."""

    key_columns: tuple[str, ...]
    model_name: str
    model_version: int
    row_count: int
    scored_count: int
    superseded_count: int
    """Of the rows that would be scored, those that have a current prediction."""
    quarantined: Mapping[str, int]
    """Rows that would be quarantined, by reason code."""
    labels: Sequence[tuple[str | None, str | None, int]]
    """Current label, new label and number of rows. None for no current prediction, or for a regression."""
    flipped_count: int
    mean_difference: float | None
    mean_absolute_difference: float | None
    differences: Sequence[Bar]
    largest: Sequence[ComparedRow]
    """The rows with the largest differences, in decreasing order."""


def preview(
    database: Database,
    job: Job,
    artifacts_dir: Path,
    plan: Plan,
    *,
    allow_version_mismatch: bool = False,
    each: Callable[[Sequence[ComparedRow]], None] = lambda _rows: None,
) -> Preview:
    """Score the rows of a rescore in memory and compare them with the current predictions.

    ``each`` is called with the compared rows of each chunk. Raises ModelRefused, EveryRowFailed, DatabaseFault.
    """
    policy = DecisionPolicy.of(job, plan.version.manifest)
    scorer, _ = preparation.load_scorer(
        preparation.model_plan(artifacts_dir, plan.version, policy, allow_version_mismatch=allow_version_mismatch)
    )
    labels: Counter[tuple[str | None, str | None]] = Counter()
    quarantined: Counter[str] = Counter()
    differences: list[float] = []
    largest: list[ComparedRow] = []
    scored_count = superseded_count = 0
    for rows, scored in _scored(database, job, plan, scorer):
        compared = _compared(rows, scored, plan.source.key)
        quarantined.update(str(fault.code) for fault in scored.faults.values())
        new = [row for row in compared if row.is_scored]
        scored_count += len(new)
        superseded_count += sum(row.has_current for row in new)
        labels.update((row.label, row.new_label) for row in new)
        differences += [row.difference for row in new if row.difference is not None]
        moved = (row for row in new if row.difference is not None)
        largest = heapq.nlargest(LARGEST, [*largest, *moved], key=lambda row: abs(row.difference or 0.0))
        each(compared)
    moves = np.array(differences)
    return Preview(
        key_columns=plan.source.key,
        model_name=plan.version.name,
        model_version=plan.version.version,
        row_count=scored_count + quarantined.total(),
        scored_count=scored_count,
        superseded_count=superseded_count,
        quarantined=dict(quarantined),
        labels=[(old, new_label, count) for (old, new_label), count in sorted(labels.items(), key=str)],
        flipped_count=sum(count for (old, new_label), count in labels.items() if old is not None and old != new_label),
        mean_difference=float(moves.mean()) if len(moves) else None,
        mean_absolute_difference=float(np.abs(moves).mean()) if len(moves) else None,
        differences=_bars(moves),
        largest=largest,
    )


def _scored(database: Database, job: Job, plan: Plan, scorer: Scorer) -> Iterator[tuple[SourceRows, ScoredRows]]:
    layout = layout_of(job, plan.source)
    for batch in RescoreScan(selection=plan.selection).batches(job.run.chunk_rows):
        remaining: KeysetReader | None = KeysetReader(
            query=DueQuery(source=plan.source, layout=layout, scan=batch),
            bulk=bulk_for(database, job.run.bulk),
            features=scorer.manifest.signature.names,
            due_count=batch.due_at_most(plan.row_count),
            with_current=True,
        )
        while remaining is not None:
            here = remaining

            def read(here: KeysetReader = here) -> Chunk:
                with database.read() as connection:
                    return here.next_chunk(connection, job.run.chunk_rows or _ROWS_AT_ONCE)

            chunk = retry_transient(read)
            remaining = chunk.rest
            if len(chunk.rows):
                yield chunk.rows, scorer.score(chunk.rows.features)


def _compared(rows: SourceRows, scored: ScoredRows, names: tuple[str, ...]) -> list[ComparedRow]:
    keys = list(zip(*map(as_list, rows.keys), strict=True))
    labels = scored.labels if scored.labels is not None else [None] * len(scored.positions)
    new_scores = scored.scores.tolist() if scored.scores is not None else [None] * len(scored.positions)
    new = dict(zip(scored.positions, zip(new_scores, labels, strict=True), strict=True))
    scores = rows.current_scores or [None] * len(rows)
    current_labels = rows.current_labels or [None] * len(rows)
    return [
        ComparedRow(
            key=key_text(names, keys[i]),
            key_values=keys[i],
            score=scores[i],
            label=current_labels[i],
            new_score=new[i][0] if i in new else None,
            new_label=new[i][1] if i in new else None,
        )
        for i in range(len(rows))
    ]


def _bars(moves: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[Bar]:
    if not len(moves):
        return []
    furthest = float(np.abs(moves).max()) or 1e-12
    counts, edges = np.histogram(moves, bins=_BINS, range=(-furthest, furthest))
    return [
        Bar(low=float(low), high=float(high), rows=int(rows))
        for (low, high), rows in zip(pairwise(edges), counts, strict=True)
    ]
