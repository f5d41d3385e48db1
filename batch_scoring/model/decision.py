"""From a model's outputs to scores and labels: the policy of one job on one model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from batch_scoring.domain.job import Job
from batch_scoring.domain.manifest import Manifest
from batch_scoring.model.outputs import Floats

DEFAULT_THRESHOLD = 0.5
"""Where neither the job nor the model has one; ``predict`` of most binary classifiers decides there too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionPolicy:
    """Which of a model's outputs is the score, and which label is decided."""

    manifest: Manifest
    positive: int | None
    """The place of the job's positive label among the model's; None where the job names none."""
    decided: int | None
    """The place of the label that is decided where its probability is ``threshold`` or more; of kind binary only."""
    threshold: float

    @classmethod
    def of(cls, job: Job, manifest: Manifest) -> DecisionPolicy:
        """The job's threshold, else the model's own, else one half. Raises ModelRefused where job and model differ."""
        positive = manifest.positive_index(job)
        decided, threshold = positive, job.predictions.threshold
        if threshold is None and manifest.decision is not None:
            decided, threshold = manifest.labels.index(manifest.decision.label), manifest.decision.threshold
        return cls(
            manifest=manifest,
            positive=positive,
            decided=decided,
            threshold=DEFAULT_THRESHOLD if threshold is None else threshold,
        )

    def read(self, outputs: Floats) -> tuple[Floats | None, list[str] | None]:
        """Scores and labels of m rows, both from the same outputs of shape (m, k).

        Scores are None where the model gives labels only, labels are None for a regression.
        """
        kind = self.manifest.kind
        if kind == "regression":
            return outputs[:, 0], None
        scores: Floats | None
        if kind == "label":
            chosen = outputs[:, 0].astype(np.intp)
            scores = None if self.manifest.margin is None else self._oriented(outputs[:, 1])
        elif kind == "binary":
            assert self.positive is not None
            assert self.decided is not None
            scores = outputs[:, self.positive]
            chosen = np.where(outputs[:, self.decided] >= self.threshold, self.decided, 1 - self.decided)
        else:
            chosen = outputs.argmax(axis=1)
            scores = outputs[np.arange(len(outputs)), chosen]
        return scores, self._texts[chosen].tolist()

    def _oriented(self, margins: Floats) -> Floats:
        """A margin speaks for the second of two labels; turned where the job's positive label is the first."""
        turned = self.manifest.margin == "decision_function" and len(self.manifest.labels) == 2 and self.positive == 0
        return -margins if turned else margins

    @property
    def _texts(self) -> np.ndarray[Any, np.dtype[np.object_]]:
        return np.array([str(label) for label in self.manifest.labels], dtype=object)
