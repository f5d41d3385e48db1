"""``why`` and ``replay``: the state of a key, and whether its score is reproduced."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from batch_scoring.cli.job_names import JobName
from batch_scoring.cli.keys import parse_key
from batch_scoring.cli.model_options import AllowMismatch
from batch_scoring.cli.output import (
    Json,
    TableColumn,
    database,
    migrated_database,
    settings,
    show_json,
    show_record,
    show_sentence,
    show_table,
)
from batch_scoring.cli.times import time_option
from batch_scoring.counting import counted
from batch_scoring.domain.checksums import ANY_COLUMN
from batch_scoring.domain.names import MAX_RUN_ID
from batch_scoring.errors import ExitCode, InputFault

if TYPE_CHECKING:
    from batch_scoring.operations.replay import Replay
    from batch_scoring.operations.why import Answer

KeyArgument = Annotated[str, typer.Argument(help="The key: its value, or a=1,b=x where it has several columns.")]


def why(job: JobName, key: KeyArgument, as_json: Json = False) -> None:
    """Explain the state of a row: its current prediction, its history and its faults. Times are UTC."""
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.operations.why import why as answer_for

    declared = load_job(settings().jobs_dir, job)
    answer = answer_for(database(), declared, parse_key(key, declared.source.key, "KEY"))
    if as_json:
        show_json(answer)
    else:
        _show(answer)


def _show(answer: Answer) -> None:
    show_record(
        [
            ("key", answer.key),
            ("state", answer.state),
            ("because", answer.explanation),
            ("source row changed at", answer.source_changed_at),
        ]
    )
    if answer.predictions:
        show_table(
            [
                "score",
                "prediction",
                "from (UTC)",
                "to (UTC)",
                "run",
                TableColumn(name="requested by", optional=True),
                TableColumn(name="trigger", optional=True),
                "model",
                TableColumn(name="source row of", optional=True),
                TableColumn(name="reason", is_text=True, optional=True),
            ],
            [
                [
                    record.score,
                    record.prediction,
                    record.valid_from,
                    "current" if record.is_current else record.valid_to,
                    str(record.run_id),
                    record.requested_by,
                    record.trigger,
                    f"{record.model_name} v{record.model_version}",
                    record.source_changed_at,
                    record.reason,
                ]
                for record in answer.predictions
            ],
            title="predictions, the latest first",
        )
    if answer.quarantine:
        show_table(
            [
                "code",
                "column",
                TableColumn(name="message", is_text=True),
                "from (UTC)",
                "to (UTC)",
                "run",
                TableColumn(name="attempts", optional=True),
            ],
            [
                [
                    entry.reason_code,
                    entry.column_name,
                    entry.message,
                    entry.valid_from,
                    "open" if entry.is_open else entry.valid_to,
                    str(entry.run_id),
                    str(entry.attempts),
                ]
                for entry in answer.quarantine
            ],
            title="when it was quarantined, the latest first",
        )
    if answer.failed_runs:
        show_table(
            ["run", "status", "started (UTC)", "failed rows", "error"],
            [
                [str(run.run_id), run.status, run.started_at, run.failed_rows, run.error_type]
                for run in answer.failed_runs
            ],
            title="runs that failed while it was due, the latest first",
        )


def replay(
    job: JobName,
    key: Annotated[
        str | None, typer.Argument(help="The key: its value, or a=1,b=x where it has several columns.")
    ] = None,
    as_of: Annotated[
        datetime | None,
        time_option(help="The prediction that was current at this time; without it the current one."),
    ] = None,
    run: Annotated[
        int | None, typer.Option(help="Every prediction of this run, in place of a key.", min=1, max=MAX_RUN_ID)
    ] = None,
    sample: Annotated[
        int | None, typer.Option(help="With --run: a random sample of this size.", min=1, max=1_000_000)
    ] = None,
    allow_version_mismatch: AllowMismatch = False,
    as_json: Json = False,
) -> None:
    """Reproduce stored scores from the same model file and the stored inputs (`keep_inputs = true`).

    Exit code 0 if every score is reproduced within 1e-12, else 1.
    """
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.operations import replay as operation

    declared = load_job(settings().jobs_dir, job)
    if (key is None) == (run is None):
        raise InputFault("expected either a KEY or --run RUN")
    if (sample is not None and run is None) or (as_of is not None and key is None):
        raise InputFault("--sample requires --run, and --as-of requires a KEY")
    artifacts_dir = settings().artifacts_dir
    if key is not None:
        done = operation.replay_key(
            migrated_database(),
            declared,
            artifacts_dir,
            parse_key(key, declared.source.key, "KEY"),
            as_of=as_of,
            allow_version_mismatch=allow_version_mismatch,
        )
    else:
        assert run is not None
        done = operation.replay_run(
            migrated_database(),
            declared,
            artifacts_dir,
            run,
            sample=sample,
            allow_version_mismatch=allow_version_mismatch,
        )
    if as_json:
        show_json(done)
    else:
        _show_replay(done)
    if not done.is_reproduced:
        raise typer.Exit(ExitCode.RUN_FAILED)


_ALTERED = "a stored input was altered; the database scored the row, and stored one checksum for all of them"
_PREDICTION_DIFFERS = (
    "the stored inputs are intact, but give another score or label: it was altered, or scored with other libraries"
)
_DEPENDS_ON_OTHERS = (
    "the stored inputs are intact, but the score depends on the other rows of a batch, so it is not reproducible"
)


def _show_replay(done: Replay) -> None:
    share = done.reproduced_count / done.row_count
    show_sentence(
        "",
        f"{done.reproduced_count:,} of {counted(done.row_count, 'score')} reproduced ({share:.2%}) within 1e-12 by"
        f" {', '.join(done.models)}",
    )
    if done.score is not None and done.is_reproduced:
        typer.echo(f"score {done.score!r}")
    if done.missing_count:
        has = "has" if done.missing_count == 1 else "have"
        typer.echo(
            f"{counted(done.missing_count, 'prediction')} of the run {has} no stored inputs:"
            " purged, or deleted manually"
        )
    if done.deviations:
        show_table(
            ["key", "run", "stored score", "replayed", TableColumn(name="because", is_text=True)],
            [
                [
                    one.key,
                    str(one.run_id),
                    repr(one.score),
                    "none" if one.replayed is None else repr(one.replayed),
                    _ALTERED
                    if ANY_COLUMN in one.altered
                    else f"the stored input {', '.join(one.altered)} was altered"
                    if one.altered
                    else _DEPENDS_ON_OTHERS
                    if one.depends_on_others
                    else _PREDICTION_DIFFERS,
                ]
                for one in done.deviations
            ],
            title=f"{done.row_count - done.reproduced_count:,} not reproduced",
        )
