"""``demo``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from batch_scoring.cli.output import Json, notice, show_json, show_table


def demo(
    folder: Annotated[Path, typer.Option(help="Where to put the database, the job and the artifacts.")] = Path("demo"),
    as_json: Json = False,
) -> None:
    """Run the example job on an embedded SQLite database with synthetic applicants, and show what BI reads."""
    from batch_scoring.cli.running import show_runs
    from batch_scoring.demo.main_job import QUERY, run_demo

    result = run_demo(folder, notice)
    if as_json:
        show_json(result)
        return
    typer.echo("\nThe runs:")
    show_runs(result.runs)
    typer.echo("\nTen current predictions, as a BI person would query them:\n")
    typer.echo(f"{QUERY}\n")
    show_table(result.columns, result.top)
    typer.echo("\nContinue manually:\n")
    typer.echo(f"  cd {shlex.quote(str(result.folder))}")
    typer.echo(f"  export BATCH_SCORING_DATABASE_URL={shlex.quote(result.database_url)}")
    typer.echo("  batch-scoring status && batch-scoring run loan_eligibility && batch-scoring model list")
