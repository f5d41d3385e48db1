"""The triggers by which the database keeps history: templates under ``sql/triggers``, one file for each dialect."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from string import Template

from batch_scoring.resources import resource
from batch_scoring.store.engine.dialects.dialect import Dialect
from batch_scoring.store.schema.layout import PredictionsLayout

NAMES = (
    "supersede",
    "requarantine",
    "release",
    "preserve",
    "preserve_past",
    "purge_past",
    "preserve_closed",
    "purge_closed",
)
"""Suffixes of the triggers, or of the functions that they call, whose names start with that of a predictions table."""

_END_OF_STATEMENT = re.compile(r";\n(?:\n|\Z)")
"""A semicolon before an empty line: the bodies of triggers contain semicolons but no empty lines."""


def trigger_sql(dialect: Dialect, layout: PredictionsLayout, schemas: Sequence[str] = ("public",)) -> list[str]:
    """The statements that create or replace the triggers of a job's tables.

    Functions run with the privileges of their owner, so their search path is ``schemas`` and never that of the caller.
    """
    text = (resource("sql") / "triggers" / f"predictions.{dialect.templates}.sql").read_text(encoding="utf-8")
    filled = Template(text).substitute(_names(dialect, layout, schemas))
    return [statement.strip() for statement in _END_OF_STATEMENT.split(filled) if statement.strip()]


def drop_triggers_sql(dialect: Dialect, layout: PredictionsLayout) -> list[str]:
    """The statements that drop the triggers, where a column that they name could not be changed otherwise."""
    return [statement for statement in trigger_sql(dialect, layout) if statement.startswith("DROP TRIGGER")]


def _names(dialect: Dialect, layout: PredictionsLayout, schemas: Sequence[str]) -> dict[str, str]:
    def listed(columns: Iterable[str], prefix: str = "") -> str:
        return ", ".join(f"{prefix}{dialect.quoted(name)}" for name in columns)

    def same(one: str, other: str) -> str:
        columns = [dialect.quoted(name) for name in layout.key_names]
        return " AND ".join(f"{one}.{column} = {other}.{column}" for column in columns)

    predictions = [column.name for column in layout.predictions_table.columns]
    entries = [column.name for column in layout.quarantine_table.columns]
    tables = {
        "predictions": layout.table,
        "superseded": layout.superseded,
        "quarantine": layout.quarantine,
        "quarantine_closed": layout.quarantine_closed,
    }
    own = {name: layout.table._replace(name=f"{layout.table.name}_{name}") for name in NAMES}
    old = "o" if dialect.has_functions else "OLD"
    return {
        **{name: dialect.quoted(*qualified) for name, qualified in own.items()},
        **{name: dialect.quoted(*qualified) for name, qualified in tables.items()},
        **{f"own_{name}": dialect.quoted(qualified.name) for name, qualified in tables.items()},
        "search_path": ", ".join([*(dialect.quoted(schema) for schema in schemas), "pg_temp"]),
        "keys": listed(layout.key_names),
        "columns": listed(predictions),
        "old_columns": listed(predictions, "OLD."),
        "entry_columns": listed(entries),
        "old_entry_columns": listed(entries, "OLD."),
        "same_key": same("c", old),
        "unchanged_key": same("NEW", "OLD"),
    }
