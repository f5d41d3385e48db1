"""The model's inputs as they are kept beside a prediction, and the digest that tells an altered one."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from batch_scoring.model.manifest import ColumnType, Signature, SignatureColumn

DIGEST_BYTES = 4
"""Bytes of the digest for each input."""

_FIBONACCI = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio: multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4)."""

_NULL = np.uint32(0xA5C3_5A3C)
"""Stands for what is missing; the digest of no small whole number, true and false among them."""

Digests = np.ndarray[Any, np.dtype[np.uint32]]
"""Shape (n, columns)."""


def kept(signature: Signature, frame: pd.DataFrame) -> dict[str, pa.Array]:
    """The n rows of a checked frame by column, exactly as the model takes them; what is missing is NULL.

    Whole numbers are kept as floats, since whether a column has fractions may change from one model to the next.
    """
    return {column.name: _array(column, frame[column.name]) for column in signature.columns}


def _array(column: SignatureColumn, values: pd.Series[Any]) -> pa.Array:
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes = pa.array(values.cat.codes.to_numpy(), pa.int32(), mask=(values.cat.codes < 0).to_numpy())
        return pa.DictionaryArray.from_arrays(codes, pa.array(values.cat.categories.tolist(), pa.string()))
    return pa.array(values.to_numpy(), from_pandas=True).cast(_TYPES[column.type], safe=False)


_TYPES = {
    ColumnType.TEXT: pa.string(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.NUMBER: pa.float64(),
    ColumnType.INTEGER: pa.float64(),
    ColumnType.TIMESTAMP: pa.timestamp("us"),
}


def digest(columns: Mapping[str, pa.Array]) -> pa.Array:
    """One byte string a row: four bytes for each column, in order."""
    rows = np.column_stack([_digests(values) for values in columns.values()]).astype(">u4")
    width = rows.shape[1] * DIGEST_BYTES
    return pa.Array.from_buffers(pa.binary(width), len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows))])


def differing(columns: Mapping[str, pa.Array], digests: list[bytes]) -> list[list[str]]:
    """For each of n rows the columns whose value is not the one that was kept."""
    names = list(columns)
    width = len(names) * DIGEST_BYTES
    found: list[list[str]] = [[] for _ in digests]
    for place, (now, then) in enumerate(zip(digest(columns).to_pylist(), digests, strict=True)):
        if now == then:
            continue
        if len(then) != width:
            found[place] = ["digest"]
            continue
        pieces = range(0, width, DIGEST_BYTES)
        found[place] = [
            name
            for name, start in zip(names, pieces, strict=True)
            if now[start : start + DIGEST_BYTES] != then[start : start + DIGEST_BYTES]
        ]
    return found


def _digests(values: pa.Array) -> np.ndarray[Any, np.dtype[np.uint32]]:
    missing = values.is_null().to_numpy(zero_copy_only=False) if values.null_count else None
    if pa.types.is_string(values.type):
        values = values.dictionary_encode()
    if pa.types.is_dictionary(values.type):
        texts = np.array([zlib.crc32(text.encode()) for text in values.dictionary.to_pylist()] + [0], np.uint32)
        found = texts[values.indices.fill_null(len(texts) - 1).to_numpy(zero_copy_only=False)]
    else:
        # whole numbers and fractions alike, so that a database may keep 1.0 as 1; adding zero makes -0.0 plain
        numbers = values.cast(pa.int64()) if not pa.types.is_floating(values.type) else values
        bits = numbers.fill_null(0).to_numpy(zero_copy_only=False)
        if bits.dtype == np.float64:
            bits = bits + 0.0
        found = ((bits.view(np.uint64) * _FIBONACCI) >> np.uint64(32)).astype(np.uint32)
    return found if missing is None else np.where(missing, _NULL, found).astype(np.uint32)
