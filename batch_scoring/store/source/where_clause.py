"""Whether a piece of SQL is one condition: nothing in it ends the parentheses that it is put in."""

from __future__ import annotations

import re

_QUOTED = {
    "sqlite": r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\]""",
    "postgresql": r"""(?<![A-Za-z0-9_$])[Ee]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
      | (?<![A-Za-z0-9_$])\$(?P<tag>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*|)\$.*?\$(?P=tag)\$""",
}
_COMMENT = {"sqlite": r"--[^\n]* | /\*.*?\*/", "postgresql": r"--[^\n\r]*"}


def broken_structure(condition: str, dialect: str) -> str | None:
    """What keeps a condition from being put in parentheses, as the rest of a sentence; None where nothing does."""
    depth, position = 0, 0
    skipped = _skipped(dialect)
    while position < len(condition):
        if match := skipped.match(condition, position):
            position = match.end()
            continue
        sign = condition[position]
        if condition.startswith("/*", position):
            position = -1 if dialect == "sqlite" else _end_of_nested_comment(condition, position)
            if position < 0:
                return "opens a comment with /* that nothing closes; close it with */"
            continue
        if sign in "'\"" or (sign == "`" and dialect == "sqlite"):
            return f"opens a quote with {sign} that nothing closes; close it, or double it inside a text"
        if sign == ";":
            return "holds a semicolon; write one condition, without the end of a statement"
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth < 0:
            return "closes a parenthesis that it did not open; remove it, or open it"
        position += 1
    return "opens a parenthesis that it does not close; close it" if depth else None


def _skipped(dialect: str) -> re.Pattern[str]:
    known = dialect if dialect in _QUOTED else "postgresql"
    return re.compile(f"{_QUOTED[known]} | {_COMMENT[known]}", re.VERBOSE | re.DOTALL)


def _end_of_nested_comment(text: str, start: int) -> int:
    depth = 0
    for match in re.compile(r"/\*|\*/").finditer(text, start):
        depth += 1 if match[0] == "/*" else -1
        if not depth:
            return match.end()
    return -1
