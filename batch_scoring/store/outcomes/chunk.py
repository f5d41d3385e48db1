"""Commit a chunk: a list of writes in one transaction, after the fence and with row counts verified."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter
from typing import Literal

import sqlalchemy as sa

from batch_scoring.counting import counted, were
from batch_scoring.domain.column_types import InputColumn
from batch_scoring.domain.columns import Column
from batch_scoring.domain.profile import Profile
from batch_scoring.domain.runs import ChunkCounts, StageSeconds
from batch_scoring.errors import WrittenCountDiffers
from batch_scoring.store.bulk.contract import Bulk, PreparedRows, Scalar, take
from batch_scoring.store.engine.clock import after
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs.profiles import record_profile
from batch_scoring.store.runs.records import fence, record_chunk
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.source.rows import SourceRows


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
class Challenged:
    """What a challenger gave for rows of a chunk that have a prediction; columns of length n."""

    model_version: int
    positions: Sequence[int]
    scores: Column | None
    labels: Column | None
    """As those of predictions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """Rows whose validity period ends with the chunk, and that no new row replaces."""

    current: sa.Table
    past: sa.Table
    keys: Mapping[str, Column]
    """Their keys, in order; columns of length n."""

    @property
    def count(self) -> int:
        """n: the number of rows that the database must report."""
        return len(next(iter(self.keys.values())))


@dataclass(frozen=True, kw_only=True, slots=True)
class Write:
    """Rows that a chunk inserts into a table, or updates."""

    table: sa.Table
    rows: PreparedRows
    verb: Literal["written", "superseded"]
    """What happens to them, for messages."""
    constants: Mapping[str, Scalar] = field(default_factory=dict)
    """Columns that hold the same value in every row. ``run_id`` and ``valid_from`` are added when they are written."""

    @property
    def count(self) -> int:
        """The number of rows that the database must report."""
        return len(self.rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkWrites:
    """The writes of a chunk, in one transaction and in this order: moves, then writes.

    The database appends the old form of each updated row to history by itself.
    """

    counts: ChunkCounts
    moves: Sequence[Move]
    writes: Sequence[Write]
    ended: Collection[datetime]
    """``valid_from`` of the rows whose validity period ends."""


def prepare_writes(
    bulk: Bulk,
    layout: PredictionsLayout,
    rows: SourceRows,
    predictions: Predictions,
    quarantined: Quarantined,
    challenged: Sequence[Challenged] = (),
) -> ChunkWrites:
    """Prepare the writes of a chunk, without a connection."""
    superseding = _present(rows.current_since, predictions.positions)
    leaving = _present(rows.quarantined_since, predictions.positions)
    again = _present(rows.quarantined_since, quarantined.positions)
    ended = {rows.current_since[i] for i in superseding} | {rows.quarantined_since[i] for i in (*leaving, *again)}
    moves = []
    if leaving:
        keys = _keys(layout, rows, leaving)
        moves.append(Move(current=layout.quarantine_table, past=layout.quarantine_closed_table, keys=keys))
    return ChunkWrites(
        counts=ChunkCounts(
            scored=len(predictions.positions),
            superseded=len(superseding),
            quarantined=len(quarantined.positions),
            unseen_category=predictions.unseen_category_count,
        ),
        moves=moves,
        writes=[
            *_writes_of_predictions(bulk, layout, rows, predictions),
            *_writes_of_entries(bulk, layout, rows, quarantined),
            *_writes_of_challengers(bulk, layout, rows, challenged),
        ],
        ended=[start for start in ended if start is not None],
    )


def _writes_of_predictions(
    bulk: Bulk, layout: PredictionsLayout, rows: SourceRows, predictions: Predictions
) -> Iterator[Write]:
    if not predictions.positions:
        return
    scored = _version(layout, rows, predictions.positions)
    if predictions.scores is not None:
        scored["score"] = predictions.scores
    if predictions.labels is not None:
        scored["prediction"] = predictions.labels
    since = [rows.current_since[position] for position in predictions.positions]
    yield from _writes(
        bulk, layout.predictions_table, scored, since, constants={"model_version": predictions.model_version}
    )
    if predictions.inputs is not None:
        table = layout.inputs_table(predictions.stored_inputs)
        inputs = _keys(layout, rows, predictions.positions)
        inputs |= {name: values for name, values in predictions.inputs.items() if name not in inputs}
        yield Write(table=table, rows=bulk.prepare_insert(table, inputs), verb="written")


def _writes_of_entries(
    bulk: Bulk, layout: PredictionsLayout, rows: SourceRows, quarantined: Quarantined
) -> Iterator[Write]:
    if not quarantined.positions:
        return
    entries: dict[str, Column] = {
        **_version(layout, rows, quarantined.positions),
        "reason_code": list(quarantined.reason_codes),
        "column_name": list(quarantined.column_names),
        "message": list(quarantined.messages),
        "attempts": [(rows.attempts[i] or 0) + 1 for i in quarantined.positions],
    }
    since = [rows.quarantined_since[position] for position in quarantined.positions]
    yield from _writes(bulk, layout.quarantine_table, entries, since, constants={})


def _writes_of_challengers(
    bulk: Bulk, layout: PredictionsLayout, rows: SourceRows, challenged: Sequence[Challenged]
) -> Iterator[Write]:
    for one in challenged:
        if not one.positions:
            continue
        columns = _keys(layout, rows, one.positions)
        if one.scores is not None:
            columns["score"] = one.scores
        if one.labels is not None:
            columns["prediction"] = one.labels
        table = layout.challengers_table
        prepared = bulk.prepare_insert(table, columns)
        yield Write(table=table, rows=prepared, verb="written", constants={"model_version": one.model_version})


def _writes(
    bulk: Bulk,
    table: sa.Table,
    columns: Mapping[str, Column],
    since: Sequence[datetime | None],
    *,
    constants: Mapping[str, Scalar],
) -> Iterator[Write]:
    """An INSERT of the rows that are new, and an UPDATE of those that supersede one."""
    new = [position for position, start in enumerate(since) if start is None]
    old = [position for position, start in enumerate(since) if start is not None]
    if new:
        rows = bulk.prepare_insert(table, _at(columns, new, len(since)))
        yield Write(table=table, rows=rows, verb="written", constants=constants)
    if old:
        last = max(start for start in since if start is not None)
        rows = bulk.prepare_update(table, _at(columns, old, len(since)), unchanged_since=last)
        yield Write(table=table, rows=rows, verb="superseded", constants=constants)


def _at(columns: Mapping[str, Column], positions: Sequence[int], count: int) -> Mapping[str, Column]:
    if len(positions) == count:
        return columns
    return {name: take(values, positions) for name, values in columns.items()}


def commit_chunk(
    database: Database,
    bulk: Bulk,
    run_id: int,
    writes: ChunkWrites,
    *,
    read_seconds: float = 0.0,
    score_seconds: float = 0.0,
    profile: Profile | None = None,
) -> ChunkCounts:
    """Write a chunk in one transaction, or nothing: the fence first, the record of the chunk last.

    The number of rows that each statement wrote is compared with the number sent. The seconds that it took to read and
    to score the chunk are recorded with it, and its profile. Raises Fenced where the run lost its job,
    WrittenCountDiffers where the database wrote another number of rows than it was sent, and DatabaseFault.
    """
    with database.write() as connection:
        started = perf_counter()
        time = after(fence(connection, run_id), writes.ended)
        stamps: dict[str, Scalar] = {"run_id": run_id, "valid_from": time}
        for move in writes.moves:
            moved = bulk.move(connection, move.current, move.past, move.keys, {"valid_to": time})
            _compare(moved, move.count, move.current, "closed")
        for write in writes.writes:
            written = write.rows.write(connection, {**stamps, **write.constants})
            _compare(written, write.count, write.table, write.verb)
        seconds = StageSeconds(read=read_seconds, score=score_seconds, write=perf_counter() - started)
        if profile is not None:
            record_profile(connection, run_id, profile)
        record_chunk(connection, run_id, writes.counts, seconds, time)
    return writes.counts


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
