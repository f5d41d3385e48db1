"""Roles for PostgreSQL: templates under ``sql/roles``, filled in for jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from string import Template

import sqlalchemy as sa

from batch_scoring.domain.job import Job
from batch_scoring.domain.names import TableName
from batch_scoring.resources import resource
from batch_scoring.store.engine.dialects.dialect import Dialect
from batch_scoring.store.engine.dialects.registered import dialect_named
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.schema.views import FUNCTIONS, PER_JOB, view_name

ROLES = ("scorer", "operator", "bi_reader")
"""In the order of their creation."""

_FOR_EACH_JOB = "-- for each job\n"


def roles_sql(jobs: Sequence[tuple[Job, PredictionsLayout, bool]]) -> str:
    """The statements that create the roles and grant them the privileges that they need for each job.

    Each job is given with the layout of its tables, and whether it has a table of stored inputs. The statements are
    idempotent.
    """
    dialect = dialect_named("postgresql")
    schemas = dict.fromkeys(
        name.schema or "public" for job, layout, _ in jobs for name in (job.source.table_name, layout.table)
    )
    listed = ", ".join(dialect.quoted(schema) for schema in dict.fromkeys(["public", *schemas]))
    parts: list[str] = []
    for role in ROLES:
        text = (resource("sql") / "roles" / f"{role}.sql").read_text(encoding="utf-8")
        once, _, each = text.partition(_FOR_EACH_JOB)
        parts.append(Template(once).substitute(schemas=listed).strip())
        for job, layout, has_inputs in jobs:
            filled = Template(each).substitute(_names(dialect, job, layout))
            parts.append(f"-- job {job.name}\n" + "\n".join(_fitting(filled, dialect, layout, has_inputs=has_inputs)))
    return "\n\n".join(parts) + "\n"


def _names(dialect: Dialect, job: Job, layout: PredictionsLayout) -> dict[str, str]:
    tables: dict[str, TableName] = {
        "source": job.source.table_name,
        "predictions": layout.table,
        "superseded": layout.superseded,
        "quarantine": layout.quarantine,
        "quarantine_closed": layout.quarantine_closed,
        "inputs": layout.inputs,
        **{view: view_name(layout, view) for view in (*PER_JOB, *FUNCTIONS)},
    }

    def updated(table: sa.Table) -> str:
        return ", ".join(dialect.quoted(column.name) for column in table.columns if not column.primary_key)

    return {
        **{name: dialect.quoted(*table) for name, table in tables.items()},
        "updated": updated(layout.predictions_table),
        "updated_entry": updated(layout.quarantine_table),
    }


def _fitting(filled: str, dialect: Dialect, layout: PredictionsLayout, *, has_inputs: bool) -> Iterator[str]:
    inputs = dialect.quoted(*layout.inputs)
    for line in filled.strip().splitlines():
        if has_inputs or inputs not in line:
            yield line
        elif f", {inputs}" in line:
            yield line.replace(f", {inputs}", "")
