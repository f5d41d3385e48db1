"""Parsing keys from the command line and from files."""

from __future__ import annotations

import codecs
import csv
import io
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.cli.output import notice
from batch_scoring.counting import counted
from batch_scoring.errors import InputFault
from batch_scoring.files.formulas import unescaped

if TYPE_CHECKING:
    from batch_scoring.domain.keys import TextKey

KEY_HELP = "A key: its value, or a=1,b=x where it has several columns. May be given again."
SKIP_UNKNOWN_HELP = "Skip keys that are not found and report how many, instead of failing."
KEYS_FILE_HELP = "A file of keys: CSV with , ; tab or |, or one key a line; - reads standard input."


def parse_key(text: str, names: Sequence[str], what: str = "--key") -> TextKey:
    """Parse a key from an argument: a value, or ``a=1,b=x`` for several columns. Raises InputFault."""
    if len(names) == 1:
        if not text:
            raise InputFault(f"{what}: expected a value of {names[0]}, found nothing")
        return (text,)
    expected = ",".join(f"{name}=…" for name in names)
    values: dict[str, str] = {}
    try:
        parts = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error:
        parts = [text]
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals or name.strip() not in names or name.strip() in values:
            raise InputFault(f"{what} {text!r}: expected {expected}, each column once")
        values[name.strip()] = value
    if missing := [name for name in names if name not in values]:
        raise InputFault(f"{what} {text!r}: lacks {', '.join(missing)}; expected {expected}")
    return tuple(values[name] for name in names)


def read_keys(file: str, names: Sequence[str]) -> tuple[TextKey, ...]:
    """Read the keys of a file, without duplicates. Raises InputFault with the line number.

    Fields are separated by commas, semicolons, tabs or bars, as detected from the first line or given by Excel's
    ``sep=`` line. A first line that names all key columns, in any case, is a header, and other columns are ignored;
    without a header, the fields are the key columns in order. Empty lines and blanks around a field are ignored; pass a
    key with such blanks to ``--key``. Lines that start with ``#`` and a blank, before the header or the first key, are
    comments.
    """
    text = _content(file)
    start, delimiter = _start(text)
    delimiter = delimiter or _delimiter(text[start:], names)
    rows = csv.reader(io.StringIO(text[start:], newline=""), delimiter=delimiter, skipinitialspace=True)
    lines_before = len(text[:start].splitlines())

    def fault(problem: str) -> InputFault:
        return InputFault(f"{file}, line {lines_before + rows.line_num}: {problem}")

    read: list[TextKey] = []
    form: _Form | None = None
    try:
        for row in rows:
            if not any(field.strip() for field in row):
                continue
            if form is None:
                form = _form(row, names, fault)
                if form.is_header:
                    continue
            read.append(form.key(row, fault))
    except csv.Error as exc:
        raise fault(f"is not valid CSV ({exc})") from exc
    if not read:
        raise InputFault(f"{file}: contains no keys")
    keys = dict.fromkeys(read)
    if len(read) > len(keys):
        notice(f"{file}: {len(read) - len(keys):,} of {len(read):,} keys are duplicates and were ignored")
    return tuple(keys)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Form:
    """The positions of the key columns in the rows of a file."""

    names: Sequence[str]
    positions: Sequence[int]
    field_count: int
    is_header: bool
    """Whether the first row names the columns."""
    is_export: bool = False
    """Whether ``quarantine export`` wrote the file."""

    def key(self, row: Sequence[str], fault: Callable[[str], InputFault]) -> TextKey:
        if any(field.strip() for field in row[self.field_count :]):
            first = "header" if self.is_header else "key"
            raise fault(
                f"has {counted(len(row), 'field')} where the {first} has {self.field_count};"
                f" add a header with {', '.join(self.names)} to ignore other columns, or quote a field that contains a"
                " separator"
            )
        key = tuple(row[position].strip() for position in self.positions if position < len(row))
        if self.is_export:
            key = tuple(map(unescaped, key))
        if len(key) < len(self.names) or not all(key):
            raise fault(f"expected a value for {', '.join(self.names)}")
        return key


_DELIMITERS = ",;\t|"
_BEFORE_THE_FIRST_ROW = re.compile(r'(?:"?sep=(?P<delimiter>[^\r\n"])"?[ \t]*(?:\r\n?|\n))?', re.IGNORECASE)
_COMMENT = re.compile(r"[ \t]*(?:#(?:[ \t][^\r\n]*)?)?(?:\r\n?|\n)")


def _start(text: str) -> tuple[int, str | None]:
    """The offset of the first row, and the delimiter given by Excel's ``sep=`` line before it."""
    before = _BEFORE_THE_FIRST_ROW.match(text)
    assert before is not None
    start = before.end()
    while (comment := _COMMENT.match(text, start)) is not None:
        start = comment.end()
    return start, before["delimiter"]


def _delimiter(text: str, names: Sequence[str]) -> str:
    """Detect the delimiter by the first line: a header that names the key, or as many fields as the key has columns."""
    found: dict[str, list[str]] = {}
    for delimiter in _DELIMITERS:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        with suppress(csv.Error):
            found[delimiter] = next(rows, [])
    for delimiter, row in found.items():
        if _places([field.strip() for field in row], names) is not None:
            return delimiter
    if len(names) > 1:
        for delimiter, row in found.items():
            if len(row) == len(names):
                return delimiter
    return ","


def _form(row: Sequence[str], names: Sequence[str], fault: Callable[[str], InputFault]) -> _Form:
    """The format of the file, from its first row. Raises ``fault`` if that is a header with other columns."""
    fields = [field.strip() for field in row]
    places = _places(fields, names)
    if places is None:
        known = {field.casefold() for field in fields}
        missing = [name for name in names if name.casefold() not in known]
        if 0 < len(missing) < len(names):
            raise fault(f"the header lacks {', '.join(missing)}; the key is {', '.join(names)}")
        return _Form(names=names, positions=range(len(names)), field_count=len(names), is_header=False)
    duplicates = [fields[place] for place in places if fields.count(fields[place]) > 1]
    if duplicates:
        raise fault(f"the header names {duplicates[0]} more than once; rename one of them")
    is_export = {"reason_code", "column_name", "attempts", "since"} <= set(fields)
    return _Form(names=names, positions=places, field_count=len(row), is_header=True, is_export=is_export)


def _places(fields: Sequence[str], names: Sequence[str]) -> list[int] | None:
    if set(names) <= set(fields):
        return [fields.index(name) for name in names]
    folded, wanted = [field.casefold() for field in fields], [name.casefold() for name in names]
    if len(set(wanted)) == len(wanted) and all(folded.count(name) == 1 for name in wanted):
        return [folded.index(name) for name in wanted]
    return None


_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)


def _content(file: str) -> str:
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as exc:
        raise InputFault(f"{file} cannot be read: {exc.strerror}") from exc
    marks = (found[1:] for found in _BYTE_ORDER_MARKS if content.startswith(found[0]))
    encoding, name = next(marks, ("utf-8", "UTF-8"))
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as exc:
        line = content[: exc.start].count(b"\n") + 1
        raise InputFault(f"{file}, line {line}: is not {name}; save it as UTF-8 and try again") from None
