"""Fairness reports: one for each month, and another one when its figures have changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.fairness import GroupFigures, SmallGroups
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.schema.outcome_tables import fairness_reports


def record(
    database: Database,
    job: str,
    groups: Iterable[GroupFigures],
    small: Iterable[SmallGroups],
    *,
    by: str,
) -> int:
    """Record the months whose figures are new or have changed; returns their number.

    Raises ConstraintViolated where another process records the same, DatabaseFault.
    """
    contents: dict[date, dict[str, list[dict[str, Any]]]] = {}
    for kind, found in (("groups", groups), ("small", small)):
        for one in found:
            of_month = contents.setdefault(one.month, {"groups": [], "small": []})
            of_month[kind].append({name: value for name, value in asdict(one).items() if name != "month"})
    report = fairness_reports.c
    with database.write() as connection:
        latest = _latest(connection, job)
        time = now(connection)
        changed = [
            {
                "job": job,
                "month": month,
                "number": latest[month][0] + 1 if month in latest else 1,
                "figures": content,
                "read_at": time,
                "read_by": by,
            }
            for month, content in sorted(contents.items())
            if month not in latest or latest[month][1] != content
        ]
        if changed:
            names: Sequence[str] = [column.name for column in report if column.name in changed[0]]
            connection.execute(sa.insert(fairness_reports), [{name: one[name] for name in names} for one in changed])
    return len(changed)


def _latest(connection: sa.Connection, job: str) -> dict[date, tuple[int, Mapping[str, Any]]]:
    """The number and content of the latest report of each month."""
    report = fairness_reports.c
    query = sa.select(report.month, report.number, report.figures).where(report.job == job).order_by(report.number)
    return {month: (number, figures) for month, number, figures in connection.execute(query)}
