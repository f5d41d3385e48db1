"""A row's score depends on that row alone: not on the chunk, its order, or the texts that other rows hold."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fitted import job_for
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, OneHotEncoder, OrdinalEncoder, TargetEncoder

from batch_scoring.domain.manifest import Manifest
from batch_scoring.errors import UnusableModel
from batch_scoring.model.describe import describe
from batch_scoring.model.features import CategoryIndicators
from batch_scoring.model.scorer import ScoredRows, Scorer, bound_parallelism

TOLERANCE = 1e-12
PLANS = ["basic", "plus", "pro", "team"]
CITIES = ["Bonn", "Ulm"]

RNG = np.random.default_rng(0)
HISTORY = pd.DataFrame(
    {
        "plan": RNG.choice(PLANS, 160),
        "city": [[*CITIES, np.nan][place] for place in RNG.integers(0, 3, 160)],
        "amount": RNG.normal(size=160).round(3),
    }
)
LABELS = ((HISTORY["plan"] == "pro") ^ (HISTORY["amount"] > 0.7)).astype(int)


def encoded(encoder: Any, *, city: Any = None) -> Any:
    """A pipeline whose texts go through an encoder."""
    city = city if city is not None else OneHotEncoder(handle_unknown="ignore")
    columns = make_column_transformer((encoder, ["plan"]), (city, ["city"]), ("passthrough", ["amount"]))
    return make_pipeline(columns, LogisticRegression())


def of_words(vectorizer: Any) -> Any:
    columns = make_column_transformer((vectorizer, "plan"), ("passthrough", ["amount"]))
    return make_pipeline(columns, LogisticRegression())


def dummies(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.get_dummies(frame)


def codes(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(**{name: frame[name].astype("category").cat.codes for name in ("plan", "city")})


def initials(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(plan=frame["plan"].str[:1], city=frame["city"].fillna("none") + "!")


def lightgbm() -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=4, min_child_samples=5, verbose=-1)


def xgboost() -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=4, enable_categorical=True)


def catboost() -> Any:
    from catboost import CatBoostClassifier

    return CatBoostClassifier(
        iterations=4, verbose=0, cat_features=["plan", "city"], allow_writing_files=False, nan_mode="Min"
    )


MODELS: dict[str, Callable[[], Any]] = {
    "OneHotEncoder ignore": lambda: encoded(OneHotEncoder(handle_unknown="ignore")),
    "OneHotEncoder infrequent": lambda: encoded(OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=45)),
    "OneHotEncoder error": lambda: encoded(OneHotEncoder(handle_unknown="error")),
    "OrdinalEncoder": lambda: encoded(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)),
    "TargetEncoder": lambda: encoded(TargetEncoder(random_state=0)),
    "most frequent, then OneHotEncoder": lambda: encoded(
        OneHotEncoder(handle_unknown="ignore"),
        city=make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")),
    ),
    "a constant, then OneHotEncoder": lambda: encoded(
        OneHotEncoder(handle_unknown="ignore"),
        city=make_pipeline(
            SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(handle_unknown="ignore")
        ),
    ),
    "the indicators of train": lambda: encoded(CategoryIndicators(), city=CategoryIndicators()),
    "CountVectorizer": lambda: of_words(CountVectorizer(analyzer="char")),
    "TfidfVectorizer": lambda: of_words(TfidfVectorizer(analyzer="char")),
    "HashingVectorizer": lambda: of_words(HashingVectorizer(n_features=16)),
    "bins": lambda: make_pipeline(
        make_column_transformer((KBinsDiscretizer(4, encode="onehot"), ["amount"])), LogisticRegression()
    ),
    "get_dummies": lambda: make_pipeline(FunctionTransformer(dummies), LogisticRegression()),
    "cat.codes": lambda: make_pipeline(FunctionTransformer(codes), LogisticRegression()),
    "texts that are cut and joined": lambda: make_pipeline(
        FunctionTransformer(initials), encoded(OneHotEncoder(handle_unknown="ignore"))
    ),
    "HistGradientBoosting from dtypes": lambda: HistGradientBoostingClassifier(
        max_iter=4, min_samples_leaf=5, categorical_features="from_dtype"
    ),
    "LightGBM": lightgbm,
    "XGBoost": xgboost,
    "CatBoost": catboost,
}
TYPED = {"HistGradientBoosting from dtypes", "LightGBM", "XGBoost", "cat.codes"}
"""Models that are fitted on categoricals."""

EXPECTED_FORMS = {
    "get_dummies": ("category", "missing"),
    "cat.codes": ("category", "missing"),
    "LightGBM": ("category", "missing"),
    "XGBoost": ("category", "missing"),
    "texts that are cut and joined": ("object", "text"),
}
"""How texts reach the model, and those that are unseen; all others take categoricals and objects alike."""


@cache
def registered(name: str) -> tuple[Any, Manifest]:
    history = HISTORY
    if name == "CatBoost":  # it takes no missing text
        history = HISTORY.assign(city=HISTORY["city"].fillna("none"))
    if name in TYPED:
        history = HISTORY.astype({"plan": "category", "city": "category"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MODELS[name]().fit(history, LABELS)
        bound_parallelism(model)
        return model, describe(model, b"", history)


def score(name: str, rows: Sequence[tuple[Any, Any, Any]]) -> ScoredRows:
    model, manifest = registered(name)
    columns = dict(zip(HISTORY.columns, map(list, zip(*rows, strict=True)), strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Scorer.for_job(model, manifest, job_for(manifest)).score_singly(
            {column: columns[column] for column in manifest.signature.names}
        )


def by_position(scored: ScoredRows) -> dict[int, Any]:
    """The score of each row, or the code of its fault."""
    assert scored.scores is not None
    found: dict[int, Any] = dict(zip(scored.positions, scored.scores.tolist(), strict=True))
    return found | {position: fault.code.value for position, fault in scored.faults.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_each_encoder_takes_text_in_the_form_that_is_documented(name: str) -> None:
    signature = registered(name)[1].signature

    assert (signature.text_as, signature.unseen_as) == EXPECTED_FORMS.get(name, ("category", "text"))


UNSEEN = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
ROW = st.tuples(
    st.sampled_from(PLANS) | UNSEEN,
    st.sampled_from([*CITIES, None]) | UNSEEN,
    st.floats(-3, 3, allow_nan=False).map(lambda amount: round(amount, 3)),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(ROW, min_size=1, max_size=8), order=st.randoms(use_true_random=False))
def test_a_row_scores_alike_alone_in_any_chunk_and_beside_any_unseen_texts(
    name: str, rows: list[tuple[Any, Any, Any]], order: Any
) -> None:
    alone = [by_position(score(name, [row]))[0] for row in rows]
    shuffled = list(range(len(rows)))
    order.shuffle(shuffled)
    beside = [("a text beside", "another", 0.5), *(rows[i] for i in shuffled), ("basic", "yet another", -0.5)]

    together = by_position(score(name, rows))
    other = by_position(score(name, beside))

    for i, expected in enumerate(alone):
        for found in (together[i], other[1 + shuffled.index(i)]):
            if isinstance(expected, str):
                assert found == expected
            else:
                assert abs(found - expected) <= TOLERANCE


def direct(name: str, plan: str | None) -> float:
    """What the model gives when it is called with one row of plain values."""
    frame = pd.DataFrame({"plan": [plan], "city": ["Bonn"], "amount": [0.25]}).astype({"plan": object, "city": object})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(registered(name)[0].predict_proba(frame)[0, 1])


@pytest.mark.parametrize("name", sorted(set(MODELS) - TYPED - {"get_dummies", "OneHotEncoder error"}))
@pytest.mark.parametrize("plan", ["enterprise", "Pro", "", "basic "])
def test_an_unseen_text_reaches_an_encoder_as_it_is(name: str, plan: str) -> None:
    found = by_position(score(name, [("basic", "Ulm", 1.0), (plan, "Bonn", 0.25)]))[1]

    assert abs(found - direct(name, plan)) <= TOLERANCE


@pytest.mark.parametrize(
    "name", ["LightGBM", "XGBoost", "HistGradientBoosting from dtypes", "get_dummies", "cat.codes"]
)
def test_an_unseen_text_is_missing_to_a_model_that_takes_categoricals_only(name: str) -> None:
    model, manifest = registered(name)
    by_name = {column.name: column for column in manifest.signature.columns}
    plan = pd.Categorical([None], categories=list(by_name["plan"].categories or ()))
    city = pd.Categorical(["Bonn"], categories=list(by_name["city"].categories or ()))
    frame = pd.DataFrame({"plan": plan, "city": city, "amount": [0.25]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = float(model.predict_proba(frame)[0, 1])

    found = by_position(score(name, [("basic", "Ulm", 1.0), ("enterprise", "Bonn", 0.25)]))[1]

    assert abs(found - expected) <= TOLERANCE


def test_an_encoder_that_raises_on_an_unseen_category_costs_that_row_and_names_its_column() -> None:
    rows = [(PLANS[i % 4], "Ulm", i / 100) for i in range(300)]
    rows[137] = ("enterprise", "Ulm", 1.37)

    scored = score("OneHotEncoder error", rows)

    assert list(scored.faults) == [137]
    assert (scored.faults[137].code.value, scored.faults[137].column) == ("unseen_category", "plan")
    assert len(scored.positions) == 299


@pytest.mark.parametrize("missing", [None, np.nan])
def test_a_missing_text_reaches_an_encoder_as_the_value_it_was_fitted_on(missing: Any) -> None:
    values = pd.Series(["a", "b", missing] * 40, dtype=object)
    history = pd.DataFrame({"city": values, "amount": RNG.normal(size=120)})
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="error"), ["city"]), remainder="passthrough")
    model = make_pipeline(encoder, LogisticRegression()).fit(history, values.isna().astype(int))
    read_from_csv = history.astype({"city": "str"})

    manifest = describe(model, b"", read_from_csv)

    (city,) = (column for column in manifest.signature.columns if column.name == "city")
    assert (city.missing_as == "none") == (missing is None)
    scored = Scorer.for_job(model, manifest, job_for(manifest)).score({"city": ["a", None], "amount": [0.0, 0.0]})
    assert scored.scores is not None
    expected = model.predict_proba(pd.DataFrame({"city": ["a", missing], "amount": [0.0, 0.0]}, dtype=object))[:, 1]
    assert np.abs(scored.scores - expected).max() <= TOLERANCE
    assert scored.scores[1] > 0.8


class InBatch:
    """Steps that compute from the rows they are given."""

    @staticmethod
    def scaled(frame: pd.DataFrame) -> pd.DataFrame:
        return (frame - frame.min()) / (frame.max() - frame.min())

    @staticmethod
    def standardised(frame: pd.DataFrame) -> pd.DataFrame:
        return (frame - frame.mean()) / (frame.std() + 1)

    @staticmethod
    def ranked(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.rank(pct=True)

    @staticmethod
    def filled(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.where(frame > -1).fillna(frame.median())

    @staticmethod
    def differences(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.diff().fillna(0)

    @staticmethod
    def numbered(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(n=np.arange(len(frame)))

    @staticmethod
    def quartiles(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.apply(lambda values: pd.qcut(values, 4, labels=False, duplicates="drop"))


@pytest.mark.parametrize("step", ["scaled", "standardised", "ranked", "filled", "differences", "numbered", "quartiles"])
def test_a_model_that_depends_on_its_batch_is_refused_and_the_step_is_named(step: str) -> None:
    numbers = pd.DataFrame(RNG.normal(size=(200, 2)), columns=["income", "debt"])
    labels = (numbers["income"] > 0.2).astype(int)
    model = make_pipeline(FunctionTransformer(getattr(InBatch, step)), LogisticRegression(C=100)).fit(numbers, labels)

    with pytest.raises(UnusableModel, match="depends on the rows that are scored with it") as caught:
        describe(model, b"", numbers)

    assert f"({step})" in str(caught.value)


def test_dummies_of_objects_are_refused_where_the_categories_are_in_the_step() -> None:
    def joined(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.get_dummies(frame["plan"].astype(object) + "/" + frame["city"].astype(object).fillna("none"))

    model = make_pipeline(FunctionTransformer(joined), LogisticRegression()).fit(HISTORY, LABELS)

    with pytest.raises(
        UnusableModel, match="Its step functiontransformer \\(joined\\) returns 1 column for a row alone"
    ):
        describe(model, b"", HISTORY)


class Guess(LogisticRegression):  # type: ignore[misc]  # scikit-learn has no types
    """Never says the same twice."""

    def predict_proba(self, frame: Any) -> Any:
        return super().predict_proba(frame) * np.random.default_rng().uniform(0.9, 1, (len(frame), 1))


def test_a_random_model_is_refused() -> None:
    numbers = HISTORY[["amount"]]

    with pytest.raises(UnusableModel, match=r"is random.*random_state"):
        describe(Guess().fit(numbers, LABELS), b"", numbers)
