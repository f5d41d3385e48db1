"""Fitted pipelines of the kinds that have a translation, with the data that they were fitted on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    SGDClassifier,
    TweedieRegressor,
)
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

ROWS = 300
NUMBERS = ["amount", "balance", "count"]
TEXTS = ["grade", "plan"]
GRADES = ["A", "b's", "Ünïcode ☃", 'q"uote', "rare"]


@cache
def data() -> pd.DataFrame:
    """Numbers and texts, some of them missing."""
    rng = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "amount": rng.lognormal(3, 1, ROWS),
            "balance": rng.normal(0, 50, ROWS),
            "count": rng.integers(0, 6, ROWS),
            "grade": rng.choice(GRADES, ROWS, p=[0.4, 0.3, 0.18, 0.1, 0.02]),
            "plan": rng.choice(["x", "y"], ROWS),
        }
    )
    frame.loc[::7, "amount"] = np.nan
    frame.loc[::11, "balance"] = np.nan
    frame.loc[::9, "grade"] = np.nan
    return frame


@cache
def targets() -> Mapping[str, Any]:
    """A target for each kind of model."""
    frame = data()
    rng = np.random.default_rng(8)
    hidden = frame["balance"].fillna(0) / 30 + (frame["grade"] == "A") + rng.normal(size=ROWS) * 0.5
    return {
        "binary": np.where(hidden > 0.3, "yes", "no"),
        "multiclass": np.where(frame["count"] > 3, "hi", np.where(frame["plan"] == "x", "mid", "lo")),
        "regression": np.abs(frame["balance"].fillna(1)) + frame["count"] + 1,
    }


OF_NUMBERS: dict[str, Callable[[], Any]] = {
    "median and indicator": lambda: make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True), StandardScaler()
    ),
    "mean, abs, polynomial": lambda: make_pipeline(
        SimpleImputer(), FunctionTransformer(np.abs), RobustScaler(), PolynomialFeatures(2)
    ),
    "bins": lambda: make_pipeline(
        SimpleImputer(strategy="most_frequent"),
        KBinsDiscretizer(4, encode="onehot-dense", quantile_method="averaged_inverted_cdf"),
    ),
    "constant, clipped": lambda: make_pipeline(
        SimpleImputer(strategy="constant", fill_value=1.0), MinMaxScaler(clip=True)
    ),
    "union": lambda: make_pipeline(
        SimpleImputer(), FeatureUnion([("scaled", StandardScaler()), ("is_high", Binarizer(threshold=1.0))])
    ),
    "log of amounts": lambda: make_pipeline(
        FunctionTransformer(np.abs), FunctionTransformer(np.log1p), SimpleImputer(strategy="median"), StandardScaler()
    ),
}
OF_TEXTS: dict[str, Callable[[], Any]] = {
    "most frequent": lambda: make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
    ),
    "infrequent": lambda: OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20),
    "ordinal": lambda: make_pipeline(
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
        StandardScaler(),
    ),
    "drop": lambda: OneHotEncoder(drop="first"),
}
ESTIMATORS: dict[str, tuple[str, Callable[[], Any]]] = {
    "logistic": ("binary", lambda: LogisticRegression(max_iter=500)),
    "fixed threshold": ("binary", lambda: FixedThresholdClassifier(LogisticRegression(max_iter=500), threshold=0.3)),
    "searched": ("binary", lambda: GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1.0]}, cv=3)),
    "multinomial": ("multiclass", lambda: LogisticRegression(max_iter=500)),
    "SGD": ("binary", lambda: SGDClassifier(loss="log_loss", alpha=0.1, random_state=0)),
    "SGD of three labels": ("multiclass", lambda: SGDClassifier(loss="log_loss", alpha=0.1, random_state=0)),
    "calibrated SVC": ("binary", lambda: CalibratedClassifierCV(LinearSVC(random_state=0), method="sigmoid", cv=3)),
    "calibrated SVC of three labels": (
        "multiclass",
        lambda: CalibratedClassifierCV(LinearSVC(random_state=0), method="sigmoid", cv=3),
    ),
    "calibrated once": (
        "multiclass",
        lambda: CalibratedClassifierCV(LogisticRegression(max_iter=500), method="sigmoid", cv=3, ensemble=False),
    ),
    "tree": ("binary", lambda: DecisionTreeClassifier(max_depth=5, random_state=0)),
    "tree of three labels": ("multiclass", lambda: DecisionTreeClassifier(max_depth=4, random_state=0)),
    "regression tree": ("regression", lambda: DecisionTreeRegressor(max_depth=6, random_state=0)),
    "linear": ("regression", LinearRegression),
    "ridge": ("regression", Ridge),
    "lasso": ("regression", Lasso),
    "elastic net": ("regression", ElasticNet),
    "Poisson": ("regression", PoissonRegressor),
    "gamma": ("regression", GammaRegressor),
    "Tweedie": ("regression", lambda: TweedieRegressor(power=0)),
}


@dataclass(frozen=True, slots=True)
class Spec:
    """The parts of a pipeline, by name."""

    estimator: str
    of_numbers: str
    of_texts: str


@cache
def fit(spec: Spec) -> Any:
    """The fitted pipeline."""
    kind, make = ESTIMATORS[spec.estimator]
    columns = make_column_transformer((OF_NUMBERS[spec.of_numbers](), NUMBERS), (OF_TEXTS[spec.of_texts](), TEXTS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_pipeline(columns, make()).fit(data(), targets()[kind])
