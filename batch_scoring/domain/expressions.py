"""Expressions in which a model is written for a database: a tree without SQL, which ``store`` compiles.

Numbers are of double precision. A missing value is NULL; a result of NULL is a row that the database does not score.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Literal, TypeAlias

from batch_scoring.domain.column_types import ColumnType
from batch_scoring.domain.manifest import Signature

LARGEST = 1e15
SMALLEST = 1e-15
"""The numbers that a database computes with: 0, and those whose absolute value is between the two. Products and
quotients of a few of them neither overflow nor vanish, which PostgreSQL reports as errors."""


@dataclass(frozen=True, slots=True)
class Name:
    """An input of the program, or a value of an earlier step."""

    name: str


@dataclass(frozen=True, slots=True)
class Number:
    """A finite constant."""

    value: float


@dataclass(frozen=True, slots=True)
class Text:
    """A constant text."""

    value: str


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum of one or more terms, from left to right."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """``left - right``."""

    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Product:
    """The product of one or more factors, from left to right."""

    factors: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Quotient:
    """``left / right``."""

    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Call:
    """A function of one number. The argument must be within its domain, see ``Case``."""

    function: Literal["abs", "exp", "ln", "sqrt"]
    argument: Expression


@dataclass(frozen=True, slots=True)
class Greatest:
    """The greatest of two or more numbers, none of which may be NULL."""

    values: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Coalesce:
    """The value, or a constant where it is NULL."""

    value: Expression
    replacement: Expression


@dataclass(frozen=True, slots=True)
class Case:
    """The value of the first condition that holds; else ``otherwise``, NULL if it is None. Others are not evaluated."""

    branches: tuple[tuple[Condition, Expression | None], ...]
    otherwise: Expression | None = None


@dataclass(frozen=True, slots=True)
class IsNull:
    """Whether a value is NULL."""

    value: Expression


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison, which does not hold where a side is NULL."""

    left: Expression
    operator: Literal["=", "<", "<=", ">", ">="]
    right: Expression


@dataclass(frozen=True, slots=True)
class Either:
    """Whether any of one or more conditions holds."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Whether a condition does not hold."""

    condition: Condition


Expression: TypeAlias = Name | Number | Text | Sum | Difference | Product | Quotient | Call | Greatest | Coalesce | Case
Condition: TypeAlias = IsNull | Comparison | Either | Not


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """A column of the source that a program takes."""

    name: str
    type: ColumnType
    nullable: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A model as steps of expressions; the values of each step are computed from those before it."""

    inputs: tuple[Input, ...]
    """Every input of the model, also those that do not influence its outputs."""
    conditions: tuple[Condition, ...]
    """What must hold of the inputs for the database to score a row, besides that they are present where the model needs
    them, and numbers it can compute with. The other rows are left to scikit-learn."""
    steps: tuple[tuple[tuple[str, Expression], ...], ...]
    score: Expression
    label: Expression | None
    """None for a regression."""
    accepted: tuple[Condition, ...]
    """What must hold of the values of the last step for its result to count."""

    def with_values(self, values: tuple[tuple[str, Expression], ...]) -> Program:
        """The same program with more values, which are computed from the inputs and which it does not use."""
        first, *later = self.steps or ((),)
        second = later[0] if later else ()
        return replace(self, steps=(first, (*second, *values), *later[1:]))


def inputs_of(signature: Signature) -> tuple[Input, ...]:
    """The columns that a model takes, as a program takes them."""
    return tuple(Input(name=column.name, type=column.type, nullable=column.nullable) for column in signature.columns)


def names_in(tree: Expression | Condition | None) -> Iterator[str]:
    """The names that occur in a tree."""
    if isinstance(tree, Name):
        yield tree.name
    elif tree is not None:
        for field in fields(tree):
            yield from _names(getattr(tree, field.name))


def _names(value: object) -> Iterator[str]:
    if isinstance(value, tuple):
        for part in value:
            yield from _names(part)
    elif isinstance(value, Expression | Condition):
        yield from names_in(value)
