"""The file MLmodel of a logged model: whether it is a plain scikit-learn model, and what it takes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from batch_scoring.domain.column_types import ColumnType
from batch_scoring.domain.manifest import Signature, SignatureColumn
from batch_scoring.errors import UnusableModel

MLMODEL = "MLmodel"

_LARGEST = 2**20

_TYPES = {
    "boolean": ColumnType.BOOLEAN,
    "integer": ColumnType.INTEGER,
    "long": ColumnType.INTEGER,
    "float": ColumnType.NUMBER,
    "double": ColumnType.NUMBER,
    "string": ColumnType.TEXT,
    "datetime": ColumnType.TIMESTAMP,
}
_FORMATS: dict[str | None, Literal["joblib", "skops"]] = {
    None: "joblib",
    "pickle": "joblib",
    "cloudpickle": "joblib",
    "skops": "skops",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedModel:
    """A scikit-learn model as MLflow describes it."""

    file: str
    format: Literal["joblib", "skops"]
    scikit_learn_version: str
    inputs: Any
    """MLflow's signature, decoded; None where it has none."""


def read(written: bytes, uri: str) -> LoggedModel:
    """Read the content of the file MLmodel. Raises UnusableModel where the model is not a plain scikit-learn model."""
    import yaml

    if len(written) > _LARGEST:
        raise UnusableModel(f"the file MLmodel of {uri} is larger than {_LARGEST:,} bytes")
    try:
        content = yaml.safe_load(written)
        flavors = dict(content["flavors"])
        inputs = content.get("signature") and content["signature"].get("inputs")
        decoded = json.loads(inputs) if inputs else None
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, ValueError, AttributeError) as exc:
        raise UnusableModel(f"the file MLmodel of {uri} is not one that MLflow writes; log the model again") from exc
    _check_flavors(flavors, uri)
    sklearn = flavors["sklearn"]
    file, stored_as = str(sklearn.get("pickled_model")), sklearn.get("serialization_format")
    if Path(file).name != file or file in ("", "None", ".", ".."):
        raise UnusableModel(f"the model file of {uri} is not in the folder of the model; log the model again")
    if stored_as not in _FORMATS:
        raise UnusableModel(f"{uri} is stored in a format that is not read here; log it as skops or cloudpickle")
    return LoggedModel(
        file=file,
        format=_FORMATS[stored_as],
        scikit_learn_version=str(sklearn.get("sklearn_version")),
        inputs=decoded,
    )


def _check_flavors(flavors: dict[str, Any], uri: str) -> None:
    """Raise UnusableModel where MLflow itself would run code of the folder, or loads the model in another way."""
    others = sorted(set(flavors) - {"sklearn", "python_function"})
    if "sklearn" not in flavors or others:
        named = ", ".join(sorted(flavors)) or "none"
        raise UnusableModel(
            f"{uri} has the flavors {named}, and only the flavor sklearn is loaded; log the scikit-learn model itself"
        )
    function = flavors.get("python_function") or {}
    loader = function.get("loader_module", "mlflow.sklearn")
    if loader != "mlflow.sklearn":
        raise UnusableModel(
            f"{uri} is loaded by a module of its own (loader_module), which would run code of the model's folder; log"
            " the scikit-learn model itself by mlflow.sklearn"
        )
    if any(flavor.get("code") or flavor.get("code_paths") for flavor in (flavors["sklearn"], function)):
        raise UnusableModel(
            f"{uri} was logged with code_paths, which would run code of the model's folder; install the package that"
            " the code is in wherever batch-scoring runs, and log the model without code_paths"
        )


def signature_of(model: LoggedModel, uri: str) -> Signature:
    """The columns of MLflow's signature. Raises UnusableModel where it is missing or has types that no row fits."""
    if not isinstance(model.inputs, list) or not model.inputs:
        raise UnusableModel(
            f"{uri} has no signature, so its columns are not known; log it with one (signature=infer_signature(…)), or"
            " by `batch-scoring train --mlflow`"
        )
    columns, unknown = [], []
    for column in model.inputs:
        name, kind = column.get("name"), column.get("type")
        if not name or kind not in _TYPES:
            unknown.append(f"{name or 'a column without a name'} ({kind})")
            continue
        columns.append(SignatureColumn(name=name, type=_TYPES[kind], nullable=not column.get("required", True)))
    if unknown:
        raise UnusableModel(
            f"the signature of {uri} has {', '.join(unknown)}, and the columns of a row are {', '.join(_TYPES)}; log"
            " the model with a data frame of such columns"
        )
    return Signature(columns=tuple(columns), text_as="object")
