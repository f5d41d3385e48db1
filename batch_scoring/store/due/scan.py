"""Scan modes: which rows of a source a run looks at, and which outcome makes a row no longer due."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.runs import Mode
from batch_scoring.store.source.selection import Selection
from batch_scoring.store.source.table import SourceTable


@dataclass(frozen=True, kw_only=True, slots=True)
class FullScan:
    """The whole source: a row is due unless an outcome of its present version is current."""

    lookback_from: datetime | None = None
    """The start of the job's lookback window, where it has one: due rows changed before it only a sweep finds."""

    @property
    def mode(self) -> Mode | None:
        """As the record of a run has it."""
        return "sweep"

    @property
    def reads_in_key_order(self) -> bool:
        """An index on the key gives the rows of a range in order, without many others between them."""
        return True

    def compared_columns(self, source: SourceTable) -> Iterable[str]:  # noqa: ARG002 - for scans that compare some
        """Columns of the source that its conditions read."""
        return ()

    def row_conditions(self, source: SourceTable, table: sa.TableClause) -> Sequence[sa.ColumnElement[bool]]:  # noqa: ARG002
        """Which rows of the source are looked at."""
        return ()

    def key_conditions(self, keys: Sequence[sa.ColumnElement[Any]]) -> Sequence[sa.ColumnElement[bool]]:  # noqa: ARG002
        """Which keys are due, whatever their outcomes."""
        return ()

    def prediction_conditions(self, current: sa.FromClause) -> Sequence[sa.ColumnElement[bool]]:  # noqa: ARG002
        """Of which current predictions the rows are due; empty where no prediction is needed."""
        return ()

    def is_settled(
        self, source: SourceTable, outcome: sa.FromClause, rows: sa.FromClause
    ) -> Sequence[sa.ColumnElement[bool]]:
        """That a current outcome of a row's key settles the row."""
        if source.changed_at is None:
            return ()
        return [outcome.c.source_changed_at.is_not_distinct_from(rows.c[source.changed_at])]

    def is_outdated(self, source: SourceTable, outcome: sa.FromClause, rows: sa.FromClause) -> sa.ColumnElement[bool]:
        """That a current outcome of a row's key does not settle the row."""
        if source.changed_at is None:
            return sa.false()
        return outcome.c.source_changed_at.is_distinct_from(rows.c[source.changed_at])

    def due_at_most(self, counted: int) -> int:
        """How many rows may be due, given what was counted."""
        return counted


@dataclass(frozen=True, kw_only=True, slots=True)
class LookbackScan(FullScan):
    """Rows that were changed lately; a full scan finds those that were committed late with an older time."""

    since: datetime

    @property
    def mode(self) -> Mode | None:
        """As the record of a run has it."""
        return "lookback"

    @property
    def reads_in_key_order(self) -> bool:
        """An index on ``changed_at`` finds the rows."""
        return False

    def row_conditions(self, source: SourceTable, table: sa.TableClause) -> Sequence[sa.ColumnElement[bool]]:
        """Changed at ``since`` or later."""
        return [source.changed_since(table.c, self.since)]


@dataclass(frozen=True, kw_only=True, slots=True)
class RescoreScan(FullScan):
    """Rows that a person selected: due until a run from ``selection.since_run`` on has scored or quarantined them."""

    selection: Selection

    @property
    def mode(self) -> Mode | None:
        """A rescore is told what to score."""
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
    ) -> Sequence[sa.ColumnElement[bool]]:
        """By a run that did the rescore."""
        return [outcome.c.run_id >= self.selection.since_run]

    def is_outdated(
        self,
        source: SourceTable,  # noqa: ARG002
        outcome: sa.FromClause,
        rows: sa.FromClause,  # noqa: ARG002
    ) -> sa.ColumnElement[bool]:
        """By an earlier run."""
        return outcome.c.run_id < self.selection.since_run

    def due_at_most(self, counted: int) -> int:
        """Not more than keys are selected."""
        keys = self.selection.keys
        return counted if keys is None else min(counted, len(keys))

    def batches(self, most: int | None = None) -> Iterator[RescoreScan]:
        """The same in statements of a size that a database can hold, of ``most`` keys at most."""
        return (replace(self, selection=batch) for batch in self.selection.batches(most))
