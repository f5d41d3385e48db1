"""Close the outcomes of rows that have left the source: current predictions and open quarantine entries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.keys import EVERYTHING, Key, KeyRange
from batch_scoring.domain.runs import ChunkCounts, StageSeconds
from batch_scoring.errors import SourceFault
from batch_scoring.store.due.comparison import holds_for
from batch_scoring.store.engine.database import Database
from batch_scoring.store.outcomes.history import EntryFilter, close_entries
from batch_scoring.store.runs.records import fence, record_chunk
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.source.key_conditions import within
from batch_scoring.store.source.table import SourceTable


@dataclass(frozen=True, kw_only=True, slots=True)
class DeletedCount:
    """The number of outcomes whose rows are not in the source, and of all outcomes."""

    deleted: int
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DeletedRows:
    """The rows of a job that have outcomes and are not in the source."""

    source: SourceTable
    layout: PredictionsLayout

    @property
    def tables(self) -> tuple[sa.Table, ...]:
        """The tables of outcomes, each closed by itself."""
        return (self.layout.predictions_table, self.layout.quarantine_table)

    def count(self, database: Database) -> DeletedCount:
        """Count their outcomes. Reads every key of the source. Raises DatabaseFault."""
        deleted = total = 0
        with database.read() as connection:
            for table in self.tables:
                rows = sa.select(sa.func.count()).select_from(table)
                total += connection.execute(rows).scalar_one()
                deleted += connection.execute(rows.where(*self._is_deleted(table, EVERYTHING))).scalar_one()
        return DeletedCount(deleted=deleted, total=total)

    def next_range(self, database: Database, table: sa.Table, after: Key | None, rows: int) -> KeyRange | None:
        """The key range of the next outcomes of deleted rows; None after the last. Raises DatabaseFault."""
        keys = self._keys(table)
        is_left = self._is_deleted(table, KeyRange(lower=after))
        with database.read() as connection:
            found = connection.execute(sa.select(*keys).where(*is_left).order_by(*keys).limit(rows)).all()
        return KeyRange(lower=after, upper=tuple(found[-1])) if found else None

    def close(
        self, database: Database, run_id: int, table: sa.Table, chunk: KeyRange, *, at_most: int
    ) -> tuple[ChunkCounts, StageSeconds]:
        """Close the outcomes of the deleted rows of a key range, in one transaction after the fence.

        The statement that closes them compares the source again. Raises SourceFault, and closes none, where there are
        more than ``at_most`` by then. Raises Fenced, DatabaseFault.
        """
        with database.write() as connection:
            started = perf_counter()
            time = fence(connection, run_id)
            if table is self.layout.quarantine_table:
                closed = self._close_entries(connection, chunk, time)
            else:  # the database appends what is deleted to history
                closed = connection.execute(sa.delete(table).where(*self._is_deleted(table, chunk))).rowcount
            if closed > at_most:
                raise SourceFault(
                    f"rows are being deleted from {self.source.table}, and their share is above [source] max_deleted"
                    " by now: no more predictions are closed. Check the source"
                )
            counts = ChunkCounts(scored=0, superseded=0, quarantined=0, unseen_category=0, closed=closed)
            seconds = StageSeconds(read=0.0, score=0.0, write=perf_counter() - started)
            record_chunk(connection, run_id, counts, seconds, time)
        return counts, seconds

    def _close_entries(self, connection: sa.Connection, chunk: KeyRange, time: datetime) -> int:
        entries = self.layout.quarantine_table
        query = sa.select(*self._keys(entries)).where(*self._is_deleted(entries, chunk))
        keys = tuple(tuple(row) for row in connection.execute(query))
        return close_entries(connection, self.layout, EntryFilter(keys=keys), valid_to=time) if keys else 0

    def _is_deleted(self, table: sa.Table, chunk: KeyRange) -> list[sa.ColumnElement[bool]]:
        rows = self.source.rows()
        in_source = (
            sa.exists().select_from(rows).where(*holds_for(self.source.keys_of(rows), table, self.layout, chunk))
        )
        return [*within(self._keys(table), chunk), ~in_source.correlate(table)]

    def _keys(self, table: sa.Table) -> list[sa.ColumnElement[Any]]:
        return [table.c[name] for name in self.layout.key_names]
