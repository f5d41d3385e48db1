"""A CSV file as columns of text: its header, its fields, and the line of each row."""

from __future__ import annotations

import codecs
import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from batch_scoring.errors import InputFault
from batch_scoring.files.buffers import arrow_buffer
from batch_scoring.files.content import text_of
from batch_scoring.files.format import FileFormat

_LARGEST_BLOCK = 2**31 - 1
_SHOWN_NAMES = 40
_BLANKS = " \t"
_DATA = re.compile(r"\s*[+-]?(\d+([.,]\d+)*|\d{4}-\d\d-\d\d([T ].*)?)\s*", re.ASCII)
"""Unlikely names of a column: a number or a date."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvTable:
    """n rows of text by column; an empty field is null."""

    file: Path
    form: FileFormat
    columns: dict[str, pa.Array]
    notes: tuple[str, ...]
    """Remarks on how the file was read, one sentence each."""
    body: bytes
    separator: str
    first_line: int
    """The line of the file that ``body`` starts at."""

    @property
    def rows(self) -> int:
        return len(next(iter(self.columns.values())))

    def line_of(self, row: int) -> int:
        """The line, from 1, in which a row, from 0, starts."""
        if b'"' not in self.body and not re.search(rb"^\r?\n", self.body, re.MULTILINE):
            return self.first_line + row
        for number, (line, _) in enumerate(_records(self.body, self.separator)):
            if number == row:
                return self.first_line + line
        return self.first_line + row

    def lacks(self, names: Sequence[str]) -> InputFault:
        """The error for columns that the file does not have."""
        if _looks_like_data(list(self.columns)):
            return InputFault(
                f"{self.file} has no column {', '.join(names)}: its first line looks like data;"
                " put a line with the names of the columns above it"
            )
        shown = ", ".join(list(self.columns)[:_SHOWN_NAMES]) + (", ..." if len(self.columns) > _SHOWN_NAMES else "")
        fault = f"{self.file} has no column {', '.join(names)}; it has {shown}"
        return InputFault(fault + _separator_hint(list(self.columns), self.separator))


def read_csv_table(file: Path, content: bytes, form: FileFormat, *, keep: Sequence[str] = ()) -> CsvTable:
    """The rows of a CSV file with a header.

    Blanks around names are removed, and around fields where the header has one after each separator or each value of
    a column starts with one. A first column of row numbers without a name (or with the one that pandas gives it) is
    left out unless ``keep`` names it. Raises InputFault naming the invalid line or the position of the invalid column.
    """
    text = text_of(file, content, form)
    start = len(text) - len(text.lstrip(b"\r\n"))
    skipped, text = text[:start].count(b"\n"), text[start:]
    separator = form.separator or ("\t" if file.suffix.lower() in (".tsv", ".tab") else ",")
    if form.separator is None and (declared := re.match(rb'"?sep=([^\r\n])"?\r?\n', text)):
        separator, text, skipped = declared[1].decode(), text[declared.end() :], skipped + 1
    header, body = _header(file, text, separator)
    if len(header) > 1 and all(name[:1] and name[0] in _BLANKS for name in header[1:]):
        text = _without_blanks(text, separator)
        header, body = _header(file, text, separator)
    names = [name.strip() for name in header]
    first_line = 1 + skipped + text[: len(text) - len(body)].count(b"\n")
    if not body.strip(b"\r\n"):
        raise InputFault(f"{file} has a header and no rows")
    _refuse_open_quote(file, body, separator, first_line)
    arrays = _fields(file, body, separator, names, first_line)
    notes: list[str] = []
    if len(arrays) > 1 and names[0] not in keep and names[0] in ("", "Unnamed: 0") and _are_row_numbers(arrays[0]):
        names, arrays = names[1:], arrays[1:]
        notes.append("the first column, row numbers without a name, is left out")
    _check_names(file, names, offset=1 + len(notes))
    columns = {}
    for name, values in zip(names, arrays, strict=True):
        columns[name] = _without_leading_blanks(values)
        if columns[name] is not values:
            is_empty = columns[name].null_count == len(values)
            done = "only blanks, read as missing" if is_empty else "the blank before each value is removed"
            notes.append(f"{name}: {done}")
    return CsvTable(
        file=file,
        form=form,
        columns=columns,
        notes=tuple(notes),
        body=body,
        separator=separator,
        first_line=first_line,
    )


def _header(file: Path, text: bytes, separator: str) -> tuple[list[str], bytes]:
    """The column names as they are written, and the rest of the text."""
    try:
        for _, names in _records(text, separator):
            return names, text[_first_record_length(text, separator) :]
    except csv.Error as exc:
        raise InputFault(f"{file} is not a CSV file with a header: its first line cannot be read ({exc})") from exc
    raise InputFault(f"{file} is not a CSV file with a header: it has no line with the names of the columns")


def _first_record_length(text: bytes, separator: str) -> int:
    read = 0

    def lines() -> Iterator[str]:
        nonlocal read
        for line in io.BytesIO(text):
            read += len(line)
            yield line.decode()

    with _any_field_size():
        next(csv.reader(lines(), delimiter=separator))
    return read


def _records(text: bytes, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Every record that is not empty, with the number of lines before it."""
    with _any_field_size():
        reader = csv.reader(io.TextIOWrapper(io.BytesIO(text), encoding="utf-8", newline=""), delimiter=separator)
        before = 0
        for record in reader:
            if record:
                yield before, record
            before = reader.line_num


@contextmanager
def _any_field_size() -> Iterator[None]:
    limit = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _without_blanks(text: bytes, separator: str) -> bytes:
    """The text without blanks around its fields; blanks inside quotes are preserved."""
    sign = re.escape(separator)
    blanks = "[ ]*" if separator == "\t" else r"[ \t]*"
    pattern = rf'(?:(?<=[{sign}\n])|\A){blanks}("(?:[^"]|"")*"){blanks}(?=[{sign}\r\n]|\Z)'
    pattern += rf"|(?:(?<=[{sign}\n])|\A){blanks[:-1]}+|{blanks[:-1]}+(?=[{sign}\r\n]|\Z)"
    return re.sub(pattern, r"\1", text.decode()).encode()


def _fields(file: Path, body: bytes, separator: str, header: Sequence[str], first_line: int) -> list[pa.Array]:
    names = [str(position) for position in range(len(header))]
    convert = pacsv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
    )
    # without quotes no field contains a line break, and blocks are parsed in parallel
    parse = pacsv.ParseOptions(delimiter=separator, newlines_in_values=b'"' in body)
    if body.startswith(codecs.BOM_UTF8):
        body = codecs.BOM_UTF8 + body  # Arrow removes one, and this one is part of the first field
    for block in (None, min(len(body) + 1, _LARGEST_BLOCK)):
        try:
            table = pacsv.read_csv(
                pa.BufferReader(arrow_buffer(body)),
                read_options=pacsv.ReadOptions(column_names=names, block_size=block),
                parse_options=parse,
                convert_options=convert,
            )
            return [pa.concat_arrays(column.chunks) for column in table.columns]
        except (pa.ArrowInvalid, pa.ArrowCapacityError) as exc:
            if block is None and "straddl" in str(exc):
                continue
            raise _broken(file, body, separator, header, first_line) from exc
    raise AssertionError  # the second block holds the whole file


def _refuse_open_quote(file: Path, body: bytes, separator: str, first_line: int) -> None:
    """Raise InputFault where a quote is not closed, since the rest of the file would be one field."""
    if body.count(b'"') % 2 == 0:
        return
    end = "the end of the file"
    line, record = 0, [""]
    for line, record in _records(body.rstrip(b"\r\n") + f"\n{end}".encode(), separator):  # noqa: B007 - the last
        pass
    if record != [end]:
        raise InputFault(f"{file}, line {first_line + line}: a quote is opened in this row and never closed")


def _broken(file: Path, body: bytes, separator: str, header: Sequence[str], first_line: int) -> InputFault:
    """The error for rows that cannot be parsed."""
    count = len(header)
    try:
        for line, record in _records(body, separator):
            if len(record) != count:
                fields = "field" if len(record) == 1 else "fields"
                names = "name" if count == 1 else "names"
                return InputFault(
                    f"{file}, line {first_line + line}: {len(record)} {fields}, and the header has {count} {names};"
                    " each line needs as many fields as the header"
                    + (" (a text that holds the separator goes into quotes)" if len(record) > count > 1 else "")
                    + _separator_hint(header, separator)
                )
    except csv.Error:
        pass
    return InputFault(
        f"{file} is not a CSV file with a header and as many fields in each line;"
        " check that every quote is closed, and that no column holds more than 2 GB of text"
    )


def _separator_hint(names: Sequence[str], separator: str) -> str:
    other = next((sign for sign in ";\t|," if sign != separator and sign in names[0]), None)
    if len(names) > 1 or other is None:
        return ""
    return f". Its fields seem to be separated otherwise: try --separator {'tab' if other == chr(9) else repr(other)}"


def _are_row_numbers(values: pa.Array) -> bool:
    if values.null_count or not pc.all(pc.match_substring_regex(values, r"^\d{1,18}$")).as_py():
        return False
    return bool(pc.count_distinct(values).as_py() == len(values))


def _check_names(file: Path, names: Sequence[str], *, offset: int) -> None:
    positions = {name: [at for at, other in enumerate(names, offset) if other == name] for name in names}
    is_data = _looks_like_data(names)
    faults = []
    for name, count in Counter(names).items():
        listed = _listed(positions[name])
        if not name:
            faults.append(f"column{'s' * (count > 1)} {listed} {'have' if count > 1 else 'has'} no name")
        elif count > 1:
            faults.append(f"columns {listed} have the same name" + ("" if is_data else f", {name}"))
    if faults:
        what = (
            "its first line looks like data: put a line with the names of the columns above it"
            if is_data
            else "give each column a name of its own in the header, or remove it"
        )
        raise InputFault(f"{file}: {'; '.join(faults)}; {what}")


def _listed(positions: Sequence[int]) -> str:
    return " and ".join(filter(None, [", ".join(map(str, positions[:-1])), str(positions[-1])]))


def _looks_like_data(names: Sequence[str]) -> bool:
    return any(_DATA.fullmatch(name) for name in names)


def _without_leading_blanks(values: pa.Array) -> pa.Array:
    """The values without blanks around them where each starts with one, else the array itself."""
    present = values.drop_null()
    if not len(present) or present[0].as_py()[0] not in _BLANKS:
        return values
    if not pc.all(pc.match_substring_regex(present, r"^[ \t]")).as_py():
        return values
    trimmed = pc.utf8_trim(values, characters=_BLANKS)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)
