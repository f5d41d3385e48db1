"""The checksum of a row of inputs, the same whether a database or Python computes it."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable

VERSION = b"\x01"
"""The first byte, so that no checksum of a row has the length of four bytes for each input (see ``model.inputs``)."""

LENGTH = 1 + 32

ANY_COLUMN = "*"
"""Stands for the columns of a row that has one checksum for all of them."""

MARKS = _ABSENT, _NUMBER, _TEXT, _END = b"\x00", b"\x01", b"\x02", b"\x00"
"""Before a missing value, a number and a text; after a text, which has no NUL character."""


def row_checksum(values: Iterable[float | str | None]) -> bytes:
    """``VERSION`` and the SHA-256 of the values: numbers in eight bytes as IEEE 754 has them, the most significant byte
    first and zero without a sign, and texts in UTF-8, each after its mark."""
    return VERSION + hashlib.sha256(b"".join(map(_bytes, values))).digest()


def _bytes(value: float | str | None) -> bytes:
    if value is None:
        return _ABSENT
    return _TEXT + value.encode() + _END if isinstance(value, str) else _NUMBER + struct.pack(">d", value + 0.0)
