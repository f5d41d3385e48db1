"""Columns between the steps of a model: what each holds as a function of the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from batch_scoring.domain.expressions import (
    Case,
    Comparison,
    Condition,
    Either,
    Expression,
    IsNull,
    Name,
    Number,
    Text,
)


class NotTranslatable(Exception):
    """A part of a model that has no translation; the text says which, for users."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Numeric:
    """Numbers given by an expression; NULL stands for NaN."""

    expression: Expression
    nullable: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Numbers that depend on which of some conditions holds: one of a few values each.

    Functions of one number, and sums over the same conditions, are computed when the model is translated.
    """

    conditions: tuple[Condition, ...]
    values: tuple[float | None, ...]
    """A value for each condition. NaN is a missing value; None a row that the database does not score."""

    @property
    def nullable(self) -> bool:
        """Whether some rows have no value."""
        return any(value is None or np.isnan(value) for value in self.values)

    @property
    def expression(self) -> Expression:
        """The values as a CASE; the rows of None, and those of no condition, are NULL."""
        pairs = zip(self.conditions, self.values, strict=True)
        return Case(tuple((condition, number(value)) for condition, value in pairs))


@dataclass(frozen=True, kw_only=True, slots=True)
class Keyed:
    """A column of categories: what a transformer receives for each value of an input."""

    conditions: tuple[Condition, ...]
    values: tuple[Any, ...]
    """Texts, numbers, or NaN and None for a missing one."""


Feature: TypeAlias = Numeric | Choice | Keyed


def number(value: float | None) -> Number | None:
    """A constant; None for a missing value."""
    return None if value is None or np.isnan(value) else Number(float(value))


def constant(value: Any) -> Number:
    """A number of a model. Raises NotTranslatable where a product with it may overflow or vanish."""
    plain = float(value)
    if not np.isfinite(plain) or (plain and not 1e-60 <= abs(plain) <= 1e60):
        raise NotTranslatable(f"the model has a number of {plain:g}")
    return Number(plain)


def keyed(name: str, categories: Sequence[Any], *, missing: Any, nullable: bool) -> Keyed:
    """A column of categories as it reaches the model."""
    column = Name(name)
    conditions: list[Condition] = [
        Comparison(column, "=", Text(value) if isinstance(value, str) else Number(float(value))) for value in categories
    ]
    values = list(categories)
    if nullable:
        conditions.insert(0, IsNull(column))
        values.insert(0, missing)
    return Keyed(conditions=tuple(conditions), values=tuple(values))


@dataclass(slots=True)
class Table:
    """The columns between two steps, and the conditions on rows that were found on the way."""

    features: list[Feature]
    names: list[str] | None = None
    """Names of the columns, where a later step may select by them."""
    conditions: list[Condition] = field(default_factory=list)

    def require(self, condition: Condition, *, of: Expression) -> None:
        """Leave rows for which a condition does not hold to scikit-learn, except where the value is missing."""
        self.conditions.append(Either((IsNull(of), condition)))

    def select(self, positions: Sequence[int]) -> Table:
        """Some of the columns. Conditions are shared with this table."""
        names = None if self.names is None else [self.names[position] for position in positions]
        return replace(self, features=[self.features[position] for position in positions], names=names)

    def with_features(self, features: Sequence[Feature], names: Sequence[str] | None = None) -> Table:
        """Other columns. Conditions are shared with this table."""
        return replace(self, features=list(features), names=None if names is None else list(names))


def numbers(table: Table, what: object) -> list[Numeric | Choice]:
    """The columns of a table, all of which must be numbers. Raises NotTranslatable."""
    found: list[Numeric | Choice] = []
    for feature in table.features:
        if isinstance(feature, Keyed):
            if not all(isinstance(value, int | float | np.number) for value in feature.values):
                raise NotTranslatable(f"{type(what).__name__} takes a column of texts")
            feature = Choice(conditions=feature.conditions, values=tuple(float(value) for value in feature.values))
        found.append(feature)
    return found


def class_name(part: Any) -> str | None:
    """The name of a class of scikit-learn or of this package; None for any other, which may compute something else.

    Classes are compared by name, so that those that a model does not have are not imported.
    """
    owner = type(part).__module__.partition(".")[0]
    return type(part).__name__ if owner in ("sklearn", "batch_scoring") else None
