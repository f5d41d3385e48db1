"""Evaluate a pipeline on its training data: by cross-validation, on a held-out part, and by group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.model_selection import StratifiedKFold, cross_validate, train_test_split
from sklearn.pipeline import Pipeline

from batch_scoring.domain.manifest import FEWEST_IN_GROUP, CrossValidation, GroupFigures, HeldOut, Metrics
from batch_scoring.model.importance import importances
from batch_scoring.model.intervals import roc_auc, share_interval

SEED = 20260101
FOLDS = 10
HELD_OUT = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class OutOfFold:
    """What pipelines decided about the n rows that they were not fitted on, one for each fold."""

    classes: Sequence[Any]
    truth: Any
    """Shape (n,): the position in ``classes`` of each row's label."""
    probabilities: Any
    """Shape (n, classes)."""

    @property
    def decided(self) -> Any:
        """Shape (n,): the position of the most probable label."""
        return self.probabilities.argmax(axis=1)

    @property
    def is_right(self) -> Any:
        """Shape (n,): whether the most probable label is the row's."""
        return self.decided == self.truth

    @property
    def is_positive(self) -> Any:
        """Shape (n,): whether a row has the second label."""
        return self.truth == 1

    @property
    def scores(self) -> Any:
        """Shape (n,): the probability of the second label."""
        return self.probabilities[:, 1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """How a pipeline does on its training data."""

    metrics: Metrics
    out_of_fold: OutOfFold
    importances: dict[str, float]
    """By feature: how much the log loss of held-out rows rises when its values are permuted."""


def folds_of(labels: pd.Series[Any]) -> StratifiedKFold:
    """Stratified folds, the same for the same labels."""
    return StratifiedKFold(min(FOLDS, int(labels.value_counts().min())), shuffle=True, random_state=SEED)


def cross_validation(
    pipeline: Pipeline, features: pd.DataFrame, labels: pd.Series[Any]
) -> tuple[CrossValidation, OutOfFold]:
    """Evaluate an unfitted pipeline on folds. Raises ValueError where it cannot be fitted."""
    folds = folds_of(labels)
    auc = "roc_auc" if labels.nunique() == 2 else "roc_auc_ovr"
    scores = cross_validate(
        pipeline,
        features,
        labels,
        cv=folds,
        scoring={"accuracy": "accuracy", "roc_auc": auc, "log_loss": "neg_log_loss"},
        return_estimator=True,
        return_indices=True,
    )
    classes = scores["estimator"][0].classes_
    probabilities = np.empty((len(labels), len(classes)))
    for estimator, rows in zip(scores["estimator"], scores["indices"]["test"], strict=True):
        probabilities[rows] = estimator.predict_proba(features.iloc[rows])
    truth = np.searchsorted(classes, labels.to_numpy())
    out_of_fold = OutOfFold(classes=classes.tolist(), truth=truth, probabilities=probabilities)
    area = roc_auc(out_of_fold.is_positive, out_of_fold.scores) if len(classes) == 2 else None
    found = CrossValidation(
        folds=folds.n_splits,
        accuracy=float(scores["test_accuracy"].mean()),
        accuracy_std=float(scores["test_accuracy"].std()),
        accuracy_interval=share_interval(int(out_of_fold.is_right.sum()), len(labels)),
        roc_auc=float(scores["test_roc_auc"].mean()),
        roc_auc_interval=None if area is None else (area.low, area.high),
        log_loss=float(-scores["test_log_loss"].mean()),
    )
    return found, out_of_fold


def evaluate(pipeline: Pipeline, features: pd.DataFrame, labels: pd.Series[Any], groups: pd.DataFrame) -> Evaluation:
    """Evaluate an unfitted pipeline, also by the values of each column of ``groups``, shape (n, columns).

    Raises ValueError where the pipeline cannot be fitted.
    """
    folds, out_of_fold = cross_validation(pipeline, features, labels)
    fit_x, held_x, fit_y, held_y = train_test_split(
        features, labels, test_size=HELD_OUT, stratify=labels, random_state=SEED
    )
    decided = pipeline.fit(fit_x, fit_y).predict(held_x)
    names = sorted(labels.unique().tolist())
    held_out = HeldOut(
        rows=len(held_y),
        accuracy=float(accuracy_score(held_y, decided)),
        labels=tuple(str(name) for name in names),
        confusion_matrix=confusion_matrix(held_y, decided, labels=names).tolist(),
    )
    return Evaluation(
        metrics=Metrics(cross_validation=folds, held_out=held_out, groups=tuple(_groups(out_of_fold, groups))),
        out_of_fold=out_of_fold,
        importances=importances(pipeline, held_x, held_y, "neg_log_loss"),
    )


def _groups(out_of_fold: OutOfFold, groups: pd.DataFrame) -> Iterator[GroupFigures]:
    is_binary = len(out_of_fold.classes) == 2
    for name in groups.columns:
        values = groups[name].astype(object)
        for value in [*sorted(values.dropna().unique(), key=str), None]:
            rows = (values.isna() if value is None else values == value).to_numpy(dtype=bool)
            count = int(rows.sum())
            if count < FEWEST_IN_GROUP:
                continue
            right = int(out_of_fold.is_right[rows].sum())
            yield GroupFigures(
                column=str(name),
                value=None if value is None else str(value),
                rows=count,
                accuracy=right / count,
                accuracy_interval=share_interval(right, count),
                positive_share=float(out_of_fold.is_positive[rows].mean()) if is_binary else None,
                predicted_positive_share=float((out_of_fold.decided[rows] == 1).mean()) if is_binary else None,
            )
