"""Committing a chunk: fence, close what is superseded, write, count, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from batch_scoring.errors import WrittenCountDiffers
from batch_scoring.store.bulk import Bulk, Values, take
from batch_scoring.store.database import FOREVER, Database
from batch_scoring.store.runs import ChunkCounts, fence
from batch_scoring.store.schema import PredictionsLayout
from batch_scoring.store.source import SourceRows

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """New predictions of a chunk; columns of length n, ``positions`` say which of its rows they are for."""

    positions: Sequence[int]
    scores: Values
    labels: Values | None
    """None for a regression."""
    model_version: int
    unseen_category_count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Quarantined:
    """Rows of a chunk that could not be scored; columns of length n."""

    positions: Sequence[int]
    reason_codes: Sequence[str]
    column_names: Sequence[str | None]
    messages: Sequence[str]


def commit_chunk(
    database: Database,
    bulk: Bulk,
    layout: PredictionsLayout,
    run_id: int,
    rows: SourceRows,
    predictions: Predictions,
    quarantined: Quarantined,
) -> ChunkCounts:
    """Write the outcomes of a chunk's rows in one transaction, or nothing.

    Raises Fenced where the run lost its job, WrittenCountDiffers where the database wrote another number of rows than
    it was sent, and DatabaseFault.
    """
    superseding = _standing(rows.current_since, predictions.positions)
    reentered = _standing(rows.quarantined_since, sorted([*predictions.positions, *quarantined.positions]))
    counts = ChunkCounts(
        scored=len(predictions.positions),
        superseded=len(superseding),
        quarantined=len(quarantined.positions),
        unseen_category=predictions.unseen_category_count,
    )
    table, quarantine = layout.predictions_table, layout.quarantine_table
    with database.write() as connection:
        moment = fence(connection, run_id, counts)
        # a clock that was set back must not make a life that ends before it began
        begun = {rows.current_since[i] for i in superseding} | {rows.quarantined_since[i] for i in reentered}
        moment = max([moment, *(since + _TICK for since in begun if since is not None)])
        for outcome, closing in ((table, superseding), (quarantine, reentered)):
            if closing:
                closed = bulk.close_current(connection, outcome, _keys(layout, rows, closing), moment)
                _expect(closed, len(closing), outcome, "closed")
        constants = {"run_id": run_id, "valid_from": moment, "valid_to": FOREVER}
        if predictions.positions:
            columns: dict[str, Values] = {
                **_version(layout, rows, predictions.positions),
                "score": predictions.scores,
            }
            if predictions.labels is not None:
                columns["prediction"] = predictions.labels
            written = bulk.insert(connection, table, columns, {**constants, "model_version": predictions.model_version})
            _expect(written, counts.scored, table, "written")
        if quarantined.positions:
            columns = {
                **_version(layout, rows, quarantined.positions),
                "reason_code": list(quarantined.reason_codes),
                "column_name": list(quarantined.column_names),
                "message": list(quarantined.messages),
                "attempts": [(rows.attempts[i] or 0) + 1 for i in quarantined.positions],
            }
            written = bulk.insert(connection, quarantine, columns, constants)
            _expect(written, counts.quarantined, quarantine, "written")
    return counts


def _standing(since: Sequence[datetime | None], positions: Sequence[int]) -> list[int]:
    """The positions at which an outcome of an older version stands."""
    if since.count(None) == len(since):
        return []
    return [position for position in positions if since[position] is not None]


def _version(layout: PredictionsLayout, rows: SourceRows, positions: Sequence[int]) -> dict[str, Values]:
    """The key and the version of the source row, as they were read."""
    columns = _keys(layout, rows, positions)
    if rows.changed_at is not None:
        columns["source_changed_at"] = _some(rows.changed_at, positions)
    return columns


def _keys(layout: PredictionsLayout, rows: SourceRows, positions: Sequence[int]) -> dict[str, Values]:
    return {name: _some(values, positions) for name, values in zip(layout.key_names, rows.keys, strict=True)}


def _some(values: Values, positions: Sequence[int]) -> Values:
    return values if len(positions) == len(values) else take(values, positions)


def _expect(actual: int, expected: int, table: sa.Table, verb: str) -> None:
    if actual != expected:
        raise WrittenCountDiffers(
            f"{expected} rows were sent to {table.fullname} and {actual} {verb};"
            " the chunk was rolled back. Look for a trigger or rule on the table, or a writer beside batch-scoring"
        )


def count_current(connection: sa.Connection, layout: PredictionsLayout) -> Mapping[str, int]:
    """Current predictions and open quarantine entries of a job."""
    counts = {}
    for name, table in (("current", layout.predictions_table), ("quarantined", layout.quarantine_table)):
        current = table.c.valid_to == sa.literal(FOREVER, table.c.valid_to.type)
        counts[name] = connection.execute(sa.select(sa.func.count()).select_from(table).where(current)).scalar_one()
    return counts
