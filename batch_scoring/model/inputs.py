"""The model's inputs as they are kept beside a prediction, and the digest that tells an altered one."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from batch_scoring.domain.column_types import ColumnType
from batch_scoring.domain.manifest import Signature, SignatureColumn
from batch_scoring.model.signature import CheckedRows

DIGEST_BYTES = 4
"""Bytes of the digest for each input."""

_FIBONACCI = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio: multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4)."""

_NULL = np.uint32(0xA5C3_5A3C)
"""Stands for what is missing; the digest of no small whole number, true and false among them."""

Digests = np.ndarray[Any, np.dtype[np.uint32]]
"""Shape (n, columns)."""


def kept(signature: Signature, checked: CheckedRows) -> dict[str, pa.Array]:
    """The rows of a checked chunk by column, as they were read and typed; what is missing is NULL.

    Integers are stored as floats, since whether a column has fractions may change from one model to the next.
    """
    return {column.name: _array(column, checked) for column in signature.columns}


def _array(column: SignatureColumn, checked: CheckedRows) -> pa.Array:
    values = checked.frame[column.name]
    if not isinstance(values.dtype, pd.CategoricalDtype):
        return pa.array(values.to_numpy(), from_pandas=True).cast(_TYPES[column.type], safe=False)
    if column.type is not ColumnType.TEXT:
        numbers = values.astype(np.float64).to_numpy(copy=True)
        if checked.unseen_rows is not None:  # their values are missing in a categorical
            numbers[checked.unseen_category] = checked.unseen_rows[column.name]
        return pa.array(numbers, from_pandas=True)
    codes, texts = values.cat.codes.to_numpy().astype(np.int32), values.cat.categories.tolist()
    if checked.unseen_rows is not None:  # their texts are missing in a categorical
        of_unseen, distinct = pd.factorize(checked.unseen_rows[column.name])
        place = {text: code for code, text in enumerate([*texts, *(t for t in distinct if t not in set(texts))])}
        codes[checked.unseen_category] = np.array([*(place[text] for text in distinct), -1])[of_unseen]
        texts = list(place)
    indices = pa.array(codes, pa.int32(), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(texts, pa.string()))


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
