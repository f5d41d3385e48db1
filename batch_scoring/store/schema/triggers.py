"""The triggers by which the database keeps history: templates under ``sql/triggers``, a file for each dialect.

``predictions`` is filled in once for a job, ``history`` once for its predictions and once for its quarantine,
``inputs`` for its stored inputs, and ``records`` once for all jobs.
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
from batch_scoring.store.schema.tables import IDENTITY_OF_RUN
from batch_scoring.store.schema.views import fixed_names, same_key, unused_tag, view_name

_OF_JOB = ("preserve", "close", "release", "held")
_OF_PREDICTIONS = {"supersede": "supersede", "preserve_past": "preserve_past", "purge_past": "purge_past"}
_OF_QUARANTINE = {"supersede": "requarantine", "preserve_past": "preserve_closed", "purge_past": "purge_closed"}
_OF_INPUTS = {"held_inputs": "held_inputs"}
_OF_CHALLENGERS = {"held_inputs": "held_challengers"}

_OF_RECORDS = ("keep_run", "keep_chunk", "keep_login", "keep_promotion", "keep_hold")

NAMES = (*_OF_JOB, *_OF_PREDICTIONS.values(), *_OF_QUARANTINE.values(), *_OF_INPUTS.values(), *_OF_CHALLENGERS.values())
"""Suffixes of the triggers, or of the functions that they call, whose names start with that of a predictions table."""

_END_OF_STATEMENT = re.compile(r";\n(?:\n|\Z)")
"""A semicolon before an empty line: the bodies of triggers contain semicolons but no empty lines."""


def trigger_sql(
    dialect: Dialect,
    layout: PredictionsLayout,
    schemas: Sequence[str] = ("public",),
    *,
    registered: str | None = None,
    schema: str | None = None,
    has_inputs: bool = False,
) -> list[str]:
    """The statements that create or replace the triggers of a job's tables.

    ``schema`` is that of the tables that all jobs share, if they are to be named with it.

    ``registered`` is the name under which the table is registered, if the layout names it with its schema. Functions
    run with the privileges of their owner, so their search path is ``schemas`` and never that of the caller.
    """
    shared = _shared(dialect, layout, schemas, registered) | fixed_names(dialect, schema)

    def history(current: sa.Table, of_current: TableName, past: TableName, suffixes: Mapping[str, str]) -> list[str]:
        own = _suffixed(dialect, layout, suffixes) | _tables(dialect, current=of_current, past=past)
        return _filled("history", dialect, shared | own | _columns(dialect, current))

    of_job = _columns(dialect, layout.predictions_table) | _tables(
        dialect,
        predictions=layout.table,
        superseded=layout.superseded,
        quarantine=layout.quarantine,
        quarantine_closed=layout.quarantine_closed,
    )
    of_challengers = _suffixed(dialect, layout, _OF_CHALLENGERS) | _tables(dialect, inputs=layout.challengers)
    return [
        *_filled("predictions", dialect, shared | of_job),
        *history(layout.predictions_table, layout.table, layout.superseded, _OF_PREDICTIONS),
        *history(layout.quarantine_table, layout.quarantine, layout.quarantine_closed, _OF_QUARANTINE),
        *_filled("inputs", dialect, shared | of_challengers),
        *(inputs_sql(dialect, layout, schemas, registered=registered, schema=schema) if has_inputs else []),
    ]


def inputs_sql(
    dialect: Dialect,
    layout: PredictionsLayout,
    schemas: Sequence[str] = ("public",),
    *,
    registered: str | None = None,
    schema: str | None = None,
) -> list[str]:
    """The statements that create or replace the triggers of a job's table of stored inputs."""
    own = _suffixed(dialect, layout, _OF_INPUTS) | _tables(dialect, inputs=layout.inputs)
    return _filled(
        "inputs", dialect, _shared(dialect, layout, schemas, registered) | fixed_names(dialect, schema) | own
    )


def records_sql(dialect: Dialect, schemas: Sequence[str] = ("public",), schema: str | None = None) -> list[str]:
    """The statements that create or replace the triggers of the tables that all jobs share; none without functions."""
    if not dialect.has_functions:
        return []
    names = fixed_names(dialect, schema) | {name: dialect.quoted(schema, name) for name in _OF_RECORDS}
    names["search_path"] = _search_path(dialect, schemas)
    names["new_identity"] = _compared(dialect, "NEW")
    names["old_identity"] = _compared(dialect, "OLD")
    return _filled("records", dialect, names)


def _search_path(dialect: Dialect, schemas: Sequence[str]) -> str:
    return ", ".join([*(dialect.quoted(schema) for schema in schemas), "pg_temp"])


def _compared(dialect: Dialect, row: str) -> str:
    """What is fixed of a run, as texts: JSON has no equality."""
    return ", ".join(f"{row}.{dialect.quoted(name)}::text" for name in IDENTITY_OF_RUN)


def _shared(
    dialect: Dialect, layout: PredictionsLayout, schemas: Sequence[str], registered: str | None
) -> dict[str, str]:
    past = "o" if dialect.has_functions else "OLD"
    return {
        **_suffixed(dialect, layout, {name: name for name in _OF_JOB}),
        "search_path": _search_path(dialect, schemas),
        "keys": _listed(dialect, layout.key_names),
        "same_key": same_key(dialect, layout, "c", past),
        "unchanged_key": same_key(dialect, layout, "NEW", "OLD"),
        "registered": _literal(registered or str(layout.table)),
        "held_key": _held_key(dialect, layout, past),
    }


def _held_key(dialect: Dialect, layout: PredictionsLayout, row: str) -> str:
    """The condition that a legal hold ``h`` is on the key of a row, whose texts it stores."""
    conditions = []
    for name in layout.key_names:
        stored = dialect.json_text("h.source_key", name)
        conditions.append(f"{stored} = CAST({row}.{dialect.quoted(name)} AS TEXT)")
    return " AND ".join(conditions)


def _suffixed(dialect: Dialect, layout: PredictionsLayout, suffixes: Mapping[str, str]) -> dict[str, str]:
    return {name: dialect.quoted(*view_name(layout, suffix)) for name, suffix in suffixes.items()}


def _tables(dialect: Dialect, **qualified: TableName) -> dict[str, str]:
    return {name: dialect.quoted(*table) for name, table in qualified.items()} | {
        f"own_{name}": dialect.quoted(table.name) for name, table in qualified.items()
    }


def _columns(dialect: Dialect, table: sa.Table) -> dict[str, str]:
    listed = [column.name for column in table.columns]
    return {"columns": _listed(dialect, listed), "old_columns": _listed(dialect, listed, "OLD.")}


def drop_triggers_sql(dialect: Dialect, layout: PredictionsLayout) -> list[str]:
    """The statements that drop the triggers, where a column that they name could not be changed otherwise."""
    return [statement for statement in trigger_sql(dialect, layout) if statement.startswith("DROP TRIGGER")]


def _filled(template: str, dialect: Dialect, names: Mapping[str, str]) -> list[str]:
    text = (resource("sql") / "triggers" / f"{template}.{dialect.templates}.sql").read_text(encoding="utf-8")
    tag = unused_tag("body", names.values())
    statements = _END_OF_STATEMENT.split(Template(text).substitute({**names, "tag": tag}))
    return [statement.strip() for statement in statements if statement.strip()]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _listed(dialect: Dialect, columns: Iterable[str], prefix: str = "") -> str:
    return ", ".join(f"{prefix}{dialect.quoted(name)}" for name in columns)
