"""Conditions on keys: in a list, which is split into batches, or within a range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.keys import Key, KeyRange
from batch_scoring.store.engine.sql_types import RAW

_KEYS_A_STATEMENT = 5_000
_COMPOSITE_KEYS_A_STATEMENT = 500
"""Fewer, because a list of composite keys is searched sequentially."""


def key_batches(keys: Sequence[Key], most: int | None = None) -> Iterator[Sequence[Key]]:
    """The keys in batches that fit into one statement, of ``most`` keys at most."""
    is_composite = len(keys) > 0 and len(keys[0]) > 1
    size = min(_COMPOSITE_KEYS_A_STATEMENT if is_composite else _KEYS_A_STATEMENT, most or _KEYS_A_STATEMENT)
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def key_in(own: Sequence[sa.ColumnElement[Any]], keys: Sequence[Key]) -> sa.ColumnElement[bool]:
    """The condition that a key is in a batch."""
    if len(own) == 1:
        return own[0].in_([key[0] for key in keys])
    return sa.tuple_(*own).in_(keys)


def within(own: Sequence[sa.ColumnElement[Any]], chunk: KeyRange) -> list[sa.ColumnElement[bool]]:
    """The conditions that a key is in a range."""
    bounds: list[sa.ColumnElement[bool]] = []
    if chunk.lower is not None:
        bounds.append(_row_of(own) > _row_of([sa.literal(value, RAW) for value in chunk.lower]))
    if chunk.upper is not None:
        bounds.append(_row_of(own) <= _row_of([sa.literal(value, RAW) for value in chunk.upper]))
    return bounds


def _row_of(values: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
    return values[0] if len(values) == 1 else sa.tuple_(*values)
