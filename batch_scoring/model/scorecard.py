"""Scorecards: each column is cut into bins, and each bin is replaced by its weight of evidence."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

from batch_scoring.model.features import coded


class WeightOfEvidence(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """The weight of evidence of the bin of each value, in a column for each column of the input.

    Numbers are cut at quantiles, a few distinct ones at each, texts by their categories; missing values are a bin of
    their own. With p and n the numbers of rows of the second and of the first label, and k bins, the weight of a bin
    is ``ln(((p_bin + a) / (p + k a)) / ((n_bin + a) / (n + k a)))`` (Good, 1950, for a = 0; ``smoothing`` is a, so
    that a bin with rows of one label has a finite weight). An unseen category has the weight 0.

    Parameters
    ----------
    bins : the number of bins of a column of numbers, at most
    smoothing : rows that are added to each bin for each label
    """

    def __init__(self, bins: int = 5, smoothing: float = 0.5) -> None:
        self.bins = bins
        self.smoothing = smoothing

    def fit(self, frame: pd.DataFrame, labels: Any) -> Self:
        """Learn bins and weights. Raises ValueError where the labels are not two."""
        known, positive = np.unique(np.asarray(labels), return_inverse=True)
        if len(known) != 2:
            raise ValueError("the weight of evidence is defined for two labels")
        self.feature_names_in_ = np.array(frame.columns, dtype=object)
        self.edges_: list[Any] = []
        """For each column of numbers the edges between its bins, for one of text None."""
        self.texts_: list[Any] = []
        """For each column of text its distinct texts, for one of numbers None."""
        self.weights_: list[Any] = []
        """For each column the weights of its bins, the last one of missing values."""
        for name in frame.columns:
            values = frame[name]
            edges: Any = None
            categories: Any = None
            if pd.api.types.is_numeric_dtype(values.dtype):
                edges = self._edges(values)
                count = len(edges) + 2
            else:
                categories = np.array(sorted(values.dropna().astype(object).unique()), dtype=object)
                count = len(categories) + 1
            self.edges_.append(edges)
            self.texts_.append(categories)
            self.weights_.append(self._weights(_bins(values, edges, categories), positive, count))
        return self

    def _edges(self, values: pd.Series[Any]) -> Any:
        """Quantiles of the values, without those that separate nothing; a value that is an edge is above it."""
        present = values.dropna().to_numpy(dtype=np.float64)
        if not len(present):
            return np.empty(0)
        if len(distinct := np.unique(present)) <= self.bins:
            return distinct[1:]
        shares = np.arange(1, self.bins) / self.bins
        edges = np.unique(np.quantile(present, shares, method="averaged_inverted_cdf"))
        return edges[edges > distinct[0]]

    def _weights(self, bins: Any, positive: Any, count: int) -> Any:
        of_positive = np.bincount(bins[positive == 1], minlength=count) + self.smoothing
        of_negative = np.bincount(bins[positive == 0], minlength=count) + self.smoothing
        return np.log(of_positive / of_positive.sum()) - np.log(of_negative / of_negative.sum())

    def transform(self, frame: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Weights of shape (rows, columns)."""
        found = np.empty((len(frame), len(self.weights_)))
        for position, name in enumerate(self.feature_names_in_):
            bins = _bins(frame[name], self.edges_[position], self.texts_[position])
            weights = np.append(self.weights_[position], 0.0)  # the last one is of an unseen category, -1
            found[:, position] = weights[bins]
        return found

    def get_feature_names_out(self, _names: Any = None) -> Any:
        """The names of the columns."""
        return self.feature_names_in_


def _bins(values: pd.Series[Any], edges: Any, categories: Any) -> Any:
    """The number of the bin of each value; -1 for an unseen category."""
    if edges is not None:
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isnan(numbers), len(edges) + 1, np.searchsorted(edges, numbers, side="right"))
    codes, texts = coded(values)
    place = {text: number for number, text in enumerate(categories)}
    # the last entry is for a missing text, whose code is -1
    return np.array([*(place.get(text, -1) for text in texts), len(categories)])[codes]
