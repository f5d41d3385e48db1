"""Encode columns in COPY's binary format, which PostgreSQL reads in half the time of text.

A row is the number of its fields, and for each field its length (-1 is NULL) and its bytes, all big-endian
(https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"). Types without an encoder, such as NUMERIC
or user-defined types, are written as CSV.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batch_scoring.domain.columns import Column
from batch_scoring.store.bulk.contract import Scalar

_NULL_FIELD = pa.scalar(b"\xff\xff\xff\xff", pa.large_binary())
_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"

_EPOCH_MICROSECONDS = 946_684_800_000_000
"""2000-01-01, PostgreSQL's epoch, in microseconds of the Unix epoch."""
_EPOCH_DAYS = 10_957
_UUID_LENGTH = 36

Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
"""Shape (n, length): the bytes of a column whose values all have one length, or of a single row (1, length)."""

Part: TypeAlias = "Bytes | pa.Array"
"""A part of every row: of fixed length, or an Arrow array of n byte strings."""


class NotEncodable(Exception):
    """There is no encoder for a column."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """The encoded fields of n rows, to which constants are added when they are sent."""

    names: tuple[str, ...]
    count: int
    fields: Part
    """The fields of each row, one after the other."""

    def stream(self, constants: Mapping[str, Scalar], types: Mapping[str, str]) -> bytes:
        """The rows as one COPY stream, each with the constants at its end. Raises NotEncodable."""
        if not self.count:
            return _SIGNATURE + _END
        begin = _big_endian([len(self.names) + len(constants)], "i2")
        ending = b"".join(
            part.tobytes() if isinstance(part, np.ndarray) else part[0].as_py()
            for name, value in constants.items()
            for part in _column(pa.array([value]), types[name])
        )
        if isinstance(self.fields, np.ndarray):
            end = np.frombuffer(ending, np.uint8).reshape(1, -1)
            rows = _side_by_side([begin, self.fields, *([end] if ending else [])], self.count)
            return b"".join([_SIGNATURE, rows.data, _END])
        beginning = begin.tobytes()
        rows = pc.binary_join(_one_list_of(self.fields), pa.scalar(ending + beginning, self.fields.type))
        return b"".join([_SIGNATURE, beginning, rows[0].as_buffer(), ending, _END])


def rows_of(columns: Mapping[str, Column], types: Mapping[str, str]) -> Rows:
    """Encode columns of n values; ``types`` are their types in DDL. Raises NotEncodable."""
    count = len(next(iter(columns.values())))
    encoded = {name: _column(_array(values), types[name]) for name, values in columns.items()}
    # columns of fixed length are adjacent: the cost of joining depends on the number of parts
    names = sorted(encoded, key=lambda name: sum(not isinstance(part, np.ndarray) for part in encoded[name]))
    return Rows(
        names=tuple(names), count=count, fields=_merged([part for name in names for part in encoded[name]], count)
    )


def _array(values: Column) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values)


def _column(values: pa.Array, ddl: str) -> list[Part]:
    encoder = next((encoder for pattern, encoder in _ENCODERS if pattern.fullmatch(ddl.upper())), None)
    if encoder is None:
        raise NotEncodable(ddl)
    if pa.types.is_dictionary(values.type):
        return [_field_of_each(values, ddl)]
    try:
        payload = encoder(values)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError, OverflowError) as exc:
        raise NotEncodable(ddl) from exc
    if isinstance(payload, pa.Array):
        if (alike := _of_fixed_length(payload)) is None:
            lengths = pc.fill_null(pc.binary_length(payload), -1).to_numpy(zero_copy_only=False)
            return [_big_endian(lengths, "i4"), pc.fill_null(payload, b"") if payload.null_count else payload]
        payload = alike
    parts: list[Part] = [_big_endian([payload.shape[1]], "i4"), payload]
    if not values.null_count:
        return parts
    return [pc.if_else(values.is_null(), _NULL_FIELD, _as_strings(_merged(parts, len(values))))]


def _field_of_each(values: pa.DictionaryArray, ddl: str) -> Part:
    """The fields of a column with few distinct values, each of which is encoded once."""
    known = values.dictionary
    codes = values.indices.cast(pa.int64())
    if values.null_count:
        codes = codes.fill_null(len(known))
        known = pa.concat_arrays([known, pa.nulls(1, known.type)])
    fields = _as_strings(_merged(_column(known, ddl), len(known)))
    alike = _of_fixed_length(fields)
    return fields.take(codes) if alike is None else np.take(alike, codes.to_numpy(), axis=0)


def _of_fixed_length(strings: pa.Array) -> Bytes | None:
    """Byte strings as rows of bytes, if all have one length and none is missing."""
    if strings.null_count or not len(strings):
        return None
    _, offsets, data = strings.buffers()
    ends = np.frombuffer(offsets, np.int64)[strings.offset : strings.offset + len(strings) + 1]
    length = int(ends[1] - ends[0])
    if not length or not (np.diff(ends) == length).all():
        return None
    return np.frombuffer(data, np.uint8)[ends[0] : ends[-1]].reshape(len(strings), length)


def _merged(parts: Sequence[Part], count: int) -> Part:
    """Join the parts of n rows; adjacent parts of fixed length are joined by copying their bytes."""
    merged: list[Part] = []
    for is_fixed, run in itertools.groupby(parts, lambda part: isinstance(part, np.ndarray)):
        adjacent = list(run)
        merged += [_side_by_side(adjacent, count)] if is_fixed else adjacent
    if len(merged) == 1:
        return merged[0]
    return pc.binary_join_element_wise(*map(_as_strings, merged), pa.scalar(b"", pa.large_binary()))


def _side_by_side(parts: Sequence[Bytes], count: int) -> Bytes:
    record = np.dtype([(f"part{i}", f"V{part.shape[1]}") for i, part in enumerate(parts)])
    rows = np.empty(count, record)
    for name, part in zip(record.fields or (), parts, strict=True):
        rows[name] = part.view(record[name])[:, 0]  # entire fields at once: several times as fast as single bytes
    return rows.view(np.uint8).reshape(count, record.itemsize)


def _as_strings(rows: Part) -> pa.Array:
    if isinstance(rows, pa.Array):
        return rows
    count, length = rows.shape
    offsets = np.arange(0, (count + 1) * length, length, dtype=np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(rows))]
    return pa.Array.from_buffers(pa.large_binary(), count, buffers)


def _one_list_of(strings: pa.Array) -> pa.Array:
    return pa.LargeListArray.from_arrays(pa.array([0, len(strings)], pa.int64()), strings)


def _big_endian(values: Any, code: str) -> Bytes:
    encoded = np.asarray(values).astype(f">{code}")
    return encoded.view(np.uint8).reshape(len(encoded), encoded.dtype.itemsize)


def _integer(code: str) -> Callable[[pa.Array], Bytes]:
    arrow_type = pa.int64() if code == "i8" else pa.int32() if code == "i4" else pa.int16()

    def encode_integer(values: pa.Array) -> Bytes:
        return _big_endian(pc.fill_null(values.cast(arrow_type), 0).to_numpy(zero_copy_only=False), code)

    return encode_integer


def _double(values: pa.Array) -> Bytes:
    return _big_endian(pc.fill_null(values.cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False), "f8")


def _boolean(values: pa.Array) -> Bytes:
    booleans = pc.fill_null(values.cast(pa.bool_()), False).to_numpy(zero_copy_only=False)
    encoded: Bytes = booleans.astype(np.uint8).reshape(len(booleans), 1)
    return encoded


def _bytes(values: pa.Array) -> Bytes | pa.Array:
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        raise ValueError("PostgreSQL's text form of bytes")
    if not pa.types.is_fixed_size_binary(values.type) or values.null_count:
        return values.cast(pa.large_binary())
    length = values.type.byte_width
    raw = np.frombuffer(values.buffers()[1], np.uint8)[values.offset * length :]
    return raw[: len(values) * length].reshape(len(values), length)


def _text(values: pa.Array) -> pa.Array:
    return values.cast(pa.large_string()).cast(pa.large_binary())


def _timestamp(zone: str | None) -> Callable[[pa.Array], Bytes]:
    def encode_timestamp(values: pa.Array) -> Bytes:
        microseconds = values.cast(pa.timestamp("us", zone)).cast(pa.int64())
        return _big_endian(pc.fill_null(microseconds, 0).to_numpy(zero_copy_only=False) - _EPOCH_MICROSECONDS, "i8")

    return encode_timestamp


def _date(values: pa.Array) -> Bytes:
    days = values.cast(pa.date32()).cast(pa.int32())
    return _big_endian(pc.fill_null(days, 0).to_numpy(zero_copy_only=False) - _EPOCH_DAYS, "i4")


def _uuid(values: pa.Array) -> Bytes:
    texts = pc.fill_null(values.cast(pa.string()), str(UUID(int=0))).to_pylist()
    if any(len(text) != _UUID_LENGTH for text in texts):
        raise ValueError
    return np.frombuffer(bytes.fromhex("".join(texts).replace("-", "")), np.uint8).reshape(len(texts), 16)


_ENCODERS: tuple[tuple[re.Pattern[str], Callable[[pa.Array], Bytes | pa.Array]], ...] = (
    (re.compile("BIGINT"), _integer("i8")),
    (re.compile("INTEGER"), _integer("i4")),
    (re.compile("SMALLINT"), _integer("i2")),
    (re.compile("DOUBLE PRECISION"), _double),
    (re.compile(r"TEXT|VARCHAR(\(\d+\))?"), _text),
    (re.compile(r"TIMESTAMP(\(\d\))? WITH TIME ZONE"), _timestamp("UTC")),
    (re.compile(r"TIMESTAMP(\(\d\))? WITHOUT TIME ZONE"), _timestamp(None)),
    (re.compile("DATE"), _date),
    (re.compile("BOOLEAN"), _boolean),
    (re.compile("BYTEA"), _bytes),
    (re.compile("UUID"), _uuid),
)
