"""Expressions in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.checksums import MARKS, VERSION
from batch_scoring.domain.column_types import ColumnType
from batch_scoring.domain.expressions import Input
from batch_scoring.store.engine.columns import SourceColumn
from batch_scoring.store.engine.expressions import ExpressionSyntax, NotComputable
from batch_scoring.store.engine.names import literal

_EXACT = ("int2", "int4", "int8")
_TEXTS = ("text", "varchar", "bpchar", "enum", *_EXACT)


class PostgreSQLExpressions(ExpressionSyntax):
    """Numbers are cast explicitly: a constant with a point is of type numeric, whose arithmetic is slower."""

    stores_inputs = True

    def number(self, value: float) -> str:
        """With the fewest digits that are read as the same double."""
        return f"{value!r}::float8"

    def text(self, value: str) -> str:
        """Backslashes are escaped, whatever ``standard_conforming_strings`` is."""
        if "\0" in value:
            raise NotComputable("a category has a NUL character, which no column can store")
        return f"E{literal(value.replace(chr(92), chr(92) * 2))}" if "\\" in value else literal(value)

    def checksum(self, inputs: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
        """With SHA-256, which every version has. A hash for each input would take four times as long as one for all."""
        absent, number, text, end = map(_bytes, MARKS)
        parts: list[sa.ColumnElement[Any]] = [
            sa.func.coalesce(
                text.concat(sa.func.convert_to(value, "UTF8")).concat(end)
                if isinstance(value.type, sa.Text)
                else number.concat(sa.func.float8send(value + 0.0)),
                absent,
            )
            for value in inputs
        ]
        row = reduce(lambda before, part: before.concat(part), parts)
        return _bytes(VERSION).concat(sa.func.sha256(row))

    def packed(self, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """An array would take many times as long."""
        nothing = sa.literal_column("''::bytea", sa.LargeBinary)
        return sa.func.string_agg(sa.func.float8send(value), nothing, type_=sa.LargeBinary())

    def as_input(
        self, column: SourceColumn, value: sa.ColumnElement[Any], wanted: Input
    ) -> tuple[sa.ColumnElement[Any], Sequence[sa.ColumnElement[bool]]]:
        """By base type. A number of a type that is not double precision is converted as its text is read."""
        conditions = self.is_present(column, value, wanted)
        if wanted.type is ColumnType.TEXT:
            if column.base not in _TEXTS:
                raise NotComputable(f"column {column.name} is {column.ddl}, and its text is made in Python")
            return sa.cast(value, sa.Text).collate("C"), conditions
        if column.base in _EXACT:
            if wanted.type is ColumnType.BOOLEAN:
                conditions.append(sa.or_(value.is_(None), value.in_([0, 1])))
            return sa.cast(value, sa.Double), conditions
        if column.base == "bool":
            return sa.cast(sa.cast(value, sa.Integer), sa.Double), conditions
        if column.base not in ("float8", "float4", "numeric"):
            raise NotComputable(f"column {column.name} is {column.ddl}, and is read as a number in Python")
        conditions.append(self.is_moderate(value))
        if wanted.type is ColumnType.INTEGER:
            conditions.append(sa.or_(value.is_(None), sa.func.trunc(value) == value))
        if column.base == "float4":
            return sa.cast(sa.cast(value, sa.Text), sa.Double), conditions
        if column.base == "numeric":  # a number that is out of the range of a double is an error
            return sa.case((self.is_moderate(value), sa.cast(value, sa.Double))), conditions
        return value, conditions


def _bytes(value: bytes) -> sa.ColumnElement[Any]:
    return sa.literal_column(f"'\\x{value.hex()}'::bytea", sa.LargeBinary)
