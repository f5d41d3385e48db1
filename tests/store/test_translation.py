"""Translations of single parts, computed by both databases and compared with scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fitted import job_for
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.model.artifact import dump
from batch_scoring.model.describe import describe
from batch_scoring.model.features import DerivedFeatures
from batch_scoring.model.scorer import Scorer
from batch_scoring.model.translation.features import NotTranslatable
from batch_scoring.model.translation.program import translate
from batch_scoring.model.values import plain_columns
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.programs import CompiledProgram

ROWS = 120
RNG = np.random.default_rng(3)
FRAME = pd.DataFrame({"a": RNG.normal(size=ROWS), "b": RNG.lognormal(1, 1, ROWS), "c": RNG.integers(0, 4, ROWS)})
LABELS = np.where(FRAME["a"] + np.log(FRAME["b"]) + RNG.normal(size=ROWS) > 1, "yes", "no")


@pytest.fixture(scope="module")
def databases(postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Database]]:
    file = tmp_path_factory.mktemp("translation") / "test.db"
    file.touch()
    found = [Database(postgres.create_database()), Database(f"sqlite:///{file}")]
    yield found
    for database in found:
        database.dispose()


def _scorer(model: Any, sample: pd.DataFrame, **policy: Any) -> Scorer:
    manifest = describe(model, dump(model), sample)
    found = DecisionPolicy.of(job_for(manifest), manifest)
    return Scorer(model, manifest, DecisionPolicy(**{**found.record(), **policy}))


def _assert_equal(databases: list[Database], scorer: Scorer, rows: pd.DataFrame, *, left: int = 0) -> None:
    """Both databases score all rows but ``left`` as the model does."""
    columns = plain_columns(rows)
    scored = scorer.score_singly(columns)
    assert scored.scores is not None
    labels: list[Any] = scored.labels or [None] * len(scored.positions)
    program = translate(scorer.model, scorer.manifest, scorer.policy)
    for database in databases:
        with database.read() as connection:
            compiled = CompiledProgram(program=program, columns={}, dialect=database.dialect)
            found = compiled.compute(connection, columns)
        assert found.count(None) == left
        for position, score, label in zip(scored.positions, scored.scores, labels, strict=True):
            result = found[position]
            if result is not None:
                assert abs(result[0] - score) <= 1e-12 * max(1.0, abs(score))
                assert result[1] == label


NAMES = ["x1", "Z1", "size1", "value", "score", "prediction", "decided", 'a"b', "per%cent", ":colon", "key 1", "P1"]


@pytest.mark.parametrize("start", range(0, len(NAMES), 3))
def test_columns_may_be_called_like_the_values_of_a_step(databases: list[Database], start: int) -> None:
    frame = FRAME.rename(columns=dict(zip("abc", NAMES[start : start + 3], strict=True)))
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, LABELS)

    _assert_equal(databases, _scorer(model, frame), frame)


@pytest.mark.parametrize("positive", ["yes", "no"])
@pytest.mark.parametrize("decided", ["yes", "no"])
@pytest.mark.parametrize("threshold", [0.0, 1e-7, 0.3, 0.5, 0.999999999, 1.0])
def test_labels_follow_the_decision_policy(
    databases: list[Database], positive: str, decided: str, threshold: float
) -> None:
    model = LogisticRegression().fit(FRAME, LABELS)
    scorer = _scorer(model, FRAME, positive_label=positive, decided_label=decided, threshold=threshold)

    _assert_equal(databases, scorer, FRAME)


def test_a_score_at_the_threshold_is_left_to_python(databases: list[Database]) -> None:
    model = LogisticRegression().fit(FRAME, LABELS)
    probability = float(model.predict_proba(FRAME.head(1))[0, 1])

    _assert_equal(databases, _scorer(model, FRAME, threshold=probability), FRAME, left=1)


def test_integers_that_are_categories(databases: list[Database]) -> None:
    frame = FRAME.assign(branch=pd.Categorical(RNG.integers(1, 5, ROWS)))
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["branch"]), remainder="passthrough")
    model = make_pipeline(encoder, LogisticRegression(max_iter=500)).fit(frame, LABELS)
    scorer = _scorer(model, frame)

    _assert_equal(databases, scorer, frame)
    _assert_equal(databases, scorer, frame.assign(branch=9), left=ROWS)


def test_booleans(databases: list[Database]) -> None:
    frame = FRAME.assign(is_new=FRAME["a"] > 0)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, LABELS)

    _assert_equal(databases, _scorer(model, frame), frame)


def test_a_column_that_is_not_used_may_be_missing_only_where_it_may_be(databases: list[Database]) -> None:
    frame = FRAME.assign(unused=1.0)
    columns = make_column_transformer(("drop", ["unused"]), remainder=StandardScaler())
    model = make_pipeline(columns, LogisticRegression()).fit(frame, LABELS)
    scorer = _scorer(model, frame)

    _assert_equal(databases, scorer, frame)


@pytest.mark.parametrize("function", [np.log, np.log1p, np.sqrt, np.log2, np.log10, np.exp, np.square, np.abs])
def test_numbers_outside_the_domain_of_a_function_are_left_to_python(databases: list[Database], function: Any) -> None:
    model = make_pipeline(FunctionTransformer(function), SimpleImputer(), StandardScaler(), LogisticRegression())
    sample = FRAME[["b"]]
    scorer = _scorer(model.fit(sample, LABELS), sample)
    rows = pd.DataFrame({"b": [1.0, 0.5, 2.0]})

    _assert_equal(databases, scorer, rows)
    outside = pd.DataFrame({"b": [-2.0, 0.0, 800.0]})
    columns = plain_columns(outside)
    program = translate(scorer.model, scorer.manifest, scorer.policy)
    positions = set(scorer.score_singly(columns).positions)
    for database in databases:
        with database.read() as connection:
            found = CompiledProgram(program=program, columns={}, dialect=database.dialect).compute(connection, columns)
        assert {row for row, result in enumerate(found) if result is not None} <= positions


def test_a_negative_amount_is_left_to_python(databases: list[Database]) -> None:
    model = make_pipeline(DerivedFeatures(sums={"s": ["a", "b"]}, logs=["s"]), StandardScaler(), LogisticRegression())
    sample = FRAME.assign(a=FRAME["a"].abs())
    scorer = _scorer(model.fit(sample, LABELS), sample)

    _assert_equal(databases, scorer, sample)
    _assert_equal(databases, scorer, sample.assign(a=-1000.0), left=ROWS)


@pytest.mark.parametrize("missing", [False, True])
def test_trees_compare_singles(databases: list[Database], missing: bool) -> None:
    """Numbers about each threshold, to the last bit of a single and of a double."""
    sample = FRAME[["a", "b"]].copy()
    if missing:
        sample.loc[::5, "a"] = np.nan
    model = DecisionTreeRegressor(max_depth=6, random_state=0).fit(sample, FRAME["c"])
    scorer = _scorer(model, sample)
    tree = model.tree_
    limits = sorted({float(limit) for limit, feature in zip(tree.threshold, tree.feature, strict=True) if feature == 0})
    near: list[float] = []
    for limit in limits[:12]:
        single = np.float32(limit)
        for step in (np.nextafter(single, np.float32(-np.inf)), single, np.nextafter(single, np.float32(np.inf))):
            middle = (float(single) + float(step)) / 2
            near += [float(step), middle, np.nextafter(middle, -np.inf), np.nextafter(middle, np.inf), limit]
    rows = pd.DataFrame({"a": near, "b": 1.0})
    if missing:
        rows.loc[len(rows)] = [np.nan, 1.0]

    _assert_equal(databases, scorer, rows)


def test_ties_between_labels_are_left_to_python(databases: list[Database]) -> None:
    sample = pd.DataFrame({"a": [0.0, 0.0, 1.0, 1.0]})
    model = DecisionTreeClassifier(max_depth=1, random_state=0).fit(sample, ["x", "y", "z", "z"])

    _assert_equal(databases, _scorer(model, sample), sample, left=2)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (SGDClassifier(loss="modified_huber"), "modified_huber"),
        (make_pipeline(FunctionTransformer(np.cbrt), LogisticRegression()), "FunctionTransformer of cbrt"),
        (DecisionTreeClassifier(min_samples_leaf=1), "faster in scikit-learn"),
    ],
)
def test_a_part_without_translation_is_named(model: Any, words: str) -> None:
    sample = pd.DataFrame(np.random.default_rng(0).normal(size=(3000, 3)), columns=["a", "b", "c"])
    labels = np.where(np.random.default_rng(1).random(3000) > 0.5, "y", "n")
    scorer = _scorer(model.fit(sample, labels), sample)

    with pytest.raises(NotTranslatable, match=words):
        translate(scorer.model, scorer.manifest, scorer.policy)
    assert words in str(scorer.manifest.only_in_python)


def test_a_subclass_may_compute_something_else_and_is_not_translated() -> None:
    class Other(LogisticRegression):  # type: ignore[misc]  # scikit-learn has no types
        def predict_proba(self, rows: Any) -> Any:
            return super().predict_proba(rows)[:, ::-1]

    model = Other().fit(FRAME, LABELS)
    manifest = describe(LogisticRegression().fit(FRAME, LABELS), b"x", FRAME)

    with pytest.raises(NotTranslatable, match="Other has no translation"):
        translate(model, manifest, DecisionPolicy.of(job_for(manifest), manifest))
