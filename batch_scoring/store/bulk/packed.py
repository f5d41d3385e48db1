"""A column as one value: the texts of its rows, joined by a separator, made by the database and taken apart here.

A driver that hands rows over one by one lets go of the interpreter's lock at each and waits to get it back from the
thread that scores; one value a column comes in one go. A text may hold the very character that separates: then the
pieces are too many, and the rows are read another way.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batch_scoring.store.reflection import Family

SEPARATOR = "\x1e"
"""Between two rows: ASCII's record separator, in UTF-8 never a part of another character."""

NULL = secrets.token_hex(8)
"""Stands for NULL: 64 random bits, made anew in each process, so that no text can be meant to look like it."""


class NotPacked(Exception):
    """What came is not the packed form of these rows."""


def unpack(packed: str | None, count: int, family: Family) -> pa.Array:
    """The n values of a column as an Arrow array of the family's type. Raises NotPacked."""
    if packed is None:
        return pa.array([], TYPES.get(family, pa.string()))
    strings = _strings(packed.encode(), count)
    if strings.null_count == count:
        return pa.nulls(count, TYPES.get(family, pa.string()))
    try:
        return _CONVERT.get(family, _as_it_is)(strings)
    except pa.ArrowInvalid as exc:
        raise NotPacked from exc


def _strings(packed: bytes, count: int) -> pa.StringArray:
    raw = np.frombuffer(packed, np.uint8)
    separates = raw == ord(SEPARATOR)
    ends = np.flatnonzero(separates)
    if len(ends) != count - 1:
        raise NotPacked
    offsets = np.zeros(count + 1, np.int32)
    offsets[1:-1] = ends
    offsets[-1] = len(raw)
    offsets[1:] -= np.arange(count, dtype=np.int32)
    buffers = [pa.py_buffer(offsets), pa.py_buffer(raw[~separates])]
    strings = pa.StringArray.from_buffers(count, *buffers)
    _, validity = pc.not_equal(strings, NULL).buffers()
    return pa.StringArray.from_buffers(count, *buffers, validity)


def _as_it_is(strings: pa.StringArray) -> pa.Array:
    return strings


TYPES: dict[Family, pa.DataType] = {
    Family.INTEGER: pa.int64(),
    Family.NUMBER: pa.float64(),
    Family.BOOLEAN: pa.bool_(),
    Family.TEXT: pa.dictionary(pa.int32(), pa.string()),
}
"""Moments stay text: Arrow's types do not hold all of them."""

_CONVERT: dict[Family, Callable[[pa.StringArray], pa.Array]] = {
    Family.INTEGER: lambda strings: strings.cast(pa.int64()),
    Family.NUMBER: lambda strings: strings.cast(pa.float64()),
    Family.BOOLEAN: lambda strings: strings.cast(pa.bool_()),
    Family.TEXT: lambda strings: strings.dictionary_encode(),
}
