"""Rows of a source that are chosen at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from batch_scoring.domain.column_types import Family
from batch_scoring.domain.columns import Column, as_list
from batch_scoring.domain.keys import Key
from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.source.table import SourceTable


@dataclass(frozen=True, kw_only=True, slots=True)
class RowSample:
    """n rows of a source."""

    keys: Sequence[Key]
    features: dict[str, Column]


def random_rows(
    connection: sa.Connection, bulk: Bulk, source: SourceTable, features: Sequence[str], count: int
) -> RowSample:
    """At most ``count`` rows of the job, each as likely as any other. Reads them all. Raises DatabaseFault."""
    rows = source.rows(features)
    key_length = len(source.key)
    query = (
        sa.select(
            *(source.columns[name].as_read(rows.c[name]).label(f"k{i}") for i, name in enumerate(source.key)),
            *(source.columns[name].as_read(rows.c[name]).label(f"f{i}") for i, name in enumerate(features)),
        )
        .order_by(sa.func.random())
        .limit(count)
    )
    families = [
        *(Family.INTEGER if source.columns[name].family is Family.INTEGER else Family.OTHER for name in source.key),
        *(source.columns[name].family for name in features),
    ]
    columns = bulk.fetch(connection, query, families)
    return RowSample(
        keys=list(zip(*map(as_list, columns[:key_length]), strict=True)),
        features=dict(zip(features, columns[key_length:], strict=True)),
    )
