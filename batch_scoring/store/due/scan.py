"""Scan modes: which rows of a source a run covers, and which outcomes settle a row, so that it is not due."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.runs import Mode
from batch_scoring.store.due.policy import DuePolicy
from batch_scoring.store.source.selection import Selection
from batch_scoring.store.source.table import SourceTable


@dataclass(frozen=True, kw_only=True, slots=True)
class FullScan:
    """All rows of the source: a row is due unless an outcome of its present version is current."""

    lookback_from: datetime | None = None
    """The start of the job's lookback window, if it has one: only a sweep finds due rows that changed before it."""
    policy: DuePolicy = field(default_factory=DuePolicy)

    @property
    def mode(self) -> Mode | None:
        """The mode as it is stored with a run."""
        return "sweep"

    @property
    def reads_in_key_order(self) -> bool:
        """Whether an index on the key returns the rows of a range in order, without many other rows between them."""
        return True

    def compared_columns(self, source: SourceTable) -> Iterable[str]:  # noqa: ARG002 - for scans that compare some
        """Columns of the source that its conditions read."""
        return ()

    def row_conditions(self, source: SourceTable, table: sa.TableClause) -> Sequence[sa.ColumnElement[bool]]:  # noqa: ARG002
        """Conditions on the rows of the source that are covered."""
        return ()

    def key_conditions(self, keys: Sequence[sa.ColumnElement[Any]]) -> Sequence[sa.ColumnElement[bool]]:  # noqa: ARG002
        """Conditions on the keys that can be due, whatever their outcomes are."""
        return ()

    def prediction_conditions(self, current: sa.FromClause) -> Sequence[sa.ColumnElement[bool]]:  # noqa: ARG002
        """Conditions on the current prediction of a due row; empty if a row needs no prediction to be due."""
        return ()

    def is_settled(
        self, source: SourceTable, outcome: sa.FromClause, rows: sa.FromClause, *, is_prediction: bool
    ) -> Sequence[sa.ColumnElement[bool]]:
        """Conditions, all of which hold where a current outcome of a row's key settles the row."""
        by_policy = self.policy.is_settled_by(outcome, _keys(source, outcome), is_prediction=is_prediction)
        if source.changed_at is None:
            return by_policy
        return [outcome.c.source_changed_at.is_not_distinct_from(rows.c[source.changed_at]), *by_policy]

    def is_outdated(
        self, source: SourceTable, outcome: sa.FromClause, rows: sa.FromClause, *, is_prediction: bool
    ) -> sa.ColumnElement[bool]:
        """The condition that a current outcome of a row's key does not settle the row."""
        by_policy = self.policy.is_settled_by(outcome, _keys(source, outcome), is_prediction=is_prediction)
        conditions = [sa.not_(condition) for condition in by_policy]
        if source.changed_at is not None:
            conditions.insert(0, outcome.c.source_changed_at.is_distinct_from(rows.c[source.changed_at]))
        return sa.or_(sa.false(), *conditions)

    def due_at_most(self, counted: int) -> int:
        """An upper bound of the number of due rows, given a count."""
        return counted


@dataclass(frozen=True, kw_only=True, slots=True)
class LookbackScan(FullScan):
    """Rows that were changed recently; a full scan finds those that were committed late with an older timestamp."""

    since: datetime

    @property
    def mode(self) -> Mode | None:
        """The mode as it is stored with a run."""
        return "lookback"

    @property
    def reads_in_key_order(self) -> bool:
        """False: the rows are found with an index on ``changed_at``."""
        return False

    def row_conditions(self, source: SourceTable, table: sa.TableClause) -> Sequence[sa.ColumnElement[bool]]:
        """Changed at ``since`` or later."""
        return [source.changed_since(table.c, self.since)]


@dataclass(frozen=True, kw_only=True, slots=True)
class RescoreScan(FullScan):
    """Selected rows: due until run ``selection.since_run`` or a later one has scored or quarantined them."""

    selection: Selection

    @property
    def mode(self) -> Mode | None:
        """None: the rows of a rescore are given by its selection."""
        return None

    def compared_columns(self, source: SourceTable) -> Iterable[str]:
        """Those of ``--where``."""
        compared = [part.column for condition in self.selection.where for part in condition.comparisons]
        return [name for name in compared if name in source.columns]

    def row_conditions(self, source: SourceTable, table: sa.TableClause) -> Sequence[sa.ColumnElement[bool]]:
        """Those of ``--where``. Raises InputFault."""
        return [condition.sql(source.columns, table) for condition in self.selection.where]

    def key_conditions(self, keys: Sequence[sa.ColumnElement[Any]]) -> Sequence[sa.ColumnElement[bool]]:
        """The keys selected."""
        return self.selection.of_keys(keys)

    def prediction_conditions(self, current: sa.FromClause) -> Sequence[sa.ColumnElement[bool]]:
        """The predictions selected, by version or time."""
        return self.selection.of_prediction(current)

    def is_settled(
        self,
        source: SourceTable,  # noqa: ARG002
        outcome: sa.FromClause,
        rows: sa.FromClause,  # noqa: ARG002
        *,
        is_prediction: bool,  # noqa: ARG002
    ) -> Sequence[sa.ColumnElement[bool]]:
        """Written by a run of the rescore."""
        return [outcome.c.run_id >= self.selection.since_run]

    def is_outdated(
        self,
        source: SourceTable,  # noqa: ARG002
        outcome: sa.FromClause,
        rows: sa.FromClause,  # noqa: ARG002
        *,
        is_prediction: bool,  # noqa: ARG002
    ) -> sa.ColumnElement[bool]:
        """Written by an earlier run."""
        return outcome.c.run_id < self.selection.since_run

    def due_at_most(self, counted: int) -> int:
        """At most the number of selected keys."""
        keys = self.selection.keys
        return counted if keys is None else min(counted, len(keys))

    def batches(self, most: int | None = None) -> Iterator[RescoreScan]:
        """The scan in batches that fit into one statement, of ``most`` keys at most."""
        return (replace(self, selection=batch) for batch in self.selection.batches(most))


def _keys(source: SourceTable, outcome: sa.FromClause) -> Sequence[sa.ColumnElement[Any]]:
    return [outcome.c[name] for name in source.key]
