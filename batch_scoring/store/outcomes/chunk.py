"""Committing a chunk: fence, close what is superseded, write, count, in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from batch_scoring.counting import counted, were
from batch_scoring.domain.column_types import InputColumn
from batch_scoring.domain.runs import ChunkCounts
from batch_scoring.errors import WrittenCountDiffers
from batch_scoring.store.bulk.contract import Bulk, Prepared, Values, take
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import FOREVER
from batch_scoring.store.runs.records import fence
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.source.rows import SourceRows

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """New predictions of a chunk; columns of length n, ``positions`` say which of its rows they are for."""

    positions: Sequence[int]
    scores: Values | None
    """None where the model gives labels only."""
    labels: Values | None
    """None for a regression."""
    model_version: int
    unseen_category_count: int
    inputs: Mapping[str, Values] | None = None
    """What the model was given, by column, with its digest; None where it is not kept."""
    kept: Sequence[InputColumn] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Quarantined:
    """Rows of a chunk that could not be scored; columns of length n."""

    positions: Sequence[int]
    reason_codes: Sequence[str]
    column_names: Sequence[str | None]
    messages: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcomes:
    """What became of a chunk's rows, ready to be sent."""

    counts: ChunkCounts
    superseded: Mapping[str, Values]
    """Keys whose current prediction is to be closed."""
    reentered: Mapping[str, Values]
    """Keys whose open quarantine entry is to be closed."""
    begun: Collection[datetime]
    """When the lives began that are to be closed."""
    predictions: Prepared
    quarantined: Prepared
    model_version: int
    inputs: Prepared
    """None where they are not kept."""
    inputs_table: sa.Table | None


def prepare_outcomes(
    bulk: Bulk, layout: PredictionsLayout, rows: SourceRows, predictions: Predictions, quarantined: Quarantined
) -> Outcomes:
    """All of committing a chunk that needs no connection."""
    superseding = _standing(rows.current_since, predictions.positions)
    settled = (
        sorted([*predictions.positions, *quarantined.positions]) if quarantined.positions else predictions.positions
    )
    reentering = _standing(rows.quarantined_since, settled)
    begun = {rows.current_since[i] for i in superseding} | {rows.quarantined_since[i] for i in reentering}
    scored = _version(layout, rows, predictions.positions)
    if predictions.scores is not None:
        scored["score"] = predictions.scores
    if predictions.labels is not None:
        scored["prediction"] = predictions.labels
    set_aside: dict[str, Values] = {
        **_version(layout, rows, quarantined.positions),
        "reason_code": list(quarantined.reason_codes),
        "column_name": list(quarantined.column_names),
        "message": list(quarantined.messages),
        "attempts": [(rows.attempts[i] or 0) + 1 for i in quarantined.positions],
    }
    inputs_table = None if predictions.inputs is None else layout.inputs_table(predictions.kept)
    inputs: dict[str, Values] = _keys(layout, rows, predictions.positions)
    inputs |= {name: values for name, values in (predictions.inputs or {}).items() if name not in inputs}
    return Outcomes(
        counts=ChunkCounts(
            scored=len(predictions.positions),
            superseded=len(superseding),
            quarantined=len(quarantined.positions),
            unseen_category=predictions.unseen_category_count,
        ),
        superseded=_keys(layout, rows, superseding),
        reentered=_keys(layout, rows, reentering),
        begun=[since for since in begun if since is not None],
        predictions=bulk.prepare(layout.predictions_table, scored) if predictions.positions else None,
        quarantined=bulk.prepare(layout.quarantine_table, set_aside) if quarantined.positions else None,
        model_version=predictions.model_version,
        inputs=None if inputs_table is None or not predictions.positions else bulk.prepare(inputs_table, inputs),
        inputs_table=inputs_table,
    )


def commit_chunk(
    database: Database, bulk: Bulk, layout: PredictionsLayout, run_id: int, outcomes: Outcomes
) -> ChunkCounts:
    """Write the outcomes of a chunk's rows in one transaction, or nothing.

    Raises Fenced where the run lost its job, WrittenCountDiffers where the database wrote another number of rows than
    it was sent, and DatabaseFault.
    """
    counts = outcomes.counts
    table, quarantine = layout.predictions_table, layout.quarantine_table
    with database.write() as connection:
        moment = fence(connection, run_id, counts)
        # a clock that was set back must not make a life that ends before it began
        moment = max([moment, *(since + _TICK for since in outcomes.begun)])
        for outcome, keys in ((table, outcomes.superseded), (quarantine, outcomes.reentered)):
            closing = len(next(iter(keys.values())))
            if closing:
                _expect(bulk.close_current(connection, outcome, keys, moment), closing, outcome, "closed")
        constants = {"run_id": run_id, "valid_from": moment, "valid_to": FOREVER}
        if counts.scored:
            stamped = {**constants, "model_version": outcomes.model_version}
            written = bulk.insert(connection, table, outcomes.predictions, stamped)
            _expect(written, counts.scored, table, "written")
        if outcomes.inputs_table is not None and counts.scored:
            beside = {"run_id": run_id, "valid_from": moment}
            written = bulk.insert(connection, outcomes.inputs_table, outcomes.inputs, beside)
            _expect(written, counts.scored, outcomes.inputs_table, "written")
        if counts.quarantined:
            written = bulk.insert(connection, quarantine, outcomes.quarantined, constants)
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
            f"{counted(expected, 'row')} {were(expected)} sent to {table.fullname} and {actual:,} {verb};"
            " the chunk was rolled back. Look for a trigger or rule on the table, or a writer beside batch-scoring"
        )
