"""The duration of a process from start to exit: ``--help``, and a run with nothing due. Medians of ten repetitions."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from batch_scoring.demo.main_job import JOB, run_demo

REPETITIONS = 10


def _seconds(command: list[str], environ: dict[str, str]) -> list[float]:
    taken = []
    for _ in range(REPETITIONS):
        started = time.perf_counter()
        subprocess.run(command, env=environ, check=True, capture_output=True)
        taken.append(time.perf_counter() - started)
    return taken


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
            "python -c pass, for comparison": [sys.executable, "-c", "pass"],
        }
        return {name: _seconds(command, environ) for name, command in commands.items()}


def main() -> None:
    """Measure and print."""
    for name, taken in measure().items():
        print(
            f"{name}: median {statistics.median(taken):.3f} s of {REPETITIONS}"
            f" (from {min(taken):.3f} to {max(taken):.3f})"
        )


if __name__ == "__main__":
    main()
