"""Tables and records: as wide as they are in a pipe, and fitted to a terminal without breaking a value.

On a terminal that is too narrow, free text is cut off first, then columns that are ``optional`` are left out, and then
each row becomes a block of lines with one column each, as with ``\\x auto`` in psql. A date, name or number is never
broken.
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
"""Free text is not cut off to less than this."""
_RULE = 60
_BLANK_IN_TIME = re.compile(r"(?<=\d\d\d\d-\d\d-\d\d) (?=\d\d:\d\d)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, kw_only=True, slots=True)
class TableColumn:
    """A column of a table."""

    name: str
    optional: bool = False
    """It is left out where the terminal is too narrow for it, the last such column first."""
    is_text: bool = False
    """It holds free text, which may be cut off."""
    is_number: bool = False
    """It holds numbers that are texts already."""


def shown(value: Any) -> str:
    """A value as a person reads it; times are UTC."""
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
    always_whole: bool = False,
    target: Console | None = None,
) -> None:
    """Rows under a header; a column all of whose values are numbers is aligned to the right.

    ``always_whole`` shows every column and every text in full, as blocks where they do not fit. ``target`` takes the
    table in place of standard output.
    """
    table = _Table(columns, rows, target)
    if title:
        table.print(f"\n{title}")
    width = _width(target)
    fitting = table.fit(width, always_whole=always_whole)
    if fitting is None:
        table.print_vertical(width)
    else:
        table.print_horizontal(fitting)
        table.remark(fitting)


def show_record(pairs: Iterable[tuple[str, Any]]) -> None:
    """Names and values, one a line; on a terminal, long values go on in the next line under their beginning."""
    _print_record([(name, shown(value)) for name, value in pairs], _width(None))


def show_sentence(prefix: str, text: str) -> None:
    """A sentence after a prefix; on a terminal, it goes on in the next line under its beginning."""
    for line in _hanging(prefix, _visible(text, sys.stdout.encoding), _width(None)):
        typer.echo(line)


def _width(target: Console | None) -> int | None:
    if target is not None:
        return target.width
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _visible(text: str, encoding: str | None) -> str:
    """The text as the output will show it: control characters, which a terminal would obey, as escape sequences."""
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
    whole_times = _BLANK_IN_TIME.sub("\0", text)
    longest = max(map(len, whole_times.split()), default=0)
    indent = len(prefix) if width - len(prefix) >= max(_FEWEST, longest) else _GAP
    if indent == _GAP and len(prefix) + longest > width:
        return [prefix.rstrip(), *_hanging(" " * _GAP, text, max(width, _GAP + longest))]
    lines = textwrap.wrap(
        whole_times,
        width=width,
        initial_indent=prefix,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace("\0", " ") for line in lines]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fitting:
    """What of a table is shown side by side: columns by number, and the width of each."""

    widths: dict[int, int]
    cut: tuple[int, ...] = ()


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

    def fit(self, width: int | None, *, always_whole: bool) -> _Fitting | None:
        """The columns to show side by side; None where even the necessary ones are too wide."""
        kept = list(range(len(self.columns)))
        if width is None:
            return _Fitting(widths={i: self.natural[i] for i in kept})
        optional = [] if always_whole else [i for i in kept if self.columns[i].optional]
        while True:
            fitting = self._cut_to(width, kept, may_cut=not always_whole)
            if fitting is not None:
                return fitting
            if not optional:
                return None
            kept.remove(optional.pop())

    def _cut_to(self, width: int, kept: Sequence[int], *, may_cut: bool) -> _Fitting | None:
        widths = {i: self.natural[i] for i in kept}
        excess = sum(widths.values()) + _GAP * (len(kept) - 1) - width
        cut = []
        for i in sorted(kept, key=lambda i: -self.natural[i]):
            fewest = max(_FEWEST, self._measure(self.columns[i].name))
            if may_cut and excess > 0 and self.columns[i].is_text and widths[i] > fewest:
                less = min(excess, widths[i] - fewest)
                widths[i] -= less
                excess -= less
                cut.append(i)
        return None if excess > 0 else _Fitting(widths=widths, cut=tuple(cut))

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
        """Name what a narrow terminal does not show."""
        left_out = [column.name for i, column in enumerate(self.columns) if i not in fitting.widths]
        is_cut = any(self.natural[i] > fitting.widths[i] and self.rows for i in fitting.cut)
        parts = [f"not shown: {', '.join(left_out)}"] if left_out else []
        parts += ["texts were cut off"] if is_cut else []
        if parts and self._target is None:
            typer.echo(f"({'; '.join(parts)}; see a wider terminal, or --json)", err=True)

    def print(self, line: str) -> None:
        if self._target is None:
            typer.echo(line)
        else:
            self._target.print(line, markup=False, highlight=False, soft_wrap=True)
