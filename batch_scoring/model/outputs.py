"""The outputs of a model of any kind for the rows of a frame: an array of k numbers a row."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from batch_scoring.counting import counted
from batch_scoring.domain.manifest import ModelForm
from batch_scoring.errors import UnusableModel

Floats = np.ndarray[Any, np.dtype[np.float64]]
Booleans = np.ndarray[Any, np.dtype[np.bool_]]

CLIPPED = 1e-9
"""Tolerance within which a probability outside [0, 1] is clipped: the rounding error of a sum of a few numbers."""

CLIPPED_SINGLE = 1e-6
"""The same for a model that computes in single precision (or less)."""


def model_outputs(model: Any, form: ModelForm, frame: pd.DataFrame) -> Floats:
    """The outputs of a model for a frame of n rows, shape (n, k), see ModelForm.

    Probabilities that are outside [0, 1] by rounding are clipped. Raises UnusableModel where the model returns an array
    of another shape, or a label that is not among its own. Exceptions of the model are not caught.
    """
    if not len(frame):
        return np.empty((0, outputs_per_row(form)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning may quote the row
        if form.kind == "label":
            outputs = _labels(model, form, frame)
        elif form.kind == "regression":
            outputs = _as_array(model.predict(frame))
            outputs = outputs[:, np.newaxis] if outputs.ndim == 1 else outputs
        else:
            outputs = _clipped(_as_array(model.predict_proba(frame)))
    if outputs.shape != (len(frame), outputs_per_row(form)):
        raise UnusableModel(
            f"the model returned an array of shape {outputs.shape} for {counted(len(frame), 'row')}, expected"
            f" ({len(frame)}, {outputs_per_row(form)})"
        )
    return outputs.astype(np.float64, copy=False)


def outputs_per_row(form: ModelForm) -> int:
    """k: the number of outputs for a row."""
    if form.kind == "regression":
        return 1
    return (1 if form.margin is None else 2) if form.kind == "label" else len(form.labels)


def are_valid(outputs: Floats, form: ModelForm) -> Booleans:
    """Shape (n,): whether the outputs of a row are finite, and probabilities between 0 and 1."""
    valid = np.isfinite(outputs)
    if form.kind in ("binary", "multiclass"):
        valid &= (outputs >= 0) & (outputs <= 1)
    return np.asarray(valid.all(axis=1))


def _as_array(outputs: Any) -> np.ndarray[Any, Any]:
    if isinstance(outputs, list):  # one array for each of several outputs
        raise UnusableModel(f"the model returned a list of {len(outputs)} arrays where one was expected")
    array = np.asarray(outputs)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _clipped(outputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    low, high = outputs.min(initial=0), outputs.max(initial=1)
    if low >= 0 and high <= 1:  # false where there is a NaN
        return outputs
    tolerance = CLIPPED if outputs.dtype.itemsize >= 8 else CLIPPED_SINGLE
    clipped = np.where((outputs < 0) & (outputs >= -tolerance), 0.0, outputs)
    return np.where((outputs > 1) & (outputs <= 1 + tolerance), 1.0, clipped)


def _labels(model: Any, form: ModelForm, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    """The index of each row's label among the model's labels, and its margin where there is one."""
    predicted = np.asarray(model.predict(frame))
    if predicted.shape not in ((len(frame),), (len(frame), 1)):
        return predicted  # of the wrong shape, which the caller reports
    index_of = {label: position for position, label in enumerate(form.labels)}
    values = predicted.ravel().tolist()
    if unknown := set(values).difference(index_of):
        raise UnusableModel(f"the model returned {len(unknown)} labels that are not among its own")
    indices = np.array([index_of[value] for value in values], dtype=np.float64)
    if form.margin is None:
        return indices[:, np.newaxis]
    margins = np.asarray(getattr(model, form.margin)(frame), dtype=np.float64)
    if margins.ndim == 2 and margins.shape[1] == len(form.labels):
        margins = margins[np.arange(len(margins)), indices.astype(np.intp)]
    return np.column_stack([indices, margins.reshape(len(frame), -1)])
