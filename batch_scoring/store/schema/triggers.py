"""The triggers by which the database keeps history: templates under ``sql/triggers``, a file for each dialect.

``predictions`` is filled in once for a job, ``history`` once for its predictions and once for its quarantine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from string import Template

import sqlalchemy as sa

from batch_scoring.domain.names import TableName
from batch_scoring.resources import resource
from batch_scoring.store.engine.dialects.dialect import Dialect
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.schema.views import same_key, view_name

_OF_JOB = ("preserve", "close", "release")
_OF_PREDICTIONS = {"supersede": "supersede", "preserve_past": "preserve_past", "purge_past": "purge_past"}
_OF_QUARANTINE = {"supersede": "requarantine", "preserve_past": "preserve_closed", "purge_past": "purge_closed"}

NAMES = (*_OF_JOB, *_OF_PREDICTIONS.values(), *_OF_QUARANTINE.values())
"""Suffixes of the triggers, or of the functions that they call, whose names start with that of a predictions table."""

_END_OF_STATEMENT = re.compile(r";\n(?:\n|\Z)")
"""A semicolon before an empty line: the bodies of triggers contain semicolons but no empty lines."""


def trigger_sql(dialect: Dialect, layout: PredictionsLayout, schemas: Sequence[str] = ("public",)) -> list[str]:
    """The statements that create or replace the triggers of a job's tables.

    Functions run with the privileges of their owner, so their search path is ``schemas`` and never that of the caller.
    """

    def names(suffixes: Mapping[str, str]) -> dict[str, str]:
        return {name: dialect.quoted(*view_name(layout, suffix)) for name, suffix in suffixes.items()}

    def tables(**qualified: TableName) -> dict[str, str]:
        return {name: dialect.quoted(*table) for name, table in qualified.items()} | {
            f"own_{name}": dialect.quoted(table.name) for name, table in qualified.items()
        }

    def columns(table: sa.Table) -> dict[str, str]:
        listed = [column.name for column in table.columns]
        return {"columns": _listed(dialect, listed), "old_columns": _listed(dialect, listed, "OLD.")}

    def history(current: sa.Table, of_current: TableName, past: TableName, suffixes: Mapping[str, str]) -> list[str]:
        own = names(suffixes) | tables(current=of_current, past=past) | columns(current)
        return _filled("history", dialect, shared | own)

    shared = {
        **names({name: name for name in _OF_JOB}),
        "search_path": ", ".join([*(dialect.quoted(schema) for schema in schemas), "pg_temp"]),
        "keys": _listed(dialect, layout.key_names),
        "same_key": same_key(dialect, layout, "c", "o" if dialect.has_functions else "OLD"),
        "unchanged_key": same_key(dialect, layout, "NEW", "OLD"),
    }
    of_job = columns(layout.predictions_table) | tables(
        predictions=layout.table,
        superseded=layout.superseded,
        quarantine=layout.quarantine,
        quarantine_closed=layout.quarantine_closed,
    )
    of_job["registered"] = _literal(str(layout.table))
    return [
        *_filled("predictions", dialect, shared | of_job),
        *history(layout.predictions_table, layout.table, layout.superseded, _OF_PREDICTIONS),
        *history(layout.quarantine_table, layout.quarantine, layout.quarantine_closed, _OF_QUARANTINE),
    ]


def drop_triggers_sql(dialect: Dialect, layout: PredictionsLayout) -> list[str]:
    """The statements that drop the triggers, where a column that they name could not be changed otherwise."""
    return [statement for statement in trigger_sql(dialect, layout) if statement.startswith("DROP TRIGGER")]


def _filled(template: str, dialect: Dialect, names: Mapping[str, str]) -> list[str]:
    text = (resource("sql") / "triggers" / f"{template}.{dialect.templates}.sql").read_text(encoding="utf-8")
    statements = _END_OF_STATEMENT.split(Template(text).substitute(names))
    return [statement.strip() for statement in statements if statement.strip()]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _listed(dialect: Dialect, columns: Iterable[str], prefix: str = "") -> str:
    return ", ".join(f"{prefix}{dialect.quoted(name)}" for name in columns)
