"""Determine the kind of a fitted model, or why an object cannot be used as a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from batch_scoring.domain.job import Kind
from batch_scoring.domain.manifest import Decision, Label, Margin, ModelForm
from batch_scoring.errors import UnusableModel

_SUPPORTED = "supported are classifiers, regressors and outlier detectors"

_ONE_OUTPUT = (
    "and a job has one prediction for a row; fit and register one model for each output, with a job and a predictions"
    " table for each"
)

_NOT_MODELS = {
    "clusterer": "is a clusterer: its groups are numbered differently by each fit, and none of them is right or wrong"
    "; name the groups, fit a classifier on the names, and register that",
    "density_estimator": "estimates a density and predicts no label; fit a classifier on its groups, or an outlier"
    " detector, and register that",
    "transformer": "is a transformer: it changes columns and predicts nothing; register the pipeline that ends in a"
    " classifier or regressor",
}


def form_of(model: Any) -> ModelForm:
    """The kind of a fitted model, its labels and its output methods. Raises UnusableModel with the remedy."""
    if isinstance(model, type):
        raise UnusableModel(f"the class {model.__name__} was saved where a fitted object of it is needed; fit one")
    _check_is_model(model)
    estimator_type = _estimator_type(model)
    if estimator_type == "regressor":
        return ModelForm(kind="regression")
    if estimator_type == "outlier_detector":
        return ModelForm(
            kind="label", labels=(-1, 1), margin=_first_method(model, "score_samples", "decision_function")
        )
    labels = _labels(model)
    own = _own_threshold(model)
    if not hasattr(model, "predict_proba") or (own is not None and own[0] == "decision_function"):
        return ModelForm(kind="label", labels=labels, margin=_first_method(model, "decision_function"))
    kind: Kind = "binary" if len(labels) == 2 else "multiclass"
    decision = Decision(label=own[1], threshold=own[2]) if own is not None else None
    return ModelForm(kind=kind, labels=labels, decision=decision)


def _first_method(model: Any, *names: Margin) -> Margin | None:
    return next((name for name in names if hasattr(model, name)), None)


def algorithm(model: Any) -> str:
    """The class name of the estimator that predicts; of a pipeline, its last step."""
    return type(_last_step(model)).__name__


def check_one_output(model: Any, sample: pd.DataFrame) -> None:
    """Raise UnusableModel where the model predicts several values a row."""
    predicted = model.predict(sample)
    shape = np.shape(predicted)
    if len(shape) == 2 and shape[1] != 1:
        raise UnusableModel(f"{algorithm(model)} predicts {shape[1]} values for a row, {_ONE_OUTPUT}")
    if len(shape) not in (1, 2) or shape[0] != len(sample):
        raise UnusableModel(
            f"{algorithm(model)} predicts an array of shape {shape} for {len(sample)} rows; expected one value a row"
        )


def parts(model: Any) -> Iterator[Any]:
    """A model and every estimator it holds, fitted ones included."""
    return _parts(model, set())


def _parts(value: Any, seen: set[int]) -> Iterator[Any]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        for item in value:
            yield from _parts(item, seen)
    elif hasattr(value, "__dict__") and not isinstance(value, type) and not callable(value):
        if hasattr(value, "get_params"):
            yield value
        for held in list(vars(value).values()):
            yield from _parts(held, seen)


def _check_is_model(model: Any) -> None:
    """Raise UnusableModel where the object predicts nothing, or has not been fitted."""
    if isinstance(model, dict | list | tuple | set | str | bytes | pd.DataFrame | pd.Series | np.ndarray):
        holds = " (it may be inside: save that object alone)" if isinstance(model, dict | list | tuple) else ""
        raise UnusableModel(f"the file holds no model but a {type(model).__name__}{holds}; {_SUPPORTED}")
    if _is_unfitted(model):
        raise UnusableModel(f"the {type(model).__name__} is not fitted; call fit before saving it")
    estimator_type = _estimator_type(model)
    name = algorithm(model)
    if estimator_type == "outlier_detector" and not hasattr(model, "predict"):
        raise UnusableModel(
            f"{name} compares rows with those it was fitted on only; fit it with novelty=True to score new rows"
        )
    if not hasattr(model, "predict"):
        if hasattr(model, "best_estimator_") or getattr(model, "refit", True) is False:
            raise UnusableModel(f"{name} holds no fitted model; set refit=True, or save best_estimator_")
        if estimator_type is None and (hasattr(model, "transform") or hasattr(model, "fit_transform")):
            estimator_type = "transformer"
    if estimator_type in _NOT_MODELS:
        raise UnusableModel(f"{name} {_NOT_MODELS[estimator_type]}")
    if not hasattr(model, "predict"):
        raise UnusableModel(f"{name} has no predict; {_SUPPORTED}")
    if estimator_type not in ("classifier", "regressor", "outlier_detector"):
        raise UnusableModel(
            f"{name} has predict, but nothing says whether it is a classifier or a regressor; register the"
            " scikit-learn interface of its library (such as XGBClassifier for a Booster), or wrap it in a class that"
            " derives from ClassifierMixin (with classes_ and predict_proba) or RegressorMixin and BaseEstimator"
        )


def _is_unfitted(model: Any) -> bool:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if not hasattr(model, "fit"):
        return False
    try:
        check_is_fitted(model)
    except NotFittedError:
        # a custom estimator may store what it learned in attributes without a trailing underscore
        return not _has_learned(model)
    except Exception:
        return False  # scikit-learn cannot tell
    return False


def _has_learned(model: Any) -> bool:
    try:
        parameters = set(model.get_params(deep=False))
    except Exception:
        return True
    return type(model).__module__.partition(".")[0] != "sklearn" and bool(
        {name for name, value in vars(model).items() if value is not None and not name.startswith("_")} - parameters
    )


def _estimator_type(model: Any) -> str | None:
    """The type by scikit-learn's tags; without tags, by the older attribute or by the methods."""
    from sklearn.utils import get_tags

    found: str | None
    try:
        found = get_tags(model).estimator_type
    except Exception:  # an estimator of a library that does not support scikit-learn's tags
        found = getattr(model, "_estimator_type", None)
    if found is None and hasattr(model, "predict_proba") and hasattr(model, "classes_"):
        return "classifier"
    if found is None and hasattr(model, "predict") and hasattr(model, "fit_predict") and not hasattr(model, "classes_"):
        return "clusterer" if not hasattr(model, "score_samples") else "density_estimator"
    return found


def _labels(model: Any) -> tuple[Label, ...]:
    name = algorithm(model)
    if not hasattr(model, "classes_"):
        raise UnusableModel(
            f"{name} has no classes_: it is not fitted, or a custom class that does not store its labels there"
        )
    classes = model.classes_
    if isinstance(classes, list) or np.ndim(classes) != 1:
        raise UnusableModel(f"{name} predicts several labels for a row, {_ONE_OUTPUT}")
    labels = tuple(np.asarray(classes).tolist())
    if len(labels) < 2:
        raise UnusableModel("the model has one label only; train it on data with two or more")
    if odd := [label for label in labels if not isinstance(label, bool | int | float | str)]:
        raise UnusableModel(f"{name} has labels of type {type(odd[0]).__name__}; expected text, numbers or booleans")
    return labels


def _own_threshold(model: Any) -> tuple[str, Label, float] | None:
    """The method, label and threshold of a binary classifier's own decision threshold; None where it has none.

    That of TunedThresholdClassifierCV and FixedThresholdClassifier, also at the end of a pipeline.
    """
    from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV

    last = _last_step(model)
    if isinstance(last, TunedThresholdClassifierCV):
        threshold, scoring = last.best_threshold_, last._curve_scorer  # noqa: SLF001 - no public attribute has it
        label = scoring._get_pos_label()  # noqa: SLF001
    elif isinstance(last, FixedThresholdClassifier):
        threshold, label = last.threshold, last.pos_label
    else:
        return None
    method = last.response_method
    if method == "auto":
        method = "predict_proba" if hasattr(last.estimator_, "predict_proba") else "decision_function"
    if threshold == "auto":
        threshold = 0.5 if method == "predict_proba" else 0.0
    labels = np.asarray(last.classes_).tolist()
    return method, labels[1] if label is None else label, float(threshold)


def _last_step(model: Any) -> Any:
    """The estimator that predicts: the last step of a pipeline, or the best estimator of a search."""
    while True:
        if getattr(model, "steps", None):
            model = model.steps[-1][1]
        elif hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        else:
            return model
