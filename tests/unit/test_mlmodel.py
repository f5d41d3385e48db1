"""Which models of MLflow are loaded, as their file MLmodel tells."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from batch_scoring.domain.column_types import ColumnType
from batch_scoring.errors import UnusableModel
from batch_scoring.mlflow.mlmodel import read, signature_of

INPUTS = [
    {"type": "double", "name": "income", "required": True},
    {"type": "long", "name": "term", "required": False},
    {"type": "string", "name": "area", "required": True},
    {"type": "boolean", "name": "owner"},
    {"type": "datetime", "name": "since", "required": False},
]
PLAIN: dict[str, Any] = {
    "flavors": {
        "python_function": {"loader_module": "mlflow.sklearn", "model_path": "model.pkl"},
        "sklearn": {
            "code": None,
            "pickled_model": "model.pkl",
            "serialization_format": "cloudpickle",
            "sklearn_version": "1.9.1",
        },
    },
    "signature": {"inputs": json.dumps(INPUTS)},
}


def written(content: Any) -> bytes:
    return (yaml.safe_dump(content) if not isinstance(content, str) else content).encode()


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    content = copy.deepcopy(PLAIN)
    change(content)
    return content


def test_a_plain_model_is_read_with_its_columns() -> None:
    found = read(written(PLAIN), "models:/m/1")

    assert (found.file, found.format, found.scikit_learn_version) == ("model.pkl", "joblib", "1.9.1")
    columns = signature_of(found, "models:/m/1").columns
    assert [(column.name, column.type, column.nullable) for column in columns] == [
        ("income", ColumnType.NUMBER, False),
        ("term", ColumnType.INTEGER, True),
        ("area", ColumnType.TEXT, False),
        ("owner", ColumnType.BOOLEAN, False),
        ("since", ColumnType.TIMESTAMP, True),
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["flavors"].pop("sklearn"), "has the flavors python_function"),
        (lambda m: m["flavors"].update(xgboost={}), "has the flavors python_function, sklearn, xgboost"),
        (lambda m: m["flavors"]["python_function"].update(loader_module="evil"), "loader_module"),
        (lambda m: m["flavors"]["python_function"].update(code="code"), "code_paths"),
        (lambda m: m["flavors"]["sklearn"].update(code="code"), "code_paths"),
        (lambda m: m["flavors"]["sklearn"].update(pickled_model="../../model.pkl"), "not in the folder"),
        (lambda m: m["flavors"]["sklearn"].update(pickled_model="/etc/passwd"), "not in the folder"),
        (lambda m: m["flavors"]["sklearn"].pop("pickled_model"), "not in the folder"),
        (lambda m: m["flavors"]["sklearn"].update(serialization_format="onnx"), "in a format that is not read"),
        (lambda m: m.update(signature={"inputs": "{"}), "not one that MLflow writes"),
        (lambda m: m.pop("flavors"), "not one that MLflow writes"),
    ],
)
def test_other_models_are_refused_with_words(change: Callable[[dict[str, Any]], object], words: str) -> None:
    with pytest.raises(UnusableModel, match=words):
        read(written(changed(change)), "models:/m/1")


@pytest.mark.parametrize(
    "text", ["", "[]", "- 1", "a: [", "!!python/object/apply:os.system ['touch mark']", "flavors: 3", "x" * 2**21]
)
def test_what_is_no_mlmodel_is_refused_and_runs_nothing(text: str) -> None:
    with pytest.raises(UnusableModel):
        read(written(text), "models:/m/1")
    assert not Path("mark").exists()


@pytest.mark.parametrize(
    "inputs",
    [
        None,
        "[]",
        json.dumps([{"type": "double"}]),
        json.dumps([{"type": "binary", "name": "x"}]),
        json.dumps([{"type": "any", "name": "x"}]),
        json.dumps([{"type": "array", "name": "x"}]),
        json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]),
    ],
)
def test_a_model_whose_columns_are_not_known_is_refused(inputs: str | None) -> None:
    content = changed(lambda m: m.update(signature={"inputs": inputs} if inputs is not None else None))
    with pytest.raises(UnusableModel, match="signature"):
        signature_of(read(written(content), "models:/m/1"), "models:/m/1")
