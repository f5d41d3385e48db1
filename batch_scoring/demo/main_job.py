"""The steps of ``batch-scoring demo``. Each calls the function that the command of the same name calls."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from batch_scoring.demo.synthetic import applicants
from batch_scoring.domain.job_files import load_job
from batch_scoring.domain.runs import Run
from batch_scoring.errors import InputFault
from batch_scoring.files.written import written
from batch_scoring.registry import labelled, training
from batch_scoring.resources import resource
from batch_scoring.scoring.runner import run_job
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs import records
from batch_scoring.store.schema import upgrade
from batch_scoring.store.source.loading import load_csv

JOB = "loan_eligibility"
HISTORY, FIRST, NEW, CHANGED, INCOMPLETE = 2000, 3000, 200, 50, 3

QUERY = """\
SELECT "Loan_ID", prediction, round(score, 4) AS score, model_version, run_id, scored_at
FROM predictions_current
ORDER BY score DESC
LIMIT 10;"""


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoResult:
    """The results of the demo."""

    folder: Path
    database_url: str
    runs: Sequence[Run]
    columns: Sequence[str]
    top: Sequence[Sequence[Any]]
    """Ten current predictions, the result of ``QUERY``."""


_FILES = ("batch_scoring.db", "batch_scoring.db-wal", "batch_scoring.db-shm", f"jobs/{JOB}.toml", f"artifacts/{JOB}")


def run_demo(folder: Path, report: Callable[[str], None]) -> DemoResult:
    """Run the example job in a folder, which is created, or cleared of an earlier demo.

    ``report`` is called with a message for each step. Raises InputFault if ``folder`` is a file or has links in it,
    ModelRefused, DatabaseFault.
    """
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise InputFault(f"{folder} is a file; expected a folder")
    if links := [name for name in ("", "jobs", "artifacts", *_FILES) if (folder / name).is_symlink()]:
        raise InputFault(f"{folder / links[0]} is a symbolic link, and the demo overwrites what is there; remove it")
    database_file = folder / "batch_scoring.db"
    _clear(folder, database_file)
    (folder / "jobs").mkdir(parents=True, exist_ok=True)
    shutil.copy(resource("jobs") / f"{JOB}.toml", folder / "jobs")
    job = load_job(folder / "jobs", JOB)
    database = Database(f"sqlite:///{database_file}")
    artifacts = folder / "artifacts"

    report(f"synthetic applicants, made up for this demo, go into {folder}")
    upgrade.upgrade(database, [])
    first = applicants(FIRST, seed=2)
    first.loc[first.index[:INCOMPLETE], "Education"] = None
    loaded = load_csv(database, job.source.table, _written(first, folder / "applicants.csv"), key=job.source.key)
    report(f"load: {loaded.inserted} applicants, {INCOMPLETE} of them without the Education the model needs")

    history = _written(applicants(HISTORY, seed=1, first_id=9_000_000, labelled=True), folder / "history.csv")
    rows = labelled.of_file(job, history, label="Loan_Status")
    trained = training.train(database, artifacts, job, rows, algorithm="logistic_regression")
    version = trained.registered.version
    metrics = version.manifest.metrics
    assert metrics is not None
    accuracy = metrics.cross_validation.accuracy
    report(f"train: {version.name} version {version.version} on {HISTORY} past applicants, accuracy {accuracy:.2f}")

    upgrade.upgrade(database, [job])
    _report_run(report, run_job(database, job, artifacts))

    changed = first.iloc[-CHANGED:].assign(LoanAmount=lambda frame: frame["LoanAmount"].fillna(100) + 20)
    new = applicants(NEW, seed=3, first_id=FIRST + 1)
    both = _written(_stacked(changed, new), folder / "applicants_next_day.csv")
    loaded = load_csv(database, job.source.table, both, key=job.source.key)
    report(f"next day: {loaded.inserted} new applicants and {loaded.updated} changed ones")
    _report_run(report, run_job(database, job, artifacts))

    with database.read() as connection:
        result = connection.execute(sa.text(QUERY.rstrip(";")))
        columns, top = list(result.keys()), [tuple(row) for row in result]
    finished = records.list_runs(database)
    database.dispose()
    return DemoResult(folder=folder, database_url=f"sqlite:///{database_file}", runs=finished, columns=columns, top=top)


def _stacked(*frames: Any) -> Any:
    import pandas as pd

    return pd.concat(frames)


def _written(frame: Any, file: Path) -> Path:
    with written(file) as opened:
        frame.to_csv(opened, index=False)
    return file


def _report_run(report: Callable[[str], None], run: Run) -> None:
    report(
        f"run {run.run_id}: {run.due_count} due, {run.scored_count} scored, {run.superseded_count} superseded,"
        f" {run.quarantined_count} quarantined"
    )


def _clear(folder: Path, database_file: Path) -> None:
    """Remove the files of an earlier demo in this folder, and nothing else."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{database_file}{suffix}").unlink(missing_ok=True)
    shutil.rmtree(folder / "artifacts" / JOB, ignore_errors=True)
