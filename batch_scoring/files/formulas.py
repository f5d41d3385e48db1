"""Fields of CSV files for spreadsheets, which compute a field that begins like a formula.

Such a field is written after an apostrophe, which Excel and LibreOffice take as "this is text". A field that has
apostrophes before such a beginning gets one more, so that reading is the inverse of writing. See
https://owasp.org/www-community/attacks/CSV_Injection.
"""

from __future__ import annotations

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_ESCAPED = re.compile(r"'+[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def escaped(field: str) -> str:
    """The field as it is written."""
    return f"'{field}" if _FORMULA.match(field) and not _NUMBER.fullmatch(field) else field


def unescaped(field: str) -> str:
    """The field that was escaped; any other unchanged."""
    return field[1:] if _ESCAPED.match(field) else field
