"""Values of a frame as a database would return them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd


def plain_columns(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """The frame by column, each a list of n plain values; a missing value is None."""
    plain = {}
    for name in frame.columns:
        values = frame[name].astype(object)
        plain[str(name)] = [
            None if missing else _plain(v) for v, missing in zip(values, values.isna().tolist(), strict=True)
        ]
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    if isinstance(value, Decimal):
        return float(value)
    return value.item() if isinstance(value, np.generic) else value
