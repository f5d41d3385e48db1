"""The name of a job as an argument of commands."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from batch_scoring.cli.completion import complete_job_name
from batch_scoring.cli.output import settings
from batch_scoring.errors import ConfigurationError

if TYPE_CHECKING:
    from batch_scoring.store.engine.database import Database

JobName = Annotated[
    str,
    typer.Argument(
        help="Name of the job: its file in the jobs folder, without .toml.", autocompletion=complete_job_name
    ),
]
OptionalJobName = Annotated[
    str | None,
    typer.Argument(help="Name of a job; without it, every job.", autocompletion=complete_job_name),
]


def check_job_is_known(source: Database, job: str) -> None:
    """Raise UnknownJob if a job has neither a file nor a run: runs are kept when the file is removed."""
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.errors import UnknownJob
    from batch_scoring.store.runs import records

    if records.list_runs(source, job=job, limit=1):
        return
    with suppress(ConfigurationError):  # an invalid file names a job, too
        try:
            load_job(settings().jobs_dir, job)
        except UnknownJob as exc:
            raise UnknownJob(f"{exc}; nor is there a run of such a job") from None
