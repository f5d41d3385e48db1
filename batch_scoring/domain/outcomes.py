"""``[outcomes]`` of a job file: what became of the scored rows, to be compared with what was predicted."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from batch_scoring.domain.durations import Duration
from batch_scoring.domain.names import Column, Table
from batch_scoring.domain.section import Section

Population = Literal["all", "exploration"]
"""Predictions with a known outcome: all of them, or those of rows that were accepted at random."""


class Outcomes(Section):
    """``[outcomes]``: where outcomes are read, and when they are final."""

    table: Table | None = None
    query: Annotated[str, Field(min_length=1)] | None = None
    """A SELECT of outcomes, in place of a table or view."""
    key: list[Column] = Field(default_factory=list)
    """The columns with the key of the source, in its order; empty where they have the same names."""
    outcome: Column
    """The column with the outcome: one of the model's labels, or a number; NULL while it is not known."""
    observed_at: Column
    """The column with the time at which the outcome was observed."""
    decided_at: Column | None = None
    """The column with the time of the decision that a prediction was used for. An outcome belongs to the prediction
    that was current then, or where this is None, when the outcome was observed."""
    exploration: Column | None = None
    """The column that tells whether a row was accepted at random."""
    decision: Column | None = None
    """The column with the label that was decided in the end, by a person or by rules; NULL where none was."""
    decision_reason: Column | None = None
    """The column with the reason for a decision other than the predicted one, as a code or a text."""
    decided_by: Column | None = None
    """The column with the user who decided."""
    labels: dict[str, str] = Field(default_factory=dict)
    """The label for each value of the outcome, where these are not the model's labels."""
    matures_after: Duration | None = None
    """How long after the decision an outcome is final; None where it is at once."""
    fewest: Annotated[int, Field(ge=2)] = 30
    """With fewer outcomes, no figure is computed."""

    @model_validator(mode="after")
    def _one_source(self) -> Outcomes:
        if (self.table is None) == (self.query is None):
            raise ValueError("expected either table or query")
        return self

    @model_validator(mode="after")
    def _reasons_of_decisions(self) -> Outcomes:
        if self.decision is None and (self.decision_reason or self.decided_by):
            raise ValueError("decision_reason and decided_by need decision")
        return self

    @property
    def performance_window(self) -> timedelta:
        """How long after the decision an outcome is final."""
        return self.matures_after or timedelta(0)
