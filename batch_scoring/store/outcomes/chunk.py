"""Commit a chunk: a list of writes in one transaction, after the fence and with row counts verified."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from batch_scoring.counting import counted, were
from batch_scoring.domain.column_types import InputColumn
from batch_scoring.domain.columns import Column
from batch_scoring.domain.runs import ChunkCounts
from batch_scoring.errors import WrittenCountDiffers
from batch_scoring.store.bulk.contract import Bulk, PreparedRows, Scalar, take
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import FOREVER
from batch_scoring.store.runs.records import fence
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.source.rows import SourceRows

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """New predictions of a chunk; columns of length n, ``positions`` are the rows of the chunk that they belong to."""

    positions: Sequence[int]
    scores: Column | None
    """None where the model returns labels only."""
    labels: Column | None
    """None for a regression."""
    model_version: int
    unseen_category_count: int
    inputs: Mapping[str, Column] | None = None
    """The model's inputs by column, with their digest; None if they are not stored."""
    stored_inputs: Sequence[InputColumn] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Quarantined:
    """Rows of a chunk that could not be scored; columns of length n."""

    positions: Sequence[int]
    reason_codes: Sequence[str]
    column_names: Sequence[str | None]
    messages: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Close:
    """Rows of a table whose validity period ends with the chunk."""

    table: sa.Table
    keys: Mapping[str, Column]
    """Their keys, in order; columns of length n."""

    @property
    def count(self) -> int:
        """n: the number of rows that the database must report."""
        return len(next(iter(self.keys.values())))


@dataclass(frozen=True, kw_only=True, slots=True)
class Insert:
    """Rows that a chunk adds to a table."""

    table: sa.Table
    rows: PreparedRows
    constants: Mapping[str, Scalar] = field(default_factory=dict)
    """Columns that hold the same value in every row. ``run_id``, ``valid_from`` and, where the table has it,
    ``valid_to`` are added when the rows are written."""

    @property
    def count(self) -> int:
        """The number of rows that the database must report."""
        return len(self.rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkWrites:
    """The writes of a chunk, in one transaction and in this order: closes, then inserts."""

    counts: ChunkCounts
    closes: Sequence[Close]
    inserts: Sequence[Insert]
    closed_since: Collection[datetime]
    """``valid_from`` of the rows that are closed."""


def prepare_writes(
    bulk: Bulk, layout: PredictionsLayout, rows: SourceRows, predictions: Predictions, quarantined: Quarantined
) -> ChunkWrites:
    """Prepare the writes of a chunk, without a connection."""
    superseding = _present(rows.current_since, predictions.positions)
    settled = (
        sorted([*predictions.positions, *quarantined.positions]) if quarantined.positions else predictions.positions
    )
    leaving = _present(rows.quarantined_since, settled)
    since = {rows.current_since[i] for i in superseding} | {rows.quarantined_since[i] for i in leaving}
    closes = [
        Close(table=table, keys=_keys(layout, rows, positions))
        for table, positions in ((layout.predictions_table, superseding), (layout.quarantine_table, leaving))
        if positions
    ]
    return ChunkWrites(
        counts=ChunkCounts(
            scored=len(predictions.positions),
            superseded=len(superseding),
            quarantined=len(quarantined.positions),
            unseen_category=predictions.unseen_category_count,
        ),
        closes=closes,
        inserts=list(_inserts(bulk, layout, rows, predictions, quarantined)),
        closed_since=[start for start in since if start is not None],
    )


def _inserts(
    bulk: Bulk, layout: PredictionsLayout, rows: SourceRows, predictions: Predictions, quarantined: Quarantined
) -> Iterator[Insert]:
    if predictions.positions:
        table = layout.predictions_table
        scored = _version(layout, rows, predictions.positions)
        if predictions.scores is not None:
            scored["score"] = predictions.scores
        if predictions.labels is not None:
            scored["prediction"] = predictions.labels
        constants = {"model_version": predictions.model_version}
        yield Insert(table=table, rows=bulk.prepare(table, scored), constants=constants)
    if predictions.positions and predictions.inputs is not None:
        table = layout.inputs_table(predictions.stored_inputs)
        inputs = _keys(layout, rows, predictions.positions)
        inputs |= {name: values for name, values in predictions.inputs.items() if name not in inputs}
        yield Insert(table=table, rows=bulk.prepare(table, inputs))
    if quarantined.positions:
        table = layout.quarantine_table
        entries: dict[str, Column] = {
            **_version(layout, rows, quarantined.positions),
            "reason_code": list(quarantined.reason_codes),
            "column_name": list(quarantined.column_names),
            "message": list(quarantined.messages),
            "attempts": [(rows.attempts[i] or 0) + 1 for i in quarantined.positions],
        }
        yield Insert(table=table, rows=bulk.prepare(table, entries))


def commit_chunk(database: Database, bulk: Bulk, run_id: int, writes: ChunkWrites) -> ChunkCounts:
    """Write a chunk in one transaction, or nothing: the fence first, the comparison of counts last.

    Raises Fenced where the run lost its job, WrittenCountDiffers where the database wrote another number of rows than
    it was sent, and DatabaseFault.
    """
    with database.write() as connection:
        time = fence(connection, run_id, writes.counts)
        # if the clock was set back, a validity period must still not end before its start
        time = max([time, *(start + _TICK for start in writes.closed_since)])
        stamps: dict[str, Scalar] = {"run_id": run_id, "valid_from": time, "valid_to": FOREVER}
        closed = [bulk.close_current(connection, close.table, close.keys, time) for close in writes.closes]
        try:
            written = [_insert(connection, insert, stamps) for insert in writes.inserts]
        finally:  # a row that was not closed makes the insert fail, so it is reported as the cause
            for close, count in zip(writes.closes, closed, strict=True):
                _compare(count, close.count, close.table, "closed")
        for insert, count in zip(writes.inserts, written, strict=True):
            _compare(count, insert.count, insert.table, "written")
    return writes.counts


def _insert(connection: sa.Connection, insert: Insert, stamps: Mapping[str, Scalar]) -> int:
    own = {name: value for name, value in stamps.items() if name in insert.table.c}
    return insert.rows.insert(connection, {**own, **insert.constants})


def _present(since: Sequence[datetime | None], positions: Sequence[int]) -> list[int]:
    """The positions of rows with an outcome of an older version."""
    if since.count(None) == len(since):
        return []
    return [position for position in positions if since[position] is not None]


def _version(layout: PredictionsLayout, rows: SourceRows, positions: Sequence[int]) -> dict[str, Column]:
    """The key and the version of the source row, as they were read."""
    columns = _keys(layout, rows, positions)
    if rows.changed_at is not None:
        columns["source_changed_at"] = _some(rows.changed_at, positions)
    return columns


def _keys(layout: PredictionsLayout, rows: SourceRows, positions: Sequence[int]) -> dict[str, Column]:
    return {name: _some(values, positions) for name, values in zip(layout.key_names, rows.keys, strict=True)}


def _some(values: Column, positions: Sequence[int]) -> Column:
    return values if len(positions) == len(values) else take(values, positions)


def _compare(actual: int, expected: int, table: sa.Table, verb: str) -> None:
    if actual != expected:
        raise WrittenCountDiffers(
            f"{counted(expected, 'row')} {were(expected)} sent to {table.fullname} and {actual:,} {verb};"
            " the chunk was rolled back. Check the table for a trigger or rule, or another writer",
            table=table.fullname,
            sent=expected,
            written=actual,
        )
