"""Packed columns: the database joins the texts of n rows with a separator, and this module splits them.

A driver that returns single rows releases the interpreter lock (GIL) for each row and waits to get it back from the
scoring thread; a packed column is returned at once. If a text contains the separator, the number of values is wrong,
and the rows are read with COPY instead.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batch_scoring.domain.column_types import Family

SEPARATOR = "\x1e"
"""Between two rows: ASCII's record separator, which in UTF-8 is never part of another character."""

_NULL_OF_TEXT = secrets.token_hex(8)
"""Represents NULL: 64 random bits, generated in each process, so that nobody can craft a text that equals it."""

NEVER_EMPTY = {Family.INTEGER, Family.NUMBER, Family.BOOLEAN, Family.DATE, Family.TIMESTAMP}
"""Families whose values are never an empty text, which therefore represents NULL."""

Ends = np.ndarray[Any, np.dtype[np.int32]]
"""Shape (n + 1,): the offsets of the texts of n rows."""


class NotPacked(Exception):
    """A value is not the packed form of the rows."""


def null_of(family: Family) -> str:
    """The text that represents NULL in a column of the family."""
    return "" if family in NEVER_EMPTY else _NULL_OF_TEXT


def unpack(packed: str | None, count: int, family: Family) -> pa.Array:
    """The n values of a column as an Arrow array of the family's type. Raises NotPacked."""
    arrow_type = TYPES.get(family, pa.string())
    if packed is None:
        return pa.array([], arrow_type)
    if family in NEVER_EMPTY and len(packed) == count - 1:
        return pa.nulls(count, arrow_type)
    raw = (packed + SEPARATOR).encode()
    separators = np.flatnonzero(np.frombuffer(raw, np.uint8) == ord(SEPARATOR))
    if len(separators) != count:
        raise NotPacked
    ends = np.zeros(count + 1, np.int32)
    ends[1:] = separators
    ends[1:] += 1
    try:
        return _UNPACK.get(family, _texts)(raw, ends)
    except pa.ArrowInvalid as exc:
        raise NotPacked from exc


def _categories(raw: bytes, ends: Ends) -> pa.DictionaryArray:
    """A column with few distinct texts: separators are removed after the texts are dictionary-encoded."""
    encoded = _strings(raw, ends).dictionary_encode()
    texts = pc.utf8_rtrim(encoded.dictionary, SEPARATOR)
    null = texts.index(_NULL_OF_TEXT).as_py()
    if null < 0:
        return pa.DictionaryArray.from_arrays(encoded.indices, texts)
    codes = encoded.indices.to_numpy()
    known = pa.concat_arrays([texts[:null], texts[null + 1 :]])
    codes_of_known = pa.array(codes - (codes > null), pa.int32(), mask=codes == null)
    return pa.DictionaryArray.from_arrays(codes_of_known, known)


def _texts(raw: bytes, ends: Ends) -> pa.StringArray:
    strings = _without_separators(raw, ends)
    if _NULL_OF_TEXT.encode() not in raw:
        return strings
    return pc.if_else(pc.equal(strings, _NULL_OF_TEXT), pa.scalar(None, pa.string()), strings)


def _never_empty(raw: bytes, ends: Ends) -> pa.StringArray:
    is_null = np.diff(ends) == 1
    return _without_separators(raw, ends, is_null if is_null.any() else None)


def _without_separators(raw: bytes, ends: Ends, is_null: Any = None) -> pa.StringArray:
    ends -= np.arange(len(ends), dtype=np.int32)
    return _strings(raw.translate(None, SEPARATOR.encode()), ends, is_null)


def _strings(raw: bytes, ends: Ends, is_null: Any = None) -> pa.StringArray:
    validity = None if is_null is None else pa.py_buffer(np.packbits(~is_null, bitorder="little"))
    return pa.StringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(raw), validity)


TYPES: dict[Family, pa.DataType] = {
    Family.INTEGER: pa.int64(),
    Family.NUMBER: pa.float64(),
    Family.BOOLEAN: pa.bool_(),
    Family.TEXT: pa.dictionary(pa.int32(), pa.string()),
}
"""Timestamps remain text: Arrow's types cannot represent all of them."""

_UNPACK: dict[Family, Callable[[bytes, Ends], pa.Array]] = {
    Family.INTEGER: lambda raw, ends: _never_empty(raw, ends).cast(pa.int64()),
    Family.NUMBER: lambda raw, ends: _never_empty(raw, ends).cast(pa.float64()),
    Family.BOOLEAN: lambda raw, ends: _never_empty(raw, ends).cast(pa.bool_()),
    Family.DATE: _never_empty,
    Family.TIMESTAMP: _never_empty,
    Family.TEXT: _categories,
}
