"""``[monitoring]`` of a job file: how runs are compared with a reference, and what follows from a difference."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import Field

from batch_scoring.domain.durations import Duration
from batch_scoring.domain.section import Section

Share = Annotated[float, Field(ge=0, le=1)]

Measure = Literal["distribution", "missing", "unseen", "out_of_range", "invalid", "row_count"]
"""What is compared: a distribution, the share of some values, or the number of due rows."""

Subject = Literal["feature", "score", "prediction", "rows"]
"""What is measured: one feature, the score, the predicted labels, or the due rows."""

Action = Literal["off", "warn", "hold"]
"""What a breach of a limit does: nothing, an alert, or an alert before the first write, which holds the run."""


class OwnLimits(Section):
    """Limits of one feature, of the score or of the predicted labels; None stands for those of the job."""

    psi: Annotated[float, Field(gt=0)] | None = None
    missing: Share | None = None
    unseen: Share | None = None
    out_of_range: Share | None = None
    invalid: Share | None = None
    on_breach: dict[Measure, Action] = Field(default_factory=dict)
    rationale: Annotated[str, Field(min_length=1)] | None = None


class Monitoring(Section):
    """``[monitoring]``: the windows, the reference, the limits, and what a breach does."""

    window_rows: Annotated[int, Field(ge=1)] = 1_000
    """Rows from which on a window ends, with the run that reads them."""
    window: Duration = timedelta(days=28)
    """The longest time from the first run of a window to its last."""
    reference: Literal["model", "runs", "last_year"] = "model"
    """What windows are compared with: the rows that the model was trained on or registered with, the runs of a period,
    or those of a window around the same day a year before."""
    reference_from: date | None = None
    reference_to: date | None = None
    """The first and the last day of the runs, UTC."""
    psi: Annotated[float, Field(gt=0)] = 0.1
    """The population stability index from which on a distribution has drifted."""
    missing: Share = 0.05
    unseen: Share = 0.02
    out_of_range: Share = 0.05
    invalid: Share = 0.01
    """How far the share of such values may be above that of the reference."""
    row_count: Annotated[float, Field(gt=1)] = 5.0
    """How many times as many rows as usual may be due, or as few."""
    significance: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """A difference is a breach only if chance gives one as large less often than this."""
    on_breach: dict[Measure, Action] = Field(default_factory=dict)
    """By measure; "warn" for those that are not named."""
    sample: Annotated[int, Field(ge=1, le=1_000_000)] = 2_000
    """The most due rows that are scored before the first write to decide whether the run is held."""
    rationale: Annotated[str, Field(min_length=1)] | None = None
    """Why the limits are what they are."""
    score: OwnLimits = OwnLimits()
    prediction: OwnLimits = OwnLimits()
    features: dict[str, OwnLimits] = Field(default_factory=dict)
    """By feature."""

    def limit(self, subject: Subject, name: str, measure: Measure) -> float:
        """From which value on a measure is a breach: a PSI, a factor of rows, or a share above the reference."""
        field = "psi" if measure == "distribution" else measure
        own = None if measure == "row_count" else getattr(self._own(subject, name), field)
        return float(getattr(self, field) if own is None else own)

    def action(self, subject: Subject, name: str, measure: Measure) -> Action:
        """What a breach does."""
        return self._own(subject, name).on_breach.get(measure, self.on_breach.get(measure, "warn"))

    @property
    def holds(self) -> bool:
        """Whether a breach of any limit holds a run."""
        own = [one.on_breach for one in (self.score, self.prediction, *self.features.values())]
        return any("hold" in actions.values() for actions in (self.on_breach, *own))

    def _own(self, subject: Subject, name: str) -> OwnLimits:
        if subject == "feature":
            return self.features.get(name, _NONE)
        return {"score": self.score, "prediction": self.prediction}.get(subject, _NONE)


_NONE = OwnLimits()
