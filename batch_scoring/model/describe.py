"""Everything a manifest says of a fitted model, derived from the model and a sample of its input."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from batch_scoring.errors import UnusableModel
from batch_scoring.job import Kind
from batch_scoring.model.artifact import sha256
from batch_scoring.model.manifest import GoldenRows, Label, Manifest, Signature, TrainingData
from batch_scoring.model.scorer import Floats, model_outputs
from batch_scoring.model.signature import check_rows, derive_signature

_GOLDEN_ROWS = 20


def describe(
    model: Any,
    content: bytes,
    sample: pd.DataFrame,
    *,
    artifact_format: str = "joblib",
    training_data: TrainingData | None = None,
    metrics: dict[str, Any] | None = None,
) -> Manifest:
    """The manifest of a fitted model.

    ``content`` is the artifact's bytes; ``sample`` holds rows as the model takes them, columns beyond the model's
    are left out. Raises UnusableModel where the object is no fitted model or does not take the sample.
    """
    import sklearn

    kind, labels = kind_and_labels(model)
    sample = _model_columns(model, sample)
    signature = _proven_signature(model, kind, sample)
    golden = _golden_rows(model, kind, signature, sample)
    return Manifest(
        kind=kind,
        algorithm=_algorithm(model),
        format="skops" if artifact_format == "skops" else "joblib",
        artifact_sha256=sha256(content),
        labels=labels,
        signature=signature,
        scikit_learn_version=sklearn.__version__,
        libraries=library_versions(),
        golden=golden,
        training_data=training_data,
        metrics=metrics or {},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries a score depends on."""
    from importlib.metadata import version

    names = ("scikit-learn", "numpy", "scipy", "pandas", "pyarrow", "joblib", "batch-scoring")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def kind_and_labels(model: Any) -> tuple[Kind, tuple[Label, ...]]:
    """What kind of model it is and its labels in the order of ``classes_``. Raises UnusableModel."""
    what = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
    if isinstance(model, type) or not hasattr(model, "predict"):
        raise UnusableModel(f"{what} has no predict; register a fitted model or pipeline")
    classifies, regresses = _estimator_types(model)
    if regresses:
        return "regression", ()
    if not hasattr(model, "predict_proba"):
        if not classifies:
            raise UnusableModel(f"{what} is neither a classifier nor a regressor")
        raise UnusableModel(
            f"{_algorithm(model)} gives no probabilities; wrap it in CalibratedClassifierCV before fitting"
        )
    if not hasattr(model, "classes_"):
        raise UnusableModel("the model is not fitted; call fit before saving it")
    labels = tuple(np.asarray(model.classes_).tolist())
    if len(labels) < 2:
        raise UnusableModel("the model knows one label only; train it on data with two or more")
    return ("binary" if len(labels) == 2 else "multiclass"), labels


def _estimator_types(model: Any) -> tuple[bool, bool]:
    """Whether scikit-learn takes the model for a classifier, and for a regressor."""
    from sklearn.base import is_classifier, is_regressor

    try:
        return is_classifier(model), is_regressor(model)
    except AttributeError:  # an estimator of a library that knows nothing of scikit-learn's tags
        return False, False


def _algorithm(model: Any) -> str:
    last = model.steps[-1][1] if getattr(model, "steps", None) else model
    return type(last).__name__


def _model_columns(model: Any, sample: pd.DataFrame) -> pd.DataFrame:
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        return sample
    if missing := [str(name) for name in names if name not in sample.columns]:
        raise UnusableModel(f"the sample lacks the model's columns {', '.join(missing)}; give the model's input")
    return sample[[str(name) for name in names]]


def _proven_signature(model: Any, kind: Kind, sample: pd.DataFrame) -> Signature:
    """The signature under which the model gives the sample the scores it gives the plain frame.

    Text is tried as categoricals, which are faster, and kept as objects where the model does not take them alike.
    """
    if not len(sample):
        raise UnusableModel("the sample has no rows; give some of the model's input")
    try:
        expected = model_outputs(model, kind, sample)
    except UnusableModel:
        raise
    except Exception as exc:
        if type(exc).__name__ == "NotFittedError":
            raise UnusableModel("the model is not fitted; call fit before saving it") from exc
        raise UnusableModel(
            f"the model does not take the sample (it raised {type(exc).__name__}); give rows of its raw input"
        ) from exc
    for text_as in ("category", "object"):
        signature = derive_signature(sample, text_as=text_as)
        checked = check_rows(signature, _columns(sample))
        if checked.faults:
            fault = next(iter(checked.faults.values()))
            raise UnusableModel(f"the sample holds rows that cannot be scored: column {fault.column}, {fault.message}")
        try:
            outputs = model_outputs(model, kind, checked.frame)
        except Exception:  # noqa: S112 - a model may take text in one form only
            continue
        if np.allclose(outputs, expected, rtol=0, atol=1e-12, equal_nan=True):
            return signature
    raise UnusableModel(
        "the model scores the sample differently once its columns are typed; fit it on rows whose missing values are"
        " NaN (not None), and let it depend on values, not on dtypes"
    )


def _columns(sample: pd.DataFrame) -> dict[str, list[Any]]:
    """The sample as a database would give it: plain values and None."""
    plain = {}
    for name in sample.columns:
        values = sample[name].astype(object)
        plain[str(name)] = [
            None if missing else _plain(v) for v, missing in zip(values, values.isna().tolist(), strict=True)
        ]
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    if isinstance(value, Decimal):
        return float(value)
    return value.item() if isinstance(value, np.generic) else value


def _golden_rows(model: Any, kind: Kind, signature: Signature, sample: pd.DataFrame) -> GoldenRows:
    """Rows with and without missing values, spread over the sample."""
    incomplete = np.flatnonzero(sample.isna().any(axis=1))
    complete = np.flatnonzero(~sample.isna().any(axis=1))
    chosen = np.unique(np.concatenate([_spread(incomplete, _GOLDEN_ROWS // 2), _spread(complete, _GOLDEN_ROWS // 2)]))
    columns = _columns(sample.iloc[chosen])
    outputs: Floats = model_outputs(model, kind, check_rows(signature, columns).frame)
    sound = np.isfinite(outputs).all(axis=1)
    if not sound.any():
        raise UnusableModel("the model gives no finite score for any row of the sample")
    rows = list(zip(*columns.values(), strict=True))
    return GoldenRows(
        rows=tuple(tuple(_json(value) for value in rows[i]) for i in np.flatnonzero(sound)),
        outputs=tuple(tuple(row) for row in outputs[sound].tolist()),
    )


def _spread(positions: Any, count: int) -> Any:
    if len(positions) <= count:
        return positions
    return positions[np.linspace(0, len(positions) - 1, count, dtype=int)]


def _json(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
