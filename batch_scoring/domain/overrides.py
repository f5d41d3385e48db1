"""Decisions made by people: how often they differ from what was predicted, in which direction, why and by whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class DecisionCount:
    """Decisions of a month that are alike."""

    month: date
    """Its first day, UTC."""
    model_name: str
    model_version: int
    prediction: str
    decision: str
    """The label that was decided in the end."""
    reason: str = ""
    decided_by: str = ""
    """As the outcomes name them; empty where they do not."""
    decision_count: int

    @property
    def is_override(self) -> bool:
        return self.decision != self.prediction


@dataclass(frozen=True, kw_only=True, slots=True)
class Overrides:
    """The decisions of a month, or of a part of it, and how many of them differ from what was predicted."""

    month: date
    reason: str | None
    decided_by: str | None
    """None for all of them."""
    decisions: int
    overridden: int
    rate: float
    low: float
    high: float
    """The share of decisions that were overridden, and Wilson's 95 % interval."""
    directions: Sequence[tuple[str, str, int]]
    """Prediction, decision and number of rows, the most frequent first."""
