"""Fitted models of every kind that people bring, each with a sample of its input, by name."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils import all_estimators

from batch_scoring.domain.job import Job
from batch_scoring.domain.manifest import Manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """A fitted model and rows as it takes them."""

    name: str
    model: Any
    sample: pd.DataFrame


def job_for(manifest: Manifest) -> Job:
    """A job that fits the model."""
    predictions: dict[str, Any] = {"kind": manifest.kind}
    if manifest.kind == "binary":
        predictions["positive_label"] = str(manifest.labels[1])
    content = {"name": "j", "source": {"table": "t", "key": ["id"]}, "model": {"name": "m"}, "predictions": predictions}
    return Job.model_validate(content)


_RNG = np.random.default_rng(0)
NUMBERS = pd.DataFrame(np.abs(_RNG.normal(size=(120, 3))) + 0.1, columns=["a", "b", "c"])
"""Positive, as some estimators want them."""
VALUES = NUMBERS["a"] + _RNG.normal(size=120) * 0.3 + 1
LABELS = (VALUES > 2).astype(int)
TWO = np.column_stack([LABELS, NUMBERS["b"] > 1]).astype(int)
TEXTS = pd.Series(["good loan", "bad loan", "late", "paid in time"] * 30, name="note")
ROWS = NUMBERS.assign(plan=_RNG.choice(["basic", "plus", "pro", "team"], 120), branch=_RNG.integers(1, 4, 120))

_TARGETS: dict[str, Any] = {
    "ClassifierChain": TWO,
    "MultiOutputClassifier": TWO,
    "MultiOutputRegressor": TWO,
    "RegressorChain": TWO,
    "MultiTaskElasticNet": TWO,
    "MultiTaskElasticNetCV": TWO,
    "MultiTaskLasso": TWO,
    "MultiTaskLassoCV": TWO,
    "GammaRegressor": VALUES,
    "PoissonRegressor": VALUES,
    "TweedieRegressor": VALUES,
}
_SAMPLES: dict[str, Any] = {
    "IsotonicRegression": NUMBERS[["a"]],
    "CountVectorizer": TEXTS,
    "TfidfVectorizer": TEXTS,
    "HashingVectorizer": TEXTS,
    "FeatureHasher": [{"a": 1}] * 120,
    "DictVectorizer": [{"a": 1}] * 120,
    "KernelCenterer": np.eye(120),
    "LabelBinarizer": LABELS,
    "LabelEncoder": LABELS,
    "MultiLabelBinarizer": [["a"], ["b"]] * 60,
    "PatchExtractor": np.zeros((2, 8, 8)),
    "SpectralCoclustering": NUMBERS,
}
_PARAMETERS: dict[str, dict[str, Any]] = {
    "CCA": {"n_components": 1},
    "PLSCanonical": {"n_components": 1},
    "PLSSVD": {"n_components": 1},
    "GaussianRandomProjection": {"n_components": 2},
    "SparseRandomProjection": {"n_components": 2},
    "SparseCoder": {"dictionary": np.eye(3)},
    "FrozenEstimator": {"estimator": LogisticRegression().fit(NUMBERS, LABELS)},
    "GridSearchCV": {"estimator": LogisticRegression(), "param_grid": {"C": [1.0]}},
    "RandomizedSearchCV": {"estimator": LogisticRegression(), "param_distributions": {"C": [1.0]}, "n_iter": 1},
    "ColumnTransformer": {"transformers": [("scale", StandardScaler(), ["a"])]},
    "FeatureUnion": {"transformer_list": [("scale", StandardScaler())]},
    "Pipeline": {"steps": [("scale", StandardScaler()), ("classify", LogisticRegression())]},
    "SelfTrainingClassifier": {"estimator": LogisticRegression()},
}
_QUICK = {"n_estimators": 5}
"""Parameters that are made small where an estimator has them, lest the walk takes minutes."""


def scikit_learn() -> Iterator[Fitted]:
    """Every public estimator of scikit-learn that can be fitted."""
    for name, estimator in all_estimators():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sample = _SAMPLES.get(name, NUMBERS)
            model = estimator(**_parameters(name, estimator))
            yield Fitted(name=name, model=_fit(model, sample, _TARGETS.get(name, LABELS)), sample=sample)


def _parameters(name: str, estimator: type) -> dict[str, Any]:
    known = inspect.signature(estimator).parameters
    chosen: dict[str, Any] = {key: value for key, value in _QUICK.items() if key in known}
    if "random_state" in known:
        chosen["random_state"] = 0
    inner: Any = Ridge() if name.endswith(("Regressor", "RegressorChain")) else LogisticRegression()
    required = [key for key, parameter in known.items() if parameter.default is inspect.Parameter.empty]
    if required and required[0] in ("estimator", "base_estimator"):
        chosen[required[0]] = inner
    if required and required[0] == "estimators":
        chosen["estimators"] = [("one", inner), ("other", type(inner)())]
    return chosen | _PARAMETERS.get(name, {})


def _fit(model: Any, sample: Any, target: Any) -> Any:
    try:
        return model.fit(sample, target)
    except (TypeError, ValueError):
        return model.fit(sample)


@cache
def variants() -> tuple[Fitted, ...]:
    """Estimators with parameters that make another kind of model of them, alone and in pipelines."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = {
            "FixedThresholdClassifier(threshold=0.2)": FixedThresholdClassifier(
                LogisticRegression(), threshold=0.2
            ).fit(NUMBERS, LABELS),
            "FixedThresholdClassifier by decision_function": FixedThresholdClassifier(
                LogisticRegression(), threshold=0.4, response_method="decision_function"
            ).fit(NUMBERS, LABELS),
            "FixedThresholdClassifier(LinearSVC())": FixedThresholdClassifier(LinearSVC(), threshold=-0.3).fit(
                NUMBERS, LABELS
            ),
            "pipeline ending in TunedThresholdClassifierCV": make_pipeline(
                StandardScaler(), TunedThresholdClassifierCV(LogisticRegression(), random_state=0)
            ).fit(NUMBERS, LABELS),
            "GridSearchCV of a FixedThresholdClassifier": GridSearchCV(
                FixedThresholdClassifier(LogisticRegression(), threshold=0.3), {"estimator__C": [1.0]}
            ).fit(NUMBERS, LABELS),
            "GridSearchCV(refit=False)": GridSearchCV(LogisticRegression(), {"C": [1.0]}, refit=False).fit(
                NUMBERS, LABELS
            ),
            "LocalOutlierFactor(novelty=True)": LocalOutlierFactor(novelty=True).fit(NUMBERS),
            "SGDClassifier(loss='log_loss')": SGDClassifier(loss="log_loss", random_state=0).fit(NUMBERS, LABELS),
            "VotingClassifier(voting='soft')": VotingClassifier(
                [("a", LogisticRegression()), ("b", LogisticRegression(C=0.1))], voting="soft"
            ).fit(NUMBERS, LABELS),
            "LinearSVC of three labels": LinearSVC().fit(NUMBERS, LABELS + (NUMBERS["c"] > 1)),
            "LogisticRegression of three labels": LogisticRegression().fit(NUMBERS, LABELS + (NUMBERS["c"] > 1)),
            "RandomForestClassifier of two outputs": RandomForestClassifier(3).fit(NUMBERS, TWO),
            "KNeighborsClassifier of two outputs": KNeighborsClassifier().fit(NUMBERS, TWO),
            "MLPClassifier of two outputs": MLPClassifier(max_iter=20).fit(NUMBERS, TWO),
            "OneVsRestClassifier of two outputs": OneVsRestClassifier(LogisticRegression()).fit(NUMBERS, TWO),
            "Ridge of two outputs": Ridge().fit(NUMBERS, TWO),
            "LogisticRegression that was not fitted": LogisticRegression(),
            "the class LogisticRegression": LogisticRegression,
            "a dict with a model in it": {"model": LogisticRegression().fit(NUMBERS, LABELS)},
            "LogisticRegression fitted on an array": LogisticRegression().fit(NUMBERS.to_numpy(), LABELS),
        }
        texts = make_pipeline(make_column_transformer((CountVectorizer(), "note")), LogisticRegression())
        note = TEXTS.to_frame()
        found = [Fitted(name=name, model=model, sample=NUMBERS) for name, model in fitted.items()]
        return (
            *found,
            Fitted(name="pipeline of CountVectorizer", model=texts.fit(note, LABELS), sample=note),
        )


@cache
def other_libraries() -> tuple[Fitted, ...]:
    """Models of XGBoost, LightGBM, CatBoost and imbalanced-learn: with an encoder before them, in their own categorical
    modes, and fitted on arrays.
    """
    from catboost import CatBoostClassifier, CatBoostRegressor
    from imblearn.ensemble import BalancedRandomForestClassifier
    from imblearn.over_sampling import RandomOverSampler
    from imblearn.pipeline import make_pipeline as make_resampling_pipeline
    from lightgbm import LGBMClassifier, LGBMRegressor
    from xgboost import XGBClassifier, XGBRegressor

    typed = ROWS.astype({"plan": "category"})
    integers = typed.astype({"branch": "category"})
    array = NUMBERS.to_numpy()
    one_hot = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["plan"]), remainder="passthrough")
    ordinal = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["plan"]), remainder="passthrough"
    )

    def xgboost(**parameters: Any) -> Any:
        return XGBClassifier(n_estimators=5, random_state=0, **parameters)

    def lightgbm(**parameters: Any) -> Any:
        return LGBMClassifier(n_estimators=5, min_child_samples=5, verbose=-1, **parameters)

    def catboost(**parameters: Any) -> Any:
        return CatBoostClassifier(iterations=5, verbose=0, allow_writing_files=False, **parameters)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return (
            Fitted(
                name="XGBoost after OneHotEncoder",
                model=make_pipeline(one_hot, xgboost()).fit(ROWS, LABELS),
                sample=ROWS,
            ),
            Fitted(
                name="XGBoost with enable_categorical",
                model=xgboost(enable_categorical=True).fit(typed, LABELS),
                sample=typed,
            ),
            Fitted(
                name="XGBoost with enable_categorical, sample from CSV",
                model=xgboost(enable_categorical=True).fit(typed, LABELS),
                sample=ROWS,
            ),
            Fitted(
                name="XGBoost with integer categories",
                model=xgboost(enable_categorical=True).fit(integers, LABELS),
                sample=integers,
            ),
            Fitted(name="XGBoost fitted on an array", model=xgboost().fit(array, LABELS), sample=NUMBERS),
            Fitted(name="XGBRegressor", model=XGBRegressor(n_estimators=5).fit(NUMBERS, VALUES), sample=NUMBERS),
            Fitted(name="XGBoost's Booster", model=xgboost().fit(NUMBERS, LABELS).get_booster(), sample=NUMBERS),
            Fitted(
                name="LightGBM after OrdinalEncoder",
                model=make_pipeline(ordinal, lightgbm()).fit(ROWS, LABELS),
                sample=ROWS,
            ),
            Fitted(name="LightGBM with categoricals", model=lightgbm().fit(typed, LABELS), sample=typed),
            Fitted(
                name="LightGBM with categoricals, sample from CSV", model=lightgbm().fit(typed, LABELS), sample=ROWS
            ),
            Fitted(name="LightGBM with integer categories", model=lightgbm().fit(integers, LABELS), sample=integers),
            Fitted(name="LightGBM fitted on an array", model=lightgbm().fit(array, LABELS), sample=NUMBERS),
            Fitted(
                name="LGBMRegressor",
                model=LGBMRegressor(n_estimators=5, verbose=-1).fit(NUMBERS, VALUES),
                sample=NUMBERS,
            ),
            Fitted(name="LightGBM's Booster", model=lightgbm().fit(NUMBERS, LABELS).booster_, sample=NUMBERS),
            Fitted(
                name="CatBoost with cat_features", model=catboost(cat_features=["plan"]).fit(ROWS, LABELS), sample=ROWS
            ),
            Fitted(
                name="CatBoost with integer categories",
                model=catboost(cat_features=["plan", "branch"]).fit(ROWS, LABELS),
                sample=ROWS,
            ),
            Fitted(name="CatBoost fitted on an array", model=catboost().fit(array, LABELS), sample=NUMBERS),
            Fitted(
                name="CatBoostRegressor",
                model=CatBoostRegressor(iterations=5, verbose=0, allow_writing_files=False).fit(NUMBERS, VALUES),
                sample=NUMBERS,
            ),
            Fitted(
                name="imbalanced-learn's BalancedRandomForestClassifier",
                model=make_pipeline(one_hot, BalancedRandomForestClassifier(5, random_state=0)).fit(ROWS, LABELS),
                sample=ROWS,
            ),
            Fitted(
                name="imbalanced-learn's pipeline with a sampler",
                model=make_resampling_pipeline(one_hot, RandomOverSampler(random_state=0), LogisticRegression()).fit(
                    ROWS, LABELS
                ),
                sample=ROWS,
            ),
        )
