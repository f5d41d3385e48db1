"""The contract of moving many rows.

A column travels as an Arrow array or as a list of the driver's own values, whichever the strategy that read it gives.
What it read is written back in the same form, so keys are never parsed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeAlias

import sqlalchemy as sa

from batch_scoring.domain.column_types import Family
from batch_scoring.domain.columns import Column

Scalar: TypeAlias = datetime | float | str | None
"""One value, the same in every row."""


class PreparedRows(Protocol):
    """n rows of one table, in the form in which a strategy sends them."""

    def __len__(self) -> int: ...

    def insert(self, connection: sa.Connection, constants: Mapping[str, Scalar]) -> int:
        """Insert them, each with the constants; returns how many the database wrote. Raises what the driver raises."""


class Bulk(Protocol):
    """A strategy of moving rows between the database and memory."""

    @property
    def reads_while_writing(self) -> bool:
        """Whether reading and writing gain from a thread each; otherwise one thread does both in turn."""

    def fetch(self, connection: sa.Connection, query: sa.Select[Any], families: Sequence[Family]) -> list[Column]:
        """Run a query; ``families`` says what each of its columns holds. Raises TooMuchAtOnce."""

    def prepare(self, table: sa.Table, columns: Mapping[str, Column]) -> PreparedRows:
        """Bring n rows, given by column, into the form in which they are sent; takes a while and no connection."""

    def close_current(
        self, connection: sa.Connection, table: sa.Table, keys: Mapping[str, Column], valid_to: datetime
    ) -> int:
        """End the validity of the current rows of these keys, given in their order; returns how many were ended."""


def take(values: Column, positions: Iterable[int]) -> Column:
    """The values at these positions, in the form the column has."""
    if isinstance(values, list):
        return [values[position] for position in positions]
    import pyarrow as pa

    return values.take(pa.array(positions, pa.int64()))
