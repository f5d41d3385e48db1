"""``quarantine …``: the rows that could not be scored."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from batch_scoring.cli.job_names import JobName
from batch_scoring.cli.keys import KEY_HELP, KEYS_FILE_HELP, SKIP_UNKNOWN_HELP, parse_key, read_keys
from batch_scoring.cli.observers import operation_observers
from batch_scoring.cli.output import Json, TableColumn, database, notice, settings, show_json, show_table, shown
from batch_scoring.counting import counted
from batch_scoring.errors import InputFault
from batch_scoring.files.formulas import escaped
from batch_scoring.files.written import written

if TYPE_CHECKING:
    from batch_scoring.domain.job import Job
    from batch_scoring.operations.quarantine import Chosen
    from batch_scoring.store.outcomes.history import Entry

app = typer.Typer(help="Rows that are quarantined because they could not be scored.", no_args_is_help=True)

Keys = Annotated[list[str] | None, typer.Option("--key", help=KEY_HELP)]
Code = Annotated[str | None, typer.Option("--code", help="Only entries with this reason code.")]
Column = Annotated[str | None, typer.Option("--column", help="Only entries caused by this column.")]
OlderThan = Annotated[str | None, typer.Option("--older-than", help='Only entries older than this, such as "2 days".')]


@app.command(name="list")
def list_(
    job: JobName,
    key: Keys = None,
    code: Code = None,
    column: Column = None,
    older_than: OlderThan = None,
    limit: Annotated[int, typer.Option(help="How many, the latest first.", min=1, max=1_000_000)] = 50,
    as_json: Json = False,
) -> None:
    """List the rows that are quarantined now, the latest first. Times are UTC."""
    from batch_scoring.operations import quarantine

    declared = _job(job)
    chosen = _chosen(declared, key=key, code=code, column=column, older_than=older_than)
    found = quarantine.list_entries(database(), declared, chosen, limit=limit + 1)
    _show(declared, found[:limit], as_json=as_json)
    if len(found) > limit:
        notice(f"there are more; --limit shows them, `quarantine export {job}` writes all")


@app.command()
def show(
    job: JobName,
    key: Annotated[str, typer.Argument(help="The key: its value, or a=1,b=x where it has several columns.")],
    as_json: Json = False,
) -> None:
    """Show every quarantine entry of a row, the latest first."""
    from batch_scoring.operations import quarantine

    declared = _job(job)
    chosen = _chosen(declared, key=[key])
    found = quarantine.list_entries(database(), declared, chosen, is_open=False)
    if not found:
        raise InputFault(f"{key} was never quarantined; `batch-scoring why {job} {key}` explains its state")
    _show(declared, found, as_json=as_json, in_full=True)


@app.command()
def retry(
    job: JobName,
    key: Keys = None,
    keys_file: Annotated[str | None, typer.Option(help=KEYS_FILE_HELP)] = None,
    skip_unknown: Annotated[bool, typer.Option("--skip-unknown", help=SKIP_UNKNOWN_HELP)] = False,
    code: Code = None,
    column: Column = None,
    older_than: OlderThan = None,
    every: Annotated[bool, typer.Option("--all", help="Every row that is quarantined.")] = False,
    reason: Annotated[str | None, typer.Option(help="The reason, recorded with the run.")] = None,
    requested_by: Annotated[str | None, typer.Option(help="Who requests it; without it the login.")] = None,
    as_json: Json = False,
) -> None:
    """Retry rows: the next run scores them even though the source has not changed."""
    from batch_scoring.operations import quarantine
    from batch_scoring.operations.rescore import not_among

    declared = _job(job)
    chosen = _chosen(declared, key=key, keys_file=keys_file, code=code, column=column, older_than=older_than)
    if every == any((key, keys_file, code, column, older_than)):
        raise InputFault(
            "expected a selection: --key, --keys-file, --code, --column, --older-than, or --all for every row"
        )
    if skip_unknown and not (key or keys_file):
        raise InputFault("--skip-unknown requires --key or --keys-file")
    done = quarantine.retry(
        database(),
        declared,
        chosen,
        reason=reason,
        requested_by=requested_by,
        skip_unknown=skip_unknown,
        observers=operation_observers(declared),
    )
    if done.unknown:
        notice(f"skipped: {not_among('in the quarantine', declared.source.key, done.unknown)}")
    if as_json:
        counts = {"closed": done.closed_count, "due": done.due_count}
        show_json({"run_id": done.run.run_id, "job": job, **counts})
        return
    closed = counted(done.closed_count, "entry", "entries")
    due = "1 row is" if done.due_count == 1 else f"{done.due_count:,} rows are"
    typer.echo(
        f"run {done.run.run_id} of {job}: {closed} closed, {due} due again;"
        f" the next run tries {'it' if done.due_count == 1 else 'them'}"
    )
    if done.due_count < done.closed_count:
        notice(
            f"{done.closed_count - done.due_count:,} of them are not due: no longer in the source, or their current"
            f" version already has a prediction; `batch-scoring rescore {job} --key …` scores such a row again"
        )


@app.command()
def export(
    job: JobName,
    out: Annotated[str, typer.Option(help="The CSV file to write; - is standard output.")] = "-",
    key: Keys = None,
    code: Code = None,
    column: Column = None,
    older_than: OlderThan = None,
) -> None:
    """Write the quarantined rows as CSV, to fix the source: keys and reasons, no other data.

    A field that a spreadsheet would compute as a formula begins with an apostrophe; --keys-file reads it back.
    """
    from batch_scoring.operations import quarantine

    declared = _job(job)
    chosen = _chosen(declared, key=key, code=code, column=column, older_than=older_than)
    found = quarantine.stream_entries(database(), declared, chosen)
    first = next(found, None)  # an error of the selection leaves the file as it was
    count = 0
    try:
        with _csv_file(out) as file:
            writer = csv.writer(file)
            writer.writerow(
                [*map(escaped, declared.source.key), "reason_code", "column_name", "message", "attempts", "since"]
            )
            for entry in chain(filter(None, [first]), found):
                count += 1
                writer.writerow(_fields(entry))
    except OSError as exc:
        raise InputFault(f"--out {out} cannot be written: {exc.strerror}") from exc
    if out != "-":
        notice(f"wrote {counted(count, 'row')} to {out}")


def _fields(entry: Entry) -> list[Any]:
    return [
        *(escaped(str(value)) for value in entry.key),
        entry.reason_code,
        escaped(entry.column_name or ""),
        escaped(entry.message),
        entry.attempts,
        entry.valid_from,
    ]


@contextmanager
def _csv_file(out: str) -> Iterator[TextIO]:
    """A file in UTF-8, independent of the locale, so that keys are written unchanged."""
    if out != "-":
        with written(Path(out)) as file:
            yield file
        return
    if not hasattr(sys.stdout, "buffer"):  # an in-memory stream has no encoding
        yield sys.stdout
        return
    sys.stdout.flush()
    standard_output = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="", write_through=True)
    try:
        yield standard_output
    finally:
        standard_output.detach()


def _job(name: str) -> Job:
    from batch_scoring.domain.job_files import load_job

    return load_job(settings().jobs_dir, name)


def _chosen(
    job: Job,
    *,
    key: list[str] | None = None,
    keys_file: str | None = None,
    code: str | None = None,
    column: str | None = None,
    older_than: str | None = None,
) -> Chosen:
    from batch_scoring.operations.quarantine import Chosen

    keys = [parse_key(text, job.source.key) for text in key or []]
    if keys_file:
        keys += read_keys(keys_file, job.source.key)
    return Chosen(
        keys=tuple(dict.fromkeys(keys)) if key or keys_file else None,
        reason_code=code,
        column_name=column,
        older_than=None if older_than is None else _duration(older_than),
    )


def _duration(text: str) -> timedelta:
    from batch_scoring.domain.durations import parse_duration

    try:
        return parse_duration(text)
    except ValueError as exc:
        raise InputFault(f"--older-than {text}: {exc}") from exc


def _show(job: Job, found: Sequence[Entry], *, as_json: bool, in_full: bool = False) -> None:
    from batch_scoring.domain.keys import key_text, key_title

    if as_json:
        show_json(found)
        return
    names = tuple(job.source.key)
    show_table(
        [
            key_title(names),
            "code",
            "column",
            TableColumn(name="message", is_text=True),
            TableColumn(name="attempts", optional=True),
            TableColumn(name="run", optional=True),
            "since (UTC)",
            TableColumn(name="until (UTC)", optional=not in_full),
        ],
        [
            [
                key_text(names, entry.key),
                entry.reason_code,
                entry.column_name,
                entry.message,
                entry.attempts,
                entry.run_id,
                shown(entry.valid_from),
                None if entry.is_open else shown(entry.valid_to),
            ]
            for entry in found
        ],
        in_full=in_full,
    )
