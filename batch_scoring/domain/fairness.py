"""Fairness: what is predicted for groups of rows, and how well it comes true for each of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated

from pydantic import Field

from batch_scoring.domain.names import Column, Table
from batch_scoring.domain.section import Section

UNKNOWN = "unknown"
"""The group of rows whose value is NULL, or that the table of groups does not have."""

FOUR_FIFTHS = (4, 5)
"""The limit of the ratio of two selection rates, as integers: floats fail at exactly 0.8."""


class Fairness(Section):
    """``[fairness]``: the columns whose values form groups, and with which group the others are compared."""

    columns: Annotated[list[Column], Field(min_length=1)]
    """Columns of the source, or of ``table``. They need not be inputs of the model, and do not become any."""
    table: Table | None = None
    """The table or view that has them; None for the source."""
    key: list[Column] = Field(default_factory=list)
    """The columns of ``table`` with the key of the source, in its order; empty where they have the same names."""
    reference: dict[str, str] = Field(default_factory=dict)
    """By column: the group with which the others are compared; without one the largest group that is known."""
    fewest: Annotated[int, Field(ge=10)] = 30
    """Groups with fewer rows in a month are not shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupCounts:
    """What was predicted for a group in a month, and what is known of its outcomes."""

    rows: int
    selected: int
    """Rows with the positive label as prediction."""
    outcomes: int = 0
    """Rows with a matured outcome."""
    positives: int = 0
    """Those of them whose outcome is the positive label."""
    selected_positives: int = 0
    """Those of these with the positive label as prediction."""
    score_sum: float = 0.0
    """Of the scores of rows with an outcome."""


@dataclass(frozen=True, kw_only=True)
class GroupName:
    """A group in a month."""

    month: date
    column: str
    group: str
    is_reference: bool
    """Whether the others of the column are compared with it."""


@dataclass(frozen=True, kw_only=True)
class GroupFigures(GroupName):
    """The figures of a group, compared with those of the reference group."""

    rows: int
    selected: int
    rate: float
    rate_low: float
    rate_high: float
    """The share of rows with the positive label as prediction, and Wilson's 95 % interval."""
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    """The rate divided by that of the reference group, and Katz's 95 % interval; None where one of them is 0, and of
    the reference group itself."""
    is_below_four_fifths: bool
    """Whether the rate is less than four fifths of that of the reference group."""
    is_flagged: bool
    """Whether it is, and the interval of the ratio does not reach 1: the difference is no chance."""
    outcomes: int
    true_positive_rate: float | None
    true_positive_low: float | None
    true_positive_high: float | None
    """The share of rows with a positive outcome for which the positive label was predicted (equal opportunity)."""
    expected: float | None
    observed: float | None
    observed_low: float | None
    observed_high: float | None
    """The mean score of rows with an outcome, and the share of positive outcomes, with Wilson's interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallGroups:
    """Groups with too few rows to be shown."""

    month: date
    column: str
    count: int
    """The number of groups."""
