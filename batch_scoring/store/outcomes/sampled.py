"""Some of the rows that the database has scored, to compare it with the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.column_types import Family
from batch_scoring.domain.columns import Column, as_list
from batch_scoring.domain.keys import KeyRange
from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.due.comparison import outcome_table
from batch_scoring.store.engine.sql_types import UtcTimestamp
from batch_scoring.store.outcomes.in_database import DatabaseScoring, ScoredRange
from batch_scoring.store.source.key_conditions import within


@dataclass(frozen=True, kw_only=True, slots=True)
class SampledRows:
    """Some of the rows that a transaction scored, as they are now: n rows."""

    features: Mapping[str, Column]
    scores: Sequence[float]
    """Computed again by the database from these features."""
    labels: Sequence[str | None]
    written: Sequence[tuple[float, str | None]]
    """Score and label of their predictions."""
    is_unchanged: Sequence[bool]
    """Whether the row is known to be as it was when it was scored."""


def sample(
    scoring: DatabaseScoring, connection: sa.Connection, bulk: Bulk, chunk: KeyRange, found: ScoredRange, rows: int
) -> SampledRows:
    """Some of the rows that a transaction scored, chosen at random. Raises DatabaseFault."""
    features = [wanted.name for wanted in scoring.program.program.inputs]
    source, layout = scoring.query.source, scoring.query.layout
    current = outcome_table(layout.table, layout).alias("written")
    source_rows = source.rows([*features])
    keys = source.keys_of(source_rows)
    own = [current.c[name] for name in layout.key_names]
    chance = min(1.0, 3 * rows / max(found.counts.scored, 1))
    of_range = [
        *within(own, chunk),
        current.c.run_id == scoring.run_id,
        current.c.valid_from == sa.literal(found.valid_from, UtcTimestamp()),
    ]
    syntax = source.dialect.expressions
    assert syntax is not None
    chosen = (
        sa.select(*own, current.c.score, current.c.prediction, current.c.source_changed_at)
        .where(*of_range, sa.literal_column(syntax.random, sa.Double) < chance)
        .limit(rows)
        .subquery("written")
    )
    is_same: sa.ColumnElement[bool] = sa.literal(value=False)
    if source.changed_at is not None:
        is_same = chosen.c.source_changed_at.is_not_distinct_from(source_rows.c[source.changed_at])
    carried = {
        "written score": chosen.c.score,
        "written label": chosen.c.prediction,
        "is same": sa.case((is_same, 1), else_=0),
        **{f"input {i}": source.columns[n].as_read(source_rows.c[n]) for i, n in enumerate(features)},
    }
    same_key = [key == chosen.c[name] for key, name in zip(keys, layout.key_names, strict=True)]
    joined = sa.select(*(value.label(label) for label, value in carried.items())).select_from(
        chosen.join(source_rows, sa.and_(*same_key))
    )
    values = {name: source_rows.c[name] for name in features}
    scored = scoring.program.over(joined, values, list(carried))
    return _sampled(connection, bulk, sa.select(*scored.c), scoring)


def _sampled(connection: sa.Connection, bulk: Bulk, query: sa.Select[Any], scoring: DatabaseScoring) -> SampledRows:
    source, names = scoring.query.source, [wanted.name for wanted in scoring.program.program.inputs]
    families = [source.columns[name].family for name in names]
    result = [Family.NUMBER, Family.TEXT]
    columns = bulk.fetch(connection, query, [*result, Family.INTEGER, *families, *result])
    scores, labels, is_same = (as_list(column) for column in columns[:3])
    *features, computed, computed_labels = columns[3:]
    return SampledRows(
        features=dict(zip(names, features, strict=True)),
        scores=as_list(computed),
        labels=as_list(computed_labels),
        written=list(zip(scores, labels, strict=True)),
        is_unchanged=[bool(same) for same in is_same],
    )
