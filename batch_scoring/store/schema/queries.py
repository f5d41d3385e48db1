"""Example queries for BI: templates under ``sql/queries``, filled in for a job.

They depend on the job file alone, so they can be printed before the tables exist and without a database.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from string import Template

from batch_scoring.domain.job import Job
from batch_scoring.domain.keys import TextKey
from batch_scoring.domain.names import TableName
from batch_scoring.resources import resource
from batch_scoring.store.engine.dialects.dialect import Dialect
from batch_scoring.store.engine.names import literal
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.schema.views import EXPRESSIONS, FUNCTIONS, PER_JOB, same_key, source_keys, view_name


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A query of the collection, filled in for a job."""

    name: str
    title: str
    """What it answers."""
    sql: str
    """One SELECT, without a semicolon."""
    reads_source: bool
    """It reads the source itself, which ``bi_reader`` may not."""

    @property
    def text(self) -> str:
        """The query as the content of a file."""
        return f"-- {self.title}\n{self.sql};\n"


def _has_positive(job: Job) -> bool:
    return job.predictions.positive_label is not None


def _is_regression(job: Job) -> bool:
    return job.predictions.kind == "regression"


_COLLECTION: Mapping[str, Callable[[Job], bool] | None] = {
    "freshness": None,
    "current": None,
    "quarantined": None,
    "outdated_by_quarantine": None,
    "gone": None,
    "as_of": None,
    "at_a_time": None,
    "history_of_a_key": None,
    "changed_decisions": lambda job: not _is_regression(job),
    "changed_scores": _is_regression,
    "positive_rate_by_model_version": _has_positive,
    "labels_by_model_version": lambda job: not _has_positive(job) and not _is_regression(job),
    "scores_by_model_version": _is_regression,
    "positive_rate_by_week": _has_positive,
    "predictions_by_week": lambda job: not _has_positive(job),
    "daily": None,
    "score_distribution": None,
    "latest_runs": None,
    "slowest_runs": None,
    "drift": None,
    "score_drift": None,
    "drift_alerts": None,
    "performance": None,
    "calibration": None,
}
"""Every query in the order in which they are printed, and the jobs to which it applies; None for all."""

BY_COLUMN = "by_column"


def queries(
    job: Job,
    dialect: Dialect,
    *,
    timestamp: datetime,
    key: TextKey | None = None,
    column: str | None = None,
) -> Sequence[Query]:
    """The queries that apply to a job, in the SQL of a dialect and with the job's names.

    ``timestamp`` (aware) and ``key`` are examples to be replaced; without a key, that of the latest prediction is used.
    ``column`` adds a query of the predictions by that column of the source.
    """
    names = _names(job, dialect, timestamp, key, column)
    wanted = [name for name, is_for in _COLLECTION.items() if is_for is None or is_for(job)]
    if column is not None:
        wanted.append(BY_COLUMN)
    found = []
    for name in wanted:
        text = _text(name, dialect)
        if text is not None:
            comment, _, sql = Template(text).substitute(names).partition("\n")
            found.append(
                Query(
                    name=name,
                    title=comment.removeprefix("-- "),
                    sql=sql.strip().removesuffix(";"),
                    reads_source=name == BY_COLUMN,
                )
            )
    return found


def _text(name: str, dialect: Dialect) -> str | None:
    folder = resource("sql") / "queries"
    for file in (folder / f"{name}.{dialect.templates}.sql", folder / f"{name}.sql"):
        if file.is_file():
            return file.read_text(encoding="utf-8")
    return None


def _names(job: Job, dialect: Dialect, timestamp: datetime, key: TextKey | None, column: str | None) -> dict[str, str]:
    layout = PredictionsLayout(
        table=job.predictions.table_name,
        kind=job.predictions.kind,
        key=tuple((name, "") for name in job.source.key),
        changed_at_type="",
    )
    expressions = EXPRESSIONS[dialect.templates]
    views = {view: _readable(dialect, view_name(layout, view)) for view in (*PER_JOB, *FUNCTIONS)}
    columns = [dialect.quoted(name) for name in layout.key_names]
    keys = ", ".join(columns)
    label = job.predictions.positive_label
    positive = "" if label is None else literal(label)
    rate = f"\n  round(avg(CASE WHEN p.prediction = {positive} THEN 1.0 ELSE 0.0 END), 4) AS positive_rate,"
    at = timestamp.astimezone(UTC)
    return {
        **views,
        "source": dialect.quoted(*job.source.table_name),
        "job": literal(job.name),
        "keys": keys,
        "later_keys": ", ".join(f"later.{name}" for name in columns),
        "earlier_is_later": same_key(dialect, layout, "earlier", "later"),
        "source_is_prediction": same_key(dialect, layout, "s", "p"),
        "source_keys": source_keys(dialect, job.source, job.source.table_name),
        "is_key": _is_key(columns, views["current"], key),
        "positive_label": positive,
        "positive_rate": "" if label is None else rate,
        "week": expressions.week,
        "timestamp": expressions.timestamp.format(at=at),
        "column": "" if column is None else dialect.quoted(column),
    }


def _readable(dialect: Dialect, view: TableName) -> str:
    """The name of a view, unquoted if possible: with its suffix it cannot be a reserved word."""
    if view.schema is None and re.fullmatch(r"[a-z_][a-z0-9_]*", view.name):
        return view.name
    return dialect.quoted(*view)


def _is_key(columns: Sequence[str], current: str, key: TextKey | None) -> str:
    if key is not None:
        return " AND ".join(f"{name} = {literal(value)}" for name, value in zip(columns, key, strict=True))
    keys = ", ".join(columns)
    return f"({keys}) IN (SELECT {keys} FROM {current} ORDER BY scored_at DESC, {keys} LIMIT 1)"  # noqa: S608 - quoted
