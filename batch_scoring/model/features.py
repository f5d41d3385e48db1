"""Feature engineering as part of a pipeline, so that an artifact takes raw columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin


class DerivedFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Sums of columns and logarithms of amounts.

    Parameters
    ----------
    sums : mapping of new column to the columns it adds up; those are dropped afterwards
    logs : columns replaced by log(1 + x), which keeps an amount of zero apart from a missing one
    """

    def __init__(self, sums: Mapping[str, Sequence[str]] | None = None, logs: Sequence[str] = ()) -> None:
        self.sums = sums
        self.logs = logs

    def fit(self, frame: pd.DataFrame, _labels: Any = None) -> Self:
        """Store the names of the input's columns."""
        self.feature_names_in_ = np.array(frame.columns, dtype=object)
        return self

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Add sums, drop their parts, take logarithms. Raises ValueError on a negative amount."""
        derived = frame.copy(deep=False)
        sums = self.sums or {}
        for name, parts in sums.items():
            derived[name] = frame[list(parts)].sum(axis=1, skipna=False)
        derived = derived.drop(columns=[part for parts in sums.values() for part in parts if part not in sums])
        for name in self.logs:
            amounts = derived[name].to_numpy(dtype=np.float64)
            if (amounts < 0).any():
                raise ValueError(f"a negative amount in {name} has no logarithm")
            derived[name] = np.log1p(amounts)
        return derived

    def get_feature_names_out(self, _names: Any = None) -> Any:
        """The names of the output columns."""
        empty = pd.DataFrame({name: pd.Series(dtype=float) for name in self.feature_names_in_})
        return np.array(self.transform(empty).columns, dtype=object)


class CategoryIndicators(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """One column of zeros and ones for each category of each text column.

    The same numbers as ``SimpleImputer(strategy="most_frequent")`` before ``OneHotEncoder(handle_unknown="ignore")``:
    a missing text counts as the most frequent one, an unseen one belongs to no category. Those two look up the
    text of every row. This class looks up each distinct text once, and uses the codes of a pandas categorical.
    """

    def fit(self, frame: pd.DataFrame, _labels: Any = None) -> Self:
        """Learn the categories of each column. Raises ValueError where a column holds anything but text."""
        self.feature_names_in_ = np.array(frame.columns, dtype=object)
        self.categories_ = []
        self.most_frequent_ = []
        for name in frame.columns:
            counts = frame[name].dropna().astype(object).value_counts()
            if not all(isinstance(text, str) for text in counts.index):
                raise ValueError(f"column {name} holds values that are not text")
            categories = sorted(counts.index)
            self.categories_.append(np.array(categories, dtype=object))
            # the first of the most frequent, in the order of the categories
            self.most_frequent_.append(int(np.argmax(counts.reindex(categories))) if categories else 0)
        return self

    def transform(self, frame: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Indicators of shape (rows, categories of all columns)."""
        blocks = [np.empty((len(frame), 0))]
        for name, categories, most_frequent in zip(
            self.feature_names_in_, self.categories_, self.most_frequent_, strict=True
        ):
            codes, texts = coded(frame[name])
            place = {text: number for number, text in enumerate(categories)}
            # the last entry is for a missing text, whose code is -1
            translation = np.array([*(place.get(text, -1) for text in texts), most_frequent if len(categories) else -1])
            # the last row, which is all zeros, is for an unseen text
            one_each = np.eye(len(categories) + 1, len(categories))
            blocks.append(one_each.take(translation[codes], axis=0, mode="wrap"))
        return np.hstack(blocks)

    def get_feature_names_out(self, _names: Any = None) -> Any:
        """Column and category, joined by an underscore."""
        pairs = zip(self.feature_names_in_, self.categories_, strict=True)
        return np.array([f"{name}_{text}" for name, categories in pairs for text in categories], dtype=object)


def coded(values: pd.Series[Any]) -> tuple[Any, Any]:
    """The code of each row's text, -1 where it is missing, and the distinct texts."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.cat.codes.to_numpy(), values.cat.categories
    return pd.factorize(values)
