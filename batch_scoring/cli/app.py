"""The command-line application: all commands, assembled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from batch_scoring import __version__
from batch_scoring.cli import (
    answers,
    checking,
    database,
    demo,
    fairness,
    models,
    monitoring,
    notifying,
    outcomes,
    quarantine,
    registering,
    rescoring,
    retention,
    running,
    scheduling,
)

app = typer.Typer(
    name="batch-scoring",
    help="Score database rows with a persisted scikit-learn model: every row exactly once.",
    epilog="Settings come from BATCH_SCORING_DATABASE_URL, BATCH_SCORING_JOBS_DIR, BATCH_SCORING_ARTIFACTS_DIR and"
    " BATCH_SCORING_LOG_FORMAT. Exit codes: 0 done, 1 the run failed, 2 wrong usage or configuration, 3 the model was"
    " refused, 4 too many rows quarantined, 5 unhealthy, 6 held by a gate, 75 another run is active.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"batch-scoring {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


app.command()(demo.demo)
app.command()(checking.check)
app.add_typer(database.app, name="db")
app.command()(database.load)
app.command()(registering.train)
app.add_typer(models.app, name="model")
app.command()(running.run)
app.command()(scheduling.schedule)
app.add_typer(notifying.app, name="notify")
app.add_typer(running.app, name="runs")
app.command()(running.status)
app.add_typer(monitoring.app, name="monitor")
app.command()(outcomes.outcomes)
app.command()(fairness.fairness)
app.command()(rescoring.rescore)
app.add_typer(quarantine.app, name="quarantine")
app.command()(answers.why)
app.command()(answers.replay)
app.command()(retention.purge)
app.add_typer(retention.app, name="hold")


_READING = frozenset(
    {
        ("check",),
        ("db", "dictionary"),
        ("db", "queries"),
        ("db", "roles"),
        ("db", "sql"),
        ("hold", "list"),
        ("model", "compare"),
        ("model", "dossier"),
        ("model", "history"),
        ("model", "list"),
        ("model", "show"),
        ("model", "verify"),
        ("monitor",),
        ("monitor", "alerts"),
        ("monitor", "drift"),
        ("monitor", "limits"),
        ("monitor", "profile"),
        ("monitor", "reference"),
        ("quarantine", "export"),
        ("quarantine", "list"),
        ("quarantine", "show"),
        ("replay",),
        ("runs",),
        ("runs", "list"),
        ("runs", "show"),
        ("status",),
        ("why",),
    }
)
"""Commands that change nothing and only print."""


def changes_something(arguments: Sequence[str]) -> bool:
    """Whether a command changes anything, so that it succeeded even if its result cannot be printed."""
    command: Any = typer.main.get_command(app)
    path: list[str] = []
    for word in arguments:
        inner = getattr(command, "commands", {}).get(word)
        if inner is None:
            break
        path.append(word)
        command = inner
    is_shown_only = {"--help", "-h", "--version", "--dry-run"} & set(arguments)
    return bool(path) and not is_shown_only and tuple(path) not in _READING
