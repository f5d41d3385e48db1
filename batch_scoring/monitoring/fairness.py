"""Compare what is predicted for groups of rows, and how it comes true, by month, and record what has changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from batch_scoring.domain.fairness import Fairness, GroupCounts, GroupFigures, SmallGroups
from batch_scoring.domain.job import Job
from batch_scoring.errors import ConfigurationError, ConstraintViolated, Problem
from batch_scoring.model.fairness import compare_groups
from batch_scoring.monitoring.performance import OutcomeLabels
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.feedback import fairness as reports
from batch_scoring.store.feedback import groups as grouping
from batch_scoring.store.feedback import outcomes as reading
from batch_scoring.store.feedback.groups import Groups, Observed
from batch_scoring.store.feedback.outcomes import JoinedOutcomes, first_day
from batch_scoring.store.schema.job_tables import existing_layout

_Counts = dict[tuple[int, str, str], GroupCounts]
"""By month, column and group."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """The groups of a job, by month and column."""

    groups: Sequence[GroupFigures]
    small: Sequence[SmallGroups]
    changed_count: int
    """Months that were reported again."""


def evaluate(database: Database, job: Job, *, by: str) -> Compared:
    """Compare the groups of a job in each month and record the months whose figures are new or have changed.

    Raises ConfigurationError, ModelRefused, DatabaseFault.
    """
    fairness = _declared(job)
    layout = existing_layout(database, job)
    grouping.check(database, job, fairness, layout)
    if job.outcomes is not None:
        reading.check(database, job, job.outcomes, layout)
    with database.read() as connection:
        groups = Groups(connection, job, fairness, layout)
        counts = _predicted(job, fairness, groups)
        if job.outcomes is not None:
            joined = JoinedOutcomes(connection, job, job.outcomes, layout)
            found = {column: groups.observed(column, joined) for column in fairness.columns}
            runs = sorted({one.run_id for of_column in found.values() for one in of_column})
            labels = OutcomeLabels.of(database, job, reading.models_of_runs(connection, runs), now(connection))
            for column, of_column in found.items():
                _add_outcomes(counts, job, column, of_column, labels)
    figures, small = _compared(fairness, counts)
    changed_count = 0
    with suppress(ConstraintViolated):  # another process records the same
        changed_count = reports.record(database, job.name, figures, small, by=by)
    return Compared(groups=figures, small=small, changed_count=changed_count)


def _declared(job: Job) -> Fairness:
    if job.fairness is None:
        message = "is missing: name the columns whose values form groups"
        raise ConfigurationError([Problem(where=f"job {job.name}", key="fairness", message=message)])
    if job.predictions.positive_label is None:
        message = "needs [predictions] positive_label: the label whose share is compared between groups"
        raise ConfigurationError([Problem(where=f"job {job.name}", key="fairness", message=message)])
    return job.fairness


def _predicted(job: Job, fairness: Fairness, groups: Groups) -> _Counts:
    counts: _Counts = {}
    for column in fairness.columns:
        for one in groups.predicted(column):
            key = one.month, column, one.group
            before = counts.get(key, GroupCounts(rows=0, selected=0))
            is_selected = one.prediction == job.predictions.positive_label
            counts[key] = replace(
                before,
                rows=before.rows + one.count,
                selected=before.selected + (one.count if is_selected else 0),
            )
    return counts


def _add_outcomes(counts: _Counts, job: Job, column: str, found: Iterable[Observed], labels: OutcomeLabels) -> None:
    positive = job.predictions.positive_label
    for one in found:
        key = one.month, column, one.group
        label = labels.label(one.outcome, one.run_id)
        if key not in counts or label is None or not labels.is_mature(one.month):
            continue
        before = counts[key]
        positives = one.count if label == positive else 0
        counts[key] = replace(
            before,
            outcomes=before.outcomes + one.count,
            positives=before.positives + positives,
            selected_positives=before.selected_positives + (positives if one.prediction == positive else 0),
            score_sum=before.score_sum + one.score_sum,
        )


def _compared(fairness: Fairness, counts: _Counts) -> tuple[list[GroupFigures], list[SmallGroups]]:
    figures: list[GroupFigures] = []
    small: list[SmallGroups] = []
    for month, column in sorted({(month, column) for month, column, _ in counts}):
        groups = {group: found for (at, name, group), found in counts.items() if (at, name) == (month, column)}
        own, few = compare_groups(
            first_day(month),
            column,
            groups,
            reference=fairness.reference.get(column),
            fewest=fairness.fewest,
        )
        figures += own
        small += [] if few is None else [few]
    return figures, small
