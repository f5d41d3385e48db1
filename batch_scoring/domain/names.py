"""Names of jobs, models and tables, and the column names that the package's own tables use."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field

from batch_scoring.errors import InputFault

JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"


ALIAS = r"^[A-Za-z][A-Za-z0-9_-]{0,62}$"


MAX_MODEL_VERSION = 2**31 - 1
MAX_RUN_ID = 2**63 - 1

OWN_COLUMNS = frozenset(
    {"run_id", "model_version", "score", "prediction", "source_changed_at", "valid_from", "valid_to"}
    | {"reason_code", "column_name", "message", "attempts", "model_name", "scored_at", "digest"}
    | {"trigger", "requested_by", "reason", "is_current", "quarantined_since", "quarantine_reason"}
)
"""Columns of a predictions table, quarantine, inputs and views; a key column must not have one of these names."""


class TableName(NamedTuple):
    """A table or view, with its schema where the job names one (``schema.table``)."""

    schema: str | None
    name: str

    @classmethod
    def parse(cls, text: str) -> TableName:
        """Split ``schema.table`` at its first dot; a name without a dot has no schema. Raises ValueError."""
        schema, dot, name = text.partition(".")
        if not text or "\0" in text or (dot and not (schema and name)):
            raise ValueError('expected "table" or "schema.table"')
        return cls(schema, name) if dot else cls(None, text)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


def check_name(option: str, name: str, pattern: str) -> None:
    """Raise InputFault where a name given with an option does not match a pattern of this module."""
    if not re.fullmatch(pattern, name):
        raise InputFault(f"{option} {name!r}: expected letters, digits, _ and -, the first of them a letter")


def _table_name(text: str) -> str:
    return str(TableName.parse(text))


Table = Annotated[str, AfterValidator(_table_name)]
"""The name of a table in a job file, optionally with its schema."""

Column = Annotated[str, Field(min_length=1)]
"""The name of a column in a job file."""
