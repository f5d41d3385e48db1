"""What a comparison with a reference found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from batch_scoring.counting import counted
from batch_scoring.domain.limits import Action, Measure, Monitoring, Subject
from batch_scoring.domain.profile import Origin

FEWEST_ROWS = 30
"""With fewer rows, of the reference or of what is compared, no figure is computed."""

Scope = Literal["run", "window", "gate"]
"""Which rows are compared: those of a run, of a window up to a run, or a sample of its due rows."""

Metric = tuple[Subject, str, Measure]
"""What identifies a figure: subject, name and measure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """One comparison with the reference: of the distribution of something, or of the share of some of its values."""

    subject: Subject
    name: str
    """A feature, ``score``, ``prediction`` or ``rows``."""
    measure: Measure
    value: float | None
    """The PSI of a distribution, a share, or the number of due rows; None where it was not computed."""
    expected: float | None
    """The PSI to be expected by chance, the share in the reference, or the usual number of due rows."""
    p_value: float | None
    q_value: float | None = None
    """The p-value adjusted for the number of comparisons (Benjamini and Hochberg, 1995): of all distributions, or of
    all shares."""
    limit: float | None = None
    """See Monitoring.limit; None where there is none."""
    action: Action = "warn"
    is_breach: bool = False
    """Whether the effect is at its limit or above, and significant; False where the action is "off"."""
    importance: float | None = None
    why_not: str | None = None
    """Why it was not computed; None if it was."""

    @property
    def metric(self) -> Metric:
        return self.subject, self.name, self.measure

    @property
    def effect(self) -> float | None:
        """What is compared with the limit; None where it was not computed."""
        if self.value is None:
            return None
        if self.measure == "distribution":
            return self.value
        if self.measure == "row_count":
            more, fewer = sorted((self.value, self.expected or 0.0), reverse=True)
            return more / max(fewer, 1.0)
        return self.value - (self.expected or 0.0)

    @property
    def sentence(self) -> str:
        """What was measured, for people, without a value of a row."""
        if self.value is None or self.limit is None:
            return f"{self.name}: {self.why_not or 'no limit'}"
        if self.measure == "distribution":
            return f"{self.name}: PSI {self.value:.3f}, limit {self.limit:g}, {self.expected:.3f} by chance"
        if self.measure == "row_count":
            return f"{counted(int(self.value), 'row')} due, {self.expected:,.0f} are usual"
        what = self.measure.replace("_", " ")
        return f"{self.name}: {self.value:.1%} {what}, {self.expected:.1%} in the reference"


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftReport:
    """All comparisons of a profile with a reference."""

    rows: int
    reference_rows: int
    reference_origin: Origin
    metrics: tuple[Drift, ...]

    @property
    def breaches(self) -> tuple[Drift, ...]:
        return tuple(one for one in self.metrics if one.is_breach)


def with_limit(metric: Drift, settings: Monitoring) -> Drift:
    """A figure with its limit and what a breach does."""
    of_metric = metric.subject, metric.name, metric.measure
    limit = None if metric.value is None else settings.limit(*of_metric)
    return replace(metric, limit=limit, action=settings.action(*of_metric))


def row_count(due: int, usual: float | None, settings: Monitoring) -> Drift:
    """Compare the number of rows that were due with the usual one; None if that is not known.

    Nothing is computed where fewer than FEWEST_ROWS are usual.
    """
    is_known = usual is not None and usual >= FEWEST_ROWS
    metric = Drift(
        subject="rows",
        name="rows",
        measure="row_count",
        value=due if is_known else None,
        expected=usual,
        p_value=None,
        why_not=None if is_known else "too few runs, or rows, to tell what is usual",
    )
    metric = with_limit(metric, settings)
    effect = metric.effect
    is_breach = metric.action != "off" and effect is not None and effect >= (metric.limit or 0.0)
    return replace(metric, is_breach=is_breach)
