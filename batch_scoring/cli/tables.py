"""Printing tables and records: in full to a pipe, and fitted to the width of a terminal.

On a narrow terminal, free text is truncated first, then ``optional`` columns are omitted, and finally each row is
printed as a block with one column per line, as with ``\\x auto`` in psql. Dates, names and numbers are never broken.
"""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import typer

from batch_scoring.cli.streams import encodable, is_unicode

if TYPE_CHECKING:
    from rich.console import Console

_GAP = 2
_FEWEST = 16
"""The minimum width of truncated free text, in columns."""
_RULE = 60
_BLANK_IN_TIME = re.compile(r"(?<=\d\d\d\d-\d\d-\d\d) (?=\d\d:\d\d)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, kw_only=True, slots=True)
class TableColumn:
    """A column of a table."""

    name: str
    optional: bool = False
    """Whether it may be omitted on a narrow terminal; the last such column is omitted first."""
    is_text: bool = False
    """Whether it contains free text, which may be truncated."""
    is_number: bool = False
    """Whether it contains numbers that are formatted as text."""


def shown(value: Any) -> str:
    """Format a value for printing; times are UTC."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, timedelta):
        return str(timedelta(seconds=int(value.total_seconds())))
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)


def show_table(
    columns: Sequence[str | TableColumn],
    rows: Iterable[Sequence[Any]],
    *,
    title: str | None = None,
    in_full: bool = False,
    target: Console | None = None,
) -> None:
    """Print rows under a header. Columns of numbers are right-aligned.

    ``in_full`` prints every column without truncation, as blocks if they do not fit. ``target`` replaces standard
    output.
    """
    table = _Table(columns, rows, target)
    if title:
        table.print(f"\n{title}")
    width = _width(target)
    fitting = table.fit(width, in_full=in_full)
    if fitting is None:
        table.print_vertical(width)
    else:
        table.print_horizontal(fitting)
        table.remark(fitting)


def show_record(pairs: Iterable[tuple[str, Any]]) -> None:
    """Print names and values, one per line. On a terminal, long values are wrapped with a hanging indent."""
    _print_record([(name, shown(value)) for name, value in pairs], _width(None))


def show_sentence(prefix: str, text: str) -> None:
    """Print a sentence after a prefix. On a terminal, it is wrapped with a hanging indent."""
    for line in _hanging(prefix, _visible(text, sys.stdout.encoding), _width(None)):
        typer.echo(line)


def _width(target: Console | None) -> int | None:
    if target is not None:
        return target.width
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _visible(text: str, encoding: str | None) -> str:
    """The text as it is printed, with control characters, which a terminal would interpret, as escape sequences."""
    escaped = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
    return encodable(escaped, encoding)


def _print_record(pairs: Sequence[tuple[str, str]], width: int | None) -> None:
    encoding = sys.stdout.encoding
    longest = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        for number, line in enumerate(value.splitlines() or [""]):
            prefix = (name if number == 0 else "").ljust(longest + _GAP)
            for printed in _hanging(prefix, _visible(line, encoding), width):
                typer.echo(printed)


def _hanging(prefix: str, text: str, width: int | None) -> list[str]:
    if width is None or len(prefix) + len(text) <= width:
        return [f"{prefix}{text}"]
    unbroken = _BLANK_IN_TIME.sub("\0", text)
    longest = max(map(len, unbroken.split()), default=0)
    indent = len(prefix) if width - len(prefix) >= max(_FEWEST, longest) else _GAP
    if indent == _GAP and len(prefix) + longest > width:
        return [prefix.rstrip(), *_hanging(" " * _GAP, text, max(width, _GAP + longest))]
    lines = textwrap.wrap(
        unbroken,
        width=width,
        initial_indent=prefix,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace("\0", " ") for line in lines]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fitting:
    """The columns of a table that are printed side by side: the width of each, by its number."""

    widths: dict[int, int]
    truncated: tuple[int, ...] = ()


class _Table:
    def __init__(
        self, columns: Sequence[str | TableColumn], rows: Iterable[Sequence[Any]], target: Console | None
    ) -> None:
        from rich.cells import cell_len

        self._target = target
        self._encoding = target.encoding if target is not None else sys.stdout.encoding
        self.columns = [TableColumn(name=column) if isinstance(column, str) else column for column in columns]
        values = [list(row) for row in rows]
        self.numeric = [
            column.is_number
            or (bool(values) and all(isinstance(row[i], int | float) or row[i] is None for row in values))
            for i, column in enumerate(self.columns)
        ]
        self.rows = [[_visible(shown(value), self._encoding) for value in row] for row in values]
        self._measure = cell_len
        self.natural = [
            max(cell_len(text) for text in (column.name, *(row[i] for row in self.rows)))
            for i, column in enumerate(self.columns)
        ]

    def fit(self, width: int | None, *, in_full: bool) -> _Fitting | None:
        """The columns to print side by side; None if even the required ones are too wide."""
        kept = list(range(len(self.columns)))
        if width is None:
            return _Fitting(widths={i: self.natural[i] for i in kept})
        optional = [] if in_full else [i for i in kept if self.columns[i].optional]
        while True:
            fitting = self._truncated_to(width, kept, may_truncate=not in_full)
            if fitting is not None:
                return fitting
            if not optional:
                return None
            kept.remove(optional.pop())

    def _truncated_to(self, width: int, kept: Sequence[int], *, may_truncate: bool) -> _Fitting | None:
        widths = {i: self.natural[i] for i in kept}
        excess = sum(widths.values()) + _GAP * (len(kept) - 1) - width
        truncated = []
        for i in sorted(kept, key=lambda i: -self.natural[i]):
            fewest = max(_FEWEST, self._measure(self.columns[i].name))
            if may_truncate and excess > 0 and self.columns[i].is_text and widths[i] > fewest:
                less = min(excess, widths[i] - fewest)
                widths[i] -= less
                excess -= less
                truncated.append(i)
        return None if excess > 0 else _Fitting(widths=widths, truncated=tuple(truncated))

    def print_horizontal(self, fitting: _Fitting) -> None:
        rule = "─" if is_unicode(self._encoding) else "-"
        self.print(self._line([column.name for column in self.columns], fitting))
        self.print((" " * _GAP).join(rule * width for width in fitting.widths.values()))
        for row in self.rows:
            self.print(self._line(row, fitting))

    def _line(self, texts: Sequence[str], fitting: _Fitting) -> str:
        from rich.cells import set_cell_size

        ellipsis = "…" if is_unicode(self._encoding) else "..."
        cells = []
        for i, width in fitting.widths.items():
            length = self._measure(texts[i])
            if length > width:
                cells.append(set_cell_size(texts[i], width - len(ellipsis)) + ellipsis)
            else:
                blanks = " " * (width - length)
                cells.append(blanks + texts[i] if self.numeric[i] else texts[i] + blanks)
        return (" " * _GAP).join(cells).rstrip()

    def print_vertical(self, width: int | None) -> None:
        longest = max(len(column.name) for column in self.columns)
        for number, row in enumerate(self.rows, start=1):
            head = f"-[ {number} ]"
            self.print(head + "-" * (min(width or _RULE, _RULE) - len(head)))
            for column, value in zip(self.columns, row, strict=True):
                for line in _hanging(column.name.ljust(longest + _GAP), value, width):
                    self.print(line.rstrip())

    def remark(self, fitting: _Fitting) -> None:
        """Report what a narrow terminal does not show."""
        left_out = [column.name for i, column in enumerate(self.columns) if i not in fitting.widths]
        is_truncated = any(self.natural[i] > fitting.widths[i] and self.rows for i in fitting.truncated)
        parts = [f"not shown: {', '.join(left_out)}"] if left_out else []
        parts += ["text was truncated"] if is_truncated else []
        if parts and self._target is None:
            typer.echo(f"({'; '.join(parts)}; use a wider terminal, or --json)", err=True)

    def print(self, line: str) -> None:
        if self._target is None:
            typer.echo(line)
        else:
            self._target.print(line, markup=False, highlight=False, soft_wrap=True)
