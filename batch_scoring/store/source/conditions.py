"""Conditions on the rows of a source, as ``rescore --where`` takes them: read, printed, and turned into SQL.

::

    condition   = conjunction {"or" conjunction}
    conjunction = negation {"and" negation}
    negation    = "not" negation | "(" condition ")" | comparison
    comparison  = column ("=" | "!=" | "<>" | "<" | "<=" | ">" | ">=") value
                | column "is" ["not"] "null"
                | column ["not"] "in" "(" value {"," value} ")"
                | column ["not"] "between" value "and" value
                | column ["not"] "like" value

A column is a word, or any text in double quotes; a value is a word, or any text in single quotes. A value only ever
is sent to the database as a bound parameter. NULL follows SQL: a comparison with it is neither true nor false.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from batch_scoring.domain.column_types import Family
from batch_scoring.errors import InputFault
from batch_scoring.store.engine.columns import SourceColumn
from batch_scoring.store.engine.sql_types import RAW, as_timestamp
from batch_scoring.store.source.values import read_untyped, read_value

_MAX_DEPTH = 20
"""Depth of nested parentheses and negations; SQL parsers have a limit too."""

_MAX_COMPARISONS = 500
_MAX_VALUES = 5_000

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

_KEYWORDS = frozenset({"and", "or", "not", "in", "is", "null", "between", "like"})
_WORD = re.compile(r"[^\s'\"(),;<>=!]+")
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
_TIMESTAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d(?::?\d\d)?)?(?=[\s(),]|$)"
_TOKEN = re.compile(
    rf"(?P<value>{_TIMESTAMP})|(?P<text>'(?:[^']|'')*')|(?P<name>\"(?:[^\"]|\"\")+\")"
    rf"|(?P<operator><>|!=|<=|>=|==|[=<>])|(?P<mark>[(),])|(?P<word>{_WORD.pattern})",
    re.ASCII,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """A value as it was written."""

    text: str
    is_quoted: bool = False
    """Matters where a column has no declared type: ``'1'`` is a text, ``1`` a number."""
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        is_bare = re.fullmatch(rf"{_TIMESTAMP}|{_WORD.pattern}", self.text, re.ASCII)
        if self.is_quoted or not is_bare or self.text.lower() in _KEYWORDS:
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
        is_bare = _WORD.fullmatch(self.column) and self.column.lower() not in _KEYWORDS
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


def parse(text: str) -> Condition:
    """Read a condition. Raises InputFault, which names the character at fault."""
    return _Parser(text).read()


def from_record(record: Any) -> Condition:
    """Read a condition from the record of a run: text, or, in older records, one comparison as a list."""
    if isinstance(record, str):
        return parse(record)
    column, operator, text, is_text = record
    if operator in ("is null", "is not null"):
        found: Condition = Comparison(column=column, operator="is null")
        return found if operator == "is null" else Not(condition=found)
    value = Value(text=text, is_quoted=is_text or not _NUMBER.fullmatch(text))
    return Comparison(column=column, operator=operator, values=(value,))


def _inner(condition: Condition, *bare: type) -> str:
    return str(condition) if isinstance(condition, bare) else f"({condition})"


def _quoted(text: str, mark: str) -> str:
    return mark + text.replace(mark, 2 * mark) + mark


@dataclass(frozen=True, kw_only=True, slots=True)
class _Token:
    kind: str
    """value, text, name, operator, mark, word, keyword or end."""
    text: str
    position: int


class _Parser:
    """A recursive-descent parser."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._read_tokens()
        self._next = next(self._tokens)
        self._counts = {"comparisons": _MAX_COMPARISONS, "values": _MAX_VALUES}

    def read(self) -> Condition:
        condition = self._combined("or", _MAX_DEPTH)
        if self._next.kind != "end":
            hint = ""
            if self._next.kind in ("word", "value"):
                hint = "; a value of several words is written in single quotes"
            self._refuse(f"and, or, or the end{hint}")
        return condition

    def _combined(self, operator: str, levels: int) -> Condition:
        def part() -> Condition:
            return self._combined("and", levels) if operator == "or" else self._negation(levels)

        conditions = [part()]
        while self._take("keyword", operator):
            conditions.append(part())
        return conditions[0] if len(conditions) == 1 else Combined(operator=operator, conditions=tuple(conditions))

    def _negation(self, levels: int) -> Condition:
        at = self._next.position
        if self._take("keyword", "not"):
            return Not(condition=self._negation(self._deeper(levels, at)))
        if self._take("mark", "("):
            condition = self._combined("or", self._deeper(levels, at))
            if not self._take("mark", ")"):
                self._refuse("and, or, or )")
            return condition
        return self._comparison()

    def _deeper(self, levels: int, position: int) -> int:
        if levels == 0:
            raise self._fault(position, f"more than {_MAX_DEPTH} parentheses and negations inside each other")
        return levels - 1

    def _comparison(self) -> Condition:
        self._count("comparisons")
        position = self._next.position
        column = self._column()
        if self._take("keyword", "is"):
            is_negated = self._take("keyword", "not")
            self._demand("keyword", "null")
            return _negated(Comparison(column=column, operator="is null", position=position), is_negated)
        is_negated = self._take("keyword", "not")
        values: list[Value]
        if self._take("keyword", "in"):
            operator, values = "in", self._list()
        elif self._take("keyword", "between"):
            operator, values = "between", [self._value()]
            self._demand("keyword", "and")
            values.append(self._value())
        elif self._take("keyword", "like"):
            operator, values = "like", [self._value()]
        elif is_negated:
            self._refuse("in, between or like")
        else:
            operator, values = self._operator(), [self._value()]
        found = Comparison(column=column, operator=operator, values=tuple(values), position=position)
        return _negated(found, is_negated)

    def _column(self) -> str:
        token = self._next
        if token.kind == "text":
            self._refuse('a column; single quotes hold values, a column is written "as this"')
        if token.kind not in ("word", "name"):
            self._refuse("a column")
        self._advance()
        return _unquoted(token.text) if token.kind == "name" else token.text

    def _operator(self) -> str:
        found = self._next.text
        if self._next.kind != "operator" or found == "==":
            self._refuse("one of = != < <= > >=, is [not] null, [not] in (...), [not] between ... and ..., [not] like")
        self._advance()
        return "!=" if found == "<>" else found

    def _list(self) -> list[Value]:
        self._demand("mark", "(")
        values = [self._value()]
        while self._take("mark", ","):
            values.append(self._value())
        if not self._take("mark", ")"):
            self._refuse(", or )")
        return values

    def _value(self) -> Value:
        token = self._next
        self._count("values")
        if token.kind == "name":
            self._refuse("a value; double quotes hold the name of a column, a value is written 'as this'")
        if token.kind == "keyword":
            hint = "; write is null, or is not null" if token.text.lower() == "null" else ", or the word in quotes"
            self._refuse(f"a value{hint}")
        if token.kind not in ("word", "value", "text"):
            self._refuse("a value, in single quotes if it is not one word")
        self._advance()
        is_quoted = token.kind == "text"
        text = _unquoted(token.text) if is_quoted else token.text
        return Value(text=text, is_quoted=is_quoted, position=token.position)

    def _count(self, what: str) -> None:
        self._counts[what] -= 1
        if self._counts[what] < 0:
            most = _MAX_COMPARISONS if what == "comparisons" else _MAX_VALUES
            raise self._fault(self._next.position, f"more than {most:,} {what}; --keys-file takes any number of keys")

    def _take(self, kind: str, text: str) -> bool:
        is_next = self._next.kind == kind and self._next.text.lower() == text
        if is_next:
            self._advance()
        return is_next

    def _demand(self, kind: str, text: str) -> None:
        if not self._take(kind, text):
            self._refuse(text)

    def _advance(self) -> None:
        self._next = next(self._tokens)

    def _refuse(self, expected: str) -> NoReturn:
        found = repr(self._next.text) if self._next.kind != "end" else "the end"
        raise self._fault(self._next.position, f"found {found}, expected {expected}")

    def _fault(self, position: int, problem: str) -> InputFault:
        return InputFault(f"--where {self._text!r}, character {position}: {problem}")

    def _read_tokens(self) -> Iterator[_Token]:
        at = 0
        while True:
            at += len(self._text[at:]) - len(self._text[at:].lstrip())
            if at == len(self._text):
                yield _Token(kind="end", text="", position=at + 1)
                return
            match = _TOKEN.match(self._text, at)
            if match is None:
                mark = self._text[at]
                raise self._fault(
                    at + 1,
                    f"the quote {mark} is not closed"
                    if mark in "'\""
                    else f"found {mark!r}, which is only read inside quotes",
                )
            kind, text = str(match.lastgroup), match[0]
            if kind == "word" and text.lower() in _KEYWORDS:
                kind = "keyword"
            yield _Token(kind=kind, text=text, position=at + 1)
            at = match.end()


def _unquoted(text: str) -> str:
    return text[1:-1].replace(2 * text[0], text[0])


def _negated(comparison: Comparison, is_negated: bool) -> Condition:
    return Not(condition=comparison) if is_negated else comparison


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
