"""Outputs for the rows a model takes, and a fault for each row it does not, which is found by bisection."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from batch_scoring.domain.manifest import ModelForm, listed
from batch_scoring.errors import EveryRowFailed, UnusableModel
from batch_scoring.model.faults import ReasonCode, RowFault
from batch_scoring.model.outputs import Floats, are_sound, model_outputs, width

_PROBES = 64
"""Rows drawn from a failing chunk and tried one by one before it is bisected."""


def outputs_by_bisection(
    model: Any, form: ModelForm, frame: pd.DataFrame, *, is_entire_chunk: bool = True
) -> tuple[Floats, dict[int, RowFault]]:
    """The model's outputs for the rows it takes, in order, and the faults of those it does not, by position.

    Raises EveryRowFailed where the model fails on each of 64 rows drawn from a whole chunk, UnusableModel.
    """
    found: list[Floats] = [np.empty((0, width(form)))]
    faults: dict[int, RowFault] = {}
    pending = [(0, len(frame))] if len(frame) else []
    while pending:
        start, stop = pending.pop(0)
        try:
            outputs = model_outputs(model, form, frame.iloc[start:stop])
        except UnusableModel:
            raise
        except Exception as exc:
            if stop - start == 1:
                # the text of the exception may quote the row, so only its type is kept
                message = f"the model raised {type(exc).__name__} on the row"
                faults[start] = RowFault(code=ReasonCode.MODEL_ERROR, column=None, message=message)
                continue
            if is_entire_chunk and stop - start == len(frame) and len(frame) > 2 * _PROBES:
                _raise_if_every_probe_fails(model, form, frame)
            middle = (start + stop) // 2
            pending[:0] = [(start, middle), (middle, stop)]
            continue
        outputs, unsound = _without_unsound(outputs, form, offset=start)
        found.append(outputs)
        faults.update(unsound)
    return np.concatenate(found), faults


def _raise_if_every_probe_fails(model: Any, form: ModelForm, frame: pd.DataFrame) -> None:
    """Spare a chunk on which the model fails everywhere two calls a row."""
    errors = set()
    for row in np.random.default_rng(0).choice(len(frame), _PROBES, replace=False):
        try:
            model_outputs(model, form, frame.iloc[row : row + 1])
        except Exception as exc:
            errors.add(type(exc).__name__)
        else:
            return
    raise EveryRowFailed(
        f"the model failed with {listed(sorted(errors))} on each of {_PROBES} rows drawn from a chunk of {len(frame)},"
        " so the fault is not the rows': nothing was quarantined. Look at the source or at the model, then run again"
    )


def _without_unsound(outputs: Floats, form: ModelForm, *, offset: int) -> tuple[Floats, dict[int, RowFault]]:
    sound = are_sound(outputs, form)
    if sound.all():
        return outputs, {}
    finite = np.asarray(np.isfinite(outputs).all(axis=1))
    return outputs[sound], {
        offset + int(row): _OUT_OF_RANGE if finite[row] else _NON_FINITE for row in np.flatnonzero(~sound)
    }


_NON_FINITE = RowFault(
    code=ReasonCode.NON_FINITE_SCORE, column=None, message="the model gave no finite score for the row"
)
_OUT_OF_RANGE = RowFault(
    code=ReasonCode.SCORE_OUT_OF_RANGE, column=None, message="the model gave a probability outside 0 to 1 for the row"
)
