"""Bringing a database to this version's schema: Alembic for the fixed tables, the layout for each job's own."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn, CreateTable, SetColumnComment, SetTableComment
from sqlalchemy.sql.ddl import DDLElement

from batch_scoring.domain.column_types import InputColumn
from batch_scoring.domain.job import Job
from batch_scoring.domain.names import TableName
from batch_scoring.errors import (
    ConfigurationError,
    DatabaseFault,
    Problem,
    SchemaOutOfDate,
    SourceFault,
)
from batch_scoring.resources import resource
from batch_scoring.store import indexes
from batch_scoring.store.database import Database, database_now, driver_sql, quoted
from batch_scoring.store.schema import LONGEST_NAME, SCHEMA_REVISION, PredictionsLayout, scoring_jobs
from batch_scoring.store.source import Source
from batch_scoring.store.versioning import execute, holds_versions, retype_versions
from batch_scoring.store.views import FUNCTIONS, PER_JOB, gone_sql, job_sql, shared_sql, view_name

SUFFIXES = ("quarantine", "inputs", *FUNCTIONS, *PER_JOB)
"""Of the tables, views and functions whose names begin with that of a predictions table."""

_UPGRADE_LOCK = 7_164_224_001
"""Key of the PostgreSQL advisory lock that lets one upgrade run at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Upgrade:
    """What an upgrade did."""

    revision_before: str | None
    revision: str
    created: tuple[str, ...]
    """Predictions tables that were made."""
    versioned: tuple[str, ...]
    """Predictions tables whose source_changed_at was given the type of a changed_at that the job names now. They hold
    no version yet, so the next run scores every row again."""
    waiting: tuple[Problem, ...]
    """Jobs whose tables could not be made yet, and why."""
    advice: tuple[str, ...]
    """Indexes of the sources that would make runs cheaper."""


def upgrade(database: Database, jobs: Sequence[Job]) -> Upgrade:
    """Apply migrations, make each job's tables and renew the views, all in one transaction.

    Doing it again changes nothing, and two at once take turns. A job whose source does not exist yet is named in
    ``waiting``; its tables are made by the next upgrade or by its first run.
    """
    from alembic import command
    from alembic.util.exc import CommandError

    created: list[str] = []
    versioned: list[str] = []
    waiting: list[Problem] = []
    advice: list[str] = []
    with database.write(create=True) as connection:
        _lock(connection)
        before = _revision(connection)
        config = _alembic_config()
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as exc:
            raise _unknown_revision(before) from exc
        for job in jobs:
            try:
                source = Source.inspect(database, connection, job)
                layout = source.layout(job)
            except SourceFault as exc:
                waiting.append(_waiting(job, exc))
                continue
            views = _views_of(connection, job, layout)
            if _needs_versions(connection, job, layout):
                retype_versions(connection, layout, views)
                versioned.append(job.predictions.table)
            if _create(connection, job, layout):
                created.append(job.predictions.table)
            advice += indexes.advice(connection, job, source)
            execute(connection, views)
        execute(connection, shared_sql(connection.dialect, _registered_layouts(connection)))
    return Upgrade(
        revision_before=before,
        revision=SCHEMA_REVISION,
        created=tuple(created),
        versioned=tuple(versioned),
        waiting=tuple(waiting),
        advice=tuple(advice),
    )


def _waiting(job: Job, exc: Exception) -> Problem:
    where = f"job {job.name}"
    return Problem(where=where, key="", message=str(exc).removeprefix(f"{where}: "))


def check_revision(connection: sa.Connection) -> None:
    """Raise SchemaOutOfDate where the database's schema is not the one this package works with."""
    found = _revision(connection)
    if found != SCHEMA_REVISION:
        raise _unknown_revision(found)


def ensure_tables(database: Database, job: Job, layout: PredictionsLayout) -> bool:
    """Make the job's tables where they are missing; returns whether it did.

    Raises ConfigurationError where they exist and were made for another key or kind.
    """
    with database.read() as connection:
        if check_tables(connection, job, layout):
            return False
    with database.write() as connection:
        _lock(connection)
        created = _create(connection, job, layout)
        if created:
            execute(connection, _views_of(connection, job, layout))
            execute(connection, shared_sql(connection.dialect, _registered_layouts(connection)))
    return created


def _views_of(connection: sa.Connection, job: Job, layout: PredictionsLayout) -> list[str]:
    """The statements that create or replace a job's views and functions."""
    views = job_sql(connection.dialect, layout, job.predictions.positive_label)
    if connection.dialect.name != "postgresql":
        return views
    schemas = connection.execute(sa.text("SELECT current_schemas(false)")).scalar_one()
    return [*views, *gone_sql(connection.dialect, layout, job.source, schemas)]


def ensure_inputs(database: Database, layout: PredictionsLayout, kept: Sequence[InputColumn]) -> bool:
    """Make the table of kept inputs where it is missing, and the columns that an earlier model had no use for.

    Returns whether anything was made. Raises ConfigurationError where a column is there and holds something else.
    """
    table = layout.inputs_table(kept)
    with database.read() as connection:
        if _lacking(connection, layout, table) == []:
            return False
    with database.write() as connection:
        _lock(connection)
        lacking = _lacking(connection, layout, table)
        if lacking is None:
            for element in _ddl_of(connection.dialect, table):
                connection.execute(element)
            return True
        for column in lacking:
            name = quoted(connection.dialect, *layout.inputs)
            described = CreateColumn(column).compile(dialect=connection.dialect)
            connection.exec_driver_sql(driver_sql(connection.dialect, f"ALTER TABLE {name} ADD COLUMN {described}"))
    return bool(lacking)


def _lacking(connection: sa.Connection, layout: PredictionsLayout, table: sa.Table) -> list[sa.Column[Any]] | None:
    """The columns the table of kept inputs lacks; None where there is no such table."""
    inspector = sa.inspect(connection)
    if not inspector.has_table(layout.inputs.name, schema=layout.inputs.schema):
        return None
    found = {
        column["name"]: column["type"].compile(dialect=connection.dialect)
        for column in inspector.get_columns(layout.inputs.name, schema=layout.inputs.schema)
    }
    wanted = {column.name: column.type.compile(dialect=connection.dialect) for column in table.columns}
    if not {"digest", "run_id", "valid_from", *layout.key_names} <= found.keys():
        message = f"{layout.inputs} exists already and is no table of kept inputs; name another predictions table"
        raise ConfigurationError([Problem(where=str(layout.inputs), key="predictions.keep_inputs", message=message)])
    if differing := [name for name, ddl in wanted.items() if name in found and found[name] != ddl]:
        said = "; ".join(f"{name} is {found[name]} and the model takes {wanted[name]}" for name in differing)
        message = f"{layout.inputs} was made for other inputs ({said}); rename that table, then run again"
        raise ConfigurationError([Problem(where=str(layout.inputs), key="predictions.keep_inputs", message=message)])
    return [column for column in table.columns if column.name not in found]


def _unknown_revision(found: str | None) -> SchemaOutOfDate:
    state = "has no batch_scoring schema" if found is None else f"has schema revision {found}"
    return SchemaOutOfDate(
        f"the database {state}, this version works with {SCHEMA_REVISION};"
        " run `batch-scoring db upgrade` (or upgrade batch_scoring, if the database is newer)"
    )


def check_tables(connection: sa.Connection, job: Job, layout: PredictionsLayout) -> bool:
    """Whether the job's tables exist. Raises ConfigurationError where they were made for another key or kind."""
    check_names(connection.dialect, job)
    known = _registered(connection, job)
    if known is None:
        return False
    wanted = _job_row(job, layout)
    differing = [name for name in ("kind", "key_columns") if getattr(known, name) != wanted[name]]
    if differing:
        shown = "; ".join(f"{name}: table {getattr(known, name)}, job {wanted[name]}" for name in differing)
        message = f"{layout.table} was created for something else ({shown}); name another table, its history stays"
        raise ConfigurationError([Problem(where=f"job {job.name}", key="predictions.table", message=message)])
    if _needs_versions(connection, job, layout):
        message = (
            f"names a column now, and {layout.table} was created without one;"
            " run `batch-scoring db upgrade`, which keeps what it holds"
        )
        raise ConfigurationError([Problem(where=f"job {job.name}", key="source.changed_at", message=message)])
    return True


def _needs_versions(connection: sa.Connection, job: Job, layout: PredictionsLayout) -> bool:
    """Whether the job names a changed_at of a type for which its tables, which hold no version yet, were not created.

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


def check_names(dialect: sa.Dialect, job: Job) -> None:
    """Raise ConfigurationError where PostgreSQL would cut the name of one of the job's tables or views."""
    table = job.predictions.table_name
    limit = LONGEST_NAME - max(len(suffix) for suffix in SUFFIXES) - 1
    if dialect.name == "postgresql" and len(table.name.encode()) > limit:
        longest = max(SUFFIXES, key=len)
        message = (
            f"{table.name} takes {len(table.name.encode())} bytes, expected at most {limit}: PostgreSQL cuts names"
            f" after {LONGEST_NAME}, and <table>_{longest} is one of the job's views; shorten it"
        )
        raise ConfigurationError([Problem(where=f"job {job.name}", key="predictions.table", message=message)])


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """The statements of an upgrade for one dialect."""

    sql: str
    left_out: tuple[str, ...]
    """Why the tables of some jobs are not in it."""


def script(database: Database, jobs: Sequence[Job], dialect_name: str) -> Script:
    """Every statement of ``upgrade`` for a dialect, to be read and applied by hand.

    The tables of a job are typed after its source, which is looked up in the database; the types are said in the
    dialect's words where the database speaks another one.
    """
    layouts: list[tuple[Job, PredictionsLayout]] = []
    left_out: list[str] = []
    for job in jobs:
        try:
            with database.read() as connection:
                source = Source.inspect(database, connection, job)
                layouts.append((job, _layout_in(dialect_name, source, job, connection)))
        except (SourceFault, DatabaseFault) as exc:
            reason = _waiting(job, exc).message
            left_out.append(f"the tables of job {job.name}, whose types come from its source: {reason}")
    return Script(sql=_schema_sql(dialect_name, layouts), left_out=tuple(left_out))


_OFFLINE = {"postgresql": "postgresql+psycopg2://", "sqlite": "sqlite://"}
DIALECTS = tuple(_OFFLINE)


def _schema_sql(dialect_name: str, layouts: Sequence[tuple[Job, PredictionsLayout]]) -> str:
    from alembic import command

    dialect = sa.create_engine(_OFFLINE[dialect_name]).dialect
    buffer = io.StringIO()
    config = _alembic_config(buffer)
    config.attributes["dialect"] = dialect_name
    command.upgrade(config, "head", sql=True)
    parts = [buffer.getvalue().strip()]
    for job, layout in layouts:
        check_names(dialect, job)
        parts.append(f"-- job {job.name}")
        parts += [f"{_printed(element, dialect)};" for element in _table_ddl(dialect, layout)]
        parts += [f"{statement};" for statement in job_sql(dialect, layout, job.predictions.positive_label)]
        parts += [f"{statement};" for statement in gone_sql(dialect, layout, job.source)]
        row = _job_row(job, layout)
        key_columns = sa.literal(json.dumps(row["key_columns"]), sa.String())
        insert = sa.insert(scoring_jobs).values({**row, "key_columns": key_columns, "created_at": database_now()})
        parts.append(f"{_printed(insert, dialect)};")
    named = [(job.name, layout) for job, layout in layouts]
    parts += [f"{statement};" for statement in shared_sql(dialect, named)]
    return "\n\n".join(parts) + "\n"


def _printed(statement: sa.ClauseElement, dialect: sa.Dialect) -> str:
    options = {} if isinstance(statement, DDLElement) else {"literal_binds": True}
    text = str(statement.compile(dialect=dialect, compile_kwargs=options)).strip()
    return text.replace("%%", "%") if dialect.paramstyle in ("format", "pyformat") else text


def _layout_in(dialect_name: str, source: Source, job: Job, connection: sa.Connection) -> PredictionsLayout:
    """The job's layout with the source's types said in a dialect's words."""
    layout = source.layout(job)
    if connection.dialect.name == dialect_name:
        return layout
    dialect = sa.create_engine(_OFFLINE[dialect_name]).dialect
    reflected = {
        column["name"]: column["type"]
        for column in sa.inspect(connection).get_columns(source.table.name, schema=source.table.schema)
    }

    def said(name: str) -> str:
        declared = reflected[name]
        if isinstance(declared, sa.types.NullType):
            return "TEXT"
        return declared.as_generic(allow_nulltype=True).compile(dialect=dialect)

    return PredictionsLayout(
        table=layout.table,
        kind=layout.kind,
        key=tuple((name, said(name)) for name in layout.key_names),
        changed_at_type=said(source.changed_at) if source.changed_at else layout.changed_at_type,
    )


def _table_ddl(dialect: sa.Dialect, layout: PredictionsLayout) -> Iterator[DDLElement]:
    for table in (layout.predictions_table, layout.quarantine_table):
        yield from _ddl_of(dialect, table)


def _ddl_of(dialect: sa.Dialect, table: sa.Table) -> Iterator[DDLElement]:
    yield CreateTable(table)
    if dialect.supports_comments and not dialect.inline_comments:
        yield SetTableComment(table)
        yield from (SetColumnComment(column) for column in table.columns)


def _create(connection: sa.Connection, job: Job, layout: PredictionsLayout) -> bool:
    if check_tables(connection, job, layout):
        return False
    views = [view_name(layout, view) for view in PER_JOB]
    for name in (layout.table, layout.quarantine, layout.inputs, *views):
        if sa.inspect(connection).has_table(name.name, schema=name.schema):
            message = (
                f"{name} exists already and was not made for job {job.name}; name another table in [predictions] table"
            )
            raise ConfigurationError([Problem(where=f"job {job.name}", key="predictions.table", message=message)])
    for element in _table_ddl(connection.dialect, layout):
        connection.execute(element)
    row = {**_job_row(job, layout), "created_at": database_now()}
    connection.execute(sa.insert(scoring_jobs).values(row))
    return True


def _job_row(job: Job, layout: PredictionsLayout) -> dict[str, Any]:
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
    """The shape that the job's tables were made in, whatever its source is now; None where they are not made."""
    known = _registered(connection, job)
    return None if known is None else _layout_from(known)


def _registered_layouts(connection: sa.Connection) -> list[tuple[str, PredictionsLayout]]:
    """Every job whose tables are there, with the newest of them, by name."""
    inspector = sa.inspect(connection)
    rows = connection.execute(sa.select(scoring_jobs).order_by(scoring_jobs.c.job, scoring_jobs.c.created_at))
    newest = {row.job: _layout_from(row) for row in rows}
    return [
        (job, layout)
        for job, layout in newest.items()
        if inspector.has_table(layout.quarantine.name, schema=layout.quarantine.schema)
    ]


def _layout_from(known: sa.Row[Any]) -> PredictionsLayout:
    return PredictionsLayout(
        table=TableName.parse(known.predictions_table),
        kind=known.kind,
        key=tuple((column["name"], column["type"]) for column in known.key_columns),
        changed_at_type=known.changed_at_type,
    )


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _lock(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_UPGRADE_LOCK)))


def _alembic_config(buffer: io.StringIO | None = None) -> Any:
    from alembic.config import Config

    config = Config(stdout=io.StringIO(), output_buffer=buffer)
    config.set_main_option("script_location", str(resource("sql") / "migrations").replace("%", "%%"))
    return config
