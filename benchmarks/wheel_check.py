"""The wheel check: build twice and compare, install with and without extras, run what users run.

With a folder as argument, what was built is left there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
IN_WHEEL = (
    "batch_scoring/sql/migrations/env.py",
    "batch_scoring/sql/views/current.sqlite.sql",
    "batch_scoring/jobs/loan_eligibility.toml",
    "batch_scoring/py.typed",
)
IN_SDIST = (
    "sql/migrations/env.py",
    "jobs/loan_eligibility.toml",
    "batch_scoring/py.typed",
    "docs/index.md",
    "MLproject",
)

JOB = """
[source]
table = "applicants"
key = ["Loan_ID"]
[model]
uri = "models:/loan_eligibility@champion"
[mlflow]
tracking_uri = "http://127.0.0.1:9"
[predictions]
positive_label = "Y"
"""

WITHOUT_EXTRAS = (
    (("train", "loan_eligibility", "--data", "history.csv", "--label", "Loan_Status", "--mlflow"), "[mlflow]"),
    (("check",), "[mlflow]"),
    (("model", "register", "m.skops", "--name", "m", "--sample", "history.csv"), "[skops]"),
)
"""Commands that need an extra, and what they must name where it is missing."""


DOCUMENTED = (
    "tests/acceptance/test_documents.py::test_the_commands_of_the_readme_work_one_after_the_other",
    "tests/acceptance/test_mlflow_walkthrough.py::test_the_walk_through_of_mlflow_works_one_block_after_the_other[sqlite]",
)
"""Tests that run the commands of documents."""


def main() -> None:
    """Raise SystemExit if a file is missing, two builds differ, or a command of an installed wheel fails."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sdist, wheel = _build(folder / "first")
        for first, second in zip((sdist, wheel), _build(folder / "second"), strict=True):
            if _sha256(first) != _sha256(second):
                raise SystemExit(f"two builds of {first.name} differ")
        names = zipfile.ZipFile(wheel).namelist()
        with tarfile.open(sdist) as archive:
            in_sdist = {name.partition("/")[2] for name in archive.getnames()}
        if missing := [*(set(IN_WHEEL) - set(names)), *(set(IN_SDIST) - in_sdist)]:
            raise SystemExit(f"the distributions lack {', '.join(missing)}")
        clean = _environment(folder / "clean")
        _pip(clean, "--requirement", str(REPOSITORY / "requirements.txt"))  # with hashes, so not a constraint
        _pip(clean, "--no-deps", str(wheel))
        subprocess.run([clean / "python", "-m", "pip", "--disable-pip-version-check", "check"], check=True)
        empty = folder / "empty"
        empty.mkdir()
        demo = _run(clean, ("demo",), empty)
        if "Ten current predictions" not in demo:
            raise SystemExit(f"the demo of {wheel.name} failed:\n{demo}")
        subprocess.run([clean / "python", "-c", "from batch_scoring.api import *"], check=True, cwd=empty)
        _check_messages(clean, empty / "demo")
        extras = _extras()
        with ThreadPoolExecutor(len(extras)) as threads:
            for checked in [threads.submit(_check_extra, folder, wheel, extra) for extra in extras]:
                checked.result()
        if len(sys.argv) > 1:
            target = Path(sys.argv[1])
            target.mkdir(parents=True, exist_ok=True)
            for file in (sdist, wheel):
                shutil.copy(file, target)
        print(
            f"{wheel.name}: {len(names)} files, the same bytes twice, installs into clean environments, alone and with"
            f" {', '.join(extras)}; its demo runs in an empty folder"
        )


def _build(folder: Path) -> tuple[Path, Path]:
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(folder), str(REPOSITORY)],  # the wheel from the sdist
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _extras() -> list[str]:
    import tomllib

    content = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    return sorted(content["project"]["optional-dependencies"])


def _check_extra(folder: Path, wheel: Path, extra: str) -> None:
    environment = _environment(folder / extra)
    _pip(environment, f"{wheel}[{extra}]", "--constraint", str(REPOSITORY / "requirements-dev.txt"))
    where = folder / f"in-{extra}"
    where.mkdir()
    _run(environment, ("demo",), where)
    if extra == "mlflow":
        _check_documents(environment)


def _check_documents(environment: Path) -> None:
    """The commands of the README and of the page on MLflow, by an installed wheel; their tests by this environment."""
    subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-q", *DOCUMENTED],
        check=True,
        cwd=REPOSITORY,
        env={**os.environ, "COMMANDS_FROM": str(environment)},
    )


def _environment(folder: Path) -> Path:
    venv.create(folder, with_pip=True)
    return folder / "bin"


def _pip(environment: Path, *arguments: str) -> None:
    command = [
        str(environment / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        *arguments,
    ]
    subprocess.run(command, check=True)


def _run(environment: Path, arguments: tuple[str, ...], folder: Path, *, code: int = 0) -> str:
    """What a command prints; SystemExit if it ends with another exit code."""
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BATCH_SCORING_", "MLFLOW_", "PYTHONPATH"))
    }
    done = subprocess.run(
        [environment / "batch-scoring", *arguments],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != code:
        raise SystemExit(
            f"batch-scoring {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        )
    return done.stdout + done.stderr


def _check_messages(environment: Path, demo: Path) -> None:
    """Commands whose extra is missing name it, and nothing is changed."""
    (demo / "m.skops").write_bytes(b"PK\x05\x06" + bytes(18))
    job = demo / "jobs" / "loan_eligibility.toml"
    plain = job.read_text(encoding="utf-8")
    for arguments, extra in WITHOUT_EXTRAS:
        job.write_text(JOB if "--mlflow" in arguments or arguments == ("check",) else plain, encoding="utf-8")
        printed = _run(environment, arguments, demo, code=3 if extra == "[skops]" else 2)
        if f"batch-scoring{extra}" not in printed:
            raise SystemExit(f"batch-scoring {' '.join(arguments)} does not name the extra {extra}:\n{printed}")


if __name__ == "__main__":
    main()
