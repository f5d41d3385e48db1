"""Walking through what is due, chunk by chunk in key order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from batch_scoring.domain.keys import EVERYTHING, KeyRange
from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.source.rows import SourceRows
from batch_scoring.store.source.table import Source

_WIDEST_STEP = 8
"""How much wider than the last one a range may be, in source rows for each due row."""


@dataclass(frozen=True, kw_only=True)
class Walk:
    """What is left of a key range. Each step reads a chunk of about as many rows as it is asked for.

    A chunk is bounded on both sides by keys of the source before it is read, so that no step looks at more than its
    part, whatever the database believes of its tables. Where few source rows are due, the ranges grow.

    A walk never changes: a step gives the walk that is left after it, so that one that fails, if only at the end of
    its transaction, is taken again from where it began.
    """

    source: Source
    layout: PredictionsLayout
    bulk: Bulk
    features: Sequence[str]
    left: KeyRange = EVERYTHING
    due_count: int | None = None
    """Rows due in the range where they were counted, else None."""
    with_current: bool = False
    """Whether the current score and label are read beside each row."""
    span: float = 1.0
    """Source rows for each due row, as the last step found them."""

    def step(self, connection: sa.Connection, rows: int) -> Chunk:
        """The next chunk, of at most ``rows`` rows and perhaps of none.

        The connection's transaction sees one state of the database, so a range of n source rows has n of them at most.
        """
        upto, width = self.left.upto, None
        if self.due_count is None or self.due_count > rows:
            width = max(rows, int(rows * self.span))
            upto = self.source.key_at(connection, self.left, width) or self.left.upto
        range_ = KeyRange(after=self.left.after, upto=upto)
        read = self.source.read(
            connection, self.bulk, self.layout, range_, self.features, rows, with_current=self.with_current
        )
        if width != rows and len(read) >= rows:  # the range may hold more than was read
            upto = read.last.key
            rest = replace(
                self, left=replace(self.left, after=upto), due_count=None, span=max(1.0, self.span / _WIDEST_STEP)
            )
            return Chunk(range=replace(range_, upto=upto), rows=read, rest=rest)
        if upto == self.left.upto:
            return Chunk(range=range_, rows=read, rest=None)
        span = self.span * min(_WIDEST_STEP, rows / len(read) if len(read) else _WIDEST_STEP)
        rest = replace(self, left=replace(self.left, after=upto), due_count=None, span=span)
        return Chunk(range=range_, rows=read, rest=rest)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A key range and what was due in it."""

    range: KeyRange
    rows: SourceRows
    rest: Walk | None
    """What is left of the walk; None at its end."""
