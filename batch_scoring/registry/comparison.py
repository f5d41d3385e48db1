"""Two versions of a model, compared on rows that are in the source of a job now."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from batch_scoring.domain.job import Job
from batch_scoring.domain.keys import key_text
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.errors import InputFault
from batch_scoring.model.scorer import ScoredRows, Scorer
from batch_scoring.registry.figures import Figure, figures, signature_differences
from batch_scoring.scoring.preparation import check_model, load_scorer, model_plan
from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.engine.database import Database
from batch_scoring.store.outcomes.agreement import agreement_of
from batch_scoring.store.schema.job_tables import existing_layout
from batch_scoring.store.source.sample import RowSample, random_rows
from batch_scoring.store.source.table import SourceTable

LARGEST = 10
"""The number of rows with the largest differences that a comparison lists."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredTwice:
    """A row that both versions scored."""

    key: str
    before: float
    now: float
    label_before: str | None
    label_now: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What two versions, the first and the second, do with the same n rows of a source."""

    job: str
    row_count: int
    first_scored_count: int
    second_scored_count: int
    lost: Mapping[str, int]
    """Rows that the first scores and the second does not, by reason code."""
    first_unseen_count: int | None
    second_unseen_count: int | None
    """Rows with a category that the version was not trained on; None where they were not counted."""
    compared_count: int
    """Rows that both score."""
    flipped_count: int
    """Those of them whose label differs."""
    flips: Sequence[tuple[str, str, int]]
    """Label by the first, label by the second, number of rows; only labels that differ."""
    correlation: float | None
    """Pearson's coefficient of the scores; None with fewer than two rows, constant scores, or labels only."""
    mean_absolute_difference: float | None
    """Of the scores; None where a version has none."""
    largest: Sequence[ScoredTwice]
    """The rows with the largest differences, in decreasing order."""

    @property
    def flipped_share(self) -> float:
        """Of the rows that both score."""
        return self.flipped_count / self.compared_count if self.compared_count else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionComparison:
    """Two versions of a model, side by side."""

    name: str
    first: int
    second: int
    figures: Sequence[Figure]
    signature: Sequence[str]
    """Differences of their inputs."""
    live: Comparison | None
    """What they do with rows of the source; None without a job."""


def compare_versions(
    database: Database,
    artifacts_dir: Path,
    first: ModelVersion,
    second: ModelVersion,
    job: Job | None,
    *,
    rows: int,
    allow_version_mismatch: bool = False,
) -> VersionComparison:
    """Compare two versions, with a job on ``rows`` rows of its source. Nothing is written.

    Raises ModelRefused, SourceFault, DatabaseFault.
    """
    live = None
    if job is not None:
        with database.read() as connection:
            source = SourceTable.inspect(database, connection, job)
        source.check_where(database)
        scorers = []
        for version in (first, second):
            policy = check_model(job, source, version)
            plan = model_plan(artifacts_dir, version, policy, allow_version_mismatch=allow_version_mismatch)
            scorers.append(load_scorer(plan)[0])
        live = compare(job, sample_of(database, job, source, scorers, rows), *scorers)
    return _side_by_side(first, second, live)


def compare_stored(database: Database, job: Job, first: ModelVersion, second: ModelVersion) -> VersionComparison:
    """Compare two versions by what the second gave as a challenger of the first, as it is stored.

    Raises InputFault where it was none on any row, ModelRefused, DatabaseFault.
    """
    layout = existing_layout(database, job)
    with database.read() as connection:
        found = agreement_of(
            connection, layout, model=first.name, version=first.version, challenger=second.version, largest=LARGEST
        )
    if not found.count:
        raise InputFault(
            f"version {second.version} has challenged version {first.version} on no row of job {job.name};"
            " name its alias in [model] challengers, or leave out --live"
        )
    live = Comparison(
        job=job.name,
        row_count=found.count,
        first_scored_count=found.count,
        second_scored_count=found.count,
        lost={},
        first_unseen_count=None,
        second_unseen_count=None,
        compared_count=found.count,
        flipped_count=sum(rows for _, _, rows in found.flips),
        flips=found.flips,
        correlation=found.correlation,
        mean_absolute_difference=found.mean_absolute_difference,
        largest=[
            ScoredTwice(
                key=key_text(layout.key_names, pair.key),
                before=pair.score,
                now=pair.challenger_score,
                label_before=pair.label,
                label_now=pair.challenger_label,
            )
            for pair in found.largest
        ],
    )
    return _side_by_side(first, second, live)


def _side_by_side(first: ModelVersion, second: ModelVersion, live: Comparison | None) -> VersionComparison:
    return VersionComparison(
        name=first.name,
        first=first.version,
        second=second.version,
        figures=figures(first.manifest, second.manifest),
        signature=signature_differences(first.manifest.signature, second.manifest.signature),
        live=live,
    )


def sample_of(database: Database, job: Job, source: SourceTable, scorers: Sequence[Scorer], rows: int) -> RowSample:
    """Rows of a source chosen at random, with the inputs of all scorers. Raises DatabaseFault."""
    names = dict.fromkeys(name for scorer in scorers for name in scorer.manifest.signature.names)
    with database.read() as connection:
        return random_rows(connection, bulk_for(database, job.run.bulk), source, list(names), rows)


def compare(job: Job, sample: RowSample, first: Scorer, second: Scorer) -> Comparison:
    """Score the rows of a sample with both versions. Raises UnusableModel."""
    scored = [_scored(scorer, sample) for scorer in (first, second)]
    before, now = (_outputs(one) for one in scored)
    both = [position for position in before if position in now]
    labels = [(before[i][1], now[i][1]) for i in both]
    differing = Counter((one, other) for one, other in labels if one is not None and other is not None and one != other)
    pairs = [
        (i, score, score_now)
        for i in both
        if (score := before[i][0]) is not None and (score_now := now[i][0]) is not None
    ]
    scores = np.array([pair[1:] for pair in pairs], dtype=np.float64).reshape(-1, 2)
    lost = [fault for position, fault in scored[1].faults.items() if position in before]
    return Comparison(
        job=job.name,
        row_count=len(sample.keys),
        first_scored_count=len(before),
        second_scored_count=len(now),
        lost=dict(Counter(str(fault.code) for fault in lost)),
        first_unseen_count=scored[0].unseen_category_count,
        second_unseen_count=scored[1].unseen_category_count,
        compared_count=len(both),
        flipped_count=differing.total(),
        flips=[(one, other, count) for (one, other), count in differing.most_common()],
        correlation=_correlation(scores),
        mean_absolute_difference=float(np.abs(scores[:, 0] - scores[:, 1]).mean()) if pairs else None,
        largest=[
            ScoredTwice(
                key=key_text(tuple(job.source.key), sample.keys[i]),
                before=score,
                now=score_now,
                label_before=before[i][1],
                label_now=now[i][1],
            )
            for i, score, score_now in heapq.nlargest(LARGEST, pairs, key=lambda pair: abs(pair[1] - pair[2]))
        ],
    )


def _scored(scorer: Scorer, sample: RowSample) -> ScoredRows:
    columns = {name: sample.features[name] for name in scorer.manifest.signature.names}
    return scorer.score_singly(columns)


def _outputs(scored: ScoredRows) -> dict[int, tuple[float | None, str | None]]:
    count = len(scored.positions)
    scores = [None] * count if scored.scores is None else scored.scores.tolist()
    labels = [None] * count if scored.labels is None else scored.labels
    return dict(zip(scored.positions, zip(scores, labels, strict=True), strict=True))


def _correlation(scores: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float | None:
    if len(scores) < 2 or (scores == scores[0]).all(axis=0).any():
        return None
    return float(np.corrcoef(scores[:, 0], scores[:, 1])[0, 1])
