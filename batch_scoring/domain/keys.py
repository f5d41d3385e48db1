"""Keys of source rows: a key, a range of keys, and the text form of a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Key = tuple[Any, ...]
"""A key: the values of its columns in order, as the driver returns them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One version of a source row."""

    key: Key
    changed_at: Any
    """Also None where the source has no ``changed_at`` column."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRange:
    """Keys between an exclusive lower and an inclusive upper bound; None stands for no bound."""

    lower: Key | None = None
    upper: Key | None = None


EVERYTHING = KeyRange()


def key_text(names: Sequence[str], key: Key) -> str:
    """A key as text: the value, or ``a=1,b=x``, quoted as in CSV where a value holds a comma or a quote."""
    if len(names) == 1:
        return str(key[0])
    return ",".join(_quoted(f"{name}={value}") for name, value in zip(names, key, strict=True))


def key_title(names: Sequence[str]) -> str:
    """The heading for a column of key texts: the key's column, or "key" for a key of several columns."""
    return names[0] if len(names) == 1 else "key"


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"' if any(mark in text for mark in ',"\r\n') else text


TextKey = tuple[str, ...]
"""A key as text: the text of each column in order."""
