"""Derive scores and labels from a model's outputs by a decision policy."""

from __future__ import annotations

import numpy as np

from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.manifest import ModelForm
from batch_scoring.model.outputs import Floats


def decide(policy: DecisionPolicy, form: ModelForm, outputs: Floats) -> tuple[Floats | None, list[str] | None]:
    """Scores and labels of m rows, both from the same outputs of shape (m, k).

    Scores have shape (m,) and are None where the model returns labels only; labels are None for a regression.
    """
    if form.kind == "regression":
        return outputs[:, 0], None
    labels = [str(label) for label in form.labels]
    scores: Floats | None
    if form.kind == "label":
        chosen = outputs[:, 0].astype(np.intp)
        scores = None if form.margin is None else _oriented(policy, form, outputs[:, 1])
    elif form.kind == "binary":
        assert policy.positive_label is not None
        assert policy.decided_label is not None
        assert policy.threshold is not None
        scores = outputs[:, labels.index(policy.positive_label)]
        decided = labels.index(policy.decided_label)
        chosen = np.where(outputs[:, decided] >= policy.threshold, decided, 1 - decided)
    else:
        chosen = outputs.argmax(axis=1)
        scores = outputs[np.arange(len(outputs)), chosen]
    return scores, np.array(labels, dtype=object)[chosen].tolist()


def _oriented(policy: DecisionPolicy, form: ModelForm, margins: Floats) -> Floats:
    """A margin is for the second of two labels; negated where the job's positive label is the first."""
    is_first = len(form.labels) == 2 and policy.positive_label == str(form.labels[0])
    return -margins if form.margin == "decision_function" and is_first else margins
