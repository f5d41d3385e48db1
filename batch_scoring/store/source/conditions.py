"""Conditions on the rows of a source, as ``rescore --where`` takes them: printed, and turned into SQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from batch_scoring.domain.column_types import Family
from batch_scoring.errors import InputFault
from batch_scoring.store.engine.columns import SourceColumn
from batch_scoring.store.engine.sql_types import RAW, as_timestamp
from batch_scoring.store.source.values import read_untyped, read_value

_COMPARE: dict[str, Callable[[Any, Any], sa.ColumnElement[bool]]] = {
    "=": lambda column, value: column == value,
    "!=": lambda column, value: column != value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
}
OPERATORS = (*_COMPARE, "is null", "in", "between", "like")
"""All operators; a negated operator is a Not of one of these."""

KEYWORDS = frozenset({"and", "or", "not", "in", "is", "null", "between", "like"})
WORD = r"[^\s'\"(),;<>=!]+"
TIMESTAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d(?::?\d\d)?)?(?=[\s(),]|$)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """A value as it was written."""

    text: str
    is_quoted: bool = False
    """Matters where a column has no declared type: ``'1'`` is a text, ``1`` a number."""
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        is_bare = re.fullmatch(f"{TIMESTAMP}|{WORD}", self.text, re.ASCII)
        if self.is_quoted or not is_bare or self.text.lower() in KEYWORDS:
            return _quoted(self.text, "'")
        return self.text


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A column compared with values: none for ``is null``, two for ``between``, one or more for ``in``."""

    column: str
    operator: str
    values: tuple[Value, ...] = ()
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return self.text()

    def text(self, *, is_negated: bool = False) -> str:
        """The comparison as it is written; ``is_negated`` with ``not`` in its operator, which must be a word."""
        is_bare = re.fullmatch(WORD, self.column) and self.column.lower() not in KEYWORDS
        column = self.column if is_bare else _quoted(self.column, '"')
        operator = self.operator
        if is_negated:
            operator = "is not null" if operator == "is null" else f"not {operator}"
        values = [str(value) for value in self.values]
        if self.operator == "in":
            return f"{column} {operator} ({', '.join(values)})"
        return " ".join([column, operator, " and ".join(values)]).rstrip()

    @property
    def comparisons(self) -> Iterator[Comparison]:
        """Itself."""
        yield self

    def sql(self, columns: Mapping[str, SourceColumn], table: sa.TableClause) -> sa.ColumnElement[bool]:
        """The condition on a source. Raises InputFault for an unknown column or a value of another type."""
        where = f"--where, character {self.position},"
        if self.column not in columns:
            raise InputFault(f"{where} the source has no column {self.column!r} (it has {', '.join(columns)})")
        for value in self.values:
            if not value.is_quoted and value.text in columns:
                raise InputFault(
                    f"--where, character {value.position}, {value.text!r} is a column of the source, and a column can"
                    f" only be compared with values; if it is text, write {_quoted(value.text, chr(39))}"
                )
        column = columns[self.column]
        expression = table.c[self.column]
        if self.operator == "is null":
            return expression.is_(None)
        if self.operator == "like":
            return _like(expression, column, self.values[0])
        left, values = _comparable(expression, column, self.values)
        if self.operator == "in":
            return left.in_(values)
        if self.operator == "between":
            return sa.and_(left >= values[0], left <= values[1])
        return _COMPARE[self.operator](left, values[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class Not:
    """True where the condition is false."""

    condition: Condition

    def __str__(self) -> str:
        if isinstance(self.condition, Comparison) and self.condition.operator not in _COMPARE:
            return self.condition.text(is_negated=True)
        return f"not {_inner(self.condition, Comparison, Not)}"

    @property
    def comparisons(self) -> Iterator[Comparison]:
        """Those inside."""
        return self.condition.comparisons

    def sql(self, columns: Mapping[str, SourceColumn], table: sa.TableClause) -> sa.ColumnElement[bool]:
        """As of a Comparison."""
        return sa.not_(self.condition.sql(columns, table))


@dataclass(frozen=True, kw_only=True, slots=True)
class Combined:
    """Two or more conditions of which all (``and``) or any (``or``) must hold."""

    operator: str
    conditions: tuple[Condition, ...]

    def __str__(self) -> str:
        return f" {self.operator} ".join(_inner(condition, Comparison, Not) for condition in self.conditions)

    @property
    def comparisons(self) -> Iterator[Comparison]:
        """Those inside."""
        for condition in self.conditions:
            yield from condition.comparisons

    def sql(self, columns: Mapping[str, SourceColumn], table: sa.TableClause) -> sa.ColumnElement[bool]:
        """As of a Comparison."""
        combine = sa.and_ if self.operator == "and" else sa.or_
        return combine(*(condition.sql(columns, table) for condition in self.conditions))


Condition: TypeAlias = Comparison | Not | Combined


def _inner(condition: Condition, *bare: type) -> str:
    return str(condition) if isinstance(condition, bare) else f"({condition})"


def _quoted(text: str, mark: str) -> str:
    return mark + text.replace(mark, 2 * mark) + mark


def _comparable(
    expression: sa.ColumnElement[Any], column: SourceColumn, values: tuple[Value, ...]
) -> tuple[sa.ColumnElement[Any], list[Any]]:
    """The column and the values in comparable types. Raises InputFault."""
    if column.family is Family.UNKNOWN:
        return expression, [read_untyped(_text(value, column), is_text=value.is_quoted) for value in values]
    read = [read_value(value.text, column, f"--where, character {value.position},") for value in values]
    if column.family in (Family.DATE, Family.TIMESTAMP):
        return as_timestamp(expression), [as_timestamp(sa.literal(value, RAW)) for value in read]
    return expression, read


def _text(value: Value, column: SourceColumn) -> str:
    as_text = replace(column, family=Family.TEXT, ddl="TEXT")
    text: str = read_value(value.text, as_text, f"--where, character {value.position},")
    return text


class _matches(sa.sql.functions.FunctionElement[Any]):  # noqa: N801 - named like SQLAlchemy's functions
    """A case-sensitive pattern match: LIKE, and GLOB on SQLite, whose LIKE is case-insensitive."""

    type = sa.Boolean()
    inherit_cache = True


@compiles(_matches)
def _matches_default(element: Any, compiler: Any, **kw: Any) -> str:
    column, like, _ = element.clauses
    return f"(CAST({compiler.process(column, **kw)} AS TEXT) LIKE {compiler.process(like, **kw)})"


@compiles(_matches, "sqlite")
def _matches_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    column, _, glob = element.clauses
    return f"({compiler.process(column, **kw)} GLOB {compiler.process(glob, **kw)})"


_OF_PATTERN = re.compile(r"\\(?P<escaped>.)|(?P<wildcard>[%_])|(?P<plain>.)", re.DOTALL)


def _like(expression: sa.ColumnElement[Any], column: SourceColumn, value: Value) -> sa.ColumnElement[bool]:
    if column.family not in (Family.TEXT, Family.UNKNOWN, Family.OTHER):
        raise InputFault(
            f"--where, character {value.position}, like compares texts, and column {column.name} is {column.ddl}"
        )
    pattern = _text(value, column)
    glob = ""
    for match in _OF_PATTERN.finditer(pattern):
        mark = match["escaped"] or match["plain"]
        if mark is None:
            glob += "*" if match["wildcard"] == "%" else "?"
        elif mark == "\\" and match["escaped"] is None:
            raise InputFault(
                f"--where, character {value.position}, a pattern of like ends with \\, which escapes % _ or \\;"
                " write \\\\ for a backslash"
            )
        else:
            glob += f"[{mark}]" if mark in "*?[" else mark
    return _matches(expression, sa.literal(pattern, RAW), sa.literal(glob, RAW))
