"""Expressions as SQL text, readable and with every constant exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import sqlalchemy as sa

from batch_scoring.domain.expressions import (
    LARGEST,
    SMALLEST,
    Call,
    Case,
    Coalesce,
    Comparison,
    Condition,
    Difference,
    Either,
    Expression,
    Greatest,
    Input,
    IsNull,
    Name,
    Not,
    Number,
    Product,
    Quotient,
    Sum,
    Text,
)
from batch_scoring.store.engine.columns import SourceColumn
from batch_scoring.store.engine.names import literal

_INDENT = "  "


class NotComputable(Exception):
    """A database cannot compute with a column or a function; the text says which, for users."""


class ExpressionSyntax:
    """How a database writes numbers, texts and functions, and reads columns of the source as inputs of a model."""

    greatest: ClassVar[str] = "greatest"
    random: ClassVar[str] = "random()"
    """A number between 0 and 1."""
    stores_inputs: ClassVar[bool] = False
    """Whether one statement writes several tables, and computes checksums."""
    fence: ClassVar[str] = "OFFSET 0"
    """The end of a subquery that the planner does not merge with its surroundings."""

    def number(self, value: float) -> str:
        """A constant of double precision."""
        raise NotImplementedError

    def text(self, value: str) -> str:
        """A constant text."""
        return literal(value)

    def checksum(self, inputs: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
        """The checksum of a row of inputs (see ``domain.checksums``), where ``stores_inputs``."""
        raise NotImplementedError

    def packed(self, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Aggregate: the numbers of a column as the bytes of doubles, big-endian, where ``stores_inputs``."""
        raise NotImplementedError

    def check(self, connection: sa.Connection) -> None:
        """Raise NotComputable where the database lacks a function that expressions use."""

    def as_input(
        self, column: SourceColumn, value: sa.ColumnElement[object], wanted: Input
    ) -> tuple[sa.ColumnElement[object], Sequence[sa.ColumnElement[bool]]]:
        """A column of the source as double precision or text, and the conditions under which rows are scored.

        The conditions hold for values that the model takes and expressions can compute with (see ``LARGEST``). Neither
        they nor the conversion raise an error for any other value. Raises NotComputable where the type of the column
        is not converted as for a model in Python.
        """
        raise NotImplementedError

    def is_present(
        self, column: SourceColumn, value: sa.ColumnElement[Any], wanted: Input
    ) -> list[sa.ColumnElement[bool]]:
        """The condition that a value is not NULL, if the model needs one and the column does not guarantee it."""
        return [value.is_not(None)] if column.nullable and not wanted.nullable else []

    def is_moderate(self, value: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """The condition that a number is one to compute with, or NULL."""
        largest, smallest = (sa.literal_column(repr(limit), value.type) for limit in (LARGEST, SMALLEST))
        zero: sa.ColumnElement[Any] = sa.literal_column("0", value.type)
        return sa.or_(sa.func.abs(value).between(smallest, largest), value == zero, value.is_(None))


@dataclass(frozen=True, slots=True)
class Printer:
    """Writes expressions as SQL text."""

    syntax: ExpressionSyntax
    quote: Callable[[str], str]

    def expression(self, tree: Expression, indent: str = "") -> str:
        """An expression. Its lines after the first start with ``indent``."""
        match tree:
            case Name(name):
                return self.quote(name)
            case Number(value):
                return self.syntax.number(value)
            case Text(value):
                return self.syntax.text(value)
            case Case():
                return self._case(tree, indent)
            case Sum(terms):
                return self._joined(terms, "+", indent)
            case Product(factors):
                return self._joined(factors, "*", indent)
            case Difference(left, right) | Quotient(left, right):
                return self._joined((left, right), "-" if isinstance(tree, Difference) else "/", indent)
        return self._function(tree, indent)

    def _function(self, tree: Call | Greatest | Coalesce, indent: str) -> str:
        match tree:
            case Call(function, argument):
                return f"{function}({self.expression(argument, indent)})"
            case Greatest(values):
                return f"{self.syntax.greatest}({', '.join(self.expression(value, indent) for value in values)})"
            case Coalesce(value, replacement):
                return f"coalesce({self.expression(value, indent)}, {self.expression(replacement, indent)})"

    def condition(self, tree: Condition, indent: str = "") -> str:
        """A condition."""
        match tree:
            case IsNull(value):
                return f"{self._part(value, indent)} IS NULL"
            case Not(IsNull(value)):
                return f"{self._part(value, indent)} IS NOT NULL"
            case Not(inner):
                return f"NOT ({self.condition(inner, indent)})"
            case Comparison(left, operator, right):
                return f"{self._part(left, indent)} {operator} {self._part(right, indent)}"
            case Either(conditions):
                return self._either(conditions, indent)

    def _either(self, conditions: Sequence[Condition], indent: str) -> str:
        """Comparisons with several constants are written as one list."""
        written: list[str] = []
        lists: dict[Expression, list[str]] = {}
        for part in conditions:
            if isinstance(part, Comparison) and part.operator == "=" and isinstance(part.right, Text | Number):
                lists.setdefault(part.left, []).append(self.expression(part.right))
            else:
                written.append(self._grouped(part, indent))
        for value, constants in lists.items():
            own = self._part(value, indent)
            written.append(f"{own} IN ({', '.join(constants)})" if len(constants) > 1 else f"{own} = {constants[0]}")
        return " OR ".join(written)

    def _grouped(self, part: Condition, indent: str) -> str:
        text = self.condition(part, indent)
        return f"({text})" if isinstance(part, Either) else text

    def _joined(self, parts: Sequence[Expression], operator: str, indent: str) -> str:
        written = [self._part(part, indent + _INDENT) for part in parts]
        if sum(map(len, written)) < 100 and not any("\n" in text for text in written):
            return f" {operator} ".join(written)
        return f"\n{indent}{operator} ".join(written)

    def _part(self, part: Expression, indent: str) -> str:
        text = self.expression(part, indent)
        is_signed = isinstance(part, Number) and part.value < 0
        return f"({text})" if is_signed or isinstance(part, Sum | Product | Difference | Quotient) else text

    def _case(self, tree: Case, indent: str) -> str:
        inner = indent + _INDENT
        lines = [f"WHEN {self.condition(c, inner)} THEN {self._value(v, inner)}" for c, v in tree.branches]
        subject = "CASE"
        simple = [c for c, _ in tree.branches if isinstance(c, Comparison) and c.operator == "="]
        if len(simple) == len(tree.branches) and len({c.left for c in simple}) == 1:
            subject = f"CASE {self._part(simple[0].left, inner)}"
            lines = [
                f"WHEN {self.expression(c.right, inner)} THEN {self._value(v, inner)}"
                for c, (_, v) in zip(simple, tree.branches, strict=True)
            ]
        if tree.otherwise is not None:
            lines.append(f"ELSE {self._value(tree.otherwise, inner)}")
        if len(lines) <= 2 and sum(map(len, lines)) < 90 and not any("\n" in line for line in lines):
            return f"{subject} {' '.join(lines)} END"
        return "\n".join([subject, *(inner + line for line in lines), f"{indent}END"])

    def _value(self, value: Expression | None, indent: str) -> str:
        return "NULL" if value is None else self.expression(value, indent)
