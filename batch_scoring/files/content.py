"""Read a file, detect its format by its first bytes, and decode its text."""

from __future__ import annotations

import codecs
import gzip
import stat
import zlib
from pathlib import Path

from batch_scoring.errors import InputFault
from batch_scoring.files.format import FileFormat

_PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"

_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook; save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook; save the sheet as CSV"),
    (b"%PDF-", "a PDF document; export the data as CSV"),
    (b"SQLite format 3\0", "an SQLite database; export the table as CSV"),
    (b"BZh", "compressed by bzip2; decompress it"),
    (b"\xfd7zXZ\0", "compressed by xz; decompress it"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; decompress it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; extract it"),
    (b"ARROW1", "an Arrow file; save it as Parquet or CSV"),
    (b"PGDMP", "a dump of PostgreSQL; export the table as CSV"),
    (b"\x89PNG", "an image; name the data"),
)

_END_OF_FILE = b"\x1a"
"""The mark that CP/M and MS-DOS programs write after the last line."""

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose byte order mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_content(file: Path) -> bytes:
    """All bytes of a file. Raises InputFault."""
    try:
        if stat.S_ISCHR(file.stat().st_mode):  # a device may never end
            raise InputFault(f"{file} is a device, not a file with rows; name a file")
        return file.read_bytes()
    except OSError as exc:
        raise InputFault(f"{file} cannot be read: {exc.strerror or exc}") from exc
    except MemoryError as exc:
        raise InputFault(f"{file} does not fit into memory; split it") from exc


def is_parquet(file: Path, content: bytes) -> bool:
    """Whether the content of a file is Parquet. Raises InputFault where only its suffix is that of Parquet."""
    if content.startswith(_PARQUET):
        return True
    if file.suffix.lower() in (".parquet", ".pq"):
        reason = "it is empty" if not content else "it does not start as one"
        raise InputFault(f"{file} is not a Parquet file ({reason}); write it again, or give a CSV file the suffix .csv")
    return False


def text_of(file: Path, content: bytes, form: FileFormat) -> bytes:
    """The text of a CSV file in UTF-8, with ``\\n`` or ``\\r\\n`` at the ends of lines.

    It has no byte order mark and no end-of-file mark. gzip is decompressed. Raises InputFault naming the file's actual
    format, or the line that cannot be decoded.
    """
    if content.startswith(_GZIP):
        content = _decompressed(file, content)
    for start, what in _OTHERS:
        if content.startswith(start):
            raise InputFault(f"{file} is not a CSV file: it is {what}")
    if form.encoding is None and not content.startswith(tuple(mark for mark, _ in _BYTE_ORDER_MARKS)):
        _refuse_nul(file, content)  # before decoding as UTF-8: UTF-16 without a byte order mark contains NUL
    text = _in_utf8(file, content, form.encoding).rstrip(_END_OF_FILE)
    _refuse_nul(file, text)
    if not text.strip():
        raise InputFault(f"{file} is not a CSV file: it is empty")
    if b"\r" in text and b"\n" not in text:
        text = text.replace(b"\r", b"\n")
    return text


def _refuse_nul(file: Path, text: bytes) -> None:
    if (at := text.find(b"\0")) >= 0:
        raise InputFault(
            f"{file}, line {_line(text, at)}: a NUL character, which text cannot contain;"
            " the file is not a CSV file, or give its encoding with --encoding, such as utf-16-le"
        )


def _decompressed(file: Path, content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as exc:
        raise InputFault(f"{file} is compressed by gzip and damaged or truncated; write it again") from exc
    except MemoryError as exc:
        raise InputFault(f"{file} does not fit into memory once decompressed; split it") from exc


def _in_utf8(file: Path, content: bytes, encoding: str | None) -> bytes:
    marked = next(((mark, name) for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark)), None)
    if marked and (encoding is None or _same_family(encoding, marked[1])):
        content, encoding = content[len(marked[0]) :], marked[1]
    name = codecs.lookup(encoding or "utf-8").name
    try:
        if name == "utf-8":
            content.decode()
            return content
        return content.decode(name).encode()
    except UnicodeEncodeError as exc:  # half a pair of surrogates
        raise InputFault(f"{file} is not text in {name}; give its encoding with --encoding") from exc
    except UnicodeDecodeError as exc:
        line = _line(content[: exc.start].decode(name, "ignore").encode(errors="ignore"), None)
        shown = {"utf-8": "UTF-8"}.get(name, name)
        raise InputFault(
            f"{file}, line {line}: the text is not valid {shown};"
            f" give the file's encoding with --encoding, such as {'cp1252' if name == 'utf-8' else 'utf-8'}"
        ) from exc


def _same_family(encoding: str, marked: str) -> bool:
    return codecs.lookup(encoding).name.replace("-sig", "").startswith(marked[:6].rstrip("-"))


def _line(text: bytes, end: int | None) -> int:
    before = text[:end]
    return 1 + (before.count(b"\n") if b"\n" in before else before.count(b"\r"))
