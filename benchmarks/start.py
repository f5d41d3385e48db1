"""The duration of a process from start to exit: ``--help``, and runs with nothing due.

Medians of ten repetitions, one of each command in turn.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from batch_scoring.demo.main_job import JOB, DemoResult, run_demo
from batch_scoring.domain.job_files import read_job
from batch_scoring.scoring.runner import run_job
from batch_scoring.store import registry
from batch_scoring.store.engine.database import Database
from batch_scoring.store.mlflow import KnownVersion, record_resolution, record_version
from batch_scoring.store.runs.records import list_runs
from batch_scoring.store.schema.upgrade import upgrade

REPETITIONS = 10


def _seconds(command: list[str], environ: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=environ, check=True, capture_output=True)
    return time.perf_counter() - started


def _with_uri(demo: DemoResult) -> str:
    """A second job, whose model is in MLflow on a server that there is not: its version is known from a run before."""
    uri, server = "models:/loan_eligibility@champion", "http://127.0.0.1:9"
    text = (demo.folder / "jobs" / f"{JOB}.toml").read_text(encoding="utf-8")
    text = text.replace('name = "loan_eligibility"\nalias = "champion"', f'uri = "{uri}"')
    text = text.replace('table = "predictions"', 'table = "by_uri"') + f'\n[mlflow]\ntracking_uri = "{server}"\n'
    job_file = demo.folder / "jobs" / "by_uri.toml"
    job_file.write_text(text, encoding="utf-8")
    database = Database(demo.database_url)
    job = read_job(job_file)
    version = registry.resolve_alias(database, "loan_eligibility", "champion")
    record_version(
        database,
        KnownVersion(
            tracking_uri=server,
            uri="models:/loan_eligibility/1",
            name=version.name,
            version=version.version,
            mlflow_run_id=None,
            mlflow_model_id=None,
            file="model.pkl",
            file_bytes=1,
            trusted_by="tag",
        ),
    )
    upgrade(database, [job])
    run_job(
        database,
        job.model_copy(update={"model": job.model.model_copy(update={"uri": None})}),
        demo.folder / "artifacts",
    )
    run_id = list_runs(database, job=job.name)[0].run_id
    record_resolution(
        database, run_id, tracking_uri=server, uri=uri, version_uri="models:/loan_eligibility/1", is_cached=False
    )
    database.dispose()
    return job.name


def measure() -> dict[str, list[float]]:
    """The seconds of every repetition, by command."""
    program = str(Path(sys.executable).parent / "batch-scoring")
    with tempfile.TemporaryDirectory() as folder:
        demo = run_demo(Path(folder), lambda _text: None)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("BATCH_SCORING_")}
        environ |= {
            "BATCH_SCORING_DATABASE_URL": demo.database_url,
            "BATCH_SCORING_JOBS_DIR": f"{demo.folder}/jobs",
            "BATCH_SCORING_ARTIFACTS_DIR": f"{demo.folder}/artifacts",
        }
        commands = {
            "batch-scoring --help": [program, "--help"],
            "a run with nothing due, SQLite": [program, "run", JOB],
            "the same with a model in MLflow": [program, "run", _with_uri(demo)],
            "python -c pass, for comparison": [sys.executable, "-c", "pass"],
        }
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(REPETITIONS):
            for name, command in commands.items():
                taken[name].append(_seconds(command, environ))
        return taken


def main() -> None:
    """Measure and print."""
    for name, taken in measure().items():
        print(
            f"{name}: median {statistics.median(taken):.3f} s of {REPETITIONS}"
            f" (from {min(taken):.3f} to {max(taken):.3f})"
        )


if __name__ == "__main__":
    main()
