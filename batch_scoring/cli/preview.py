"""Printing the preview of a rescore: on the terminal, as an HTML page and as a CSV file of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from batch_scoring.cli.output import TableColumn, database, notice, settings, show_json, show_sentence, show_table
from batch_scoring.counting import counted
from batch_scoring.errors import InputFault
from batch_scoring.files.written import written

if TYPE_CHECKING:
    from rich.console import Console

    from batch_scoring.domain.job import Job
    from batch_scoring.operations.preview import ComparedRow, Preview
    from batch_scoring.operations.rescore import Plan

_BAR = 30
"""The length of the longest bar of a histogram, in characters."""


def check_out(out: Path | None, *, dry_run: bool) -> None:
    """Raise InputFault if a preview cannot be written to ``out``."""
    if out is None:
        return
    if not dry_run:
        raise InputFault("--out requires --dry-run")
    if out.suffix not in (".csv", ".html"):
        raise InputFault(f"--out {out}: expected a name that ends with .csv or .html")
    if not out.parent.is_dir():
        raise InputFault(f"--out {out}: there is no folder {out.parent}")


def show_preview(job: Job, plan: Plan, *, out: Path | None, allow_version_mismatch: bool, as_json: bool) -> None:
    """Compute the preview of a rescore, print it, and write it to ``out`` if that is given.

    Raises InputFault if ``out`` cannot be written, ModelRefused, EveryRowFailed, DatabaseFault.
    """
    from batch_scoring.operations.preview import preview

    with _rows_to(out, job.source.key) as each:
        found = preview(
            database(),
            job,
            settings().artifacts_dir,
            plan,
            allow_version_mismatch=allow_version_mismatch,
            each=each,
        )
    if as_json:
        show_json(found)
    elif not found.row_count:
        typer.echo("dry run: no row is selected, so nothing would be scored again; nothing was written")
    else:
        _show(found)
    if out is not None and out.suffix == ".html":
        _write_page(found, job, out)
    if out is not None:
        notice(f"wrote {out}")


@contextmanager
def _rows_to(out: Path | None, key: Sequence[str]) -> Iterator[Callable[[Sequence[ComparedRow]], None]]:
    import csv

    if out is None or out.suffix != ".csv":
        yield lambda _rows: None
        return
    try:
        with written(out) as file:
            writer = csv.writer(file)
            writer.writerow([*key, "score", "prediction", "new_score", "new_prediction", "difference"])
            yield lambda rows: writer.writerows(
                [*row.key_values, row.score, row.label, row.new_score, row.new_label, row.difference] for row in rows
            )
    except OSError as exc:
        raise InputFault(f"--out {out} cannot be written: {exc.strerror}") from exc


def _write_page(found: Preview, job: Job, out: Path) -> None:
    import io

    from rich.console import Console
    from rich.terminal_theme import DEFAULT_TERMINAL_THEME

    page = Console(record=True, file=io.StringIO(), width=110, highlight=False)
    page.print(f"[bold]Rescore of {job.name}, dry run[/bold]\n")
    _show(found, page)
    try:
        with written(out) as file:
            file.write(page.export_html(theme=DEFAULT_TERMINAL_THEME))
    except OSError as exc:
        raise InputFault(f"--out {out} cannot be written: {exc.strerror}") from exc


def _show(found: Preview, target: Console | None = None) -> None:
    _echo(
        f"dry run: {counted(found.row_count, 'row')} would be scored again by {found.model_name}"
        f" version {found.model_version}, {counted(found.superseded_count, 'prediction')} superseded,"
        f" {counted(sum(found.quarantined.values()), 'row')} quarantined; nothing was written",
        target,
    )
    for code, count in sorted(found.quarantined.items()):
        _echo(f"  {code}: {count:,}", target)
    if any(new is not None for _, new, _ in found.labels):
        show_table(
            ["current prediction", "new prediction", "rows"],
            [[old or "none", new or "none", _Count(count)] for old, new, count in found.labels],
            title=f"{counted(found.flipped_count, 'prediction')} would change",
            target=target,
        )
    if found.mean_absolute_difference == 0:
        _echo("", target)
        _echo("no score changes", target)
    elif found.differences:
        _show_differences(found, target)


def _show_differences(found: Preview, target: Console | None) -> None:
    from batch_scoring.domain.keys import key_title

    _echo("", target)
    _echo(
        f"mean change of the score: {found.mean_difference:+.4g}; mean absolute change:"
        f" {found.mean_absolute_difference:.4g}",
        target,
    )
    most = max(bar.rows for bar in found.differences)
    show_table(
        ["new - current score", "rows", ""],
        [[f"{bar.low:+.3g} to {bar.high:+.3g}", _Count(bar.rows), _bar(bar.rows, most)] for bar in found.differences],
        target=target,
    )
    show_table(
        [key_title(found.key_columns), *(TableColumn(name=name, is_number=True) for name in _SCORES), "prediction"],
        [
            [
                row.key,
                f"{row.score:.6g}",
                f"{row.new_score:.6g}",
                f"{row.difference:+.4g}",
                row.label or "" if row.label == row.new_label else f"{row.label} to {row.new_label}",
            ]
            for row in found.largest
        ],
        title="the largest" if len(found.largest) == 1 else f"the {len(found.largest)} largest",
        target=target,
    )


_SCORES = ("current score", "new score", "difference")


class _Count(int):
    """A count of rows, with separators."""

    def __str__(self) -> str:
        return f"{int(self):,}"


def _bar(rows: int, most: int) -> str:
    return "█" * max(1, round(_BAR * rows / most)) if rows else ""


def _echo(text: str, target: Console | None) -> None:
    if target is None:
        show_sentence("", text)
    else:
        target.print(text, markup=False)
