"""Text of others, such as file names, labels and keys, in a form that any terminal, log and page can show."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with control characters, invisible characters and lone surrogates as escape sequences."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
