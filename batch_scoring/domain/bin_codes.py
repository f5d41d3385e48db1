"""Codes of bins: the bin of each value of a feature as a small integer, in an expression that a database computes.

The codes of several features are packed into words: integers below 2^53, which double precision holds exactly.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import copysign
from typing import Literal, TypeAlias

from batch_scoring.domain.column_types import ColumnType
from batch_scoring.domain.expressions import (
    SMALLEST,
    Case,
    Comparison,
    Condition,
    Expression,
    Input,
    IsNull,
    Name,
    Number,
    Sum,
    Text,
)
from batch_scoring.domain.profile import FeatureBins, FeatureCounts

_BITS = 53
"""Bits of a word."""

_Limit: TypeAlias = tuple[float, Literal["<", "<="]]
_BOOLEANS = {"false": 0.0, "true": 1.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberCodes:
    """Codes of a number: of the interval between two limits in which it is, and one more if it is missing.

    Limits are the edges of the bins and the range of the reference.
    """

    bins: FeatureBins
    nullable: bool

    @property
    def name(self) -> str:
        """The feature."""
        return self.bins.name

    @property
    def size(self) -> int:
        """The number of codes."""
        return len(self._limits) + 2

    def expression(self, factor: float) -> Expression:
        """The code of a value, times a factor."""
        found = self._searched(self._limits, 0, factor)
        if not self.nullable:
            return found
        missing = Number((len(self._limits) + 1) * factor)
        return Case(((IsNull(Name(self.name)), missing),), otherwise=found)

    def _searched(self, limits: Sequence[_Limit], first: int, factor: float) -> Expression:
        """A binary search, which compares a value with few of the limits."""
        if not limits:
            return Number(first * factor)
        middle = len(limits) // 2
        value, operator = limits[middle]
        lower = self._searched(limits[:middle], first, factor)
        upper = self._searched(limits[middle + 1 :], first + middle + 1, factor)
        return Case(((Comparison(Name(self.name), operator, Number(value)), lower),), otherwise=upper)

    def counts(self, by_code: Sequence[int], low: float | None, high: float | None) -> FeatureCounts:
        """The counts of the bins, given those of the codes, and the smallest and largest value."""
        bins = self.bins
        *intervals, missing = by_code
        counts = [0] * (len(bins.edges or ()) + 1)
        below = above = 0
        for number, count in enumerate(intervals):
            passed = self._limits[:number]
            counts[sum(_limit(edge, "<=") in passed for edge in bins.edges or ())] += count
            if bins.low is not None and _limit(bins.low, "<") not in passed:
                below += count
            if bins.high is not None and _limit(bins.high, "<=") in passed:
                above += count
        return FeatureCounts(counts=(*counts, missing, 0), below=below, above=above, low=low, high=high)

    @property
    def _limits(self) -> list[_Limit]:
        limits = {_limit(edge, "<=") for edge in self.bins.edges or ()}
        if self.bins.low is not None:
            limits.add(_limit(self.bins.low, "<"))
        if self.bins.high is not None:
            limits.add(_limit(self.bins.high, "<="))
        return sorted(limits)


def _limit(value: float, operator: Literal["<", "<="]) -> _Limit:
    """A limit; one that is nearer to 0 than any number in the database is one that each database can write."""
    return (copysign(SMALLEST / 2, value) if 0 < abs(value) < SMALLEST else value), operator


@dataclass(frozen=True, kw_only=True, slots=True)
class CategoryCodes:
    """Codes of a category: one for each level, one for all others, one for a missing value.

    The others are categories of the signature: rows with unseen ones are left to Python.
    """

    bins: FeatureBins
    type: ColumnType

    @property
    def name(self) -> str:
        """The feature."""
        return self.bins.name

    @property
    def size(self) -> int:
        """The number of codes."""
        return len(self._levels) + 2

    def expression(self, factor: float) -> Expression:
        """The code of a value, times a factor."""
        value = Name(self.name)
        branches: list[tuple[Condition, Expression]] = [
            (Comparison(value, "=", self._constant(level)), Number(code * factor))
            for code, level in enumerate(self._levels)
        ]
        others, missing = (Number((len(self._levels) + more) * factor) for more in (0, 1))
        return Case((*branches, (IsNull(value), missing)), otherwise=others)

    def counts(self, by_code: Sequence[int], low: float | None, high: float | None) -> FeatureCounts:  # noqa: ARG002
        """The counts of the bins, given those of the codes."""
        *levels, others, missing = by_code
        return FeatureCounts(counts=(*levels, others, 0, missing, 0))

    def _constant(self, level: str) -> Expression:
        if self.type is ColumnType.TEXT:
            return Text(level)
        return Number(_BOOLEANS[level] if self.type is ColumnType.BOOLEAN else float(level))

    @property
    def _levels(self) -> tuple[str, ...]:
        return self.bins.levels or ()


FeatureCodes: TypeAlias = NumberCodes | CategoryCodes


def codes_of(bins: FeatureBins, of: Input) -> FeatureCodes:
    """The codes of a feature that is an input of a program."""
    if bins.levels is None:
        return NumberCodes(bins=bins, nullable=of.nullable)
    return CategoryCodes(bins=bins, type=of.type)


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelCodes:
    """Codes of the label that a model decides: one for each, as a program gives no other."""

    name: str
    """Of the column."""
    labels: tuple[str, ...]

    @property
    def size(self) -> int:
        """The number of codes."""
        return len(self.labels)

    def expression(self, factor: float) -> Expression:
        """The code of a label, times a factor."""
        *others, last = (Number(code * factor) for code in range(self.size))
        named = zip(self.labels, others, strict=False)
        return Case(
            tuple((Comparison(Name(self.name), "=", Text(label)), number) for label, number in named), otherwise=last
        )


Codes: TypeAlias = FeatureCodes | LabelCodes


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """The codes of some features as one integer."""

    codes: tuple[Codes, ...]

    def sum_of(self, chosen: Container[Codes]) -> Expression:
        """The sum of some of the codes, each in its bits."""
        shifted = [
            one.expression(2.0**shift) for one, shift in zip(self.codes, self.shifts, strict=True) if one in chosen
        ]
        return Sum(tuple(shifted)) if shifted else Number(0.0)

    @property
    def shifts(self) -> list[int]:
        """The lowest bit of each code."""
        return list(accumulate((bits(one) for one in self.codes[:-1]), initial=0))


def words_of(codes: Iterable[Codes]) -> list[Word]:
    """Pack codes into as few words as they need in this order."""
    found: list[list[Codes]] = []
    left = 0
    for one in codes:
        if bits(one) > left:
            found.append([])
            left = _BITS
        found[-1].append(one)
        left -= bits(one)
    return [Word(codes=tuple(codes)) for codes in found]


def bits(codes: Codes) -> int:
    """The number of bits that codes take."""
    return (codes.size - 1).bit_length()
