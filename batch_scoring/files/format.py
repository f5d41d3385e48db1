"""The format of a text file: its encoding, separator and decimal sign."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from batch_scoring.errors import InputFault

_NAMED_SEPARATORS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}


@dataclass(frozen=True, kw_only=True, slots=True)
class FileFormat:
    """The format of a CSV file by the options of a command; None is detected from the file."""

    encoding: str | None = None
    """None: the one of the byte order mark, or UTF-8."""
    separator: str | None = None
    """None: a comma, or a tab in a file whose name ends in .tsv or .tab."""
    decimal: str = "."
    thousands: str | None = None

    @classmethod
    def of(cls, encoding: str | None, separator: str | None, decimal: str, thousands: str | None) -> FileFormat:
        """The format that four options describe. Raises InputFault naming the invalid option."""
        if encoding is not None:
            _check_encoding(encoding)
        if separator is not None:
            separator = _NAMED_SEPARATORS.get(separator.lower(), separator)
            if len(separator) != 1 or not separator.isascii() or separator.isalnum() or separator in '"\r\n\0.+-':
                raise InputFault('--separator: expected one character, such as "," or ";", or the word tab')
        if decimal not in (".", ","):
            raise InputFault('--decimal: expected "." or ","')
        if thousands is not None and (thousands not in (".", ",", "'", " ", "_") or thousands == decimal):
            raise InputFault("--thousands: expected one of . , ' _ or a space, other than the one of --decimal")
        return cls(encoding=encoding, separator=separator, decimal=decimal, thousands=thousands)


PLAIN = FileFormat()


def _check_encoding(name: str) -> None:
    try:
        is_text = codecs.lookup(name)._is_text_encoding  # noqa: SLF001 - the only way to tell base64 from latin-1
        b"".decode(name)
    except (LookupError, ValueError, UnicodeError):
        is_text = False
    if not is_text:
        raise InputFault(f"--encoding {name!r}: no such encoding; expected utf-8, cp1252, latin-1, utf-16 or the like")
