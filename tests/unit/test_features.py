"""The package's own encoder gives the numbers of scikit-learn's, whatever form text comes in."""

from __future__ import annotations

from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from batch_scoring.model.features import CategoryIndicators

TEXTS = st.one_of(st.none(), st.sampled_from(["", "a", "A", "b", "é", "3+", "nan"]))
ROWS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=12)


def frame(rows: list[tuple[str | None, str | None]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["area", "kind"], dtype=object).where(lambda f: f.notna(), np.nan)


def scikit_learns() -> Any:
    return make_pipeline(
        SimpleImputer(strategy="most_frequent", keep_empty_features=True),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )


@pytest.mark.slow
@settings(max_examples=150, derandomize=True)
@given(fitted=ROWS, scored=ROWS)
def test_indicators_are_those_of_scikit_learn(fitted: list[Any], scored: list[Any]) -> None:
    known = frame([("a", "b"), *fitted])

    ours = CategoryIndicators().fit(known)
    theirs = scikit_learns().fit(known)

    for rows in (known, frame(scored)):
        expected = theirs.transform(rows)
        np.testing.assert_array_equal(ours.transform(rows), expected)
        np.testing.assert_array_equal(ours.transform(rows.astype("category")), expected)


def test_categories_in_another_order_or_number_change_nothing() -> None:
    known = frame([("a", "b"), ("b", "a"), ("b", None)])
    encoder = CategoryIndicators().fit(known)
    area = pd.Categorical(["b", None, "z", "a"], categories=["z", "unused", "b", "a"])

    found = encoder.transform(pd.DataFrame({"area": area, "kind": ["a", "a", "b", None]}))

    assert encoder.get_feature_names_out().tolist() == ["area_a", "area_b", "kind_a", "kind_b"]
    assert found.tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1], [1, 0, 1, 0]]


def test_a_column_that_was_empty_in_training_has_no_indicators() -> None:
    known = pd.DataFrame({"area": ["a", "b"], "note": pd.Series([None, None], dtype=object)})
    encoder = CategoryIndicators().fit(known)

    assert encoder.transform(pd.DataFrame({"area": ["b"], "note": ["new"]})).tolist() == [[0, 1]]


def test_values_that_are_no_text_are_refused() -> None:
    with pytest.raises(ValueError, match="column area holds values that are not text"):
        CategoryIndicators().fit(pd.DataFrame({"area": ["a", 1]}))


def test_no_rows_give_no_rows_of_the_same_width() -> None:
    encoder = CategoryIndicators().fit(frame([("a", "b"), ("b", "a")]))

    assert encoder.transform(frame([])).shape == (0, 4)


def test_it_can_be_cloned_and_written_to_a_file(tmp_path: Any) -> None:
    encoder = CategoryIndicators().fit(frame([("a", "b")]))
    joblib.dump(encoder, tmp_path / "encoder.joblib")

    assert isinstance(clone(encoder), CategoryIndicators)
    again = joblib.load(tmp_path / "encoder.joblib")
    assert again.transform(frame([("a", None)])).tolist() == [[1, 1]]
