"""Synthetic golden rows: like those of a sample, and none of them of a person."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 200
_OFTEN = 5
"""A text that fewer rows have could tell who one of them is, and is not used."""

_QUANTILES = (0.05, 0.95)
"""Extreme numbers tell who a row is of as well."""


def synthetic_rows(sample: pd.DataFrame, *, seed: bytes) -> pd.DataFrame:
    """200 rows with the columns and types of a sample; the same for the same sample and seed.

    Each value is drawn by itself, independently of the others of its row: numbers and times between those of adjacent
    ranks from the 5th to the 95th percentile, texts and booleans among those that at least five rows have, and missing
    values as often as in the sample.
    """
    import pandas as pd

    random = np.random.default_rng(int.from_bytes(hashlib.sha256(seed).digest()[:8], "big"))
    return pd.DataFrame({name: _drawn(sample[name], random) for name in sample.columns})


def _drawn(values: pd.Series, random: np.random.Generator) -> pd.Series:
    import pandas as pd

    present = values.dropna()
    is_missing = random.random(_ROWS) < float(values.isna().mean())
    if not len(present):
        return pd.Series([None] * _ROWS, dtype=values.dtype)
    if pd.api.types.is_bool_dtype(present.dtype) or not _is_ordered(present):
        counts = present.value_counts()
        common = counts[counts >= min(_OFTEN, int(counts.max()))].index.to_numpy()
        drawn = pd.Series(random.choice(common, _ROWS))
    else:
        ranks = random.uniform(*_QUANTILES, _ROWS)
        if pd.api.types.is_integer_dtype(present.dtype):  # a model may take integers only
            drawn = pd.Series(present.quantile(ranks, interpolation="nearest").array)
        else:
            drawn = pd.Series(present.quantile(ranks).array)
    drawn = drawn.astype(values.dtype) if not is_missing.any() or values.dtype.kind != "b" else drawn.astype(object)
    return drawn.mask(is_missing) if is_missing.any() else drawn


def _is_ordered(values: pd.Series) -> bool:
    import pandas as pd

    return pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_datetime64_any_dtype(values.dtype)
