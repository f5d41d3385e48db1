"""Keys of source rows: one key, a range of them, and how people write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Key = tuple[Any, ...]
"""One key: its columns' values in order, as the driver gives them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One version of a source row."""

    key: Key
    changed_at: Any
    """None where the source has no such column, too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRange:
    """Keys above an exclusive lower bound, up to an inclusive upper one; None leaves that side open."""

    lower: Key | None = None
    upper: Key | None = None


EVERYTHING = KeyRange()


def key_text(names: Sequence[str], key: Key) -> str:
    """A key as people write it: the value, or ``a=1,b=x``, with CSV's quotes where a value holds a comma or a quote."""
    if len(names) == 1:
        return str(key[0])
    return ",".join(_quoted(f"{name}={value}") for name, value in zip(names, key, strict=True))


def key_title(names: Sequence[str]) -> str:
    """What a column of key texts is called: the key's column, or "key" where each text names its columns."""
    return names[0] if len(names) == 1 else "key"


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"' if any(mark in text for mark in ',"\r\n') else text


TextKey = tuple[str, ...]
"""A key as people write it: the text of each column in order."""
