"""Every estimator that people bring is scored as by hand, or refused with a sentence that is true of it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fitted import NUMBERS, Fitted, job_for, other_libraries, scikit_learn, variants
from support import REPOSITORY, documented
from threadpoolctl import threadpool_limits

from batch_scoring.domain.manifest import Manifest
from batch_scoring.errors import UnusableModel
from batch_scoring.model.describe import describe
from batch_scoring.model.scorer import ScoredRows, Scorer, bound_parallelism
from batch_scoring.model.values import plain_columns

DOCUMENT = REPOSITORY / "docs" / "models.md"
TOLERANCE = 1e-12

BY_ROUNDING = {"GaussianProcessClassifier", "GaussianProcessRegressor"}
"""Whether rounding keeps their scores within 1e-12 depends on the data and the processor."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost more than they bring with so few rows."""
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of columns' names where it transforms
        yield


def scored_in_chunks(model: Any, manifest: Manifest, sample: pd.DataFrame, rows: int) -> list[ScoredRows]:
    scorer = Scorer.for_job(model, manifest, job_for(manifest))
    columns = plain_columns(sample[list(manifest.signature.names)])
    starts = range(0, len(sample), rows)
    return [scorer.score({name: values[i : i + rows] for name, values in columns.items()}) for i in starts]


def by_hand(model: Any, manifest: Manifest, sample: pd.DataFrame) -> tuple[Any, list[str] | None]:
    """Scores and labels as somebody would get them who calls the model."""
    if manifest.kind == "regression":
        return np.ravel(model.predict(sample)), None
    labels = [str(label) for label in np.ravel(model.predict(sample)).tolist()]
    if manifest.kind == "label":
        return None if manifest.margin is None else _margins(getattr(model, manifest.margin)(sample)), labels
    probabilities = np.asarray(model.predict_proba(sample), dtype=np.float64)
    if manifest.kind == "multiclass":
        return probabilities.max(axis=1), labels
    if not manifest.notes or "predict of the model" not in manifest.notes[-1]:
        return probabilities[:, 1], labels
    return probabilities[:, 1], [str(manifest.labels[int(p >= 0.5)]) for p in probabilities[:, 1]]


def _margins(margins: Any) -> Any:
    return margins if margins.ndim == 1 else margins.max(axis=1)


def outcome(fitted: Fitted) -> tuple[str, str, str] | str:
    """Kind, score and label of a model that scores as by hand; else the sentence that refuses it, without its name."""
    sample = fitted.sample if isinstance(fitted.sample, pd.DataFrame) else NUMBERS
    bound_parallelism(fitted.model)
    try:
        manifest = describe(fitted.model, b"", sample)
    except UnusableModel as exc:
        return _general(str(exc), fitted)
    chunks = scored_in_chunks(fitted.model, manifest, sample, 17)
    taken = sample if "XGB" not in fitted.name and "LightGBM" not in fitted.name else _as_fitted(fitted, sample)
    scores, labels = by_hand(fitted.model, manifest, taken)
    assert not any(chunk.faults for chunk in chunks)
    if scores is None:
        assert all(chunk.scores is None for chunk in chunks)
    else:
        found = np.concatenate([chunk.scores for chunk in chunks if chunk.scores is not None])
        assert (np.abs(found - scores) <= TOLERANCE * np.maximum(1, np.abs(scores))).all()
    if labels is not None:
        assert [label for chunk in chunks for label in chunk.labels or ()] == labels
    return manifest.kind, manifest.score_description, manifest.decision_description or "none"


def _as_fitted(fitted: Fitted, sample: pd.DataFrame) -> pd.DataFrame:
    """Rows of a CSV file as somebody types them who calls a model that was fitted on categoricals."""
    return sample.astype({"plan": "category"}) if fitted.name.endswith("sample from CSV") else sample


def _general(message: str, fitted: Fitted) -> str:
    name = re.sub(r"^(the )?[A-Z]\w+ ", "", message)
    name = re.sub(r"predicts \d+ values", "predicts several values", name)
    return re.sub(r"^(the file holds no model but) a \w+", r"\1 something else", name)


def rows_of(models: Iterable[Fitted]) -> list[tuple[str, tuple[str, str, str] | str]]:
    return [(fitted.name, outcome(fitted)) for fitted in models]


def table(rows: list[tuple[str, tuple[str, str, str] | str]]) -> str:
    """Those that score and those that are refused, each grouped by what is said of them."""
    scored: dict[tuple[str, str, str], list[str]] = {}
    refused: dict[str, list[str]] = {}
    for name, found in rows:
        if isinstance(found, str):
            refused.setdefault(found, []).append(name)
        else:
            kind, score, label = found
            scored.setdefault((kind, score, _no_figures(label)), []).append(name)
    lines = ["| kind | score | label | models |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{kind}` | {score} | {label} | {'; '.join(names)} |" for (kind, score, label), names in scored.items()
    ]
    lines += ["", "| refused | because it … |", "| --- | --- |"]
    lines += [f"| {'; '.join(names)} | {_no_figures(sentence)} |" for sentence, names in sorted(refused.items())]
    return "\n".join(lines)


def _no_figures(text: str) -> str:
    """Without figures that another processor may give otherwise."""
    return re.sub(r"probability of 0\.\d{3,}", "probability of its threshold", text)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "models"),
    [("scikit-learn", scikit_learn), ("variants", variants), ("other libraries", other_libraries)],
)
def test_every_model_scores_as_by_hand_or_is_refused_with_its_sentence(
    name: str, models: Callable[[], Iterable[Fitted]]
) -> None:
    rows = [
        (model, ("binary or regression", "as others", "scored where rounding stays within 1e-12, else refused"))
        if model in BY_ROUNDING
        else (model, found)
        for model, found in rows_of(models())
    ]

    documented(DOCUMENT, name, table(rows))
