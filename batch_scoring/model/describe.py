"""Build the manifest of a fitted model from the model and a sample of its input."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from batch_scoring.domain.manifest import (
    Golden,
    GoldenRows,
    Manifest,
    Metrics,
    ModelForm,
    Signature,
    TrainingData,
    listed,
)
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.domain.profile import Reference, SinceFirst
from batch_scoring.errors import UnusableModel
from batch_scoring.model.artifact import sha256
from batch_scoring.model.columns import Notes, used_columns
from batch_scoring.model.importance import importances_of
from batch_scoring.model.kinds import algorithm, check_one_output, form_of
from batch_scoring.model.outputs import Floats, are_valid, model_outputs
from batch_scoring.model.profiling import build_reference, counted_in
from batch_scoring.model.proof import prove
from batch_scoring.model.signature import MAX_CATEGORIES, check_rows
from batch_scoring.model.synthetic import synthetic_rows
from batch_scoring.model.translation.program import why_only_in_python
from batch_scoring.model.values import plain_columns

_DECIDED_ROWS = 2_000
"""Rows of the sample whose labels are compared with those of predict."""

_GOLDEN_ROWS = 20

_REFERENCE_ROWS = 100_000
"""Rows of a sample that drift is measured against."""


def describe(
    model: Any,
    content: bytes,
    sample: pd.DataFrame,
    *,
    artifact_format: str = "joblib",
    training_data: TrainingData | None = None,
    metrics: Metrics | None = None,
    golden: Golden = "real",
    out_of_fold: Floats | None = None,
    importances: Mapping[str, float] | None = None,
    outcomes: pd.Series[Any] | None = None,
    is_held_out: bool = False,
    first: ModelVersion | None = None,
) -> Manifest:
    """The manifest of a fitted model.

    ``content`` is the artifact's bytes; ``sample`` holds n rows of the model's input, whose other columns are left
    out. ``out_of_fold``, shape (n, k), are outputs of models that were not fitted on these rows, see ModelForm, and
    ``importances`` those of features, where the sample is the training data. Of another sample, ``outcomes`` are n
    labels by which importances are measured, and ``is_held_out`` says that the model was not fitted on its rows.
    ``first`` is the first version of the model, in whose bins the rows are counted too. Raises UnusableModel where
    the object is not a fitted model or does not take the sample, and InputFault.
    """
    import sklearn

    notes = Notes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning may quote the sample
        form = form_of(model)
        sample = used_columns(model, sample, notes)
        if not len(sample):
            raise UnusableModel("the sample has no rows; give some of the model's input")
        _check_one_output(model, sample)
        signature = prove(model, form, sample)
        source = sample if golden == "real" else synthetic_rows(sample, seed=content)
        rows = _golden_rows(model, form, signature, source)
        _note_decisions(model, form, signature, sample, notes)
        reference, since_first = _reference(
            model, form, signature, sample, out_of_fold, importances, outcomes, is_held_out=is_held_out, first=first
        )
    _note_categories(signature, notes)
    manifest = Manifest(
        **dict(form),
        algorithm=algorithm(model),
        format="skops" if artifact_format == "skops" else "joblib",
        artifact_sha256=sha256(content),
        artifact_bytes=len(content),
        signature=signature,
        scikit_learn_version=sklearn.__version__,
        libraries=library_versions(),
        golden=rows,
        training_data=training_data,
        metrics=metrics,
        reference=reference,
        since_first=since_first,
        notes=tuple(notes),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return manifest.model_copy(update={"only_in_python": why_only_in_python(model, manifest)})


def _reference(
    model: Any,
    form: ModelForm,
    signature: Signature,
    sample: pd.DataFrame,
    out_of_fold: Floats | None,
    importances: Mapping[str, float] | None,
    outcomes: pd.Series[Any] | None,
    *,
    is_held_out: bool,
    first: ModelVersion | None,
) -> tuple[Reference, SinceFirst | None]:
    if out_of_fold is None:
        sample = sample.iloc[:_REFERENCE_ROWS]
    columns = plain_columns(sample)
    outputs = out_of_fold
    if outputs is None:
        frame = check_rows(signature, columns).frame
        outputs = model_outputs(model, form, frame)
        if outcomes is not None:
            importances = importances_of(model, form, frame, outcomes.iloc[:_REFERENCE_ROWS])
    reference = build_reference(
        form,
        signature,
        columns,
        outputs,
        origin="sample" if out_of_fold is None else "training",
        is_out_of_fold=is_held_out or out_of_fold is not None,
        importances=importances,
    )
    of_first = None if first is None else first.manifest.reference
    if first is None or of_first is None or first.manifest.kind != form.kind:
        return reference, None
    counted = counted_in(of_first, form, signature, columns, outputs)
    return reference, SinceFirst(version=first.version, profile=counted)


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that a score depends on."""
    from importlib.metadata import version

    names = ("scikit-learn", "numpy", "scipy", "pandas", "pyarrow", "joblib", "batch-scoring")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def _check_one_output(model: Any, sample: pd.DataFrame) -> None:
    try:
        check_one_output(model, sample.head(_GOLDEN_ROWS))
    except UnusableModel:
        raise
    except Exception:
        return  # prove() reports why the model does not take the sample


def _note_decisions(model: Any, form: ModelForm, signature: Signature, sample: pd.DataFrame, notes: Notes) -> None:
    """Note the model's own threshold, and how often its ``predict`` differs from the label by its probabilities."""
    if form.decision is not None:
        notes.append(
            f"the model decides {form.decision.label} where its probability is {form.decision.threshold:g} or more, by"
            " a threshold of its own; [predictions] threshold of a job would override it"
        )
    if form.kind not in ("binary", "multiclass"):
        return
    frame = check_rows(signature, plain_columns(sample.head(_DECIDED_ROWS))).frame
    outputs = model_outputs(model, form, frame)
    if form.decision is not None:
        decided = form.labels.index(form.decision.label)
        chosen = np.where(outputs[:, decided] >= form.decision.threshold, decided, 1 - decided)
    else:
        chosen = outputs.argmax(axis=1)
    predicted = np.asarray(model.predict(frame)).ravel().tolist()
    differing = sum(form.labels[index] != label for index, label in zip(chosen, predicted, strict=True))
    if differing:
        notes.append(
            f"predict of the model decides another label than its probabilities in {differing} of {len(frame)} rows of"
            " the sample; a job decides by the probabilities: set [predictions] threshold to where it should decide"
        )


def _note_categories(signature: Signature, notes: Notes) -> None:
    categorical = [column for column in signature.columns if column.categories is not None]
    if many := signature.columns_without_categories:
        notes.append(
            f"{listed(many)}: more than {MAX_CATEGORIES:,} distinct texts in the sample, so no text is counted or"
            " quarantined as an unseen category there; [model] unseen_categories has no effect on such columns"
        )
    if categorical and signature.unseen_as == "missing" and signature.text_as == "category":
        notes.append(
            f"the model takes {listed(column.name for column in categorical)} as categoricals only: a category that the"
            " sample does not hold reaches it as a missing value; register it with a sample that holds every category"
            " of its training data"
        )


def _golden_rows(model: Any, form: ModelForm, signature: Signature, sample: pd.DataFrame) -> GoldenRows:
    """Rows with and without missing values, spread over the sample."""
    incomplete = np.flatnonzero(sample.isna().any(axis=1))
    complete = np.flatnonzero(~sample.isna().any(axis=1))
    chosen = np.unique(np.concatenate([_spread(incomplete, _GOLDEN_ROWS // 2), _spread(complete, _GOLDEN_ROWS // 2)]))
    columns = plain_columns(sample.iloc[chosen])
    outputs: Floats = model_outputs(model, form, check_rows(signature, columns).frame)
    valid = are_valid(outputs, form)
    if not valid.any():
        raise UnusableModel("the model returns no finite score for any row of the sample")
    rows = list(zip(*columns.values(), strict=True))
    return GoldenRows(
        rows=tuple(tuple(_json(value) for value in rows[i]) for i in np.flatnonzero(valid)),
        outputs=tuple(tuple(row) for row in outputs[valid].tolist()),
    )


def _spread(positions: Any, count: int) -> Any:
    if len(positions) <= count:
        return positions
    return positions[np.linspace(0, len(positions) - 1, count, dtype=int)]


def _json(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
