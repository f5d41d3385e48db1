"""Stored inputs: the model's inputs as columns of the inputs table, and the digest that detects changes."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from batch_scoring.domain import checksums
from batch_scoring.domain.column_types import ColumnType
from batch_scoring.domain.manifest import Signature, SignatureColumn
from batch_scoring.model.signature import CheckedRows

DIGEST_BYTES = 4
"""Bytes of the digest for each input."""

_FIBONACCI = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio: multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4)."""

_NULL = np.uint32(0xA5C3_5A3C)
"""Represents a missing value; not the digest of any small integer or boolean."""

Digests = np.ndarray[Any, np.dtype[np.uint32]]
"""Shape (n, columns)."""


def input_columns(signature: Signature, checked: CheckedRows) -> dict[str, pa.Array]:
    """The rows of a checked chunk by column, with the types of the signature; a missing value is NULL.

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
    """A byte string for each of n rows: four bytes for each column, in order."""
    rows = np.column_stack([_digests(values) for values in columns.values()]).astype(">u4")
    length = rows.shape[1] * DIGEST_BYTES
    return pa.Array.from_buffers(pa.binary(length), len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows))])


def differing(columns: Mapping[str, pa.Array], digests: list[bytes]) -> list[list[str]]:
    """For each of n rows the columns whose value differs from the stored digest.

    ``checksums.ANY_COLUMN`` where the digest is one checksum of the whole row, which the database engine stores.
    """
    names = list(columns)
    if any(len(stored) == checksums.LENGTH for stored in digests):
        return _differing_rows(columns, digests)
    length = len(names) * DIGEST_BYTES
    found: list[list[str]] = [[] for _ in digests]
    for row, (current, stored) in enumerate(zip(digest(columns).to_pylist(), digests, strict=True)):
        if current == stored:
            continue
        if len(stored) != length:
            found[row] = ["digest"]
            continue
        starts = range(0, length, DIGEST_BYTES)
        found[row] = [
            name
            for name, start in zip(names, starts, strict=True)
            if current[start : start + DIGEST_BYTES] != stored[start : start + DIGEST_BYTES]
        ]
    return found


def _differing_rows(columns: Mapping[str, pa.Array], digests: list[bytes]) -> list[list[str]]:
    of_columns = [row for row, stored in enumerate(digests) if len(stored) != checksums.LENGTH]
    taken = {name: values.take(pa.array(of_columns, pa.int64())) for name, values in columns.items()}
    named = dict(zip(of_columns, differing(taken, [digests[row] for row in of_columns]), strict=True))
    rows = zip(*(values.to_pylist() for values in columns.values()), strict=True)
    return [
        named[row] if row in named else [checksums.ANY_COLUMN] * (checksums.row_checksum(values) != stored)
        for row, (values, stored) in enumerate(zip(rows, digests, strict=True))
    ]


def _digests(values: pa.Array) -> np.ndarray[Any, np.dtype[np.uint32]]:
    missing = values.is_null().to_numpy(zero_copy_only=False) if values.null_count else None
    if pa.types.is_string(values.type):
        values = values.dictionary_encode()
    if pa.types.is_dictionary(values.type):
        texts = np.array([zlib.crc32(text.encode()) for text in values.dictionary.to_pylist()] + [0], np.uint32)
        found = texts[values.indices.fill_null(len(texts) - 1).to_numpy(zero_copy_only=False)]
    else:
        # integers and floats have the same digest, since a database may store 1.0 as 1; adding zero turns -0.0 into 0.0
        numbers = values.cast(pa.int64()) if not pa.types.is_floating(values.type) else values
        bits = numbers.fill_null(0).to_numpy(zero_copy_only=False)
        if bits.dtype == np.float64:
            bits = bits + 0.0
        found = ((bits.view(np.uint64) * _FIBONACCI) >> np.uint64(32)).astype(np.uint32)
    return found if missing is None else np.where(missing, _NULL, found).astype(np.uint32)
