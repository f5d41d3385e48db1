"""Reading what is due chunk by chunk in key order, with keyset pagination: every chunk begins above the last key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from batch_scoring.domain.keys import EVERYTHING, KeyRange
from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.source.rows import SourceRows

_GROWTH = 8
"""How many times more source rows for each due row a range may span than the one before it."""


@dataclass(frozen=True, kw_only=True)
class KeysetReader:
    """Reads what remains of a key range. Each chunk has about as many rows as it is asked for.

    A chunk is bounded on both sides by keys of the source before it is read, so that no statement looks at more than
    its part, whatever the database believes of its tables. Where few source rows are due, the ranges grow.

    A reader never changes: a chunk comes with the reader of what remains after it, so that one that fails, if only at
    the end of its transaction, is read again from where it began.
    """

    query: DueQuery
    bulk: Bulk
    features: Sequence[str]
    remaining: KeyRange = EVERYTHING
    due_count: int | None = None
    """Rows due in the range where they were counted, else None."""
    with_current: bool = False
    """Whether the current score and label are read beside each row."""
    span: float = 1.0
    """Source rows for each due row, as the last chunk found them."""

    def next_chunk(self, connection: sa.Connection, rows: int) -> Chunk:
        """The next chunk, of at most ``rows`` rows and perhaps of none. Raises SourceFault, TooMuchAtOnce.

        The connection's transaction sees one state of the database, so a range of n source rows has n of them at most.
        """
        upper, width = self.remaining.upper, None
        if self.due_count is None or self.due_count > rows:
            width = max(rows, int(rows * self.span))
            upper = self.query.key_at(connection, self.remaining, width) or self.remaining.upper
        range_ = KeyRange(lower=self.remaining.lower, upper=upper)
        read = self.query.read(connection, self.bulk, range_, self.features, rows, with_current=self.with_current)
        if width != rows and len(read) >= rows:  # the range may hold more than was read
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
    """A key range and what was due in it."""

    range: KeyRange
    rows: SourceRows
    rest: KeysetReader | None
    """The reader of what remains; None at the end of the range."""
