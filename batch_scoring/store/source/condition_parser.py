"""Reading conditions, as ``rescore --where`` takes them.

::

    condition   = conjunction {"or" conjunction}
    conjunction = negation {"and" negation}
    negation    = "not" negation | "(" condition ")" | comparison
    comparison  = column ("=" | "!=" | "<>" | "<" | "<=" | ">" | ">=") value
                | column "is" ["not"] "null"
                | column ["not"] "in" "(" value {"," value} ")"
                | column ["not"] "between" value "and" value
                | column ["not"] "like" value

A column is a word, or any text in double quotes; a value is a word, or any text in single quotes. A value only ever
is sent to the database as a bound parameter. NULL follows SQL: a comparison with it is neither true nor false.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from batch_scoring.errors import InputFault
from batch_scoring.store.source.conditions import KEYWORDS, TIMESTAMP, WORD, Combined, Comparison, Condition, Not, Value

_MAX_DEPTH = 20
"""Depth of nested parentheses and negations; SQL parsers have a limit too."""

_MAX_COMPARISONS = 500
_MAX_VALUES = 5_000

_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
_TOKEN = re.compile(
    rf"(?P<value>{TIMESTAMP})|(?P<text>'(?:[^']|'')*')|(?P<name>\"(?:[^\"]|\"\")+\")"
    rf"|(?P<operator><>|!=|<=|>=|==|[=<>])|(?P<mark>[(),])|(?P<word>{WORD})",
    re.ASCII,
)


def parse(text: str) -> Condition:
    """Read a condition. Raises InputFault, which names the character at fault."""
    return _Parser(text).read()


def from_record(record: Any) -> Condition:
    """Read a condition from the record of a run: text, or, in older records, one comparison as a list."""
    if isinstance(record, str):
        return parse(record)
    column, operator, text, is_text = record
    if operator in ("is null", "is not null"):
        found: Condition = Comparison(column=column, operator="is null")
        return found if operator == "is null" else Not(condition=found)
    value = Value(text=text, is_quoted=is_text or not _NUMBER.fullmatch(text))
    return Comparison(column=column, operator=operator, values=(value,))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Token:
    kind: str
    """value, text, name, operator, mark, word, keyword or end."""
    text: str
    position: int


class _Parser:
    """A recursive-descent parser."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._read_tokens()
        self._next = next(self._tokens)
        self._counts = {"comparisons": _MAX_COMPARISONS, "values": _MAX_VALUES}

    def read(self) -> Condition:
        condition = self._combined("or", _MAX_DEPTH)
        if self._next.kind != "end":
            hint = ""
            if self._next.kind in ("word", "value"):
                hint = "; a value of several words is written in single quotes"
            self._refuse(f"and, or, or the end{hint}")
        return condition

    def _combined(self, operator: str, levels: int) -> Condition:
        def part() -> Condition:
            return self._combined("and", levels) if operator == "or" else self._negation(levels)

        conditions = [part()]
        while self._take("keyword", operator):
            conditions.append(part())
        return conditions[0] if len(conditions) == 1 else Combined(operator=operator, conditions=tuple(conditions))

    def _negation(self, levels: int) -> Condition:
        at = self._next.position
        if self._take("keyword", "not"):
            return Not(condition=self._negation(self._deeper(levels, at)))
        if self._take("mark", "("):
            condition = self._combined("or", self._deeper(levels, at))
            if not self._take("mark", ")"):
                self._refuse("and, or, or )")
            return condition
        return self._comparison()

    def _deeper(self, levels: int, position: int) -> int:
        if levels == 0:
            raise self._fault(position, f"more than {_MAX_DEPTH} parentheses and negations inside each other")
        return levels - 1

    def _comparison(self) -> Condition:
        self._count("comparisons")
        position = self._next.position
        column = self._column()
        if self._take("keyword", "is"):
            is_negated = self._take("keyword", "not")
            self._demand("keyword", "null")
            return _negated(Comparison(column=column, operator="is null", position=position), is_negated)
        is_negated = self._take("keyword", "not")
        values: list[Value]
        if self._take("keyword", "in"):
            operator, values = "in", self._list()
        elif self._take("keyword", "between"):
            operator, values = "between", [self._value()]
            self._demand("keyword", "and")
            values.append(self._value())
        elif self._take("keyword", "like"):
            operator, values = "like", [self._value()]
        elif is_negated:
            self._refuse("in, between or like")
        else:
            operator, values = self._operator(), [self._value()]
        found = Comparison(column=column, operator=operator, values=tuple(values), position=position)
        return _negated(found, is_negated)

    def _column(self) -> str:
        token = self._next
        if token.kind == "text":
            self._refuse('a column; single quotes hold values, a column is written "as this"')
        if token.kind not in ("word", "name"):
            self._refuse("a column")
        self._advance()
        return _unquoted(token.text) if token.kind == "name" else token.text

    def _operator(self) -> str:
        found = self._next.text
        if self._next.kind != "operator" or found == "==":
            self._refuse("one of = != < <= > >=, is [not] null, [not] in (...), [not] between ... and ..., [not] like")
        self._advance()
        return "!=" if found == "<>" else found

    def _list(self) -> list[Value]:
        self._demand("mark", "(")
        values = [self._value()]
        while self._take("mark", ","):
            values.append(self._value())
        if not self._take("mark", ")"):
            self._refuse(", or )")
        return values

    def _value(self) -> Value:
        token = self._next
        self._count("values")
        if token.kind == "name":
            self._refuse("a value; double quotes hold the name of a column, a value is written 'as this'")
        if token.kind == "keyword":
            hint = "; write is null, or is not null" if token.text.lower() == "null" else ", or the word in quotes"
            self._refuse(f"a value{hint}")
        if token.kind not in ("word", "value", "text"):
            self._refuse("a value, in single quotes if it is not one word")
        self._advance()
        is_quoted = token.kind == "text"
        text = _unquoted(token.text) if is_quoted else token.text
        return Value(text=text, is_quoted=is_quoted, position=token.position)

    def _count(self, what: str) -> None:
        self._counts[what] -= 1
        if self._counts[what] < 0:
            most = _MAX_COMPARISONS if what == "comparisons" else _MAX_VALUES
            raise self._fault(self._next.position, f"more than {most:,} {what}; --keys-file takes any number of keys")

    def _take(self, kind: str, text: str) -> bool:
        is_next = self._next.kind == kind and self._next.text.lower() == text
        if is_next:
            self._advance()
        return is_next

    def _demand(self, kind: str, text: str) -> None:
        if not self._take(kind, text):
            self._refuse(text)

    def _advance(self) -> None:
        self._next = next(self._tokens)

    def _refuse(self, expected: str) -> NoReturn:
        found = repr(self._next.text) if self._next.kind != "end" else "the end"
        raise self._fault(self._next.position, f"found {found}, expected {expected}")

    def _fault(self, position: int, problem: str) -> InputFault:
        return InputFault(f"--where {self._text!r}, character {position}: {problem}")

    def _read_tokens(self) -> Iterator[_Token]:
        at = 0
        while True:
            at += len(self._text[at:]) - len(self._text[at:].lstrip())
            if at == len(self._text):
                yield _Token(kind="end", text="", position=at + 1)
                return
            match = _TOKEN.match(self._text, at)
            if match is None:
                mark = self._text[at]
                raise self._fault(
                    at + 1,
                    f"the quote {mark} is not closed"
                    if mark in "'\""
                    else f"found {mark!r}, which is only read inside quotes",
                )
            kind, text = str(match.lastgroup), match[0]
            if kind == "word" and text.lower() in KEYWORDS:
                kind = "keyword"
            yield _Token(kind=kind, text=text, position=at + 1)
            at = match.end()


def _unquoted(text: str) -> str:
    return text[1:-1].replace(2 * text[0], text[0])


def _negated(comparison: Comparison, is_negated: bool) -> Condition:
    return Not(condition=comparison) if is_negated else comparison
