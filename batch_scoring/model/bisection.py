"""Score a chunk; rows on which the model fails are found by bisection."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from batch_scoring.domain.manifest import ModelForm, listed
from batch_scoring.errors import EveryRowFailed, UnusableModel
from batch_scoring.model.faults import ReasonCode, RowFault
from batch_scoring.model.outputs import Floats, are_valid, model_outputs, outputs_per_row

_PROBES = 64
"""Rows that are sampled from a failing chunk and scored one by one before it is bisected."""


def outputs_by_bisection(
    model: Any, form: ModelForm, frame: pd.DataFrame, *, is_entire_chunk: bool = True
) -> tuple[Floats, dict[int, RowFault]]:
    """The model's outputs for the rows it can score, in order, and the faults of the others, by position.

    The outputs have shape (m, k), see ModelForm. Raises UnusableModel, and EveryRowFailed where the model fails on each
    of 64 rows that are sampled from an entire chunk.
    """
    found: list[Floats] = [np.empty((0, outputs_per_row(form)))]
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
                # the text of the exception may quote the row, so only its type is recorded
                message = f"the model raised {type(exc).__name__} on the row"
                faults[start] = RowFault(code=ReasonCode.MODEL_ERROR, column=None, message=message)
                continue
            if is_entire_chunk and stop - start == len(frame) and len(frame) > 2 * _PROBES:
                _raise_if_every_probe_fails(model, form, frame)
            middle = (start + stop) // 2
            pending[:0] = [(start, middle), (middle, stop)]
            continue
        outputs, invalid = _without_invalid(outputs, form, offset=start)
        found.append(outputs)
        faults.update(invalid)
    return np.concatenate(found), faults


def _raise_if_every_probe_fails(model: Any, form: ModelForm, frame: pd.DataFrame) -> None:
    """Avoid two calls a row for a chunk in which the model fails on every row."""
    errors = set()
    for row in np.random.default_rng(0).choice(len(frame), _PROBES, replace=False):
        try:
            model_outputs(model, form, frame.iloc[row : row + 1])
        except Exception as exc:
            errors.add(type(exc).__name__)
        else:
            return
    raise EveryRowFailed(
        f"the model failed with {listed(sorted(errors))} on each of {_PROBES} rows sampled from a chunk of"
        f" {len(frame)}, so the fault is not the rows': nothing was quarantined. Check the source"
        " and the model, then run again"
    )


def _without_invalid(outputs: Floats, form: ModelForm, *, offset: int) -> tuple[Floats, dict[int, RowFault]]:
    valid = are_valid(outputs, form)
    if valid.all():
        return outputs, {}
    finite = np.asarray(np.isfinite(outputs).all(axis=1))
    return outputs[valid], {
        offset + int(row): _OUT_OF_RANGE if finite[row] else _NON_FINITE for row in np.flatnonzero(~valid)
    }


_NON_FINITE = RowFault(
    code=ReasonCode.NON_FINITE_SCORE, column=None, message="the model returned no finite score for the row"
)
_OUT_OF_RANGE = RowFault(
    code=ReasonCode.SCORE_OUT_OF_RANGE,
    column=None,
    message="the model returned a probability outside 0 to 1 for the row",
)
