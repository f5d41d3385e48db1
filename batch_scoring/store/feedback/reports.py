"""Performance reports: one for each month and model version, and another one when its outcomes have changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime

import sqlalchemy as sa

from batch_scoring.domain.outcomes import Population
from batch_scoring.domain.overrides import DecisionCount
from batch_scoring.domain.performance import (
    METRICS,
    Band,
    Cohort,
    Figure,
    Metric,
    OutcomeCounts,
    Performance,
    ScoreSums,
)
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.schema.outcome_tables import (
    decision_counts,
    outcome_readings,
    performance_bands,
    performance_metrics,
    performance_reports,
)

_Identity = tuple[date, str, int, Population]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was recorded of a cohort."""

    number: int
    """From 1, the figures as they were first reported."""
    cohort: Cohort
    reported_at: datetime


def record(
    database: Database,
    job: str,
    counts: OutcomeCounts,
    cohorts: Iterable[Cohort],
    decisions: Sequence[DecisionCount],
    *,
    by: str,
) -> list[Cohort]:
    """Record what was read, and the cohorts that differ from their latest report; returns these.

    A cohort of which predictions were deleted since is not reported again.

    Raises ConstraintViolated where another process records the same, DatabaseFault.
    """
    changed = []
    with database.write() as connection:
        latest = {identity: last for identity, (_, last) in _first_and_last(connection, job).items()}
        values = {"job": job, **asdict(counts), "read_at": now(connection), "read_by": by}
        result = connection.execute(sa.insert(outcome_readings).values(**values))
        assert result.inserted_primary_key is not None
        reading_id: int = result.inserted_primary_key[0]
        if decisions and sorted(decisions) != _decisions(connection, job):
            numbered = enumerate(decisions, start=1)
            rows = [{"reading_id": reading_id, "number": number, **asdict(one)} for number, one in numbered]
            connection.execute(sa.insert(decision_counts), rows)
        for cohort in cohorts:
            before = latest.get(cohort.identity)
            if before is not None and (_is_same(before.cohort, cohort) or _has_lost_rows(before.cohort, cohort)):
                continue
            _insert(connection, job, reading_id, cohort, number=1 if before is None else before.number + 1)
            changed.append(cohort)
    return changed


def first_and_last(database: Database, job: str) -> dict[_Identity, tuple[Report, Report]]:
    """The first and the last report of each cohort of a job, the earliest month first. Raises DatabaseFault."""
    with database.read() as connection:
        return _first_and_last(connection, job)


def _decisions(connection: sa.Connection, job: str) -> list[DecisionCount]:
    """The decisions that were recorded last, in their order."""
    own, readings = decision_counts.c, outcome_readings.c
    joined = decision_counts.join(outcome_readings, readings.reading_id == own.reading_id)
    newest = sa.select(sa.func.max(own.reading_id)).select_from(joined).where(readings.job == job).scalar_subquery()
    columns = [own[field.name] for field in fields(DecisionCount)]
    query = sa.select(*columns).where(own.reading_id == newest)
    return sorted(DecisionCount(**row._asdict()) for row in connection.execute(query))


def _is_same(one: Cohort, other: Cohort) -> bool:
    def counted(cohort: Cohort) -> tuple[int, int, ScoreSums, dict[Metric, Figure]]:
        found = cohort.performance
        return cohort.predicted_count, found.rows, found.sums, {figure.metric: figure for figure in found.figures}

    return counted(one) == counted(other)


def _has_lost_rows(before: Cohort, cohort: Cohort) -> bool:
    """Whether predictions of a cohort were deleted since it was reported, by a purge: what was reported stays."""
    return cohort.predicted_count < before.predicted_count


def _insert(connection: sa.Connection, job: str, reading_id: int, cohort: Cohort, *, number: int) -> None:
    found = cohort.performance
    result = connection.execute(
        sa.insert(performance_reports).values(
            reading_id=reading_id,
            job=job,
            month=cohort.month,
            model_name=cohort.model_name,
            model_version=cohort.model_version,
            population=cohort.population,
            number=number,
            predicted_count=cohort.predicted_count,
            outcome_count=found.rows,
            sums=found.sums.model_dump(mode="json"),
        )
    )
    assert result.inserted_primary_key is not None
    report_id: int = result.inserted_primary_key[0]
    metrics = [{"report_id": report_id, **asdict(figure)} for figure in found.figures]
    if metrics:
        connection.execute(sa.insert(performance_metrics), metrics)
    bands = [
        {"report_id": report_id, "number": place, "outcome_count": band.rows, **_without_rows(band)}
        for place, band in enumerate(found.bands, start=1)
    ]
    if bands:
        connection.execute(sa.insert(performance_bands), bands)


def _without_rows(band: Band) -> dict[str, float]:
    return {name: value for name, value in asdict(band).items() if name != "rows"}


def _first_and_last(connection: sa.Connection, job: str) -> dict[_Identity, tuple[Report, Report]]:
    found: dict[_Identity, tuple[Report, Report]] = {}
    for report in _reports(connection, job):
        first, _ = found.get(report.cohort.identity, (report, report))
        found[report.cohort.identity] = first, report
    return found


def _reports(connection: sa.Connection, job: str) -> list[Report]:
    """The first and the last report of each cohort with their figures, in this order, the earliest month first."""
    report = performance_reports.c
    identity = (report.month, report.model_name, report.model_version, report.population)
    newest = sa.func.max(report.number).over(partition_by=identity)
    numbered = sa.select(report.report_id, newest.label("newest")).where(report.job == job).subquery()
    query = (
        sa.select(performance_reports, outcome_readings.c.read_at)
        .join(numbered, numbered.c.report_id == report.report_id)
        .join(outcome_readings, outcome_readings.c.reading_id == report.reading_id)
        .where(sa.or_(report.number == 1, report.number == numbered.c.newest))
        .order_by(*identity, report.number)
    )
    rows = connection.execute(query).all()
    figures, bands = _figures(connection, job), _bands(connection, job)
    return [
        Report(
            number=row.number,
            reported_at=row.read_at,
            cohort=Cohort(
                month=row.month,
                model_name=row.model_name,
                model_version=row.model_version,
                population=row.population,
                predicted_count=row.predicted_count,
                performance=Performance(
                    rows=row.outcome_count,
                    figures=tuple(figures.get(row.report_id, ())),
                    bands=tuple(bands.get(row.report_id, ())),
                    sums=ScoreSums.model_validate(row.sums),
                ),
            ),
        )
        for row in rows
    ]


def _figures(connection: sa.Connection, job: str) -> dict[int, list[Figure]]:
    metric = performance_metrics.c
    query = (
        sa.select(performance_metrics)
        .join(performance_reports, performance_reports.c.report_id == metric.report_id)
        .where(performance_reports.c.job == job)
    )
    found: dict[int, list[Figure]] = {}
    for row in sorted(connection.execute(query), key=lambda row: METRICS.index(row.metric)):
        figure = Figure(metric=row.metric, value=row.value, low=row.low, high=row.high, why_not=row.why_not)
        found.setdefault(row.report_id, []).append(figure)
    return found


def _bands(connection: sa.Connection, job: str) -> dict[int, list[Band]]:
    band = performance_bands.c
    query = (
        sa.select(performance_bands)
        .join(performance_reports, performance_reports.c.report_id == band.report_id)
        .where(performance_reports.c.job == job)
        .order_by(band.report_id, band.number)
    )
    found: dict[int, list[Band]] = {}
    for row in connection.execute(query):
        found.setdefault(row.report_id, []).append(
            Band(
                low=row.low,
                high=row.high,
                rows=row.outcome_count,
                expected=row.expected,
                observed=row.observed,
                observed_low=row.observed_low,
                observed_high=row.observed_high,
            )
        )
    return found
