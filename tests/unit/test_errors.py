"""Errors carry what they are about as data, besides the message, and reach the process of a run from a worker."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from batch_scoring import errors
from batch_scoring.errors import BatchScoringError, ConfigurationError, Problem

EXAMPLES: list[tuple[BatchScoringError, dict[str, object]]] = [
    (errors.UnknownJob("no job", job="loans"), {"job": "loans"}),
    (errors.SchemaOutOfDate("old", found="0000"), {"found": "0000"}),
    (errors.NoSuchModel("none", model="loans", version=3), {"model": "loans", "version": 3, "alias": None}),
    (errors.ArtifactMissing("gone", path=Path("a.joblib")), {"path": Path("a.joblib")}),
    (errors.ArtifactChanged("other", path=Path("a.joblib")), {"path": Path("a.joblib")}),
    (errors.VersionMismatch("other", fitted="1.7", installed="1.8"), {"fitted": "1.7", "installed": "1.8"}),
    (errors.GoldenRowsDiffer("off", difference=0.1), {"difference": 0.1}),
    (errors.AnotherRunActive("active", run_id=7), {"run_id": 7}),
    (errors.Fenced("fenced", run_id=7), {"run_id": 7}),
    (errors.WrittenCountDiffers("count", table="p", sent=2, written=1), {"table": "p", "sent": 2, "written": 1}),
    (
        ConfigurationError([Problem(where="f", key="k", message="m")]),
        {"problems": (Problem(where="f", key="k", message="m"),)},
    ),
]


@pytest.mark.parametrize(("error", "data"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_an_error_keeps_its_message_and_data_when_it_is_pickled(
    error: BatchScoringError, data: dict[str, object]
) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert {name: getattr(copy, name) for name in data} == data
