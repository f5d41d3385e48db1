"""What a database says of the tables of a job, and jobs whose tables are compared."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sql_words import words_of
from support import Workspace

from batch_scoring.domain.job import Job, Kind
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.dialects.registered import dialect_of
from batch_scoring.store.engine.sql_types import FOREVER
from batch_scoring.store.schema.layout import PredictionsLayout, layout_of
from batch_scoring.store.source.table import SourceTable


def job_text(
    *, table: str = "applicants", key: Sequence[str] = ("id",), predictions: str = "predictions", kind: Kind = "binary"
) -> str:
    label = 'positive_label = "Y"' if kind == "binary" else ""
    return f"""
[source]
table = {json.dumps(table)}
key = {json.dumps(list(key))}
changed_at = "updated_at"
[model]
name = "loans"
[predictions]
table = {json.dumps(predictions)}
kind = "{kind}"
{label}
"""


def create_source(workspace: Workspace, columns: str = "id BIGINT NOT NULL PRIMARY KEY") -> None:
    workspace.sql(f"CREATE TABLE applicants (updated_at TIMESTAMP, {columns})")


def ready_job(workspace: Workspace, **job: Any) -> PredictionsLayout:
    create_source(workspace)
    written = workspace.write_job("loans", job_text(**job))
    workspace.upgrade()
    return layout_in(workspace, written)


def layout_in(workspace: Workspace, job: Job) -> PredictionsLayout:
    with workspace.database() as database, database.read() as connection:
        return layout_of(job, SourceTable.inspect(database, connection, job))


def described(url: str, *, without: Sequence[str] = ()) -> dict[str, Any]:
    """Everything a database says about its tables, views, columns, constraints and comments."""
    database = Database(url)
    try:
        with database.write(create=True) as connection:
            inspector = sa.inspect(connection)
            names = {*inspector.get_table_names(), *inspector.get_view_names()} - set(without)
            found: dict[str, Any] = {name: _described_table(connection, inspector, name) for name in sorted(names)}
            found["as the database words it"] = [
                row for row in _own_words(connection) if not any(name == row[0] for name in without)
            ]
            return found
    finally:
        database.dispose()


def _described_table(connection: sa.Connection, inspector: sa.Inspector, name: str) -> dict[str, Any]:
    columns = [{**column, "type": _type(connection, column["type"])} for column in inspector.get_columns(name)]
    is_view = name in inspector.get_view_names()
    return {
        "columns": columns,
        "comment": inspector.get_table_comment(name) if connection.dialect.supports_comments else None,
        "definition": _squeezed(inspector.get_view_definition(name)) if is_view else None,
        "primary key": None if is_view else inspector.get_pk_constraint(name),
        "foreign keys": None if is_view else sorted(map(str, inspector.get_foreign_keys(name))),
        "unique": None if is_view else sorted(map(str, inspector.get_unique_constraints(name))),
        "checks": None if is_view else sorted(map(str, inspector.get_check_constraints(name))),
        "indexes": None if is_view else sorted(map(_index, inspector.get_indexes(name))),
    }


def _index(index: Any) -> str:
    """An index as text, its condition included, which SQLAlchemy gives as an object on SQLite."""
    options = {name: str(value) for name, value in index.get("dialect_options", {}).items()}
    return str({**index, "dialect_options": options})


def _type(connection: sa.Connection, declared: sa.types.TypeEngine[Any]) -> str | None:
    is_untold = isinstance(declared, sa.types.NullType)  # as for the columns of an SQLite view
    return None if is_untold else declared.compile(dialect=connection.dialect)


def _own_words(connection: sa.Connection) -> list[tuple[Any, ...]]:
    rows = connection.execute(sa.text(words_of(dialect_of(connection)).own_words))
    return [tuple(_squeezed(value) for value in row) for row in rows]


def _squeezed(statement: str | None) -> str | None:
    return re.sub(r"\s+", " ", statement).strip() if statement else statement


def recorded_jobs(workspace: Workspace, url: str | None = None) -> list[dict[str, Any]]:
    """The rows of scoring_jobs without the time."""
    other = Workspace(workspace.folder, url or workspace.database_url)
    query = "SELECT job, predictions_table, kind, key_columns, changed_at_type FROM scoring_jobs ORDER BY job"
    names = ("job", "predictions_table", "kind", "key_columns", "changed_at_type")
    rows = [dict(zip(names, row, strict=True)) for row in other.query(query)]
    for row in rows:
        if isinstance(row["key_columns"], str):
            row["key_columns"] = json.loads(row["key_columns"])
    return rows


def apply_script(url: str, script: str) -> None:
    """Run a script as a person would, without this package."""
    database = Database(url)
    engine = sa.create_engine(database.url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        for statement in words_of(database.dialect).split_script(script):
            cursor.execute(statement)
        cursor.close()


def insert_prediction(workspace: Workspace, layout: PredictionsLayout, **values: Any) -> None:
    """Insert a prediction by hand: a superseded one where its end is given, else the current one."""
    table = layout.superseded_table if "valid_to" in values else layout.predictions_table
    row = {
        "run_id": 1,
        "model_version": 1,
        "score": 0.5,
        "prediction": None if layout.kind == "regression" else "Y",
        "valid_from": FOREVER.replace(year=2026),
        **values,
    }
    with workspace.database() as database, database.write() as connection:
        connection.execute(sa.insert(table).values(row))
