"""Keys as people write them: on the command line and in files."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.cli.output import notice
from batch_scoring.counting import counted
from batch_scoring.errors import InputFault

if TYPE_CHECKING:
    from batch_scoring.store.values import TextKey

KEY_HELP = "A key: its value, or a=1,b=x where it has several columns. May be given again."
KEYS_FILE_HELP = "A file of keys: CSV, or one key a line; - reads standard input."


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

    A first line that names all key columns is a header, and other columns are passed over; without one the fields are
    the key's, in order. Empty lines are passed over, and so are blanks around a field: a key that has some is one for
    ``--key``.
    """
    rows = csv.reader(io.StringIO(_content(file), newline=""))
    keys: dict[TextKey, None] = {}
    first, read, width = "key", 0, 0
    places: list[int] | None = None
    try:
        for row in rows:
            if not any(field.strip() for field in row):
                continue
            if places is None:
                places = _header(row, names)
                if places is not None:
                    first, width = "header", len(row)
                    continue
                places = list(range(len(names)))
                first, width = "key", len(names)
            if len(row) > width:
                raise InputFault(
                    f"{file}, line {rows.line_num}: has {counted(len(row), 'field')} where the {first} has {width};"
                    f" a header that names {', '.join(names)} says which count, and quotes keep a comma inside one"
                )
            if len(row) <= max(places) or not all(row[place].strip() for place in places):
                raise InputFault(f"{file}, line {rows.line_num}: expected a value for {', '.join(names)}")
            read += 1
            keys[tuple(row[place].strip() for place in places)] = None
    except csv.Error as exc:
        raise InputFault(f"{file}, line {rows.line_num}: is no CSV ({exc})") from exc
    if not keys:
        raise InputFault(f"{file}: holds no keys")
    if read > len(keys):
        notice(f"{file}: {read - len(keys):,} of {read:,} keys stand there more than once; each counts once")
    return tuple(keys)


def _header(row: Sequence[str], names: Sequence[str]) -> list[int] | None:
    fields = [field.strip() for field in row]
    return [fields.index(name) for name in names] if set(names) <= set(fields) else None


def _content(file: str) -> str:
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as exc:
        raise InputFault(f"{file} cannot be read: {exc.strerror}") from exc
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content[: exc.start].count(b"\n") + 1
        raise InputFault(f"{file}, line {line}: is not UTF-8; save it as UTF-8 and try again") from None
