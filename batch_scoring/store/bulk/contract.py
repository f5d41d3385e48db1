"""The interface of bulk strategies.

A column is an Arrow array or a list of the driver's values, depending on the strategy that read it. Values are written
back in the same form, so keys are never parsed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeAlias

import sqlalchemy as sa

from batch_scoring.domain.column_types import Family
from batch_scoring.domain.columns import Column

Scalar: TypeAlias = datetime | float | str | None
"""A value that is the same in every row."""


class PreparedRows(Protocol):
    """n rows of one table, in the form in which a strategy inserts or updates them."""

    def __len__(self) -> int: ...

    def write(self, connection: sa.Connection, constants: Mapping[str, Scalar]) -> int:
        """Write the rows, each with the constants; return the number of rows that the database wrote.

        Errors of the driver are not wrapped.
        """


class Bulk(Protocol):
    """A strategy for bulk reads and writes."""

    @property
    def reads_while_writing(self) -> bool:
        """Whether separate threads for reading and writing are faster; otherwise one thread does both in turn."""

    def fetch(self, connection: sa.Connection, query: sa.Select[Any], families: Sequence[Family]) -> list[Column]:
        """Run a query; ``families`` are the types of its columns. Raises TooMuchAtOnce, DatabaseFault."""

    def prepare_insert(self, table: sa.Table, columns: Mapping[str, Column]) -> PreparedRows:
        """Convert n new rows, given by column, to the form in which they are written; uses no connection."""

    def prepare_update(
        self, table: sa.Table, columns: Mapping[str, Column], *, unchanged_since: datetime
    ) -> PreparedRows:
        """Convert n existing rows, whose primary keys are among the columns and in order; uses no connection.

        Columns that are neither given nor constants become NULL. A row whose ``valid_from`` is after
        ``unchanged_since`` is not updated: it was superseded since it was read.
        """

    def move(
        self,
        connection: sa.Connection,
        current: sa.Table,
        past: sa.Table,
        keys: Mapping[str, Column],
        constants: Mapping[str, Scalar],
    ) -> int:
        """Move the rows of these keys, given in order, from one table to another that has ``constants`` besides.

        Returns their number.
        """


def take(values: Column, positions: Iterable[int]) -> Column:
    """The values at these positions, in the form of the column."""
    if isinstance(values, list):
        return [values[position] for position in positions]
    import pyarrow as pa

    return values.take(pa.array(positions, pa.int64()))
