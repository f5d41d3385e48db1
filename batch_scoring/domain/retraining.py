"""``[retraining]`` of a job file: from when on a model is to be changed, and the verdict on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from batch_scoring.domain.limits import Share
from batch_scoring.domain.section import Section

Advice = Literal["none", "unknown", "watch", "fix_data", "recalibrate", "retrain"]
"""What is to be done: nothing, wait for outcomes, look at the next month, fix the source, fit the scores to the
outcomes again, or train a new model."""


class Retraining(Section):
    """``[retraining]``: limits of metrics, and how many outcomes they are compared with."""

    accuracy: Share | None = None
    """The accuracy below which the model is to be changed; None for no limit."""
    roc_auc: Share | None = None
    """The same of the area under the ROC curve."""
    months: Annotated[int, Field(ge=1)] = 2
    """The latest mature months that are judged together."""
    fewest: Annotated[int, Field(ge=20)] = 50
    """A month with fewer outcomes is not judged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What follows from the outcomes of the latest months of a model version."""

    advice: Advice
    reasons: Sequence[str]
    """One sentence each."""
    model_name: str | None = None
    model_version: int | None = None
    months: Sequence[date] = ()
    """The months that are judged, the latest first."""
