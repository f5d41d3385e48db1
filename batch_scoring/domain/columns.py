"""Columnar data that is passed between the database and the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias, overload


class ArrowColumn(Protocol):
    """The part of the interface of ``pyarrow.Array`` that this package uses."""

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
"""n values: an Arrow array, or a list of values as the driver returns them."""


def as_list(values: Column) -> list[Any]:
    """A column as a list of Python values; NULL is None."""
    if isinstance(values, list):
        return values
    if values.null_count == len(values):
        return [None] * len(values)
    return values.to_pylist()
