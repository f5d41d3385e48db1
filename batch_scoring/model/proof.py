"""The proof at registration: how rows must reach a model, and that a row's outputs depend on that row alone.

A run scores rows in chunks of any size and order. A model that computes from the rows of a call (their minimum, their
ranks, the categories among them) would score a row differently in each of them, so it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
import pandas as pd

from batch_scoring.counting import counted
from batch_scoring.domain.column_types import ColumnType
from batch_scoring.domain.manifest import ModelForm, Signature
from batch_scoring.errors import UnusableModel
from batch_scoring.model.kinds import parts
from batch_scoring.model.outputs import Floats, model_outputs
from batch_scoring.model.signature import check_rows, derive_signature
from batch_scoring.model.values import plain_columns

TOLERANCE = 1e-12
"""Tolerance for outputs, relative for those above 1: the rounding error from another order of summation."""

_SCORED_ROWS = 50_000
"""Rows of the sample that are scored in each form."""

_COMPARED_ROWS = 2_000
"""Rows that are scored in halves, subsets and another order."""

_SINGLE_ROWS = 32
"""Rows that are scored alone."""

_UNSEEN_ROWS = 16
"""Rows with an unseen category that are added to the sample."""

_UNSEEN_TEXT = "\u2048 a text that no training data hold"


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependence:
    """Outputs of rows that depend on the other rows of the call."""

    how: str
    """How the rows were scored when their outputs changed, for the message."""
    changed: int
    compared: int
    largest: float | None
    """The largest difference; None where the model raised."""


def prove(model: Any, form: ModelForm, sample: pd.DataFrame) -> Signature:
    """The signature with which the model scores the sample as it scores the plain frame, each row independently.

    Text is passed as categoricals, which are faster, if the model takes them. A row with an unseen category is passed
    as objects if it takes those too, so that its encoders get the text. Raises UnusableModel if it takes neither.
    """
    none_for = columns_fitted_on_none(model, sample)
    as_categories = derive_signature(sample)
    as_objects = derive_signature(sample, text_as="object", none_for=none_for)
    _typed(as_objects, sample)  # check all rows, not only those that are scored
    rows = sample.iloc[_spread(len(sample), _SCORED_ROWS)]
    expected = _by_plain_frame(model, form, _with_none(rows, none_for))
    if not _are_equal(again := _by_plain_frame(model, form, _with_none(rows, none_for)), expected):
        raise UnusableModel(
            f"the model's output for a row is random: {_changed(again, expected)} of {len(rows)} rows of the sample"
            " score differently when they are scored again; fix its random_state, or take the random step out"
        )
    objects = _try(model, form, as_objects, rows, expected)
    if none_for:  # a categorical has one kind of missing value, which is not None
        categories = _Trial(accepted=False)
    elif any(column.categories is not None for column in as_categories.columns):
        categories = _try(model, form, as_categories, rows, expected)
    else:
        categories = objects  # no column differs
    if categories.accepted:
        return as_categories.model_copy(update={"unseen_as": "text" if objects.accepted else "missing"})
    if objects.accepted:
        return as_objects
    if dependence := objects.dependence or categories.dependence:
        raise UnusableModel(_dependence_message(model, rows, dependence))
    raise UnusableModel(
        "the model scores the sample differently once its columns are typed; fit it on rows whose missing values are"
        " NaN (not None), and let it depend on values, not on dtypes"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trial:
    """The result of passing the sample to the model in one form."""

    accepted: bool
    dependence: Dependence | None = None


def _try(model: Any, form: ModelForm, signature: Signature, sample: pd.DataFrame, expected: Floats) -> _Trial:
    frame = _typed(signature, sample)
    try:
        outputs = model_outputs(model, form, frame)
    except UnusableModel:
        raise
    except Exception:
        return _Trial(accepted=False)  # a model may take text in one form only
    if not _are_equal(outputs, expected):
        return _Trial(accepted=False)
    if signature.text_as == "object":
        frame = _with_unseen(model, form, signature, frame)
    dependence = dependence_on_others(model, form, frame)
    return _Trial(accepted=dependence is None, dependence=dependence)


def _typed(signature: Signature, sample: pd.DataFrame) -> pd.DataFrame:
    """The sample as a run would pass it to the model."""
    checked = check_rows(signature, plain_columns(sample))
    if checked.faults:
        fault = next(iter(checked.faults.values()))
        raise UnusableModel(f"the sample holds rows that cannot be scored: column {fault.column}, {fault.message}")
    return checked.frame


def _by_plain_frame(model: Any, form: ModelForm, sample: pd.DataFrame) -> Floats:
    """The model's outputs for the sample as it was read, or with texts as categoricals if it takes only those."""
    try:
        return model_outputs(model, form, sample)
    except UnusableModel:
        raise
    except Exception as exc:
        if type(exc).__name__ == "NotFittedError":
            raise UnusableModel("the model is not fitted; call fit before saving it") from exc
        texts = [name for name in sample if pd.api.types.is_string_dtype(sample[name].dropna())]
        try:
            return model_outputs(model, form, sample.astype(dict.fromkeys(texts, "category")))
        except Exception:
            raise UnusableModel(_not_taken(model, sample, exc)) from exc


def _not_taken(model: Any, sample: pd.DataFrame, exc: Exception) -> str:
    expected = getattr(model, "n_features_in_", None)
    if isinstance(expected, int) and expected != sample.shape[1]:
        return (
            f"the model was fitted on {counted(expected, 'column')} without names, the sample has {sample.shape[1]};"
            " give a sample of the model's columns alone, in the order in which it was fitted on them"
        )
    return (
        f"the model does not take the sample (it raised {type(exc).__name__}); give rows of the table it was fitted on,"
        " before any step that is not part of the model"
    )


def columns_fitted_on_none(model: Any, sample: pd.DataFrame) -> list[str]:
    """Columns for which an encoder of the model has None among its categories, and not NaN."""
    found: dict[str, None] = {}
    texts = [str(name) for name in sample if _column_type_is_text(sample[name]) and sample[name].isna().any()]
    for part in parts(model):
        names = [str(name) for name in getattr(part, "feature_names_in_", ())]
        categories = getattr(part, "categories_", None)
        if isinstance(categories, list):
            with_none = [any(v is None for v in values) and not any(v != v for v in values) for values in categories]
            if len(names) == len(categories):
                found.update(dict.fromkeys(compress(names, with_none)))
            elif any(with_none):  # after a step that returns arrays, whose columns have no names
                found.update(dict.fromkeys(texts))
        if "missing_values" in getattr(part, "__dict__", {}) and part.missing_values is None:
            found.update(dict.fromkeys(names or texts))
    return [name for name in found if name in texts]


def _column_type_is_text(values: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_string_dtype(values.dropna())) or values.dtype == object


def _with_none(sample: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    changed = {name: sample[name].astype(object).where(sample[name].notna(), None) for name in names}
    return sample.assign(**changed) if changed else sample


def _with_unseen(model: Any, form: ModelForm, signature: Signature, frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose texts are objects, followed by copies of some rows, each with an unseen text in one column.

    Copies that the model refuses are left out: in a run such rows are quarantined.
    """
    texts = [column.name for column in signature.columns if column.type is ColumnType.TEXT]
    if not texts:
        return frame
    copies = [
        frame.iloc[[i % len(frame)]].assign(**{texts[i % len(texts)]: pd.Series([_UNSEEN_TEXT], dtype=object).values})
        for i in range(max(_UNSEEN_ROWS, len(texts)))
    ]
    if _outputs_or_none(model, form, pd.concat(copies, ignore_index=True)) is None:
        copies = [copy for copy in copies if _outputs_or_none(model, form, copy) is not None]
    return pd.concat([frame, *copies], ignore_index=True)


def dependence_on_others(model: Any, form: ModelForm, frame: pd.DataFrame) -> Dependence | None:
    """Score rows together, alone, in halves, in another order and in subsets; return the first change."""
    rows = _spread(len(frame), _COMPARED_ROWS)
    frame = frame.iloc[rows].reset_index(drop=True)
    together = _outputs_or_none(model, form, frame)
    if together is None:
        return Dependence(how="together", changed=len(frame), compared=len(frame), largest=None)
    for how, batches in _batches(len(frame)):
        compared = changed = 0
        largest: float | None = 0.0
        for batch in batches:
            outputs = _outputs_or_none(model, form, frame.iloc[batch])
            compared += len(batch)
            if outputs is None:
                changed, largest = changed + len(batch), None
                continue
            off = _difference(outputs, together[batch])
            changed += int((off > TOLERANCE).sum())
            largest = None if largest is None else max(largest, float(off.max(initial=0)))
        if changed:
            return Dependence(how=how, changed=changed, compared=compared, largest=largest)
    return None


def _batches(count: int) -> Iterator[tuple[str, list[Any]]]:
    """The batches in which rows are scored again: a description, and lists of positions."""
    order = np.random.default_rng(0).permutation(count)
    yield "each alone", [[i] for i in _spread(count, _SINGLE_ROWS)]
    yield "in halves", [half for half in np.array_split(np.arange(count), 2) if len(half)]
    yield "in another order", [np.arange(count)[::-1], order]
    yield "in subsets", [subset for subset in np.array_split(order, 7) if len(subset)]


def _outputs_or_none(model: Any, form: ModelForm, frame: pd.DataFrame) -> Floats | None:
    """None where the model raises."""
    try:
        return model_outputs(model, form, frame)
    except Exception:
        return None


def _difference(outputs: Floats, expected: Floats) -> Floats:
    """For each row the largest difference, relative for outputs above 1; infinite where one of them is NaN."""
    same = (outputs == expected) | (np.isnan(outputs) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        off = np.abs(outputs - expected) / np.maximum(1.0, np.abs(expected))
    return np.asarray(np.where(same, 0.0, np.nan_to_num(off, nan=np.inf)).max(axis=1))


def _are_equal(outputs: Floats, expected: Floats) -> bool:
    return outputs.shape == expected.shape and bool((_difference(outputs, expected) <= TOLERANCE).all())


def _changed(outputs: Floats, expected: Floats) -> int:
    return int((_difference(outputs, expected) > TOLERANCE).sum())


def _spread(count: int, most: int) -> Any:
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most, dtype=int)


def _dependence_message(model: Any, sample: pd.DataFrame, found: Dependence) -> str:
    by = "the model fails on them" if found.largest is None else f"by up to {found.largest:.2g}"
    text = (
        f"the model's output for a row depends on the rows that are scored with it: scored {found.how}, {found.changed}"
        f" of {found.compared} rows of the sample score differently ({by}), and a run scores rows in chunks of any"
        " size and order"
    )
    if found.largest is not None and found.largest < _SINGLE_PRECISION:
        cause = "rounding" if found.largest < _ROUNDING else "rounding to single precision"
        return (
            f"{text}. So small a difference is caused by {cause}: the order of summation differs between one row and"
            " many. Let the model compute in float64, or choose one whose sums are better conditioned"
        )
    if step := _step_at_fault(model, sample):
        text += f". {step}"
    return (
        f"{text}. Let such a step learn minimum, ranks, categories or whatever it computes in fit, fit the model again,"
        " and register it again"
    )


_ROUNDING = 1e-8
_SINGLE_PRECISION = 1e-5
"""Differences below these are rounding errors of double and of single precision."""


def _step_at_fault(model: Any, sample: pd.DataFrame) -> str | None:
    """A message that names the first step of a pipeline that transforms a row differently alone than among others."""
    steps = getattr(getattr(model, "best_estimator_", model), "steps", None)
    if not steps:
        return None
    current: Any = sample.head(_SINGLE_ROWS)
    for name, step in steps[:-1]:
        if step is None or step == "passthrough":
            continue
        function = getattr(step, "func", None)
        shown = f"Its step {name} ({getattr(function, '__name__', type(step).__name__)})"
        try:
            together = step.transform(current)
        except Exception:
            return None
        for row in range(len(current)):
            try:
                alone = step.transform(current[row : row + 1])
            except Exception:
                return f"{shown} fails on a row alone"
            if alone.shape[1:] != together.shape[1:]:
                columns = counted(alone.shape[1], "column")
                return f"{shown} returns {columns} for a row alone and {together.shape[1]} for the sample"
            if not pd.DataFrame(_dense(alone)).equals(pd.DataFrame(_dense(together[row : row + 1]))):
                return f"{shown} returns other values for a row alone: it computes from the rows it is given"
        current = together
    return None


def _dense(values: Any) -> Any:
    return values.toarray() if hasattr(values, "toarray") else np.asarray(values)
