"""Decision policies: how a job derives labels from a model's outputs. Each run records its policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from batch_scoring.domain.job import Job, Kind, UnseenCategories
from batch_scoring.domain.manifest import Manifest, listed
from batch_scoring.errors import ModelRefused

DEFAULT_THRESHOLD = 0.5
"""Used if neither the job nor the model sets a threshold; ``predict`` of most binary classifiers uses the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionPolicy:
    """Which of a model's outputs is the score, and which label is decided."""

    kind: Kind
    positive_label: str | None
    """The label whose probability or margin is the score; None where the job names none."""
    decided_label: str | None
    """Of kind binary: the label decided where its probability is ``threshold`` or more. Other than ``positive_label``
    only where a model with a threshold of its own decides for the other label."""
    threshold: float | None
    """Between 0 and 1; of kind binary only."""
    unseen_categories: UnseenCategories = "score"
    """What happens to a row with a category that the model was not trained on."""

    @classmethod
    def of(cls, job: Job, manifest: Manifest) -> DecisionPolicy:
        """The job's threshold, else the model's own, else one half.

        Raises ModelRefused where model and job are of different kinds, or the model does not have the positive label.
        """
        positive = positive_label(job, manifest)
        decided, threshold = positive, job.predictions.threshold
        if threshold is None and manifest.decision is not None:
            decided, threshold = str(manifest.decision.label), manifest.decision.threshold
        is_binary = manifest.kind == "binary"
        return cls(
            kind=manifest.kind,
            positive_label=positive,
            decided_label=decided if is_binary else None,
            threshold=(DEFAULT_THRESHOLD if threshold is None else threshold) if is_binary else None,
            unseen_categories=job.model.unseen_categories,
        )

    def record(self) -> dict[str, Any]:
        """The policy as JSON, as it is stored in the record of a run."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> DecisionPolicy:
        """Read the JSON that ``record`` returned."""
        return cls(**record)


def positive_label(job: Job, manifest: Manifest) -> str | None:
    """The job's positive label; None where it names none.

    Raises ModelRefused where model and job are of different kinds, or the model does not have the label.
    """
    chosen = job.predictions.positive_label
    if manifest.kind != job.predictions.kind:
        raise ModelRefused(
            f"job {job.name} needs a {job.predictions.kind} model and {job.model.name} is {manifest.kind};"
            f' set [predictions] kind = "{manifest.kind}", or name another model'
        )
    if chosen is not None and chosen not in [str(label) for label in manifest.labels]:
        raise ModelRefused(
            f"job {job.name}: positive_label {chosen!r} is none of the model's labels"
            f" ({listed(manifest.labels)}); fix [predictions] positive_label"
        )
    return chosen


def threshold_override(job: Job, manifest: Manifest) -> str | None:
    """A message that the job overrides the model's own threshold; None where it does not.

    Raises ModelRefused as ``positive_label``.
    """
    chosen, positive = job.predictions.threshold, positive_label(job, manifest)
    if manifest.decision is None or chosen is None or positive is None:
        return None
    if positive == str(manifest.decision.label) and manifest.decision.threshold == chosen:
        return None
    return (
        f"the job's threshold overrides the model's: {positive} at {chosen:g}, where the model decides"
        f" {manifest.decision.label} at {manifest.decision.threshold:g}"
    )
