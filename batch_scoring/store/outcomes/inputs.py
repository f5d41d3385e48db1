"""Read stored inputs of predictions, with their scores and labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.column_types import ColumnType, Family, InputColumn
from batch_scoring.domain.columns import Column, as_list
from batch_scoring.domain.keys import Key, KeyRange
from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.engine.columns import SourceColumn
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.reflection import has_table
from batch_scoring.store.outcomes.history import key_columns
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.source.key_conditions import within
from batch_scoring.store.source.selection import Selection

_PAGE = 20_000

_FAMILIES = {
    ColumnType.NUMBER: Family.NUMBER,
    ColumnType.INTEGER: Family.NUMBER,
    ColumnType.BOOLEAN: Family.BOOLEAN,
    ColumnType.TEXT: Family.TEXT,
    ColumnType.TIMESTAMP: Family.TIMESTAMP,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class InputsSelection:
    """Predictions of one run: all, a random sample, or that of one key with the given ``valid_from``."""

    run_id: int
    sample: int | None = None
    keys: tuple[Key, ...] | None = None
    valid_from: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredInputs:
    """n predictions with the inputs of the model."""

    keys: Sequence[Key]
    scores: Sequence[float]
    labels: Sequence[str | None]
    inputs: dict[str, Column]
    digests: Sequence[bytes]


def has_inputs(database: Database, layout: PredictionsLayout) -> bool:
    """Whether the table of stored inputs exists. Raises DatabaseFault."""
    with database.read() as connection:
        return has_table(connection, layout.inputs)


def pages(
    database: Database, bulk: Bulk, layout: PredictionsLayout, columns: Sequence[InputColumn], which: InputsSelection
) -> Iterator[StoredInputs]:
    """The stored inputs in pages of 20,000 rows, each read in a short transaction. Raises DatabaseFault."""
    after: Key | None = None
    while True:
        with database.read() as connection:
            page = _page(connection, bulk, layout, columns, which, after)
        if page.keys:
            yield page
        if which.sample is not None or len(page.keys) < _PAGE:
            return
        after = page.keys[-1]


def _page(
    connection: sa.Connection,
    bulk: Bulk,
    layout: PredictionsLayout,
    columns: Sequence[InputColumn],
    which: InputsSelection,
    after: Key | None,
) -> StoredInputs:
    predictions, inputs = layout.all_predictions, layout.inputs_table(columns)
    own = [predictions.c[name] for name in layout.key_names]
    same = [inputs.c[name] == predictions.c[name] for name in layout.key_names]
    keys = {column.name: column for column in key_columns(connection, layout)}
    conditions = [predictions.c.run_id == which.run_id, *Selection(keys=which.keys).of_keys(own)]
    if which.valid_from is not None:
        valid_from = predictions.c.valid_from
        conditions.append(valid_from == sa.literal(which.valid_from, valid_from.type))
    if after is not None:
        conditions += within(own, KeyRange(lower=after))
    query = (
        sa.select(
            *(keys[column.name].as_read(column).label(f"k{i}") for i, column in enumerate(own)),
            predictions.c.score.label("score"),
            predictions.c.prediction.label("prediction"),
            inputs.c.digest.label("digest"),
            *(_input(inputs.c[column.name], keys).label(f"i{i}") for i, column in enumerate(columns)),
        )
        .join_from(predictions, inputs, sa.and_(*same, inputs.c.valid_from == predictions.c.valid_from))
        .where(*conditions)
        .limit(_PAGE if which.sample is None else which.sample)
        .order_by(*(own if which.sample is None else [sa.func.random()]))
    )
    key_length = len(own)
    found = bulk.fetch(
        connection,
        query,
        [
            *(Family.INTEGER if keys[name].family is Family.INTEGER else Family.OTHER for name in layout.key_names),
            Family.NUMBER,
            Family.TEXT,
            Family.OTHER,
            *(keys[column.name].family if column.name in keys else _FAMILIES[column.type] for column in columns),
        ],
    )
    return StoredInputs(
        keys=list(zip(*map(as_list, found[:key_length]), strict=True)),
        scores=as_list(found[key_length]),
        labels=as_list(found[key_length + 1]),
        digests=[_bytes(value) for value in as_list(found[key_length + 2])],
        inputs={column.name: values for column, values in zip(columns, found[key_length + 3 :], strict=True)},
    )


def _input(column: sa.Column[Any], keys: Mapping[str, SourceColumn]) -> sa.ColumnElement[Any]:
    return keys[column.name].as_read(column) if column.name in keys else column


def _bytes(value: Any) -> bytes:
    """A digest as the driver returns it: bytes, or PostgreSQL's text form of bytes."""
    return bytes.fromhex(value.removeprefix("\\x")) if isinstance(value, str) else bytes(value)
