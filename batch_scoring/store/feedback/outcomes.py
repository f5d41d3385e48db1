"""Read outcomes and join each to the prediction that was current at the time of its decision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import sqlalchemy as sa

from batch_scoring.domain.job import Job
from batch_scoring.domain.names import TableName
from batch_scoring.domain.outcomes import Outcomes
from batch_scoring.errors import ConfigurationError, Problem
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.names import NamedTable, exactly
from batch_scoring.store.engine.reflection import located
from batch_scoring.store.engine.sql_types import as_timestamp
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.schema.tables import scoring_runs
from batch_scoring.store.source.table import fault_of
from batch_scoring.store.source.where_clause import broken_structure

_AT_ONCE = 10_000
"""Rows that are read at once."""


class Pair(NamedTuple):
    """A row of the outcomes that has a prediction. A tuple, since there are hundreds of thousands."""

    outcome: Any
    """As the driver returns it; None while it is not known."""
    score: float | None
    prediction: str | None
    run_id: int
    """The run that wrote the prediction."""
    month: int
    """Of the decision, see ``first_day``."""
    exploration: Any
    """The flag as the driver returns it, see ``is_true``."""
    place: int
    """Among the rows of the prediction, from 1: the latest outcome first, and rows without an outcome last."""
    later: Any
    """The outcome of the row before in this order; None if there is none."""

    @property
    def is_latest(self) -> bool:
        """Whether no later outcome of the prediction is known: true of one row of each prediction."""
        return self.place == 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Predicted:
    """How many predictions a run made."""

    month: int
    """In which they were made."""
    run_id: int
    prediction: str | None
    count: int


class Decided(NamedTuple):
    """Decisions that are alike."""

    month: int
    run_id: int
    """The run that wrote the predictions."""
    prediction: str
    decision: Any
    reason: Any
    decided_by: Any
    """As the driver returns them."""
    decision_count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RowCounts:
    """Rows of the outcomes."""

    read: int
    without_outcome: int
    without_time: int
    """Those of the others that have no time."""

    @property
    def dated(self) -> int:
        """Rows with an outcome and a time."""
        return self.read - self.without_outcome - self.without_time


def first_day(month: int) -> date:
    """The first day of a month, given as twelve times the year plus the number of the month from 0."""
    return date(month // 12, month % 12 + 1, 1)


class JoinedOutcomes:
    """The outcomes of a job in a transaction, joined to its predictions.

    Without ``decided_at``, the decision on a row was made when its prediction was, and the prediction that was current
    when the outcome was observed counts.
    """

    def __init__(self, connection: sa.Connection, job: Job, outcomes: Outcomes, layout: PredictionsLayout) -> None:
        self._connection = connection
        self._outcomes = outcomes
        self._key = outcomes.key or job.source.key
        self._layout = layout
        self._rows = _relation(connection, outcomes, _wanted(job, outcomes))
        self._predictions = layout.all_predictions

    def counts(self) -> RowCounts:
        """Count the rows."""
        columns = self._rows.c
        outcome, time = columns[self._outcomes.outcome], as_timestamp(columns[self._time_name])
        dated = sa.func.count(sa.case((outcome.is_not(None), time)))
        query = sa.select(sa.func.count(), sa.func.count(outcome), dated).select_from(self._rows)
        read, known, with_time = self._connection.execute(query).one()
        return RowCounts(read=read, without_outcome=read - known, without_time=known - with_time)

    def pairs(self) -> Iterator[Pair]:
        """The rows that have a prediction, with an outcome or without, in no order."""
        predictions = self._predictions.c
        outcome = self._rows.c[self._outcomes.outcome]
        query = (
            sa.select(
                outcome,
                predictions.score,
                predictions.prediction,
                predictions.run_id,
                sa.cast(self._month, sa.Integer),
                self._is_exploration,
                self._place,
                sa.func.lag(outcome).over(**self._of_prediction),
            )
            .select_from(self.joined)
            .execution_options(yield_per=_AT_ONCE)
        )
        for row in self._connection.execute(query):
            yield Pair._make(row)

    def unknown_keys(self) -> int:
        """The number of dated outcomes whose key was never scored."""
        columns, names = self._rows.c, self._layout.key_names
        tables = self._layout.predictions_table, self._layout.superseded_table
        # joined, since history has no index that begins with the key
        scored = sa.union(*(sa.select(*(table.c[name] for name in names)) for table in tables)).subquery()
        same = [columns[own] == scored.c[name] for own, name in zip(self._key, names, strict=True)]
        known = columns[self._outcomes.outcome].is_not(None), as_timestamp(columns[self._time_name]).is_not(None)
        query = (
            sa.select(sa.func.count())
            .select_from(self._rows.outerjoin(scored, sa.and_(*same)))
            .where(*known, scored.c[names[0]].is_(None))
        )
        return int(self._connection.execute(query).scalar_one())

    def made(self) -> list[Predicted]:
        """How many predictions were made."""
        predictions = self._predictions.c
        grouped = month_of(predictions.valid_from), predictions.run_id, predictions.prediction
        query = sa.select(*grouped, sa.func.count()).group_by(*grouped)
        return [
            Predicted(month=int(month), run_id=run_id, prediction=prediction, count=count)
            for month, run_id, prediction, count in self._connection.execute(query)
        ]

    def decisions(self) -> list[Decided]:
        """What was decided in the end, of each prediction by its latest row; nothing where no column tells."""
        own, predictions = self._outcomes, self._predictions.c
        if own.decision is None:
            return []
        columns = {
            name: sa.null() if column is None else self._rows.c[column]
            for name, column in (
                ("decision", own.decision),
                ("reason", own.decision_reason),
                ("decided_by", own.decided_by),
            )
        }
        rows = (
            sa.select(
                sa.cast(self._month, sa.Integer).label("month"),
                predictions.run_id,
                predictions.prediction,
                *(column.label(name) for name, column in columns.items()),
                self._place.label("place"),
            )
            .select_from(self.joined)
            .subquery()
        )
        grouped = [rows.c[name] for name in ("month", "run_id", "prediction", *columns)]
        query = (
            sa.select(*grouped, sa.func.count())
            .where(rows.c.place == 1, rows.c.decision.is_not(None))
            .group_by(*grouped)
        )
        return [Decided._make(row) for row in self._connection.execute(query)]

    def latest(self) -> sa.Subquery:
        """The latest outcome of each prediction: its key, month, outcome, score and label."""
        columns, predictions = self._rows.c, self._predictions.c
        outcome = columns[self._outcomes.outcome]
        query = (
            sa.select(
                *(predictions[name] for name in self._layout.key_names),
                self._month.label("month"),
                outcome.label("outcome"),
                predictions.score,
                predictions.prediction,
                predictions.run_id,
                self._place.label("place"),
            )
            .select_from(self.joined)
            .where(outcome.is_not(None))
            .subquery()
        )
        return sa.select(query).where(query.c.place == 1).subquery("latest")

    # --- parts of statements

    @property
    def _of_prediction(self) -> Any:
        """The window of the outcomes of a prediction, the latest first."""
        columns, predictions = self._rows.c, self._predictions.c
        outcome, time = columns[self._outcomes.outcome], as_timestamp(columns[self._outcomes.observed_at])
        return {
            "partition_by": [predictions.valid_from, *(predictions[name] for name in self._layout.key_names)],
            "order_by": [sa.case((outcome.is_(None), 1), else_=0), time.desc().nulls_last(), outcome.desc()],
        }

    @property
    def _place(self) -> sa.ColumnElement[int]:
        """The place of an outcome among those of its prediction, the latest first."""
        return sa.func.row_number().over(**self._of_prediction)

    @property
    def _time_name(self) -> str:
        return self._outcomes.decided_at or self._outcomes.observed_at

    @property
    def _month(self) -> sa.ColumnElement[Any]:
        decided = self._outcomes.decided_at
        return month_of(self._predictions.c.valid_from if decided is None else self._rows.c[decided])

    @property
    def _is_exploration(self) -> sa.ColumnElement[Any]:
        name = self._outcomes.exploration
        return sa.null() if name is None else self._rows.c[name]

    @property
    def joined(self) -> sa.Join:
        """Each row with the prediction that was current at its time."""
        predictions, time = self._predictions.c, as_timestamp(self._rows.c[self._time_name])
        is_current = as_timestamp(predictions.valid_from) <= time, time < as_timestamp(predictions.valid_to)
        return self._rows.join(self._predictions, sa.and_(*self._same_key(), *is_current))

    def _same_key(self) -> list[sa.ColumnElement[bool]]:
        names = zip(self._key, self._layout.key_names, strict=True)
        return [self._rows.c[own] == self._predictions.c[name] for own, name in names]


def models_of_runs(connection: sa.Connection, run_ids: Sequence[int]) -> dict[int, tuple[str, int]]:
    """The name and version of the model that scored, by run."""
    run = scoring_runs.c
    found: dict[int, tuple[str, int]] = {}
    for start in range(0, len(run_ids), 500):
        query = sa.select(run.run_id, run.model_name, run.model_version).where(
            run.run_id.in_(run_ids[start : start + 500])
        )
        found |= {run_id: (name, version) for run_id, name, version in connection.execute(query)}
    return found


def check(database: Database, job: Job, outcomes: Outcomes, layout: PredictionsLayout) -> None:
    """Raise ConfigurationError where the outcomes cannot be read or not be joined to predictions, and DatabaseFault."""
    if len(outcomes.key or job.source.key) != len(job.source.key):
        message = f"expected the columns with the key of the source ({', '.join(job.source.key)}), in its order"
        raise problem_of(job, "key", message)
    name = "table" if outcomes.query is None else "query"
    if outcomes.query is not None and (
        problem := broken_structure(_plain(outcomes.query), database.dialect.conditions)
    ):
        raise problem_of(job, name, f"is not one SELECT: it {problem}")
    with database.read() as connection:
        rows = _relation(connection, outcomes, ())
    if exc := fault_of(database, rows):
        raise problem_of(job, name, f"cannot be read: {exc}") from exc
    with database.read() as connection:
        columns = columns_of(connection, rows)
    if missing := [column for column in _wanted(job, outcomes) if column not in columns]:
        raise problem_of(job, name, f"has no column {', '.join(missing)}; it has {', '.join(columns)}")
    with database.read() as connection:
        joined = JoinedOutcomes(connection, job, outcomes, layout).joined
    if exc := fault_of(database, joined):
        message = (
            f"cannot be joined to {layout.table}: {exc}. The key must have the types of the source's, and times must"
            " be timestamps or dates; cast them in a query"
        )
        raise problem_of(job, name, message) from exc


def problem_of(job: Job, key: str, message: str) -> ConfigurationError:
    """The error for a key of ``[outcomes]``."""
    return ConfigurationError([Problem(where=f"job {job.name}", key=f"outcomes.{key}", message=message)])


def is_true(flag: Any) -> bool:
    """A flag as databases store it."""
    return flag.strip().lower() in ("1", "t", "true", "y", "yes") if isinstance(flag, str) else bool(flag)


def month_of(time: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The month of a time, see ``first_day``."""
    return sa.extract("year", time) * 12 + sa.extract("month", time) - 1


def _wanted(job: Job, outcomes: Outcomes) -> list[str]:
    """The columns that are read."""
    of_row = (
        outcomes.outcome,
        outcomes.observed_at,
        outcomes.decided_at,
        outcomes.exploration,
        outcomes.decision,
        outcomes.decision_reason,
        outcomes.decided_by,
    )
    return list(dict.fromkeys(name for name in (*(outcomes.key or job.source.key), *of_row) if name is not None))


def columns_of(connection: sa.Connection, rows: sa.FromClause) -> list[str]:
    """The names of the columns of a table or query."""
    return list(connection.execute(sa.select(sa.text("*")).select_from(rows).limit(0)).keys())


def _relation(connection: sa.Connection, outcomes: Outcomes, names: Sequence[str]) -> sa.FromClause:
    columns: list[sa.ColumnClause[Any]] = [sa.column(exactly(name)) for name in names]
    if outcomes.query is not None:
        # a colon would begin a parameter; the query may end in a comment
        text = _plain(outcomes.query).replace(":", "\\:") + "\n"
        return sa.text(text).columns(*columns).subquery("outcomes")
    assert outcomes.table is not None
    table = located(connection, TableName.parse(outcomes.table))
    return NamedTable(exactly(table.name), *columns, schema=exactly(table.schema)).alias("outcomes")


def _plain(query: str) -> str:
    return query.strip().rstrip(";")
