"""Keys as people write them: on the command line and in files."""

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

if TYPE_CHECKING:
    from batch_scoring.domain.keys import TextKey

KEY_HELP = "A key: its value, or a=1,b=x where it has several columns. May be given again."
SKIP_UNKNOWN_HELP = "Skip keys that are not found, and say how many, in place of doing nothing."
KEYS_FILE_HELP = "A file of keys: CSV with , ; tab or |, or one key a line; - reads standard input."


def parse_key(text: str, names: Sequence[str], what: str = "--key") -> TextKey:
    """A key from one argument. Raises InputFault."""
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
    """The keys of a file, each once. Raises InputFault naming the line.

    Fields are separated by commas, semicolons, tabs or bars, whichever the first line or Excel's ``sep=`` line says.
    A first line that names all key columns, in any case, is a header, and other columns are ignored; without one the
    fields are the key's, in order. Empty lines are ignored, and so are blanks around a field: a key that has some is
    one for ``--key``. Lines of ``#`` and a blank before the header or the first key are comments.
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
        raise fault(f"is no CSV ({exc})") from exc
    if not read:
        raise InputFault(f"{file}: holds no keys")
    keys = dict.fromkeys(read)
    if len(read) > len(keys):
        notice(f"{file}: {len(read) - len(keys):,} of {len(read):,} keys stand there more than once; each counts once")
    return tuple(keys)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Form:
    """Where a file's rows hold the key."""

    names: Sequence[str]
    places: Sequence[int]
    width: int
    is_header: bool
    """The first row named the columns."""

    def key(self, row: Sequence[str], fault: Callable[[str], InputFault]) -> TextKey:
        if any(field.strip() for field in row[self.width :]):
            raise fault(
                f"has {counted(len(row), 'field')} where the {'header' if self.is_header else 'key'} has {self.width};"
                f" a header that names {', '.join(self.names)} says which count, and quotes keep a separator inside one"
            )
        key = tuple(row[place].strip() for place in self.places if place < len(row))
        if len(key) < len(self.names) or not all(key):
            raise fault(f"expected a value for {', '.join(self.names)}")
        return key


_DELIMITERS = ",;\t|"
_BEFORE_THE_FIRST_ROW = re.compile(r'(?:"?sep=(?P<delimiter>[^\r\n"])"?[ \t]*(?:\r\n?|\n))?', re.IGNORECASE)
_COMMENT = re.compile(r"[ \t]*(?:#(?:[ \t][^\r\n]*)?)?(?:\r\n?|\n)")


def _start(text: str) -> tuple[int, str | None]:
    """Where the first row begins, and the delimiter that Excel's line before it names."""
    before = _BEFORE_THE_FIRST_ROW.match(text)
    assert before is not None
    start = before.end()
    while (comment := _COMMENT.match(text, start)) is not None:
        start = comment.end()
    return start, before["delimiter"]


def _delimiter(text: str, names: Sequence[str]) -> str:
    """What separates fields, by the first line: a header that names the key, or as many fields as the key has."""
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
    """What the first row says of the others. Raises ``fault`` where it is the header of another key."""
    fields = [field.strip() for field in row]
    places = _places(fields, names)
    if places is None:
        known = {field.casefold() for field in fields}
        missing = [name for name in names if name.casefold() not in known]
        if 0 < len(missing) < len(names):
            raise fault(f"the header lacks {', '.join(missing)}; the key is {', '.join(names)}")
        return _Form(names=names, places=range(len(names)), width=len(names), is_header=False)
    doubled = [fields[place] for place in places if fields.count(fields[place]) > 1]
    if doubled:
        raise fault(f"the header names {doubled[0]} more than once; rename one of them")
    return _Form(names=names, places=places, width=len(row), is_header=True)


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
