"""Check that SQL text is a single condition, which cannot close the parentheses around it."""

from __future__ import annotations

import re

from batch_scoring.store.engine.dialects.dialect import ConditionSyntax


def broken_structure(condition: str, syntax: ConditionSyntax) -> str | None:
    """Why a condition cannot be put in parentheses, as the rest of a sentence; None if it can."""
    depth, position = 0, 0
    while position < len(condition):
        if match := syntax.skipped.match(condition, position):
            position = match.end()
            continue
        sign = condition[position]
        if condition.startswith("/*", position):
            position = _end_of_nested_comment(condition, position) if syntax.nests_comments else -1
            if position < 0:
                return "opens a comment with /* that nothing closes; close it with */"
            continue
        if sign in syntax.quotes:
            return f"opens a quote with {sign} that nothing closes; close it, or double it inside a text"
        if sign == ";":
            return "holds a semicolon; write one condition, without the end of a statement"
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth < 0:
            return "closes a parenthesis that it did not open; remove it, or open it"
        position += 1
    return "opens a parenthesis that it does not close; close it" if depth else None


def _end_of_nested_comment(text: str, start: int) -> int:
    depth = 0
    for match in re.compile(r"/\*|\*/").finditer(text, start):
        depth += 1 if match[0] == "/*" else -1
        if not depth:
            return match.end()
    return -1
