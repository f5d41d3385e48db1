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
    """n rows of one table, in the form in which a strategy writes them."""

    def __len__(self) -> int: ...

    def insert(self, connection: sa.Connection, constants: Mapping[str, Scalar]) -> int:
        """Insert the rows, each with the constants; return the number of rows that the database wrote.

        Errors of the driver are not wrapped.
        """


class Bulk(Protocol):
    """A strategy for bulk reads and writes."""

    @property
    def reads_while_writing(self) -> bool:
        """Whether separate threads for reading and writing are faster; otherwise one thread does both in turn."""

    def fetch(self, connection: sa.Connection, query: sa.Select[Any], families: Sequence[Family]) -> list[Column]:
        """Run a query; ``families`` are the types of its columns. Raises TooMuchAtOnce, DatabaseFault."""

    def prepare(self, table: sa.Table, columns: Mapping[str, Column]) -> PreparedRows:
        """Convert n rows, given by column, to the form in which they are written; uses no connection."""

    def close_current(
        self, connection: sa.Connection, table: sa.Table, keys: Mapping[str, Column], valid_to: datetime
    ) -> int:
        """End the validity period of the current rows of these keys, given in order; return their number."""


def take(values: Column, positions: Iterable[int]) -> Column:
    """The values at these positions, in the form of the column."""
    if isinstance(values, list):
        return [values[position] for position in positions]
    import pyarrow as pa

    return values.take(pa.array(positions, pa.int64()))
