"""Read due rows in chunks in key order, with keyset pagination: each chunk starts after the last key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from batch_scoring.domain.keys import EVERYTHING, KeyRange
from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.source.rows import SourceRows

_GROWTH = 8
"""The factor by which the span of a range may grow from one chunk to the next."""


@dataclass(frozen=True, kw_only=True)
class KeysetReader:
    """Reads the rest of a key range in chunks of about the requested number of rows.

    The bounds of a chunk are keys of the source that are determined before it is read, so that no statement scans more
    than its range, whatever the planner's statistics are. If few source rows are due, the ranges grow.

    A reader is immutable: a chunk includes the reader for the rest, so that a chunk that fails, even at the end of its
    transaction, is read again from its start.
    """

    query: DueQuery
    bulk: Bulk
    features: Sequence[str]
    remaining: KeyRange = EVERYTHING
    due_count: int | None = None
    """Rows due in the range if they were counted, else None."""
    with_current: bool = False
    """Whether the current score and label are read with each row."""
    span: float = 1.0
    """Source rows for each due row in the last chunk."""

    def next_chunk(self, connection: sa.Connection, rows: int) -> Chunk:
        """The next chunk, of zero to ``rows`` rows. Raises SourceFault, TooMuchAtOnce.

        The connection's transaction reads one snapshot, so a range of n source rows has at most n due rows.
        """
        upper, row_count = self.remaining.upper, None
        if self.due_count is None or self.due_count > rows:
            row_count = max(rows, int(rows * self.span))
            upper = self.query.key_at(connection, self.remaining, row_count) or self.remaining.upper
        range_ = KeyRange(lower=self.remaining.lower, upper=upper)
        read = self.query.read(connection, self.bulk, range_, self.features, rows, with_current=self.with_current)
        if row_count != rows and len(read) >= rows:  # the range may hold more than was read
            upper = read.last.key
            rest = self._above(upper, span=max(1.0, self.span / _GROWTH))
            return Chunk(range=replace(range_, upper=upper), rows=read, rest=rest)
        if upper == self.remaining.upper:
            return Chunk(range=range_, rows=read, rest=None)
        span = self.span * min(_GROWTH, rows / len(read) if len(read) else _GROWTH)
        return Chunk(range=range_, rows=read, rest=self._above(upper, span=span))

    def _above(self, key: tuple[object, ...] | None, *, span: float) -> KeysetReader:
        return replace(self, remaining=replace(self.remaining, lower=key), due_count=None, span=span)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A key range and the due rows in it."""

    range: KeyRange
    rows: SourceRows
    rest: KeysetReader | None
    """The reader for the rest; None at the end of the range."""
