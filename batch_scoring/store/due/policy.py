"""Due policies: an outcome of a row's present version does not settle it if it is old, or of another model version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.keys import Key, KeyRange
from batch_scoring.store.engine.sql_types import UtcTimestamp
from batch_scoring.store.schema.tables import scoring_runs
from batch_scoring.store.source.key_conditions import within


@dataclass(frozen=True, kw_only=True, slots=True)
class Refresh:
    """Outcomes that were written before ``cutoff`` are due again. Picklable.

    The outcomes of a run that filled a slot are as old as the slot, whenever they were written.
    """

    cutoff: datetime
    older: tuple[int, ...] = ()
    """Runs whose slots are not after ``cutoff``, although they wrote outcomes after it."""
    newer: tuple[int, ...] = ()
    """Runs whose slots are after ``cutoff``, although they may have written outcomes before it."""

    @classmethod
    def before(cls, connection: sa.Connection, job: str, cutoff: datetime) -> Refresh:
        """The policy for outcomes of a job. Raises DatabaseFault."""
        run, limit = scoring_runs.c, sa.literal(cutoff, UtcTimestamp())
        of_slots = sa.select(run.run_id).where(run.job == job, run.scheduled_for.is_not(None)).order_by(run.run_id)
        ended = sa.or_(run.finished_at.is_(None), run.finished_at > limit)
        older = connection.execute(of_slots.where(run.scheduled_for <= limit, ended)).scalars().all()
        newer = connection.execute(of_slots.where(run.scheduled_for > limit, run.started_at <= limit)).scalars().all()
        return cls(cutoff=cutoff, older=tuple(older), newer=tuple(newer))

    def is_fresh(self, outcome: sa.FromClause) -> sa.ColumnElement[bool]:
        """The condition that an outcome is not due again."""
        is_after: sa.ColumnElement[bool] = outcome.c.valid_from > sa.literal(self.cutoff, UtcTimestamp())
        if self.older:
            is_after = sa.and_(is_after, outcome.c.run_id.not_in(self.older))
        return sa.or_(is_after, outcome.c.run_id.in_(self.newer)) if self.newer else is_after


@dataclass(frozen=True, kw_only=True, slots=True)
class NewVersion:
    """Predictions of another model version are due, up to one in the order of their start and key. Picklable."""

    version: int
    last: tuple[datetime, Key] | None = None
    """``valid_from`` and key of the last one; None for all of them."""

    def is_kept(self, predictions: sa.FromClause, keys: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[bool]:
        """The condition that a prediction is not due, given its table and the key columns of that table."""
        is_of_version: sa.ColumnElement[bool] = predictions.c.model_version == self.version
        if self.last is None:
            return is_of_version
        start, last_key = self.last
        limit = sa.literal(start, UtcTimestamp())
        above = within(keys, KeyRange(lower=last_key))
        is_later = sa.or_(predictions.c.valid_from > limit, sa.and_(predictions.c.valid_from == limit, *above))
        return sa.or_(is_of_version, is_later)


@dataclass(frozen=True, kw_only=True, slots=True)
class DuePolicy:
    """What is due besides new and changed rows; nothing by default. Picklable."""

    refresh: Refresh | None = None
    new_version: NewVersion | None = None

    def is_settled_by(
        self, outcome: sa.FromClause, keys: Sequence[sa.ColumnElement[Any]], *, is_prediction: bool
    ) -> Sequence[sa.ColumnElement[bool]]:
        """Conditions, all of which hold where an outcome of a row's present version settles the row.

        ``keys`` are the key columns of the outcome. An open quarantine entry settles a row whatever the model is.
        """
        conditions = []
        if self.refresh is not None:
            conditions.append(self.refresh.is_fresh(outcome))
        if self.new_version is not None and is_prediction:
            conditions.append(self.new_version.is_kept(outcome, keys))
        return conditions
