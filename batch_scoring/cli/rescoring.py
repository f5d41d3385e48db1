"""``rescore``: scoring selected rows again."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batch_scoring.cli.execution import execute
from batch_scoring.cli.job_names import JobName
from batch_scoring.cli.keys import KEY_HELP, KEYS_FILE_HELP, SKIP_UNKNOWN_HELP, parse_key, read_keys
from batch_scoring.cli.model_options import AllowMismatch
from batch_scoring.cli.output import Json, ask, database, notice, required_reason, settings
from batch_scoring.cli.preview import check_out, show_preview
from batch_scoring.cli.times import time_option
from batch_scoring.counting import counted
from batch_scoring.domain.names import MAX_MODEL_VERSION, MAX_RUN_ID
from batch_scoring.errors import InputFault

if TYPE_CHECKING:
    from batch_scoring.domain.job import Job
    from batch_scoring.store.source.selection import Request


def rescore(
    job: JobName,
    key: Annotated[list[str] | None, typer.Option(help=KEY_HELP)] = None,
    keys_file: Annotated[str | None, typer.Option(help=KEYS_FILE_HELP)] = None,
    skip_unknown: Annotated[bool, typer.Option("--skip-unknown", help=SKIP_UNKNOWN_HELP)] = False,
    scored_by_version: Annotated[
        int | None,
        typer.Option(help="Rows whose current prediction is by this model version.", min=1, max=MAX_MODEL_VERSION),
    ] = None,
    scored_before: Annotated[
        datetime | None,
        time_option(help="Rows whose current prediction is older than this."),
    ] = None,
    scored_after: Annotated[
        datetime | None,
        time_option(help="Rows whose current prediction is of this time or later."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help='Rows of the source that meet a condition, such as "segment = gold and (age > 30 or age is'
            ' null)": = != < <= > >=, is null, in (...), between ... and ..., like, and, or, not, parentheses. A value'
            " of several words is written in single quotes. May be repeated; conditions are combined with AND."
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All rows of the source.")] = False,
    continue_: Annotated[
        int | None,
        typer.Option(
            "--continue", help="Continue an interrupted rescore, given by its run number.", min=1, max=MAX_RUN_ID
        ),
    ] = None,
    model_version: Annotated[
        str | None, typer.Option(help="Version or alias to score with; without it, the alias of the job.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="The reason, recorded with the run. Required.")] = None,
    requested_by: Annotated[str | None, typer.Option(help="Who requests it; without it the login.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change and write nothing.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="With --dry-run: a .csv file of every row, or the output as .html.", dir_okay=False),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    workers: Annotated[
        int | None, typer.Option(help="Number of worker processes; without it, that of the job.", min=1, max=1024)
    ] = None,
    allow_version_mismatch: AllowMismatch = False,
    as_json: Json = False,
) -> None:
    """Score rows again: new predictions supersede the current ones, which are kept as history.

    Exactly one selector is required: --key or --keys-file, --scored-by-version, --scored-before and --scored-after,
    --where, --all, or --continue.
    """
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.operations import rescore as rescoring

    declared = load_job(settings().jobs_dir, job)
    check_out(out, dry_run=dry_run)
    request = _request(
        declared,
        key=key,
        keys_file=keys_file,
        scored_by_version=scored_by_version,
        scored_before=scored_before,
        scored_after=scored_after,
        where=where,
        every=every,
        continue_=continue_,
        skip_unknown=skip_unknown,
    )
    planned = rescoring.prepare(
        database(),
        declared,
        request,
        continued_run_id=continue_,
        version=model_version,
        skip_unknown=skip_unknown,
    )
    for remark in planned.remarks:
        notice(remark)
    if dry_run:
        show_preview(declared, planned, out=out, allow_version_mismatch=allow_version_mismatch, as_json=as_json)
        return
    options = planned.run_options(
        reason=required_reason(reason or planned.reason),
        requested_by=requested_by,
        workers=workers,
        allow_version_mismatch=allow_version_mismatch,
    )
    if planned.row_count and not yes:
        version = f"{planned.version.name} version {planned.version.version}"
        ask(f"score {counted(planned.row_count, 'row')} of {planned.source.table} again with {version}")
    execute(declared, options, as_json=as_json)


def _request(
    job: Job,
    *,
    key: list[str] | None,
    keys_file: str | None,
    scored_by_version: int | None,
    scored_before: datetime | None,
    scored_after: datetime | None,
    where: list[str] | None,
    every: bool,
    continue_: int | None,
    skip_unknown: bool,
) -> Request:
    """The selection that the options give; an empty one for --continue. Raises InputFault."""
    from batch_scoring.store.source.condition_parser import parse
    from batch_scoring.store.source.selection import Request, Selection

    given = {
        "--key or --keys-file": bool(key or keys_file),
        "--scored-by-version": scored_by_version is not None,
        "--scored-before or --scored-after": bool(scored_before or scored_after),
        "--where": bool(where),
        "--all": every,
        "--continue": continue_ is not None,
    }
    if sum(given.values()) != 1:
        found = " and ".join(name for name, is_given in given.items() if is_given) or "none"
        raise InputFault(f"expected one selector, found {found}; the selectors are {', '.join(given)}")
    names = job.source.key
    keys: tuple[tuple[str, ...], ...] | None = None
    if key or keys_file:
        keys = tuple(dict.fromkeys(parse_key(text, names) for text in key or []))
        if keys_file:
            keys = tuple(dict.fromkeys([*keys, *read_keys(keys_file, names)]))
    elif skip_unknown:
        raise InputFault("--skip-unknown requires --key or --keys-file")
    return Request(
        keys=keys,
        selection=Selection(
            scored_by_version=scored_by_version,
            scored_before=scored_before,
            scored_after=scored_after,
            where=tuple(parse(text) for text in where or []),
        ),
    )
