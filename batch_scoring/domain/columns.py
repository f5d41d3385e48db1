"""Columns of rows on their way from the database to the model and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias, overload


class ArrowColumn(Protocol):
    """What is used of a ``pyarrow.Array``."""

    @property
    def null_count(self) -> int: ...

    @property
    def nbytes(self) -> int: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    @overload
    def __getitem__(self, index: int, /) -> Any: ...

    @overload
    def __getitem__(self, index: slice, /) -> ArrowColumn: ...

    def take(self, indices: Any, /) -> ArrowColumn: ...

    def to_pylist(self) -> list[Any]: ...


Column: TypeAlias = ArrowColumn | list[Any]
"""n values: an Arrow array, or a list of the driver's own values."""


def as_list(values: Column) -> list[Any]:
    """A column as a list of Python's values."""
    if isinstance(values, list):
        return values
    if values.null_count == len(values):
        return [None] * len(values)
    return values.to_pylist()
