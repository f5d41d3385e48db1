"""``model compare`` and ``model dossier``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batch_scoring.cli.model_options import AllowMismatch, Name, Version
from batch_scoring.cli.output import (
    Json,
    TableColumn,
    migrated_database,
    notice,
    settings,
    show_json,
    show_record,
    show_script,
    show_table,
)
from batch_scoring.cli.promoting import known_jobs
from batch_scoring.counting import counted
from batch_scoring.domain.names import MAX_MODEL_VERSION
from batch_scoring.errors import InputFault
from batch_scoring.files.written import written

if TYPE_CHECKING:
    from batch_scoring.registry.comparison import Comparison, VersionComparison


def compare(
    name: Name,
    first: Annotated[int, typer.Argument(help="The one version.", min=1, max=MAX_MODEL_VERSION)],
    second: Annotated[int, typer.Argument(help="The other version.", min=1, max=MAX_MODEL_VERSION)],
    job: Annotated[
        str | None, typer.Option(help="The job whose rows are scored; without it, the only one that uses the model.")
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows of the source, chosen at random.", min=1, max=1_000_000)] = 1_000,
    live: Annotated[
        bool,
        typer.Option("--live", help="Score nothing: compare what the second gave as a challenger of the first."),
    ] = False,
    allow_version_mismatch: AllowMismatch = False,
    as_json: Json = False,
) -> None:
    """Compare two versions: metrics, inputs, and their scores of rows that are in the source now."""
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.registry.comparison import compare_stored, compare_versions
    from batch_scoring.store import registry

    source, chosen = migrated_database(), settings()
    users = [load_job(chosen.jobs_dir, job)] if job else [one for one in known_jobs() if one.model.name == name]
    if len(users) > 1:
        names = ", ".join(one.name for one in users)
        raise InputFault(f"jobs {names} use model {name}; name one of them with --job")
    versions = registry.get_version(source, name, first), registry.get_version(source, name, second)
    if not users:
        notice(f"no job uses model {name}, so no rows are compared")
    if live and users:
        found = compare_stored(source, users[0], *versions)
    else:
        one, other = versions
        found = compare_versions(
            source,
            chosen.artifacts_dir,
            one,
            other,
            users[0] if users else None,
            rows=rows,
            allow_version_mismatch=allow_version_mismatch,
        )
    if as_json:
        show_json(found)
    else:
        _show(found)


def _show(found: VersionComparison) -> None:
    first, second = f"version {found.first}", f"version {found.second}"
    show_table(["", first, second], [[one.name, one.before, one.now] for one in found.figures], title=found.name)
    for sentence in found.signature:
        typer.echo(sentence)
    if not found.signature:
        typer.echo("both take the same inputs")
    if found.live is not None:
        _show_live(found.live, first, second)


def _show_live(live: Comparison, first: str, second: str) -> None:
    is_stored = live.first_unseen_count is None
    typer.echo(
        f"{counted(live.row_count, 'row')} of job {live.job},"
        f" {'that both scored in its runs' if is_stored else 'chosen at random'}:"
    )
    show_record(
        [
            ("scored", f"{live.first_scored_count:,} by {first}, {live.second_scored_count:,} by {second}"),
            *((f"no longer scored, {code}", f"{count:,}") for code, count in live.lost.items()),
            *(
                []
                if is_stored
                else [
                    ("unseen category", f"{live.first_unseen_count} of {first}, {live.second_unseen_count} of {second}")
                ]
            ),
            ("labels that differ", f"{live.flipped_count:,} of {live.compared_count:,} ({live.flipped_share:.2%})"),
            ("correlation of scores", None if live.correlation is None else f"{live.correlation:.4f}"),
            (
                "mean absolute difference",
                None if live.mean_absolute_difference is None else f"{live.mean_absolute_difference:.4f}",
            ),
        ]
    )
    if live.flips:
        show_table(
            [TableColumn(name=first, is_text=True), TableColumn(name=second, is_text=True), "rows"],
            [list(flip) for flip in live.flips],
            title="labels that differ",
        )
    if any(row.before != row.now for row in live.largest):
        show_table(
            ["key", f"score, {first}", f"score, {second}", TableColumn(name="labels", is_text=True)],
            [
                [row.key, f"{row.before:.6g}", f"{row.now:.6g}", _labels(row.label_before, row.label_now)]
                for row in live.largest
                if row.before != row.now
            ],
            title="largest differences",
        )


def _labels(before: str | None, now: str | None) -> str | None:
    return now if before == now else f"{before} -> {now}"


def dossier(
    name: Name,
    version: Version,
    out: Annotated[
        Path | None, typer.Option(help="A file: .md, or .html. Without it, Markdown is printed.", dir_okay=False)
    ] = None,
) -> None:
    """Write what a reviewer needs of a version: its card, who promoted it and why, and the results of its gates."""
    from batch_scoring.registry import dossier as writing
    from batch_scoring.registry.markdown import html

    if out is not None and out.suffix not in (".md", ".html"):
        raise InputFault(f"--out {out} is neither .md nor .html")
    text = writing.markdown(migrated_database(), name, version)
    if out is None:
        show_script(text)
        return
    try:
        with written(out) as file:
            file.write(html(text, f"{name} version {version}") if out.suffix == ".html" else text)
    except OSError as exc:
        raise InputFault(f"--out {out} cannot be written: {exc.strerror}") from exc
    typer.echo(f"wrote {out}")
