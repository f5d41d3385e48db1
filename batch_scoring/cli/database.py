"""``db …`` and ``load``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batch_scoring.cli.file_options import Decimal, Encoding, Separator, Thousands
from batch_scoring.cli.keys import KEY_HELP, parse_key
from batch_scoring.cli.output import (
    Json,
    database,
    migrated_database,
    notice,
    settings,
    show_json,
    show_script,
)
from batch_scoring.counting import counted

if TYPE_CHECKING:
    from batch_scoring.domain.job import Job
    from batch_scoring.store.engine.dialects.dialect import Dialect
    from batch_scoring.store.schema.layout import PredictionsLayout

app = typer.Typer(help="The schema: apply it, or print it.", no_args_is_help=True)


@app.command()
def upgrade(as_json: Json = False) -> None:
    """Apply migrations, create the tables of every job, recreate the views. Running it again changes nothing."""
    from dataclasses import replace

    from batch_scoring.domain.job_files import load_jobs
    from batch_scoring.scoring.preparation import ensure_inputs_tables
    from batch_scoring.store.schema import upgrade

    jobs = load_jobs(settings().jobs_dir)
    done = upgrade.upgrade(database(), jobs)
    inputs = ensure_inputs_tables(database(), jobs)
    if as_json:
        show_json(replace(done, created=(*done.created, *inputs)))
        return
    change = "already at" if done.revision_before == done.revision else f"{done.revision_before or 'empty'} →"
    typer.echo(f"schema {change} revision {done.revision}")
    for table in done.created:
        typer.echo(
            f"created {table}, {table}_superseded, {table}_quarantine, {table}_quarantine_closed,"
            f" {table}_challengers and the views {table}_current, _history, _daily, _distribution, _agreement"
        )
    for table in done.versioned:
        typer.echo(
            f"{table} records row versions from now on; it contains none yet, so the next run scores every row again"
        )
    for table in inputs:
        typer.echo(f"created or extended {table}")
    for problem in done.waiting:
        notice(f"not yet: {problem}")
    for message in done.advice:
        notice(f"advice: {message}")


@app.command()
def sql(
    dialect: Annotated[
        str | None, typer.Option(help="postgresql or sqlite; without it, both.", show_default=False)
    ] = None,
) -> None:
    """Print every statement that `db upgrade` applies, for administrators who apply SQL manually.

    The column types of a job's tables follow its source. A job whose source does not exist yet is skipped and reported.
    """
    from batch_scoring.domain.job_files import load_jobs
    from batch_scoring.store.engine.dialects.registered import dialects
    from batch_scoring.store.schema import script

    wanted = [_dialect(dialect)] if dialect else dialects()
    jobs = load_jobs(settings().jobs_dir)
    for one in wanted:
        printed = script.script(database(), jobs, one)
        show_script(f"-- {one.name}\n\n{printed.sql}\n")
        for reason in printed.left_out:
            notice(f"left out: {reason}")


def _jobs_with_tables() -> Iterator[tuple[Job, PredictionsLayout]]:
    from batch_scoring.domain.job_files import load_jobs
    from batch_scoring.store.schema import job_tables

    found = migrated_database()
    for job in load_jobs(settings().jobs_dir):
        with found.read() as connection:
            layout = job_tables.registered_layout(connection, job)
        if layout is None:
            notice(f"left out: job {job.name} has no tables yet; run `batch-scoring db upgrade` first")
        else:
            yield job, layout


@app.command()
def roles(
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare the privileges of the database with them instead.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the statements that create the PostgreSQL roles scorer, operator and bi_reader with their privileges.

    Grant them to login roles: `GRANT bi_reader TO metabase`. With --verify, report what is wrong with the privileges of
    the database: exit code 1 if anything is. It needs the owner of the tables, and changes nothing.
    """
    from batch_scoring.store.outcomes import inputs as stored_inputs
    from batch_scoring.store.schema.roles import roles_sql

    found = [(job, layout, stored_inputs.has_inputs(database(), layout)) for job, layout in _jobs_with_tables()]
    script = roles_sql(found)
    if verify:
        _verify(script, as_json=as_json)
    elif as_json:
        show_json({"sql": script})
    else:
        show_script(script)


def _verify(script: str, *, as_json: bool) -> None:
    """Print the differences from the privileges that the script grants."""
    from batch_scoring.errors import ExitCode, InputFault
    from batch_scoring.store.schema import grants

    if not database().dialect.has_roles:
        raise InputFault(f"{database().dialect.product} has no roles: whoever can write the file can change everything")
    problems = grants.verify(database(), script)
    if as_json:
        show_json({"problems": problems})
    else:
        for problem in problems:
            typer.echo(problem)
        if not problems:
            typer.echo("roles and privileges are as `db roles` grants them")
    if problems:
        raise typer.Exit(ExitCode.RUN_FAILED)


@app.command()
def dictionary(as_json: Json = False) -> None:
    """Print the data dictionary of the BI views as Markdown: every view and column with its meaning."""
    from batch_scoring.store.schema.views import dictionary as described
    from batch_scoring.store.schema.views import markdown

    found = described([(job.name, layout) for job, layout in _jobs_with_tables()])
    if as_json:
        show_json(found)
    else:
        show_script(markdown(found))


@app.command()
def queries(
    job: Annotated[str, typer.Argument(help="Name of the job: its file in the jobs folder, without .toml.")],
    key: Annotated[
        str | None, typer.Option(help="The key whose history a query shows. " + KEY_HELP.partition(" May be")[0])
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="A column of the source: adds a query of the predictions by its values.")
    ] = None,
    dialect: Annotated[
        str | None,
        typer.Option(help="postgresql or sqlite; without it, that of the database.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print example queries for BI, with the names of a job.

    They read views and, on PostgreSQL, can be run by a member of bi_reader. Only the query of --by reads the source.
    """
    from datetime import UTC, datetime, timedelta

    from batch_scoring.domain.job_files import load_job
    from batch_scoring.store.schema import queries as store

    declared = load_job(settings().jobs_dir, job)
    written_in = database().dialect if dialect is None else _dialect(dialect)
    if by is not None:
        _check_column(declared, by)
    found = store.queries(
        declared,
        written_in,
        timestamp=datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1),  # not before the latest prediction
        key=None if key is None else parse_key(key, declared.source.key),
        column=by,
    )
    if as_json:
        show_json(found)
        return
    typer.echo(f"-- Queries of job {declared.name} on {written_in.name}, after `db upgrade`. Times are UTC")
    for query in found:
        typer.echo(f"\n{query.text}", nl=False)


def _dialect(name: str) -> Dialect:
    """The dialect named by the option. Raises InputFault."""
    from batch_scoring.errors import InputFault
    from batch_scoring.store.engine.dialects.registered import dialect_named, dialects

    try:
        return dialect_named(name)
    except KeyError:
        raise InputFault(f"--dialect {name}: expected one of {', '.join(d.name for d in dialects())}") from None


def _check_column(job: Job, name: str) -> None:
    """Raise InputFault if the source has no such column."""
    from batch_scoring.errors import InputFault
    from batch_scoring.store.source.table import SourceTable

    found = database()
    with found.read() as connection:
        columns = SourceTable.inspect(found, connection, job).columns
    if name not in columns:
        raise InputFault(f"--by {name}: {job.source.table} has no such column; it has {', '.join(columns)}")


def load(
    table: Annotated[str, typer.Argument(help="The table, created if it does not exist.")],
    file: Annotated[Path, typer.Argument(help="A CSV file with a header.", exists=True, dir_okay=False)],
    key: Annotated[list[str], typer.Option("--key", help="A key column; repeat it for a composite key.")],
    changed_at: Annotated[
        str, typer.Option("--changed-at", help="The column with the time of the last change of a row.")
    ] = "updated_at",
    encoding: Encoding = None,
    separator: Separator = None,
    decimal: Decimal = ".",
    thousands: Thousands = None,
    as_json: Json = False,
) -> None:
    """Load a CSV file into a source table, in one transaction.

    New keys are inserted, rows that differ are updated, the others are not changed.
    """
    from batch_scoring.files.format import FileFormat
    from batch_scoring.store.source.loading import load_csv

    form = FileFormat.of(encoding, separator, decimal, thousands)
    loaded = load_csv(database(), table, file, key=key, changed_at=changed_at, form=form, notify=notice)
    if as_json:
        show_json(loaded)
        return
    created = "created, " if loaded.created else ""
    typer.echo(
        f"{loaded.table}: {created}{counted(loaded.read, 'row')} read, {loaded.inserted:,} inserted,"
        f" {loaded.updated:,} updated, {loaded.unchanged:,} unchanged"
    )
