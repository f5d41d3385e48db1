"""Predictions compared with what a challenger gave for the same rows, as both are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.keys import Key
from batch_scoring.store.outcomes.history import key_columns
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.schema.tables import scoring_runs


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPair:
    """A prediction, and what the challenger gave for its row."""

    key: Key
    score: float
    challenger_score: float
    label: str | None
    challenger_label: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """n predictions of a version, current and superseded, compared with what a challenger gave."""

    count: int
    flips: Sequence[tuple[str, str, int]]
    """Label of the prediction, label of the challenger and number of rows; only labels that differ."""
    correlation: float | None
    mean_absolute_difference: float | None
    largest: Sequence[StoredPair]
    """In decreasing order of the difference."""


def agreement_of(
    connection: sa.Connection, layout: PredictionsLayout, *, model: str, version: int, challenger: int, largest: int
) -> Agreement:
    """Compare the predictions of a version with those of a challenger. Raises DatabaseFault."""
    predictions, challengers = layout.all_predictions, layout.challengers_table
    same = [predictions.c[name] == challengers.c[name] for name in layout.key_names]
    joined = predictions.join(challengers, sa.and_(predictions.c.valid_from == challengers.c.valid_from, *same)).join(
        scoring_runs, scoring_runs.c.run_id == predictions.c.run_id
    )
    is_pair = (
        scoring_runs.c.model_name == model,
        predictions.c.model_version == version,
        challengers.c.model_version == challenger,
    )
    one, two = predictions.c.score, challengers.c.score
    labels = predictions.c.prediction, challengers.c.prediction

    def select(*columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
        return sa.select(*columns).select_from(joined).where(*is_pair)

    difference = sa.func.abs(one - two)
    middle = connection.execute(
        select(sa.func.count(), sa.func.avg(one), sa.func.avg(two), sa.func.avg(difference))
    ).one()
    count, mean, other_mean, mean_difference = middle
    correlation = None
    if count > 1 and mean is not None and other_mean is not None:
        # about the means, so that nothing is lost where scores are large and vary little
        a, b = one - sa.literal(float(mean), sa.Double), two - sa.literal(float(other_mean), sa.Double)
        products, squares, other_squares = connection.execute(
            select(sa.func.sum(a * b), sa.func.sum(a * a), sa.func.sum(b * b))
        ).one()
        if squares and other_squares:
            correlation = products / sqrt(squares * other_squares)
    flips = connection.execute(
        select(*labels, sa.func.count())
        .where(labels[0] != labels[1])
        .group_by(*labels)
        .order_by(sa.func.count().desc())
    ).all()
    keys = {column.name: column for column in key_columns(connection, layout)}
    own = [keys[name].as_read(predictions.c[name]).label(f"k{i}") for i, name in enumerate(layout.key_names)]
    rows = connection.execute(
        select(*own, one, two, *labels).where(difference.is_not(None)).order_by(difference.desc()).limit(largest)
    ).all()
    return Agreement(
        count=count,
        flips=[(label, other, rows_of) for label, other, rows_of in flips],
        correlation=correlation,
        mean_absolute_difference=mean_difference,
        largest=[
            StoredPair(
                key=tuple(row[:-4]), score=row[-4], challenger_score=row[-3], label=row[-2], challenger_label=row[-1]
            )
            for row in rows
        ],
    )
