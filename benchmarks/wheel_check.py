"""The wheel check: build it, install it into a clean environment, run the demo from it in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
WANTED = (
    "batch_scoring/sql/migrations/env.py",
    "batch_scoring/sql/views/current.sqlite.sql",
    "batch_scoring/jobs/loan_eligibility.toml",
    "batch_scoring/py.typed",
)


def main() -> None:
    """Raise SystemExit if the wheel lacks a file or its demo fails."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(REPOSITORY)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (wheel,) = folder.glob("*.whl")
        names = zipfile.ZipFile(wheel).namelist()
        if missing := [name for name in WANTED if name not in names]:
            raise SystemExit(f"the wheel lacks {', '.join(missing)}")
        venv.create(folder / "clean", with_pip=True)
        python = folder / "clean" / "bin" / "python"
        requirements = str(REPOSITORY / "requirements.txt")
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run(
            [*pip, "--requirement", requirements], check=True
        )  # with hashes, which a constraint would demand
        subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
        subprocess.run([str(python), "-m", "pip", "--disable-pip-version-check", "check"], check=True)
        empty = folder / "empty"
        empty.mkdir()
        environ = {name: value for name, value in os.environ.items() if not name.startswith("BATCH_SCORING_")}
        environ.pop("PYTHONPATH", None)
        program = str(folder / "clean" / "bin" / "batch-scoring")
        done = subprocess.run([program, "demo"], cwd=empty, env=environ, capture_output=True, text=True, check=False)
        if done.returncode or "Ten current predictions" not in done.stdout:
            raise SystemExit(f"the demo of {wheel.name} failed:\n{done.stdout}\n{done.stderr}")
        print(f"{wheel.name}: {len(names)} files, installs into a clean environment, its demo runs in an empty folder")


if __name__ == "__main__":
    main()
