"""What a rescore would change, on the terminal, as a page and as a file of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.cli.output import console, database, notice, settings, show_json
from batch_scoring.errors import InputFault

if TYPE_CHECKING:
    from rich.console import Console

    from batch_scoring.job import Job
    from batch_scoring.scoring.preview import ComparedRow, Preview
    from batch_scoring.scoring.rescore import Plan


def check_out(out: Path | None, *, dry_run: bool) -> None:
    """Raise InputFault where a preview could not be written there."""
    if out is None:
        return
    if not dry_run:
        raise InputFault("--out belongs to --dry-run")
    if out.suffix not in (".csv", ".html"):
        raise InputFault(f"--out {out}: expected a name that ends with .csv or .html")
    if not out.parent.is_dir():
        raise InputFault(f"--out {out}: there is no folder {out.parent}")


def show_preview(job: Job, plan: Plan, *, out: Path | None, allow_version_mismatch: bool, as_json: bool) -> None:
    """Find out what a rescore would change, show it, and write it where that is asked for."""
    from batch_scoring.scoring.preview import preview

    with _rows_to(out) as each:
        found = preview(
            database(),
            settings().artifacts_dir,
            job,
            plan,
            allow_version_mismatch=allow_version_mismatch,
            each=each,
        )
    if as_json:
        show_json(found)
    else:
        _show(found, console())
    if out is not None and out.suffix == ".html":
        _write_page(found, job, out)
    if out is not None:
        notice(f"wrote {out}")


@contextmanager
def _rows_to(out: Path | None) -> Iterator[Callable[[Sequence[ComparedRow]], None]]:
    import csv

    if out is None or out.suffix != ".csv":
        yield lambda _rows: None
        return
    unfinished = out.with_name(f"{out.name}.part")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["key", "score", "prediction", "new_score", "new_prediction", "difference"])
            yield lambda rows: writer.writerows(
                [row.key, row.score, row.label, row.new_score, row.new_label, row.difference] for row in rows
            )
        unfinished.replace(out)
    except OSError as exc:
        raise InputFault(f"--out {out} cannot be written: {exc.strerror}") from exc
    finally:
        unfinished.unlink(missing_ok=True)


def _write_page(found: Preview, job: Job, out: Path) -> None:
    import io

    from rich.console import Console
    from rich.terminal_theme import DEFAULT_TERMINAL_THEME

    page = Console(record=True, file=io.StringIO(), width=110, highlight=False)
    page.print(f"[bold]Rescore of {job.name}, dry run[/bold]\n")
    _show(found, page)
    try:
        page.save_html(str(out), theme=DEFAULT_TERMINAL_THEME)
    except OSError as exc:
        raise InputFault(f"--out {out} cannot be written: {exc.strerror}") from exc


def _show(found: Preview, target: Console) -> None:
    from rich import box
    from rich.bar import Bar
    from rich.table import Table
    from rich.text import Text

    def table(title: str, *columns: str) -> Table:
        made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
        for column in columns:
            is_text = column in ("", "key") or "prediction" in column
            made.add_column(column, justify="left" if is_text else "right", overflow="fold")
        return made

    set_aside = sum(found.quarantined.values())
    target.print(
        f"dry run: {found.row_count:,} rows would be scored again by {found.model_name} version {found.model_version},"
        f" {found.superseded_count:,} predictions superseded, {set_aside:,} rows quarantined; nothing was written"
    )
    for code, count in sorted(found.quarantined.items()):
        target.print(f"  {code}: {count:,}")
    if any(new is not None for _, new, _ in found.labels):
        flips = table(
            f"\n{found.flipped_count:,} predictions would flip", "current prediction", "new prediction", "rows"
        )
        for old, new, count in found.labels:
            flips.add_row(Text(old or "none"), Text(new or "none"), f"{count:,}")
        target.print(flips)
    if found.mean_absolute_difference == 0:
        target.print("\nno score moves")
    elif found.differences:
        target.print(
            f"\nscores move by {found.mean_difference:+.4g} on average,"
            f" by {found.mean_absolute_difference:.4g} up or down"
        )
        chart = table("", "new - current score", "rows", "")
        most = max(bar.rows for bar in found.differences)
        for bar in found.differences:
            chart.add_row(f"{bar.low:+.3g} to {bar.high:+.3g}", f"{bar.rows:,}", Bar(most, 0, bar.rows, width=40))
        target.print(chart)
        moved = table(
            f"\nthe {len(found.largest)} largest", "key", "current score", "new score", "difference", "prediction"
        )
        for row in found.largest:
            change = row.label or "" if row.label == row.new_label else f"{row.label} to {row.new_label}"
            moved.add_row(
                Text(row.key), f"{row.score:.6g}", f"{row.new_score:.6g}", f"{row.difference:+.4g}", Text(change)
            )
        target.print(moved)
