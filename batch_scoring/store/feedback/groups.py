"""Count predictions and outcomes by groups of rows, whose columns are in the source or in another table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.fairness import UNKNOWN, Fairness
from batch_scoring.domain.job import Job
from batch_scoring.domain.names import TableName
from batch_scoring.errors import ConfigurationError, Problem
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.names import NamedTable, exactly
from batch_scoring.store.engine.reflection import located
from batch_scoring.store.feedback.outcomes import JoinedOutcomes, columns_of, month_of
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.source.table import fault_of

_MOST_GROUPS = 50
"""With more values, a column is none of groups."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Predicted:
    """How many rows of a group have a label as prediction."""

    month: int
    group: str
    prediction: str | None
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """How many rows of a group with a label as prediction had an outcome."""

    month: int
    group: str
    prediction: str | None
    outcome: Any
    """As the driver returns it."""
    run_id: int
    count: int
    score_sum: float


class Groups:
    """The groups of a job in a transaction."""

    def __init__(self, connection: sa.Connection, job: Job, fairness: Fairness, layout: PredictionsLayout) -> None:
        self._connection = connection
        self._layout = layout
        self._key = _key(job, fairness)
        self._table = _table(connection, job, fairness)

    def predicted(self, column: str) -> list[Predicted]:
        """The predictions of each month by group: of each key the latest one that was made in it."""
        predictions = self._layout.all_predictions.c
        keys = [predictions[name] for name in self._layout.key_names]
        month = month_of(predictions.valid_from)
        place = sa.func.row_number().over(partition_by=[*keys, month], order_by=predictions.valid_from.desc())
        made = sa.select(*keys, month.label("month"), predictions.prediction, place.label("place")).subquery()
        grouped = made.c.month, self._table.c[column], made.c.prediction
        query = (
            sa.select(*grouped, sa.func.count())
            .select_from(self._joined(made))
            .where(made.c.place == 1)
            .group_by(*grouped)
        )
        return [
            Predicted(month=int(at), group=_name(group), prediction=prediction, count=count)
            for at, group, prediction, count in self._connection.execute(query)
        ]

    def observed(self, column: str, outcomes: JoinedOutcomes) -> list[Observed]:
        """The latest outcome of each prediction by group, and by the month of the decision."""
        latest = outcomes.latest()
        own = latest.c
        grouped = own.month, self._table.c[column], own.prediction, own.outcome, own.run_id
        query = (
            sa.select(*grouped, sa.func.count(), sa.func.sum(own.score))
            .select_from(self._joined(latest))
            .group_by(*grouped)
        )
        return [
            Observed(
                month=int(month),
                group=_name(group),
                prediction=prediction,
                outcome=outcome,
                run_id=run_id,
                count=count,
                score_sum=float(score_sum or 0.0),
            )
            for month, group, prediction, outcome, run_id, count, score_sum in self._connection.execute(query)
        ]

    def repeated_keys(self) -> int:
        """The number of keys that the table of groups has more than once."""
        keys = [self._table.c[name] for name in self._key]
        repeated = sa.select(*keys).group_by(*keys).having(sa.func.count() > 1).subquery()
        return int(self._connection.execute(sa.select(sa.func.count()).select_from(repeated)).scalar_one())

    def group_count(self, column: str) -> int:
        """The number of groups, at most one more than a column may have."""
        values = sa.select(self._table.c[column]).distinct().limit(_MOST_GROUPS + 1).subquery()
        return int(self._connection.execute(sa.select(sa.func.count()).select_from(values)).scalar_one())

    def of_predictions(self) -> sa.Join:
        """All predictions with the groups of their rows."""
        return self._joined(self._layout.all_predictions)

    def _joined(self, rows: sa.FromClause) -> sa.Join:
        same = [self._table.c[own] == rows.c[name] for own, name in zip(self._key, self._layout.key_names, strict=True)]
        return rows.outerjoin(self._table, sa.and_(*same))


def check(database: Database, job: Job, fairness: Fairness, layout: PredictionsLayout) -> None:
    """Raise ConfigurationError where the columns are none of groups or cannot be joined, and DatabaseFault."""
    place = fairness.table or job.source.table
    if len(_key(job, fairness)) != len(job.source.key):
        raise _problem(job, "key", f"expected the columns with the key of the source ({', '.join(job.source.key)})")
    with database.read() as connection:
        rows = _named(connection, job, fairness, ())
    if exc := fault_of(database, rows):
        raise _problem(job, "table", f"cannot be read: {exc}") from exc
    with database.read() as connection:
        found = columns_of(connection, rows)
    if missing := [name for name in (*_key(job, fairness), *fairness.columns) if name not in found]:
        raise _problem(job, "columns", f"{place} has no column {', '.join(missing)}; it has {', '.join(found)}")
    with database.read() as connection:
        groups = Groups(connection, job, fairness, layout)
        _check_values(job, fairness, groups, place)
    if exc := fault_of(database, groups.of_predictions()):
        raise _problem(job, "key", f"of {place} cannot be compared with that of {layout.table}: {exc}") from exc


def _check_values(job: Job, fairness: Fairness, groups: Groups, place: str) -> None:
    if repeated := groups.repeated_keys():
        message = f"{place} has {repeated:,} keys more than once; give a view with one row for each key"
        raise _problem(job, "table", message)
    if many := [name for name in fairness.columns if groups.group_count(name) > _MOST_GROUPS]:
        message = f"{', '.join(many)}: more than {_MOST_GROUPS} values; give a view with a column of groups"
        raise _problem(job, "columns", message)


def _problem(job: Job, key: str, message: str) -> ConfigurationError:
    return ConfigurationError([Problem(where=f"job {job.name}", key=f"fairness.{key}", message=message)])


def _key(job: Job, fairness: Fairness) -> Sequence[str]:
    return fairness.key or job.source.key


def _table(connection: sa.Connection, job: Job, fairness: Fairness) -> sa.FromClause:
    names = dict.fromkeys((*_key(job, fairness), *fairness.columns))
    return _named(connection, job, fairness, list(names))


def _named(connection: sa.Connection, job: Job, fairness: Fairness, names: Sequence[str]) -> sa.FromClause:
    table = located(connection, TableName.parse(fairness.table or job.source.table))
    columns: list[sa.ColumnClause[Any]] = [sa.column(exactly(name)) for name in names]
    return NamedTable(exactly(table.name), *columns, schema=exactly(table.schema)).alias("groups")


def _name(value: Any) -> str:
    return UNKNOWN if value is None else str(value)
