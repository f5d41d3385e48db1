"""Conditions that compare predictions and quarantine entries with the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.keys import KeyRange, Version
from batch_scoring.domain.names import TableName
from batch_scoring.store.engine.names import NamedTable, exactly
from batch_scoring.store.engine.sql_types import RAW, UtcTimestamp
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.source.key_conditions import within


def outcome_table(name: TableName, layout: PredictionsLayout) -> sa.TableClause:
    """A predictions or quarantine table for comparisons with the source; values from the source are not converted."""
    return NamedTable(
        exactly(name.name),
        *(sa.column(exactly(key), RAW) for key in layout.key_names),
        sa.column("run_id", sa.BigInteger),
        sa.column("model_version", sa.Integer),
        sa.column("score", sa.Double),
        sa.column("prediction", sa.Text),
        sa.column("source_changed_at", RAW),
        sa.column("attempts", sa.Integer),
        sa.column("valid_from", UtcTimestamp()),
        schema=exactly(name.schema),
    )


def holds_for(
    keys: Sequence[sa.ColumnElement[Any]], outcome: sa.FromClause, layout: PredictionsLayout, chunk: KeyRange
) -> list[sa.ColumnElement[bool]]:
    own = [outcome.c[name] for name in layout.key_names]
    return [
        *(key == other for key, other in zip(keys, own, strict=True)),
        *within(own, chunk),
    ]


def has_outcome(connection: sa.Connection, layout: PredictionsLayout, run_id: int, version: Version) -> bool:
    """Whether a run has scored or quarantined this version of a row."""
    for name in (layout.table, layout.quarantine):
        outcome = outcome_table(name, layout)
        mine = [
            outcome.c[column] == sa.literal(value, RAW)
            for column, value in zip(layout.key_names, version.key, strict=True)
        ]
        query = sa.select(outcome.c.run_id).where(
            *mine,
            outcome.c.run_id == run_id,
            outcome.c.source_changed_at.is_not_distinct_from(sa.literal(version.changed_at, RAW)),
        )
        if connection.execute(query.limit(1)).first() is not None:
            return True
    return False
