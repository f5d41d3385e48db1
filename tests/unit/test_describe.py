"""Manifests: what is said of a model is derived from it, and proven on a sample."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from batch_scoring.domain.column_types import ColumnType, Family
from batch_scoring.domain.manifest import Manifest, Signature, SignatureColumn, TrainingData
from batch_scoring.errors import ExitCode, UnusableModel
from batch_scoring.model.artifact import dump, sha256
from batch_scoring.model.describe import describe, library_versions
from batch_scoring.model.scorer import check_golden_rows
from batch_scoring.model.synthetic import synthetic_rows
from batch_scoring.model.training import TrainedModel

NUMBERS = pd.DataFrame({"a": np.arange(40.0), "b": np.arange(40) % 3 / 2})
TEXTS = pd.DataFrame({"first": ["a", "b", None, "b"] * 10, "second": ["u", "v"] * 20})
MIXED = pd.concat([NUMBERS, TEXTS], axis=1)
LABELS = np.arange(40) % 2


def numeric_model() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(NUMBERS, LABELS)


def text_model(write: Callable[[pd.DataFrame], pd.DataFrame]) -> Any:
    """A pipeline that writes text anew before it encodes it."""
    encode = OneHotEncoder(handle_unknown="ignore")
    return make_pipeline(FunctionTransformer(write), encode, LogisticRegression()).fit(TEXTS, LABELS)


def together(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"both": frame["first"] + frame["second"]})


def as_they_are(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


def refusal(model: Any, sample: pd.DataFrame) -> str:
    with pytest.raises(UnusableModel) as caught:
        describe(model, b"", sample)
    assert caught.value.exit_code is ExitCode.MODEL_REFUSED
    return str(caught.value)


def test_a_manifest_says_what_the_loan_model_is(loan_model: TrainedModel) -> None:
    content = dump(loan_model.pipeline)

    manifest = describe(loan_model.pipeline, content, loan_model.features, metrics=loan_model.metrics)

    assert (manifest.kind, manifest.labels) == ("binary", ("N", "Y"))
    assert manifest.algorithm == "LogisticRegression"
    assert manifest.artifact_sha256 == sha256(content)
    assert manifest.scikit_learn_version == sklearn.__version__
    assert manifest.signature.names == tuple(loan_model.features.columns)
    assert manifest.metrics == loan_model.metrics
    assert datetime.fromisoformat(manifest.created_at).tzinfo is not None


def test_text_is_taken_as_categoricals_where_the_model_scores_them_alike(loan_model: TrainedModel) -> None:
    assert describe(loan_model.pipeline, b"", loan_model.features).signature.text_as == "category"
    assert describe(text_model(as_they_are), b"", TEXTS).signature.text_as == "category"


def test_text_is_taken_as_objects_where_the_model_takes_no_categoricals() -> None:
    model = text_model(together)

    manifest = describe(model, b"", TEXTS)

    assert manifest.signature.text_as == "object"
    check_golden_rows(model, manifest)


class ByDtype(DummyClassifier):  # type: ignore[misc]  # scikit-learn has no types
    """Sure of itself where a is in single precision."""

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        probability = 0.9 if frame["a"].dtype == np.float32 else 0.5
        return np.full((len(frame), 2), [1 - probability, probability])


def test_a_model_that_scores_by_dtype_and_not_by_value_is_refused() -> None:
    sample = NUMBERS.astype("float32")

    assert "depend on values, not on dtypes" in refusal(ByDtype().fit(sample, LABELS), sample)


def test_the_models_columns_are_taken_from_the_sample_in_the_models_order() -> None:
    sample = MIXED[["second", "b", "first", "a"]].assign(key=range(40))

    assert describe(numeric_model(), b"", sample).signature.names == ("a", "b")


def test_a_model_fitted_without_names_takes_the_sample_as_it_is() -> None:
    model = LogisticRegression().fit(NUMBERS.to_numpy(), LABELS)

    assert describe(model, b"", NUMBERS).signature.names == ("a", "b")


def test_nullability_and_categories_come_from_the_sample() -> None:
    columns = {column.name: column for column in describe(text_model(as_they_are), b"", TEXTS).signature.columns}

    assert (columns["first"].nullable, columns["first"].categories) == (True, ("a", "b"))
    assert (columns["second"].nullable, columns["second"].categories) == (False, ("u", "v"))


@pytest.mark.parametrize(
    ("labels", "kind", "expected"),
    [
        (np.array(["N", "Y"])[LABELS], "binary", ("N", "Y")),
        (LABELS, "binary", (0, 1)),
        (LABELS == 1, "binary", (False, True)),
        (np.arange(40) % 3, "multiclass", (0, 1, 2)),
    ],
)
def test_kind_and_labels_are_the_classifiers_own(labels: Any, kind: str, expected: tuple[Any, ...]) -> None:
    manifest = describe(LogisticRegression().fit(NUMBERS, labels), b"", NUMBERS)

    assert (manifest.kind, manifest.labels) == (kind, expected)
    assert all(len(row) == len(expected) for row in manifest.golden.outputs)


def test_a_regressor_has_no_labels_and_one_output() -> None:
    manifest = describe(LinearRegression().fit(NUMBERS, NUMBERS["a"] * 2), b"", NUMBERS)

    assert (manifest.kind, manifest.labels, manifest.algorithm) == ("regression", (), "LinearRegression")
    assert all(len(row) == 1 for row in manifest.golden.outputs)


def test_what_the_training_knew_is_kept() -> None:
    data = TrainingData(file="history.csv", sha256="0" * 64, rows=40, label_column="late", label_counts={"0": 20})

    assert describe(numeric_model(), b"", NUMBERS, training_data=data).training_data == data


def test_the_libraries_a_score_depends_on_are_named_with_their_versions() -> None:
    versions = library_versions()

    assert versions["scikit-learn"] == sklearn.__version__
    assert versions["numpy"] == np.__version__
    assert {"python", "scipy", "pandas", "pyarrow", "joblib", "batch-scoring"} <= versions.keys()


def test_golden_rows_have_missing_values_and_none_and_are_reproduced(loan_model: TrainedModel) -> None:
    manifest = describe(loan_model.pipeline, b"", loan_model.features)

    incomplete = [row for row in manifest.golden.rows if None in row]
    assert (len(incomplete), len(manifest.golden.rows)) == (10, 20)
    check_golden_rows(loan_model.pipeline, manifest)


def test_a_small_sample_is_golden_as_a_whole() -> None:
    assert len(describe(numeric_model(), b"", NUMBERS.head(3)).golden.rows) == 3


def from_registry(manifest: Manifest) -> Manifest:
    return Manifest.model_validate(json.loads(json.dumps(manifest.model_dump(mode="json"))))


def number_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Every column as a float, a timestamp as its microseconds."""
    return pd.DataFrame({name: pd.to_numeric(frame[name]) for name in frame}).astype("float64")


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(np.arange(40) * 0.1),
        pd.Series(np.arange(40) ** 9),
        pd.Series(LABELS == 1),
        pd.Series(pd.date_range("2026-01-01", periods=40, unit="us")),
        pd.Series([Decimal(n) / 8 for n in range(40)], dtype=object),
    ],
    ids=["number", "integer", "boolean", "timestamp", "decimal"],
)
def test_golden_rows_of_every_type_survive_the_registry(values: pd.Series[Any]) -> None:
    sample = pd.DataFrame({"x": values})
    model = make_pipeline(FunctionTransformer(number_of), StandardScaler(), LogisticRegression()).fit(sample, LABELS)
    manifest = describe(model, b"", sample)

    read = from_registry(manifest)

    check_golden_rows(model, read)
    assert read.golden.outputs == manifest.golden.outputs


def test_rows_for_which_the_model_gives_no_finite_score_are_not_golden() -> None:
    model = HistGradientBoostingRegressor(max_iter=1).fit(NUMBERS, NUMBERS["a"])

    class Sometimes(HistGradientBoostingRegressor):  # type: ignore[misc]  # scikit-learn has no types
        """Gives NaN where a is below 10."""

        def predict(self, frame: pd.DataFrame) -> Any:
            return np.where(frame["a"] < 10, np.nan, super().predict(frame))

    model.__class__ = Sometimes

    manifest = describe(model, b"", NUMBERS)

    assert 0 < len(manifest.golden.rows) < 20
    assert min(row[0] for row in manifest.golden.rows) >= 10
    check_golden_rows(model, manifest)


@pytest.mark.parametrize(
    ("thing", "named"),
    [
        ({"model": 1}, "the file holds no model but a dict (it may be inside: save that object alone)"),
        (NUMBERS, "the file holds no model but a DataFrame"),
        (StandardScaler().fit(NUMBERS), "StandardScaler is a transformer: it changes columns and predicts nothing"),
        (len, "has no predict"),
    ],
)
def test_what_is_no_model_is_refused(thing: Any, named: str) -> None:
    assert named in refusal(thing, NUMBERS)


def test_a_class_is_no_model() -> None:
    refusal(LogisticRegression, NUMBERS)


def test_a_classifier_without_probabilities_gives_labels_and_the_margin_until_it_is_calibrated() -> None:
    manifest = describe(make_pipeline(StandardScaler(), LinearSVC()).fit(NUMBERS, LABELS), b"", NUMBERS)

    assert (manifest.kind, manifest.labels, manifest.margin) == ("label", (0, 1), "decision_function")
    calibrated = CalibratedClassifierCV(LinearSVC(), cv=2).fit(NUMBERS, LABELS)
    assert describe(calibrated, b"", NUMBERS).kind == "binary"


@pytest.mark.parametrize(
    "model",
    [LogisticRegression(), make_pipeline(StandardScaler(), LogisticRegression()), LinearRegression()],
    ids=["classifier", "pipeline", "regressor"],
)
def test_a_model_that_is_not_fitted_is_refused(model: Any) -> None:
    assert "not fitted" in refusal(model, NUMBERS)


def test_a_model_of_one_label_is_refused() -> None:
    model = DummyClassifier().fit(NUMBERS, np.zeros(40))

    assert "one label only" in refusal(model, NUMBERS)


def test_a_sample_without_the_models_columns_names_each_of_them() -> None:
    message = refusal(numeric_model(), TEXTS)

    assert message == "the sample lacks the model's columns a, b; give rows with every column that the model takes"


def test_a_sample_without_rows_is_refused() -> None:
    assert "no rows" in refusal(numeric_model(), NUMBERS.head(0))


def test_a_sample_that_the_model_does_not_take_is_refused_without_quoting_it() -> None:
    message = refusal(numeric_model(), NUMBERS.assign(a="Zyx"))

    assert "the model does not take the sample" in message
    assert "ValueError" in message
    assert "Zyx" not in message


def test_a_sample_with_values_that_no_row_may_have_names_the_column() -> None:
    model = HistGradientBoostingRegressor(max_iter=1).fit(NUMBERS, NUMBERS["a"])

    message = refusal(model, NUMBERS.assign(b=np.inf))

    assert "column b, the value is infinite or not a number" in message


def test_a_sample_of_mixed_types_names_the_columns() -> None:
    sample = TEXTS.assign(first=[1, "a"] * 20)
    model = make_pipeline(FunctionTransformer(lambda frame: np.ones((len(frame), 1))), LogisticRegression())

    assert "columns first hold no single type" in refusal(model.fit(TEXTS, LABELS), sample)


class Undecided(DummyClassifier):  # type: ignore[misc]  # scikit-learn has no types
    """Never knows."""

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        return np.full((len(frame), 2), np.nan)


def test_a_model_without_a_finite_score_is_refused() -> None:
    assert "no finite score" in refusal(Undecided().fit(NUMBERS, LABELS), NUMBERS)


class Predicts:
    """An estimator of a library that knows nothing of scikit-learn."""

    def predict(self, frame: pd.DataFrame) -> Any:
        return (frame["a"] > 10).to_numpy()


class GivesProbabilities(Predicts):
    """The same with what a classifier has."""

    classes_ = np.array([0, 1])

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        return np.full((len(frame), 2), 0.5)


def test_a_model_of_another_library_that_is_no_classifier_is_refused() -> None:
    message = refusal(Predicts(), NUMBERS)

    assert "Predicts has predict, but nothing says whether it is a classifier or a regressor" in message
    assert "derives from ClassifierMixin" in message


def test_a_model_of_another_library_that_gives_probabilities_is_described() -> None:
    manifest = describe(GivesProbabilities(), b"", NUMBERS)

    assert (manifest.kind, manifest.algorithm, manifest.labels) == ("binary", "GivesProbabilities", (0, 1))


def test_a_regressor_of_several_targets_is_refused() -> None:
    model = LinearRegression().fit(NUMBERS, NUMBERS[["a", "b"]])

    refusal(model, NUMBERS)


SIGNATURE = Signature(
    columns=(
        SignatureColumn(name="Amount", type=ColumnType.NUMBER, nullable=False),
        SignatureColumn(name="area", type=ColumnType.TEXT, nullable=False),
        SignatureColumn(name="at", type=ColumnType.TIMESTAMP, nullable=False),
        SignatureColumn(name="vip", type=ColumnType.BOOLEAN, nullable=False),
        SignatureColumn(name="count", type=ColumnType.INTEGER, nullable=False),
    )
)


def test_every_column_the_source_lacks_or_holds_in_another_form_is_named() -> None:
    families = {
        "amount": Family.NUMBER,
        "area": Family.NUMBER,
        "at": Family.TEXT,
        "vip": Family.TEXT,
        "count": Family.INTEGER,
    }

    assert SIGNATURE.mismatches(families) == [
        "Amount is missing (there is amount)",
        "area is number, the model takes text",
        "at is text, the model takes timestamp",
        "vip is text, the model takes boolean",
    ]


def test_a_source_of_columns_the_model_takes_fits() -> None:
    families = {
        "Amount": Family.INTEGER,
        "area": Family.TEXT,
        "at": Family.DATE,
        "vip": Family.INTEGER,
        "count": Family.NUMBER,
        "key": Family.OTHER,
    }

    assert SIGNATURE.mismatches(families) == []
    assert SIGNATURE.mismatches(dict.fromkeys(SIGNATURE.names, Family.UNKNOWN)) == []


SELECTIONS: list[Any] = [
    ["a"],
    "a",
    [0],
    slice(0, 1),
    slice("a", "a"),
    [True, False, False, False],
    lambda frame: ["a"],
]


@pytest.mark.slow
@pytest.mark.parametrize("columns", SELECTIONS)
def test_columns_that_a_column_transformer_drops_are_not_in_the_signature(columns: Any) -> None:
    scale = StandardScaler() if columns != "a" else FunctionTransformer(lambda column: column.to_frame())
    transform = ColumnTransformer([("keep", scale, columns), ("none", "drop", ["b"])])
    model = make_pipeline(transform, LogisticRegression()).fit(MIXED, LABELS)

    for sample in (MIXED, MIXED[["a"]], MIXED.drop(columns="first")):
        manifest = describe(model, b"", sample)
        assert manifest.signature.names == ("a",)
        assert "the model drops b, first, second without use" in manifest.notes[0]


def test_a_column_that_one_branch_of_a_model_drops_and_another_takes_is_in_its_signature() -> None:
    keep_a = ColumnTransformer([("a", StandardScaler(), ["a"])])
    keep_b = ColumnTransformer([("b", StandardScaler(), ["b"])])
    model = make_pipeline(FeatureUnion([("a", keep_a), ("b", keep_b)]), LogisticRegression()).fit(MIXED, LABELS)

    assert describe(model, b"", MIXED).signature.names == ("a", "b")


def test_a_passed_through_remainder_is_in_the_signature() -> None:
    transform = ColumnTransformer([("keep", StandardScaler(), ["a"])], remainder="passthrough")
    model = make_pipeline(transform, LogisticRegression()).fit(NUMBERS, LABELS)

    assert describe(model, b"", NUMBERS).signature.names == ("a", "b")
    assert "the sample lacks the model's column b" in refusal(model, NUMBERS[["a"]])


# --- synthetic golden rows


@pytest.mark.slow
def test_synthetic_golden_rows_verify_the_model_and_are_of_nobody(loan_model: TrainedModel) -> None:
    content = dump(loan_model.pipeline)
    manifest = describe(loan_model.pipeline, content, loan_model.features, golden="synthetic")

    check_golden_rows(loan_model.pipeline, manifest)
    rows = manifest.golden.rows
    assert len(rows) == 20
    assert 0 < sum(None in row for row in rows) < 20
    assert manifest.signature == describe(loan_model.pipeline, content, loan_model.features).signature
    names = manifest.signature.names
    real = {tuple(map(str, row)) for row in loan_model.features[list(names)].itertuples(index=False, name=None)}
    assert not real & {tuple(map(str, row)) for row in rows}
    assert rows == describe(loan_model.pipeline, content, loan_model.features, golden="synthetic").golden.rows


MANY_TYPES = pd.DataFrame(
    {
        "whole": np.arange(300),
        "small": pd.Series(np.arange(300) % 5, dtype="int8"),
        "number": np.linspace(-1, 1, 300),
        "gaps": [None if i % 3 else float(i) for i in range(300)],
        "nullable": pd.array([None if i % 4 == 0 else i for i in range(300)], dtype="Int64"),
        "flag": [i % 2 == 0 for i in range(300)],
        "text": [f"name of person {i}" if i % 2 else "common" for i in range(300)],
        "category": pd.Categorical(["a", "b", "c"] * 100),
        "time": pd.date_range("2026-01-01", periods=300, freq="h"),
        "zoned": pd.date_range("2026-01-01", periods=300, freq="h", tz="UTC"),
        "empty": [None] * 300,
        "unique": [str(i) for i in range(300)],
    }
)


@pytest.mark.parametrize("name", MANY_TYPES.columns)
def test_synthetic_values_are_of_the_type_and_range_of_the_sample(name: str) -> None:
    given = MANY_TYPES[name]
    drawn = synthetic_rows(MANY_TYPES[[name]], seed=b"1")[name]
    assert len(drawn) == 200
    present = drawn.dropna()
    assert len(present) == 0 if name == "empty" else len(present) > 20
    assert present.astype(given.dtype).dtype == given.dtype
    if name not in ("text", "category", "unique", "empty", "flag"):
        assert given.quantile(0.05) <= present.min() <= present.max() <= given.quantile(0.95)
    if name == "text":
        assert set(present) == {"common"}
