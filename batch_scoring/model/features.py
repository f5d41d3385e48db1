"""Feature engineering that lives inside a pipeline, so that an artifact takes raw columns."""

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
        """Remember the input's columns."""
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
        """The names of the columns that come out."""
        empty = pd.DataFrame({name: pd.Series(dtype=float) for name in self.feature_names_in_})
        return np.array(self.transform(empty).columns, dtype=object)
