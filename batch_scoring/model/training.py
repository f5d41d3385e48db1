"""Build, fit and evaluate the pipeline that ``train`` creates for a job."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from batch_scoring.counting import counted
from batch_scoring.domain.job import Job, Training
from batch_scoring.domain.manifest import Candidate, Metrics
from batch_scoring.errors import InputFault
from batch_scoring.model.evaluation import SEED, OutOfFold, cross_validation, evaluate
from batch_scoring.model.features import CategoryIndicators, DerivedFeatures
from batch_scoring.model.scorecard import WeightOfEvidence
from batch_scoring.model.training_data import plain_features, plain_labels


class Algorithm(StrEnum):
    """Algorithms of ``train``."""

    LOGISTIC_REGRESSION = "logistic_regression"
    DECISION_TREE = "decision_tree"
    RANDOM_FOREST = "random_forest"
    HIST_GRADIENT_BOOSTING = "hist_gradient_boosting"
    SCORECARD = "scorecard"


_CLASSIFIERS: dict[Algorithm, Callable[[], Any]] = {
    Algorithm.LOGISTIC_REGRESSION: lambda: LogisticRegression(max_iter=1000),
    Algorithm.DECISION_TREE: lambda: DecisionTreeClassifier(max_depth=5, min_samples_leaf=10, random_state=SEED),
    Algorithm.RANDOM_FOREST: lambda: RandomForestClassifier(n_estimators=100, random_state=SEED),
    Algorithm.HIST_GRADIENT_BOOSTING: lambda: HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=100, max_depth=3, random_state=SEED
    ),
    Algorithm.SCORECARD: lambda: LogisticRegression(max_iter=1000),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedModel:
    """A pipeline fitted on all rows, with its metrics."""

    pipeline: Pipeline
    features: pd.DataFrame
    metrics: Metrics
    out_of_fold: OutOfFold
    importances: dict[str, float]
    """By feature, see Evaluation."""
    label_counts: dict[str, int]
    notes: tuple[str, ...] = ()
    """What was decided about the data, one sentence each."""


def train(job: Job, data: pd.DataFrame, label: str, algorithm: Algorithm) -> TrainedModel:
    """Fit the job's pipeline on labelled data and measure it.

    ``data`` has the label, the job's features and possibly its key and changed-at column, which are left out with
    the columns that ``[training] ignore`` names. Accuracy, ROC AUC and log loss are means over stratified folds;
    the confusion matrix is of a model fitted without the held-out fifth. Raises InputFault.
    """
    features, labels, notes = _features_and_labels(job, data, label)
    groups = _groups(job, data)
    pipeline = _unfitted(job, features, labels, algorithm)
    with _fitting(algorithm):
        evaluation = evaluate(pipeline, features, labels, groups)
        pipeline.fit(features, labels)
    counts = labels.astype(str).value_counts().sort_index()
    return TrainedModel(
        pipeline=pipeline,
        features=features,
        metrics=evaluation.metrics,
        out_of_fold=evaluation.out_of_fold,
        importances=evaluation.importances,
        label_counts={str(name): int(count) for name, count in counts.items()},
        notes=notes,
    )


def search(job: Job, data: pd.DataFrame, label: str, *, tried: Callable[[Algorithm], None]) -> list[Candidate]:
    """Compare all algorithms that fit the labels on the same folds; the best first, by log loss.

    ``tried`` is called after each. Raises InputFault.
    """
    features, labels, _ = _features_and_labels(job, data, label)
    found = []
    for algorithm in Algorithm:
        if algorithm is Algorithm.SCORECARD and labels.nunique() != 2:
            continue
        pipeline = _unfitted(job, features, labels, algorithm)
        with _fitting(algorithm):
            folds, _ = cross_validation(pipeline, features, labels)
        found.append(
            Candidate(algorithm=algorithm, accuracy=folds.accuracy, roc_auc=folds.roc_auc, log_loss=folds.log_loss)
        )
        tried(algorithm)
    return sorted(found, key=lambda candidate: candidate.log_loss)


def _unfitted(job: Job, features: pd.DataFrame, labels: pd.Series[Any], algorithm: Algorithm) -> Pipeline:
    if algorithm is Algorithm.SCORECARD and labels.nunique() != 2:
        raise InputFault(f"a scorecard needs two labels, and there are {labels.nunique()}; choose another --algorithm")
    with _fitting(algorithm):
        return build_pipeline(features, job.training, algorithm)


@contextmanager
def _fitting(algorithm: Algorithm) -> Iterator[None]:
    """Turn what scikit-learn says of data that it cannot fit into InputFault."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning may quote the data
            yield
    except ValueError as exc:
        raise InputFault(
            f"{algorithm} cannot be fitted to the training data; look for columns that mix numbers and text"
        ) from exc


def _groups(job: Job, data: pd.DataFrame) -> pd.DataFrame:
    wanted = job.training.groups
    if missing := [name for name in wanted if name not in data.columns]:
        raise InputFault(f"[training] groups names {', '.join(missing)}, which the training data does not have")
    return data[wanted]


def _features_and_labels(
    job: Job, data: pd.DataFrame, label: str
) -> tuple[pd.DataFrame, pd.Series[Any], tuple[str, ...]]:
    if job.predictions.kind == "regression":
        raise InputFault(
            f"train fits classifiers and job {job.name} is a regression; fit one and use `batch-scoring model register`"
        )
    if label not in data.columns:
        raise InputFault(f"the training data has no column {label}; it has {', '.join(map(str, data.columns))}")
    unlabelled = int(data[label].isna().sum())
    if unlabelled:
        raise InputFault(
            f"column {label} is empty in {counted(unlabelled, 'row')}; leave those rows out of the training data"
        )
    left_out = {label, *job.source.key, job.source.changed_at, job.training.time, *job.training.ignore}
    features = data[[name for name in data.columns if name not in left_out]]
    features, notes = plain_features(job, features)
    if features.empty:
        raise InputFault("the training data has no rows or no feature columns")
    labels = plain_labels(job, data[label])
    counts = labels.value_counts()
    if len(counts) < 2 or int(counts.min()) < 5:
        raise InputFault(f"column {label} needs two or more labels with five or more rows each")
    binary = job.predictions.kind == "binary"
    if binary and len(counts) != 2:
        raise InputFault(
            f"column {label} has {len(counts)} labels and job {job.name} is binary; see [predictions] kind"
        )
    if binary and job.predictions.positive_label not in set(labels.astype(str)):
        raise InputFault(f"no row of column {label} is {job.predictions.positive_label!r}, the job's positive_label")
    numbers = {name: features[name] for name in features.columns if features[name].dtype == np.float64}
    _check_numbers(job, numbers, [str(name) for name in features.columns])
    return features, labels, notes


def _check_numbers(job: Job, numbers: dict[str, pd.Series[Any]], names: list[str]) -> None:
    """Raise InputFault where a number is infinite, or a column that ``[training]`` names is missing or not numeric."""
    if infinite := [name for name, values in numbers.items() if np.isinf(values).any()]:
        raise InputFault(
            f"columns {', '.join(infinite)} of the training data hold infinite values; correct or remove them"
        )
    sums = job.training.sums
    parts = {part for parts in sums.values() for part in parts}
    wanted = dict.fromkeys([*(part for parts in sums.values() for part in parts), *job.training.logs])
    if unknown := sorted(name for name in wanted if name not in names and name not in sums):
        raise InputFault(f"[training] of job {job.name} names {', '.join(unknown)}, which the data does not have")
    for name in wanted:
        where = f"[training] of job {job.name} derives from {name}"
        if name in parts and name in sums:
            raise InputFault(f"{where}, which is a sum itself; name its columns instead")
        if name in job.training.logs and name in parts:
            raise InputFault(f"{where} a logarithm and a sum, whose columns are dropped; choose one")
        if name in sums:
            continue
        if name not in numbers:
            raise InputFault(f"{where}, which is not a column of numbers")
        if name in job.training.logs and (numbers[name] < 0).any():
            raise InputFault(f"{where} a logarithm, and some of its values are negative; correct or remove those rows")


def _is_number(values: pd.Series[Any]) -> bool:
    """Whether a column is numeric in the pipeline; true and false are 1 and 0."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        return True
    return values.dtype == object and {type(value) for value in values.dropna()} == {bool}


def build_pipeline(features: pd.DataFrame, training: Training, algorithm: Algorithm) -> Pipeline:
    """The unfitted pipeline for raw features: derive, impute, encode, classify."""
    derive = DerivedFeatures(sums=training.sums, logs=training.logs).fit(features)
    derived = derive.transform(features.head(0))
    numbers = [name for name in derived.columns if _is_number(derived[name])]
    texts = [name for name in derived.columns if name not in numbers]
    if algorithm is Algorithm.SCORECARD:
        return Pipeline([("derive", derive), ("weigh", WeightOfEvidence()), ("classify", _CLASSIFIERS[algorithm]())])
    scale = [StandardScaler()] if algorithm is Algorithm.LOGISTIC_REGRESSION else []
    prepare = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), *scale),
                numbers,
            ),
            ("texts", CategoryIndicators(), texts),
        ]
    )
    return Pipeline([("derive", derive), ("prepare", prepare), ("classify", _CLASSIFIERS[algorithm]())])
