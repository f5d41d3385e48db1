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
from batch_scoring.store.engine.names import literal
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.schema.tables import IDENTITY_OF_RUN, metadata, scoring_runs
from batch_scoring.store.schema.views import FUNCTIONS, PER_JOB, SHARED, view_name

ROLES = ("scorer", "operator", "bi_reader")

_PARTS = (
    ("roles", ""),
    ("scorer", "scorer"),
    ("scorer", "operator"),
    ("operator", "operator"),
    ("bi_reader", "bi_reader"),
)
"""Templates, each with the role that it grants privileges to, in the order in which they are applied."""

_TABLES = ("predictions", "superseded", "quarantine", "quarantine_closed", "challengers", "inputs")

_FOR_EACH_JOB = "-- for each job\n"
_FOR_EACH_JOB_WITH_OUTCOMES = "-- for each job whose outcomes are in a table: it reads them\n"
_FOR_EACH_JOB_IN_MLFLOW = "-- for each job whose model is in MLflow: it registers versions\n"


def roles_sql(jobs: Sequence[tuple[Job, PredictionsLayout, bool]]) -> str:
    """The statements that create the roles and give them the privileges that they need for each job, and no others.

    Each job is given with the layout of its tables, and whether it has a table of stored inputs. The statements are
    idempotent. They fail where a role of that name can do more than the role should.
    """
    dialect = dialect_named("postgresql")
    own = dict.fromkeys(["public", *(layout.table.schema or "public" for _, layout, _ in jobs)])
    used = dict.fromkeys([*own, *(job.source.table_name.schema or "public" for job, _, _ in jobs)])
    shared = {
        "roles": ", ".join(ROLES),
        "role_names": ", ".join(literal(role) for role in ROLES),
        "fixed": ", ".join([*(table.name for table in metadata.sorted_tables), "alembic_version", *SHARED]),
        "updated_run": ", ".join(
            dialect.quoted(column.name)
            for column in scoring_runs.columns
            if column.name not in IDENTITY_OF_RUN and column.computed is None
        ),
    }
    parts: list[str] = []
    for name, role in _PARTS:
        text = (resource("sql") / "roles" / f"{name}.sql").read_text(encoding="utf-8")
        once, _, each = text.partition(_FOR_EACH_JOB)
        schemas = ", ".join(dialect.quoted(schema) for schema in (used if role else own))
        names = {**shared, "role": role, "schemas": schemas}
        parts.append(Template(once).substitute(names).strip())
        each, _, of_outcomes = each.partition(_FOR_EACH_JOB_WITH_OUTCOMES)
        each, _, in_mlflow = each.partition(_FOR_EACH_JOB_IN_MLFLOW)
        for job, layout, has_inputs in jobs:
            has_outcomes = job.outcomes is not None and job.outcomes.table is not None
            text = each + (in_mlflow if job.model.uri else "") + (of_outcomes if has_outcomes else "")
            filled = Template(text).substitute(names | _names(dialect, job, layout))
            parts.append(f"-- job {job.name}\n" + "\n".join(_fitting(filled, dialect, layout, has_inputs=has_inputs)))
    return "\n\n".join(parts) + "\n"


def _names(dialect: Dialect, job: Job, layout: PredictionsLayout) -> dict[str, str]:
    tables: dict[str, TableName] = {
        "source": job.source.table_name,
        "predictions": layout.table,
        "superseded": layout.superseded,
        "quarantine": layout.quarantine,
        "quarantine_closed": layout.quarantine_closed,
        "challengers": layout.challengers,
        "inputs": layout.inputs,
        **{view: view_name(layout, view) for view in (*PER_JOB, *FUNCTIONS)},
    }

    if job.outcomes is not None and job.outcomes.table is not None:
        tables["outcomes"] = TableName.parse(job.outcomes.table)

    def updated(table: sa.Table) -> str:
        return ", ".join(dialect.quoted(column.name) for column in table.columns if not column.primary_key)

    quoted = {name: dialect.quoted(*table) for name, table in tables.items()}
    return {
        **quoted,
        "of_job": ", ".join(quoted[name] for name in (*_TABLES, *PER_JOB)),
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
