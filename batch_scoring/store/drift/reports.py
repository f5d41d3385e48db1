"""Drift reports: one for each run and for the window up to it, and one for a run that was held."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime

import sqlalchemy as sa

from batch_scoring.domain.drift import Drift, Metric, Scope
from batch_scoring.domain.limits import Subject
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import database_now
from batch_scoring.store.schema.monitoring_tables import drift_metrics, drift_reports


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was compared with what."""

    run_id: int
    """The last run that is compared."""
    scope: Scope
    job: str
    first_run_id: int
    window_from: datetime
    window_to: datetime
    """The starts of the first and of the last run."""
    is_complete: bool
    row_count: int
    again_count: int
    """Rows that an earlier run of the window had counted: not compared in a window, compared in a run."""
    model_name: str
    model_version: int
    reference: str | None
    reference_rows: int | None
    why_not: str | None
    """Why nothing was compared; None if it was."""


_COLUMNS = [drift_reports.c[field.name] for field in fields(Report)]


def record(connection: sa.Connection, report: Report, metrics: Iterable[Drift]) -> None:
    """Record a report with its figures. Raises ConstraintViolated where the run has one of this scope."""
    values = {field.name: getattr(report, field.name) for field in fields(Report)}
    connection.execute(sa.insert(drift_reports).values(**values, created_at=database_now()))
    rows = [
        {
            "run_id": report.run_id,
            "scope": report.scope,
            "subject": one.subject,
            "name": one.name,
            "measure": one.measure,
            "value": one.value,
            "expected": one.expected,
            "p_value": one.p_value,
            "q_value": one.q_value,
            "limit_value": one.limit,
            "action": one.action,
            "is_breach": one.is_breach,
            "importance": one.importance,
            "why_not": one.why_not,
        }
        for one in metrics
    ]
    if rows:
        connection.execute(sa.insert(drift_metrics), rows)


def before_window(database: Database, job: str, *, ended_before: datetime | None = None) -> int:
    """The number after which the runs of the latest recorded window of a job begin; 0 if none is recorded.

    ``ended_before`` takes the latest one that had ended by then. Raises DatabaseFault.
    """
    report = drift_reports.c
    query = sa.select(report.first_run_id).where(report.job == job, report.scope == "window")
    if ended_before is not None:
        query = query.where(report.window_to < sa.literal(ended_before, report.window_to.type))
    with database.read() as connection:
        first_run_id = connection.execute(query.order_by(report.run_id.desc()).limit(1)).scalar_one_or_none()
    return 0 if first_run_id is None else int(first_run_id) - 1


def recorded_runs(connection: sa.Connection, job: str, *, after: int) -> set[int]:
    """The runs after a run that have a report of their window."""
    report = drift_reports.c
    query = sa.select(report.run_id).where(report.job == job, report.scope == "window", report.run_id > after)
    return set(connection.execute(query).scalars())


def latest(
    connection: sa.Connection, job: str, scope: Scope, count: int, *, subject: Subject | None = None
) -> list[tuple[int, dict[Metric, Drift]]]:
    """The latest runs of a job with figures of a scope, the newest first, with these figures; those of a subject."""
    report, metric = drift_reports.c, drift_metrics.c
    has_figures = [metric.run_id == report.run_id, metric.scope == report.scope]
    if subject is not None:
        has_figures.append(metric.subject == subject)
    query = (
        sa.select(report.run_id)
        .where(report.job == job, report.scope == scope, sa.exists().where(*has_figures))
        .order_by(report.run_id.desc())
        .limit(count)
    )
    return [(run_id, figures(connection, run_id, scope)) for run_id in connection.execute(query).scalars().all()]


def figures_of_changes(connection: sa.Connection, run_id: int) -> dict[Metric, Drift]:
    """The figures of a run by itself, where some of its rows had been counted in its window before; else none."""
    report = drift_reports.c
    query = sa.select(report.again_count).where(report.run_id == run_id, report.scope == "run")
    return figures(connection, run_id, "run") if connection.execute(query).scalar_one_or_none() else {}


def figures(connection: sa.Connection, run_id: int, scope: Scope) -> dict[Metric, Drift]:
    """The figures of a report; empty if there is none."""
    metric = drift_metrics.c
    rows = connection.execute(sa.select(drift_metrics).where(metric.run_id == run_id, metric.scope == scope))
    found = [
        Drift(
            subject=row.subject,
            name=row.name,
            measure=row.measure,
            value=row.value,
            expected=row.expected,
            p_value=row.p_value,
            q_value=row.q_value,
            limit=row.limit_value,
            action=row.action,
            is_breach=row.is_breach,
            importance=row.importance,
            why_not=row.why_not,
        )
        for row in rows
    ]
    return {one.metric: one for one in found}


@dataclass(frozen=True, kw_only=True, slots=True)
class LatestDrift:
    """The latest report of a window, with its figures."""

    report: Report
    metrics: Sequence[Drift]


def latest_window(connection: sa.Connection, job: str) -> LatestDrift | None:
    """The latest report of a window of a job; None if there is none."""
    report = drift_reports.c
    query = sa.select(*_COLUMNS).where(report.job == job, report.scope == "window").order_by(report.run_id.desc())
    row = connection.execute(query.limit(1)).one_or_none()
    if row is None:
        return None
    return LatestDrift(
        report=Report(**row._asdict()), metrics=tuple(figures(connection, row.run_id, "window").values())
    )
