"""Expressions in SQLite."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.column_types import ColumnType, Family
from batch_scoring.domain.expressions import Input
from batch_scoring.store.engine.columns import SourceColumn
from batch_scoring.store.engine.expressions import ExpressionSyntax, NotComputable

_MANTISSA = 53
"""Bits of the mantissa of a double."""


class SQLiteExpressions(ExpressionSyntax):
    """A value has the type with which it was stored, whatever the column declares."""

    greatest = "max"
    fence = "LIMIT -1 OFFSET 0"
    random = "(0.5 + random() / 18446744073709551616.0)"

    def number(self, value: float) -> str:
        """In decimal, if SQLite reads that as the same double, else as a quotient of two integers."""
        return _number(value)

    def check(self, connection: sa.Connection) -> None:
        """SQLite has mathematical functions if it was built with them."""
        try:
            connection.exec_driver_sql("SELECT exp(1.0), ln(2.0), sqrt(4.0)").one()
        except sa.exc.OperationalError as exc:
            raise NotComputable("this SQLite was built without mathematical functions") from exc

    def as_input(
        self, column: SourceColumn, value: sa.ColumnElement[Any], wanted: Input
    ) -> tuple[sa.ColumnElement[Any], Sequence[sa.ColumnElement[bool]]]:
        """Values of another type than the model takes are left to Python."""
        stored = sa.func.typeof(value)
        conditions = self.is_present(column, value, wanted)
        if wanted.type is ColumnType.TEXT:
            return sa.collate(value, "BINARY"), [*conditions, stored.in_(["text", "null"])]
        if column.family not in (Family.INTEGER, Family.NUMBER, Family.BOOLEAN, Family.UNKNOWN):
            raise NotComputable(f"column {column.name} is {column.ddl}, and is read as a number in Python")
        types = ["integer", "null"] if wanted.type is ColumnType.BOOLEAN else ["integer", "real", "null"]
        conditions += [stored.in_(types), self.is_moderate(value)]
        if wanted.type is ColumnType.BOOLEAN:
            conditions.append(sa.or_(value.is_(None), value.in_([0, 1])))
        if wanted.type is ColumnType.INTEGER:
            conditions.append(sa.or_(value.is_(None), sa.cast(value, sa.Integer) == value))
        return sa.cast(value, sa.REAL), conditions


@lru_cache(maxsize=4096)
def _number(value: float) -> str:
    plain = repr(value)
    with sqlite3.connect(":memory:") as connection:
        (read,) = connection.execute(f"SELECT {plain}").fetchone()
    connection.close()
    if read == value:
        return plain
    mantissa, exponent = math.frexp(value)
    shift = _MANTISSA - exponent
    whole = int(mantissa * 2**_MANTISSA)
    return f"({whole} / {2.0**shift!r})" if shift >= 0 else f"({whole} * {2.0**-shift!r})"
