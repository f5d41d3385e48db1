"""Due rows: count and read them by comparing the source with its outcomes.

No watermark is stored. A source row is due if neither a current prediction nor an open quarantine entry exists for its
present version; each run queries the database for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from batch_scoring.domain.column_types import Family
from batch_scoring.domain.columns import Column, as_list
from batch_scoring.domain.keys import EVERYTHING, Key, KeyRange
from batch_scoring.errors import InputFault, SourceFault
from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.due.comparison import holds_for, outcome_table
from batch_scoring.store.due.policy import DuePolicy
from batch_scoring.store.due.scan import FullScan
from batch_scoring.store.engine.database import Database
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.source.key_conditions import key_batches, key_in, within
from batch_scoring.store.source.rows import DueCount, SourceRows, timestamps
from batch_scoring.store.source.table import SourceTable, fault_of

DueReason = Literal["changed", "age", "version"]
"""Why a row is due: it is new, changed or was released, its outcome is old, or its prediction is of another version."""


@dataclass(frozen=True, kw_only=True)
class DueQuery:
    """The rows of a source that are due, as found by a scan mode. Picklable."""

    source: SourceTable
    layout: PredictionsLayout
    scan: FullScan = field(default_factory=FullScan)

    # --- rows of the source, due or not

    def rows(self, columns: Iterable[str] = ()) -> sa.Subquery:
        """The rows that the scan covers."""
        source, scan = self.source, self.scan
        return source.rows([*columns, *scan.compared_columns(source)], lambda table: scan.row_conditions(source, table))

    def check_conditions(self, database: Database) -> None:
        """Raise InputFault where the database cannot evaluate the conditions of a rescore, and DatabaseFault."""
        if exc := fault_of(database, self.rows()):
            raise InputFault(
                f"--where cannot be evaluated on the rows of {self.source.table}: {exc}; compare each column with"
                " values of its type"
            ) from exc

    def check_key(self, connection: sa.Connection, *, counts_always: bool = False) -> None:
        """Raise SourceFault where the key is NULL or not unique among these rows, see SourceTable.check_key."""
        self.source.check_key(connection, self.rows(), counts_always=counts_always)

    def count_rows(self, connection: sa.Connection) -> int:
        """The number of rows that the scan covers."""
        return connection.execute(sa.select(sa.func.count()).select_from(self.rows())).scalar_one()

    def key_at(self, connection: sa.Connection, chunk: KeyRange, rows: int) -> Key | None:
        """The key of the n-th row of a range, due or not; None where the range has fewer rows."""
        source = self.rows()
        keys = self.source.keys_of(source)
        query = sa.select(*keys).where(*within(keys, chunk)).order_by(*keys).offset(rows - 1).limit(1)
        found = connection.execute(query).one_or_none()
        return None if found is None else tuple(found)

    def partition(self, connection: sa.Connection, row_counts: Iterable[int]) -> list[KeyRange]:
        """Partition all keys into ranges with the given row counts; the last range has no upper bound."""
        ranges = [EVERYTHING]
        for row_count in row_counts:
            end = self.key_at(connection, ranges[-1], row_count)
            if end is None:
                break
            ranges[-1] = replace(ranges[-1], upper=end)
            ranges.append(KeyRange(lower=end))
        return ranges

    # --- rows that are due

    def count(self, connection: sa.Connection) -> DueCount:
        """The number of rows that are due now, of those outside the job's lookback window, and by policy only."""
        policy = self.scan.policy
        total, outside = self.totals(connection)
        without_version = total
        if policy.new_version is not None:
            without_version, _ = self.under(replace(policy, new_version=None)).totals(connection)
        changed = without_version
        if policy.refresh is not None:
            changed, _ = self.under(DuePolicy()).totals(connection)
        return DueCount(
            total=total,
            outside_lookback=outside,
            by_age=without_version - changed,
            by_version=total - without_version,
        )

    def under(self, policy: DuePolicy) -> DueQuery:
        """The query under another policy."""
        return replace(self, scan=replace(self.scan, policy=policy))

    def totals(self, connection: sa.Connection) -> tuple[int, int]:
        """The number of rows that are due now, and of those outside the job's lookback window."""
        rows, lookback_from = self.rows(), self.scan.lookback_from
        counts: list[sa.ColumnElement[Any]] = [sa.func.count()]
        if lookback_from is not None:
            inside = sa.func.sum(sa.case((self.source.changed_since(rows.c, lookback_from), 1), else_=0))
            counts.append(sa.func.count() - sa.func.coalesce(inside, 0))
        due = sa.select(*counts).select_from(rows)
        found = connection.execute(due.where(*self._is_due(rows, EVERYTHING))).one()
        return found[0], int(found[1]) if lookback_from is not None else 0

    def nth_of_other_version(self, connection: sa.Connection, version: int, n: int) -> tuple[datetime, Key] | None:
        """``valid_from`` and key of the n-th prediction of another model version, in their order, of rows that are not
        due; None where there are fewer."""
        rows = self.rows()
        predictions, entries = (
            outcome_table(name, self.layout).alias() for name in (self.layout.table, self.layout.quarantine)
        )
        keys = self.source.keys_of(rows)
        own = [predictions.c[name] for name in self.source.key]
        is_settled = [
            *holds_for(keys, predictions, self.layout, EVERYTHING),
            *self.scan.is_settled(self.source, predictions, rows, is_prediction=True),
        ]
        is_quarantined = [
            *holds_for(keys, entries, self.layout, EVERYTHING),
            *self.scan.is_settled(self.source, entries, rows, is_prediction=False),
        ]
        query = (
            sa.select(predictions.c.valid_from, *own)
            .select_from(rows.join(predictions, sa.and_(*is_settled)))
            .where(predictions.c.model_version != version, ~sa.exists().where(*is_quarantined))
            .order_by(predictions.c.valid_from, *own)
            .offset(n - 1)
            .limit(1)
        )
        found = connection.execute(query).one_or_none()
        return None if found is None else (found[0], tuple(found[1:]))

    def count_of(self, connection: sa.Connection, keys: Sequence[Key]) -> int:
        """The number of rows with these keys that are due."""
        rows = self.rows()
        own = self.source.keys_of(rows)
        due = sa.select(sa.func.count()).select_from(rows).where(*self._is_due(rows, EVERYTHING))
        return sum(connection.execute(due.where(key_in(own, batch))).scalar_one() for batch in key_batches(keys))

    def reason_of(self, connection: sa.Connection, key: Key) -> DueReason | None:
        """Why the row of a key is due; None if it is not."""
        policy = self.scan.policy
        reasons: list[tuple[DueReason, DuePolicy]] = [
            ("changed", DuePolicy()),
            ("age", replace(policy, new_version=None)),
            ("version", policy),
        ]
        return next((reason for reason, part in reasons if self.under(part).count_of(connection, (key,))), None)

    def read(
        self,
        connection: sa.Connection,
        bulk: Bulk,
        chunk: KeyRange,
        features: Sequence[str],
        limit: int,
        *,
        with_current: bool = False,
    ) -> SourceRows:
        """Read the first ``limit`` due rows of a range in key order.

        ``with_current`` adds the current score and label. Raises SourceFault, TooMuchAtOnce.
        """
        source = self.source
        due = self._select(chunk, features, with_current=with_current).limit(limit)
        if chunk.upper is not None and self.scan.reads_in_key_order:
            due = due.execution_options(reads_a_range=True)
        columns = bulk.fetch(connection, due, self._families(features, with_current=with_current))
        key_length = len(source.key)
        current = [as_list(values) for values in columns[-2:]] if with_current else [None, None]
        rest = columns[key_length : len(columns) - 2 if with_current else None]
        changed_at = rest.pop(0) if source.changed_at else None
        version = zip([*source.key, source.changed_at], [*columns[:key_length], changed_at or []], strict=True)
        _check_text(source, {name: values for name, values in version if name})
        return SourceRows(
            keys=tuple(columns[:key_length]),
            changed_at=changed_at,
            features=dict(zip(features, rest[: len(features)], strict=True)),
            current_since=timestamps(rest[-3]),
            quarantined_since=timestamps(rest[-2]),
            attempts=as_list(rest[-1]),
            current_scores=current[0],
            current_labels=current[1],
        )

    def sample(self, connection: sa.Connection, bulk: Bulk, features: Sequence[str], count: int) -> dict[str, Column]:
        """The features of at most ``count`` due rows by name, each row as likely as any other. Reads them all."""
        due = self.joined(EVERYTHING, features)
        columns = self.source.columns
        query = (
            sa.select(*(columns[name].as_read(due.rows.c[name]).label(f"f{i}") for i, name in enumerate(features)))
            .select_from(due.joined)
            .where(*due.conditions)
            .order_by(sa.func.random())
            .limit(count)
        )
        values = bulk.fetch(connection, query, [columns[name].family for name in features])
        return dict(zip(features, values, strict=True))

    def _families(self, features: Sequence[str], *, with_current: bool) -> list[Family]:
        columns = self.source.columns
        version: list[Family] = []
        if self.source.changed_at:
            # timestamps are read as text; versions of other types are not converted
            family = columns[self.source.changed_at].family
            version = [family if family in (Family.DATE, Family.TIMESTAMP) else Family.OTHER]
        return [
            *(Family.INTEGER if columns[name].family is Family.INTEGER else Family.OTHER for name in self.source.key),
            *version,
            *(columns[name].family for name in features),
            Family.TIMESTAMP,
            Family.TIMESTAMP,
            Family.INTEGER,
            *([Family.NUMBER, Family.TEXT] if with_current else []),
        ]

    def _is_due(self, rows: sa.FromClause, chunk: KeyRange) -> Iterator[sa.ColumnElement[bool]]:
        """The conditions that neither a current prediction nor an open quarantine entry settles the row."""
        layout, scan = self.layout, self.scan
        keys = self.source.keys_of(rows)
        yield from within(keys, chunk)
        yield from scan.key_conditions(keys)
        current = outcome_table(layout.table, layout).alias()
        if chosen := scan.prediction_conditions(current):
            yield sa.exists().where(*holds_for(keys, current, layout, chunk), *chosen)
        for table in (layout.table, layout.quarantine):
            outcome = outcome_table(table, layout).alias()
            settled = scan.is_settled(self.source, outcome, rows, is_prediction=table == layout.table)
            yield ~sa.exists().where(*holds_for(keys, outcome, layout, chunk), *settled)

    def _select(self, chunk: KeyRange, features: Sequence[str], *, with_current: bool) -> sa.Select[Any]:
        """The due rows in key order, joined with their outcomes of an older version."""
        source = self.source
        due = self.joined(chunk, features)
        return (
            sa.select(
                *(value.label(f"k{i}") for i, value in enumerate(due.keys)),
                *([due.rows.c[source.changed_at].label("changed")] if source.changed_at else []),
                *(source.columns[name].as_read(due.rows.c[name]).label(f"f{i}") for i, name in enumerate(features)),
                due.current.c.valid_from.label("current_since"),
                due.entry.c.valid_from.label("quarantined_since"),
                due.entry.c.attempts.label("attempts"),
                *([due.current.c.score, due.current.c.prediction] if with_current else []),
            )
            .select_from(due.joined)
            .where(*due.conditions)
            .order_by(*source.keys_of(due.rows))
        )

    def joined(
        self, chunk: KeyRange, features: Iterable[str], *, has_predictions: bool = True, has_entries: bool = True
    ) -> DueRows:
        """The due rows of a range, each with its outcomes of an older version.

        Where the range is known to have no current predictions, or no open quarantine entries, they are not joined.
        """
        source, layout = self.source, self.layout
        rows = self.rows(features)
        predictions = outcome_table(layout.table, layout).alias("current_prediction")
        quarantine = outcome_table(layout.quarantine, layout).alias("open_entry")
        keys = source.keys_of(rows)
        joined: sa.FromClause = rows
        conditions = within(keys, chunk)
        given = [(predictions, has_predictions or bool(self.scan.prediction_conditions(predictions)))]
        given.append((quarantine, has_entries))
        for outcome in (table for table, is_joined in given if is_joined):
            joined = joined.outerjoin(outcome, sa.and_(*holds_for(keys, outcome, layout, chunk)))
            outdated = self.scan.is_outdated(source, outcome, rows, is_prediction=outcome is predictions)
            # a CASE, because for "IS NULL OR" PostgreSQL estimates one row and chooses a nested loop
            conditions.append(sa.case((outcome.c.valid_from.is_(None), sa.true()), else_=outdated))
        conditions += [*self.scan.key_conditions(keys), *self.scan.prediction_conditions(predictions)]
        named = zip(source.key, keys, strict=True)
        return DueRows(
            joined=joined,
            conditions=conditions,
            rows=rows,
            current=predictions,
            entry=quarantine,
            keys=[source.columns[name].as_read(key) for name, key in named],
            written_at=[table.c.valid_from for table, is_joined in reversed(given) if is_joined],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class DueRows:
    """A query of due rows: rows of the source, joined with their outcomes of an older version."""

    joined: sa.FromClause
    conditions: Sequence[sa.ColumnElement[bool]]
    rows: sa.FromClause
    """The rows of the source."""
    current: sa.FromClause
    """Their current predictions, if they were joined; NULL where there is none."""
    entry: sa.FromClause
    """Their open quarantine entries, if they were joined; NULL where there is none."""
    keys: Sequence[sa.ColumnElement[Any]]
    """The key columns as they are read."""
    written_at: Sequence[sa.ColumnElement[Any]]
    """``valid_from`` of the outcomes that were joined, the open quarantine entry before the prediction, as it is newer
    where there are both."""


def _check_text(source: SourceTable, columns: Mapping[str, Column]) -> None:
    """Raise SourceFault where a key or version is text that cannot be written back."""
    for name, values in columns.items():
        if not isinstance(values, list):
            continue  # Arrow has checked it
        try:
            "".join(value for value in values if type(value) is str).encode()
        except UnicodeEncodeError:
            raise SourceFault(
                f"column {name} of {source.table} holds text that is not valid UTF-8;"
                " fix it, or leave those rows out with [source] where"
            ) from None
