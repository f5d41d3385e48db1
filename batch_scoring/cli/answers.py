"""``why``: all that is known of one key, on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from batch_scoring.cli.keys import parse_key
from batch_scoring.cli.output import Json, database, settings, show_json, show_record, show_table
from batch_scoring.cli.running import JobName

if TYPE_CHECKING:
    from batch_scoring.scoring.why import Answer

KeyArgument = Annotated[str, typer.Argument(help="The key: its value, or a=1,b=x where it has several columns.")]


def why(job: JobName, key: KeyArgument, as_json: Json = False) -> None:
    """Say why a row has the score it has, or none: all its predictions and faults. Times are UTC."""
    from batch_scoring.job import load_job
    from batch_scoring.scoring.why import why as answer_for

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
                "asked for by",
                "trigger",
                "model",
                "source row of",
                "reason",
            ],
            [
                [
                    life.score,
                    life.prediction,
                    life.valid_from,
                    "current" if life.is_current else life.valid_to,
                    str(life.run_id),
                    life.requested_by,
                    life.trigger,
                    f"{life.model_name} v{life.model_version}",
                    life.source_changed_at,
                    life.reason,
                ]
                for life in answer.predictions
            ],
            title=f"{len(answer.predictions)} predictions",
        )
    if answer.quarantine:
        show_table(
            ["code", "column", "message", "from (UTC)", "to (UTC)", "run", "attempts"],
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
            title=f"set aside {len(answer.quarantine)} times",
        )
