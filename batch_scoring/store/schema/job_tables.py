"""The tables and views of a job: create them if they are missing, check them if they exist."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable, SetColumnComment, SetTableComment
from sqlalchemy.sql.ddl import DDLElement

from batch_scoring.domain.column_types import InputColumn
from batch_scoring.domain.job import Job
from batch_scoring.domain.names import TableName
from batch_scoring.errors import (
    ConfigurationError,
    InputFault,
    Problem,
)
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.dialects.dialect import Dialect
from batch_scoring.store.engine.dialects.registered import dialect_of
from batch_scoring.store.engine.names import driver_sql, quoted, schemas_of
from batch_scoring.store.engine.reflection import has_table, located
from batch_scoring.store.engine.sql_types import database_now
from batch_scoring.store.schema import triggers
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.schema.retype import execute, holds_versions
from batch_scoring.store.schema.revision import check_revision
from batch_scoring.store.schema.tables import scoring_jobs
from batch_scoring.store.schema.views import FUNCTIONS, PER_JOB, gone_sql, job_sql, shared_sql, source_keys, view_name

TABLES = ("superseded", "quarantine", "quarantine_closed", "challengers", "inputs")
"""Suffixes of a job's tables besides that of its predictions."""

SUFFIXES = (*TABLES, "challengers_time", *FUNCTIONS, *PER_JOB, *triggers.NAMES)
"""Suffixes of the tables, indexes, views, functions and triggers whose names start with that of a predictions table."""


def ensure_tables(database: Database, job: Job, layout: PredictionsLayout) -> bool:
    """Create the job's tables if they are missing; return whether they were created.

    Raises ConfigurationError where they exist and were created for another key or kind, and DatabaseFault.
    """
    with database.read() as connection:
        if check_tables(connection, job, layout):
            return False
    with database.write() as connection:
        database.dialect.lock_schema(connection)
        created = create_tables(connection, job, layout)
        if created:
            execute(connection, dependent_statements(connection, job, layout))
            execute(connection, shared_statements(connection))
    return created


def shared_statements(connection: sa.Connection) -> list[str]:
    """The statements that create or replace the views that cover all jobs."""
    found = [(job, qualified(connection, layout)) for job, layout in registered_layouts(connection)]
    return shared_sql(dialect_of(connection), found, own_schema(connection))


def own_schema(connection: sa.Connection) -> str | None:
    """The schema of this package's tables; None where there is no search path."""
    schemas = schemas_of(connection)
    return None if schemas is None else schemas.own


def trusted_schemas(connection: sa.Connection) -> tuple[str, ...]:
    """The search path of functions: schemas in which nobody but their owners may create objects."""
    schemas = schemas_of(connection)
    return () if schemas is None else schemas.trusted


def qualified(connection: sa.Connection, layout: PredictionsLayout) -> PredictionsLayout:
    """A layout whose tables are named with their schema, for statements that a search path must not affect."""
    schema = layout.table.schema or own_schema(connection)
    return replace(layout, table=layout.table._replace(schema=schema))


def dependent_statements(connection: sa.Connection, job: Job, layout: PredictionsLayout) -> list[str]:
    """The statements that create or replace a job's triggers, views and functions."""
    dialect = dialect_of(connection)
    schema, schemas, own = own_schema(connection), trusted_schemas(connection), qualified(connection, layout)
    source = source_keys(dialect, job.source, located(connection, job.source.table_name))
    return [
        *triggers.trigger_sql(
            dialect,
            own,
            schemas,
            registered=str(layout.table),
            schema=schema,
            has_inputs=has_table(connection, layout.inputs),
        ),
        *job_sql(dialect, own, job.predictions.positive_label, schema),
        *gone_sql(dialect, own, source, schemas),
    ]


def ensure_inputs(database: Database, layout: PredictionsLayout, stored: Sequence[InputColumn]) -> bool:
    """Create the table of stored inputs if it is missing, and columns that an earlier model did not need.

    Return whether anything was created. Raises ConfigurationError where a column exists with another type, and
    DatabaseFault.
    """
    table = layout.inputs_table(stored)
    with database.read() as connection:
        if _lacking(connection, layout, table) == []:
            return False
    with database.write() as connection:
        database.dialect.lock_schema(connection)
        lacking = _lacking(connection, layout, table)
        if lacking is None:
            for element in _ddl_of(connection.dialect, table):
                connection.execute(element)
            dialect = database.dialect
            own = qualified(connection, layout)
            schemas = trusted_schemas(connection)
            schema, name = own_schema(connection), str(layout.table)
            execute(connection, triggers.inputs_sql(dialect, own, schemas, registered=name, schema=schema))
            return True
        for column in lacking:
            name = quoted(connection.dialect, *located(connection, layout.inputs))
            described = CreateColumn(column).compile(dialect=connection.dialect)
            connection.exec_driver_sql(driver_sql(connection.dialect, f"ALTER TABLE {name} ADD COLUMN {described}"))
    return bool(lacking)


def _lacking(connection: sa.Connection, layout: PredictionsLayout, table: sa.Table) -> list[sa.Column[Any]] | None:
    """The columns that the table of stored inputs lacks; None where the table does not exist."""
    if not has_table(connection, layout.inputs):
        return None
    place = located(connection, layout.inputs)
    found = {
        column["name"]: column["type"].compile(dialect=connection.dialect)
        for column in sa.inspect(connection).get_columns(place.name, schema=place.schema)
    }
    wanted = {column.name: column.type.compile(dialect=connection.dialect) for column in table.columns}
    if not {"digest", "run_id", "valid_from", *layout.key_names} <= found.keys():
        message = f"{layout.inputs} exists already and is not a table of stored inputs; name another predictions table"
        raise ConfigurationError([Problem(where=str(layout.inputs), key="predictions.keep_inputs", message=message)])
    if differing := [name for name, ddl in wanted.items() if name in found and found[name] != ddl]:
        differences = "; ".join(f"{name} is {found[name]} and the model takes {wanted[name]}" for name in differing)
        message = f"{layout.inputs} was created for other inputs ({differences}); rename that table, then run again"
        raise ConfigurationError([Problem(where=str(layout.inputs), key="predictions.keep_inputs", message=message)])
    return [column for column in table.columns if column.name not in found]


def check_tables(connection: sa.Connection, job: Job, layout: PredictionsLayout) -> bool:
    """Whether the job's tables exist. Raises ConfigurationError where they have another key or kind."""
    check_names(dialect_of(connection), job)
    known = _registered(connection, job)
    if known is None:
        return False
    wanted = job_row(job, layout)
    differing = [name for name in ("kind", "key_columns") if getattr(known, name) != wanted[name]]
    if differing:
        shown = "; ".join(f"{name}: table {getattr(known, name)}, job {wanted[name]}" for name in differing)
        message = f"{layout.table} was created for something else ({shown}); name another table, its history stays"
        raise ConfigurationError([Problem(where=f"job {job.name}", key="predictions.table", message=message)])
    if needs_versions(connection, job, layout):
        message = (
            f"names a column now, and {layout.table} was created without one;"
            " run `batch-scoring db upgrade`, which keeps what it holds"
        )
        raise ConfigurationError([Problem(where=f"job {job.name}", key="source.changed_at", message=message)])
    return True


def needs_versions(connection: sa.Connection, job: Job, layout: PredictionsLayout) -> bool:
    """Whether the type of the job's changed_at differs from that of its tables, which hold no versions yet.

    Raises ConfigurationError where they hold versions of another type.
    """
    known = _registered(connection, job)
    if known is None or job.source.changed_at is None or known.changed_at_type == layout.changed_at_type:
        return False
    if not holds_versions(connection, layout):
        return True
    message = (
        f"{job.source.changed_at} is {layout.changed_at_type}, and the versions in {layout.table} are"
        f" {known.changed_at_type}; cast it in a view, or name another table in [predictions], the history stays"
    )
    raise ConfigurationError([Problem(where=f"job {job.name}", key="source.changed_at", message=message)])


def check_names(dialect: Dialect, job: Job) -> None:
    """Raise ConfigurationError where the database would truncate the name of one of the job's tables or views."""
    if dialect.longest_name is None:
        return
    table = job.predictions.table_name
    longest = max(SUFFIXES, key=len)
    limit = dialect.longest_name - len(longest) - 1
    if len(table.name.encode()) > limit:
        message = (
            f"{table.name} takes {len(table.name.encode())} bytes, expected at most {limit}:"
            f" {dialect.product} truncates names after {dialect.longest_name}, and <table>_{longest} is one of the"
            " job's views; shorten it"
        )
        raise ConfigurationError([Problem(where=f"job {job.name}", key="predictions.table", message=message)])


def table_ddl(dialect: sa.Dialect, layout: PredictionsLayout) -> Iterator[DDLElement]:
    for table in (
        layout.predictions_table,
        layout.superseded_table,
        layout.quarantine_table,
        layout.quarantine_closed_table,
        layout.challengers_table,
    ):
        yield from _ddl_of(dialect, table)


def _ddl_of(dialect: sa.Dialect, table: sa.Table) -> Iterator[DDLElement]:
    yield CreateTable(table)
    for index in table.indexes:
        yield CreateIndex(index)
    if dialect.supports_comments and not dialect.inline_comments:
        yield SetTableComment(table)
        yield from (SetColumnComment(column) for column in table.columns)


def create_tables(connection: sa.Connection, job: Job, layout: PredictionsLayout) -> bool:
    if check_tables(connection, job, layout):
        return False
    for name in (layout.table, *(view_name(layout, suffix) for suffix in (*TABLES, *PER_JOB))):
        if has_table(connection, name):
            message = (
                f"{name} exists already and was not created for job {job.name};"
                " name another table in [predictions] table"
            )
            raise ConfigurationError([Problem(where=f"job {job.name}", key="predictions.table", message=message)])
    for element in table_ddl(connection.dialect, layout):
        connection.execute(element)
    row = {**job_row(job, layout), "created_at": database_now()}
    connection.execute(sa.insert(scoring_jobs).values(row))
    return True


def job_row(job: Job, layout: PredictionsLayout) -> dict[str, Any]:
    return {
        "job": job.name,
        "predictions_table": str(layout.table),
        "kind": layout.kind,
        "key_columns": [{"name": name, "type": ddl} for name, ddl in layout.key],
        "changed_at_type": layout.changed_at_type,
    }


def _registered(connection: sa.Connection, job: Job) -> sa.Row[Any] | None:
    query = sa.select(scoring_jobs).where(
        scoring_jobs.c.job == job.name, scoring_jobs.c.predictions_table == job.predictions.table
    )
    return connection.execute(query).one_or_none()


def registered_layout(connection: sa.Connection, job: Job) -> PredictionsLayout | None:
    """The layout with which the job's tables were created, whatever its source is now; None if none exist."""
    known = _registered(connection, job)
    return None if known is None else _layout_from(known)


def registered_layouts(connection: sa.Connection) -> list[tuple[str, PredictionsLayout]]:
    """Every job whose tables exist, with its newest tables, by name."""
    rows = connection.execute(sa.select(scoring_jobs).order_by(scoring_jobs.c.job, scoring_jobs.c.created_at))
    newest = {row.job: _layout_from(row) for row in rows}
    return [(job, layout) for job, layout in newest.items() if has_table(connection, layout.quarantine)]


def _layout_from(known: sa.Row[Any]) -> PredictionsLayout:
    return PredictionsLayout(
        table=TableName.parse(known.predictions_table),
        kind=known.kind,
        key=tuple((column["name"], column["type"]) for column in known.key_columns),
        changed_at_type=known.changed_at_type,
    )


def waiting_problem(job: Job, exc: Exception) -> Problem:
    where = f"job {job.name}"
    return Problem(where=where, key="", message=str(exc).removeprefix(f"{where}: "))


def existing_layout(database: Database, job: Job) -> PredictionsLayout:
    """The layout of a job's tables, which may exist longer than its source.

    Raises InputFault where it has none yet, SchemaOutOfDate and DatabaseFault.
    """
    with database.read() as connection:
        check_revision(connection)
        layout = registered_layout(connection, job)
    if layout is None:
        raise InputFault(f"job {job.name} has no tables yet; its first run creates them, or `batch-scoring db upgrade`")
    return layout
