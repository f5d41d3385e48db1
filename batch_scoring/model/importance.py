"""How much the predictions of a fitted model rely on each feature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.inspection import permutation_importance

from batch_scoring.domain.manifest import ModelForm
from batch_scoring.errors import InputFault
from batch_scoring.model.outputs import model_outputs

_ROWS = 2_000
_REPEATS = 5
_SEED = 20260101
_SMALLEST = 1e-15
"""The smallest probability in a log loss."""


def importances(model: Any, frame: pd.DataFrame, labels: pd.Series[Any], scoring: Any) -> dict[str, float]:
    """Permutation importance (Breiman, 2001; Fisher, Rudin and Dominici, 2019) by feature, on at most 2,000 rows.

    It is how much the score of a model, as ``scoring`` gives it, falls when the values of the feature are permuted.
    """
    rows = frame.iloc[:_ROWS]
    found = permutation_importance(
        model, rows, labels.iloc[:_ROWS], scoring=scoring, n_repeats=_REPEATS, random_state=_SEED
    )
    return dict(zip(map(str, rows.columns), found.importances_mean.tolist(), strict=True))


def importances_of(model: Any, form: ModelForm, frame: pd.DataFrame, outcomes: pd.Series[Any]) -> dict[str, float]:
    """The importances of a model of any kind: by log loss, or by mean squared error of a regression.

    ``outcomes`` are n labels or numbers as text; rows without one are left out. Raises InputFault where one is none of
    the model's labels, or no number.
    """
    known = outcomes.notna().to_numpy()
    frame, outcomes = frame[known], outcomes[known]
    if not len(frame):
        raise InputFault("--labels: no row of the sample has a label; name the column with the outcomes")
    truth = _truth(form, outcomes)
    return importances(model, frame, pd.Series(truth, index=frame.index), lambda *of: -_loss(form, *of))


def _truth(form: ModelForm, outcomes: pd.Series[Any]) -> Any:
    if form.kind == "regression":
        numbers = pd.to_numeric(outcomes, errors="coerce")
        if numbers.isna().any():
            raise InputFault(f"--labels: {int(numbers.isna().sum())} of {len(numbers)} outcomes are no numbers")
        return numbers.to_numpy(dtype=float)
    place = {str(label): number for number, label in enumerate(form.labels)}
    found = outcomes.astype(str).map(place)
    if found.isna().any():
        raise InputFault(
            f"--labels: {int(found.isna().sum())} of {len(found)} outcomes are none of the model's labels"
            f" ({', '.join(place)})"
        )
    return found.to_numpy(dtype=int)


def _loss(form: ModelForm, model: Any, frame: pd.DataFrame, truth: pd.Series[Any]) -> float:
    outputs = model_outputs(model, form, frame)
    if form.kind == "regression":
        return float(np.mean((outputs[:, 0] - truth.to_numpy()) ** 2))
    if form.kind in ("binary", "multiclass"):
        chosen = outputs[np.arange(len(truth)), truth.to_numpy()]
        return float(-np.log(np.maximum(chosen, _SMALLEST)).mean())
    predicted = pd.Series(np.asarray(model.predict(frame)).ravel()).astype(str)
    labels = [str(label) for label in form.labels]
    return float(np.mean([labels[right] != label for right, label in zip(truth, predicted, strict=True)]))
