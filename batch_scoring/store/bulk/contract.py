"""Moving many rows: one contract, a portable way and PostgreSQL's COPY.

A column travels as an Arrow array (COPY) or as a list of the driver's own values (portable). Which of them is the
business of the way that read it; what it read is written back the same way, so keys are never parsed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import sqlalchemy as sa

from batch_scoring.domain.column_types import Family

Values: TypeAlias = Sequence[Any]
"""A column of n values: a ``pyarrow.Array`` or a list."""

Scalar: TypeAlias = Any
"""One value that stands in every row."""


Prepared: TypeAlias = Any
"""Rows in the form in which a way of moving them sends them."""


class Bulk(Protocol):
    """How many rows move between the database and memory."""

    @property
    def reads_while_writing(self) -> bool:
        """Whether reading and writing gain from a thread each; otherwise one thread does both in turn."""

    def fetch(self, connection: sa.Connection, query: sa.Select[Any], families: Sequence[Family]) -> list[Values]:
        """Run a query; ``families`` says what each of its columns holds. Raises TooMuchAtOnce."""

    def prepare(self, table: sa.Table, columns: Mapping[str, Values]) -> Prepared:
        """Bring n rows, given by column, into the form in which they are sent; takes a while and no connection."""

    def insert(
        self, connection: sa.Connection, table: sa.Table, rows: Prepared, constants: Mapping[str, Scalar]
    ) -> int:
        """Insert rows, each with the constants; returns how many the database wrote."""

    def close_current(
        self, connection: sa.Connection, table: sa.Table, keys: Mapping[str, Values], valid_to: Any
    ) -> int:
        """End the life of the current rows of these keys, given in their order; returns how many were ended."""


def take(values: Values, positions: Iterable[int]) -> Values:
    """The values at these positions, in the form the column has."""
    if isinstance(values, list):
        return [values[position] for position in positions]
    import pyarrow as pa

    taken: Values = values.take(pa.array(positions, pa.int64()))  # type: ignore[attr-defined]  # a pyarrow.Array
    return taken
