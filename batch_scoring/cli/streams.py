"""Standard streams whose errors do not fail a command.

Characters that cannot be encoded are replaced with ASCII, and a reader may close a pipe early. A command has made its
changes whether or not the result can be printed, so writing raises nothing; a failure is reported once, at the end.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import TextIO

ASCII = "batch_scoring.ascii"
"""A codec error handler: typographic characters become ASCII, others escape sequences."""

_STRICT_ASCII = "batch_scoring_ascii"
"""ASCII under another name: Typer treats ASCII as misconfigured and would write UTF-8 instead."""

_IN_ASCII = {
    "\N{RIGHTWARDS ARROW}": "->",
    "\N{LEFTWARDS ARROW}": "<-",
    "\N{PLUS-MINUS SIGN}": "+/-",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MINUS SIGN}": "-",
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{BULLET}": "*",
    "\N{LESS-THAN OR EQUAL TO}": "<=",
    "\N{GREATER-THAN OR EQUAL TO}": ">=",
    "\N{NO-BREAK SPACE}": " ",
    **dict.fromkeys("─━╌╴╶╸╺", "-"),
    **dict.fromkeys("│┃", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰┏┓┗┛╇╈┡┩", "+"),
    **dict.fromkeys("▏▎▍▌▋▊▉█▐▕", "#"),
}


def _ascii(exc: UnicodeError) -> tuple[str, int]:
    if not isinstance(exc, UnicodeEncodeError):
        raise exc
    text = exc.object[exc.start : exc.end]
    return "".join(
        _IN_ASCII.get(character) or character.encode("ascii", "backslashreplace").decode("ascii") for character in text
    ), exc.end


def _strict_ascii(name: str) -> codecs.CodecInfo | None:
    if name != _STRICT_ASCII:
        return None
    ascii_ = codecs.lookup("ascii")
    return codecs.CodecInfo(
        name=name,
        encode=ascii_.encode,
        decode=ascii_.decode,
        incrementalencoder=ascii_.incrementalencoder,
        incrementaldecoder=ascii_.incrementaldecoder,
        streamwriter=ascii_.streamwriter,
        streamreader=ascii_.streamreader,
    )


codecs.register_error(ASCII, _ascii)
codecs.register(_strict_ascii)


class _Tolerant(io.FileIO):
    """A file that discards what cannot be written, because the reader closed the pipe or the disk is full."""

    fault: OSError | None = None

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except BrokenPipeError:
            pass
        except OSError as exc:
            self.fault = exc
        return memoryview(data).nbytes  # type: ignore[arg-type]


def prepare() -> None:
    """Replace the standard streams with ones that raise nothing, even if they were closed at the start."""
    _open_closed()
    sys.stdout = _tolerant(sys.stdout, 1)
    sys.stderr = _tolerant(sys.stderr, 2)


def _open_closed() -> None:
    """Open closed descriptors: otherwise the next opened file, such as a database, would become standard output."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open until the process exits


def _tolerant(stream: TextIO | None, number: int) -> TextIO:
    encoding, is_terminal = "utf-8", os.isatty(number)
    if stream is not None:
        try:
            if stream.fileno() != number:
                return stream
        except (OSError, ValueError):  # an in-memory stream
            return stream
        stream.flush()
        encoding = stream.encoding or encoding
        if codecs.lookup(encoding).name == "ascii":
            encoding = _STRICT_ASCII
    raw = _Tolerant(number, "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors=ASCII, line_buffering=is_terminal or number == 2
    )


def finish() -> str | None:
    """Flush the streams; returns why standard output could not be written, or None. A closed pipe is not an error."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    fault = raw.fault if isinstance(raw, _Tolerant) else None
    return None if fault is None else fault.strerror or "unknown reason"


def encodable(text: str, encoding: str | None) -> str:
    """The text as a stream with this encoding writes it."""
    return text.encode(encoding or "utf-8", ASCII).decode(encoding or "utf-8")


def is_unicode(encoding: str | None) -> bool:
    """Whether the encoding can represent every character."""
    return codecs.lookup(encoding or "utf-8").name.startswith("utf")
