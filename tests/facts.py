"""A small job for what is asked of single rows: forty facts, a model that each column matters to, and commands."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from databases import DATABASES, Databases
from processes import forks
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from support import Workspace, claim_run

from batch_scoring.cli import main
from batch_scoring.model.features import DerivedFeatures

Done = subprocess.CompletedProcess[str]

COUNT = 40
AT = "2026-01-01 00:00:00"
"""When every fact was last changed."""


@dataclass(frozen=True)
class KeyKind:
    """A key of one column, or of two."""

    columns: tuple[str, ...]

    @property
    def selected(self) -> str:
        """The key's columns in a statement."""
        return ", ".join(self.columns)

    def of(self, number: int) -> str:
        """The key of a fact as people write it."""
        return str(number) if len(self.columns) == 1 else f"branch={branch_of(number)},id={number}"


def branch_of(number: int) -> str:
    """The other column of a key of two."""
    return f"B {number % 3}"


SINGLE = KeyKind(("id",))
COMPOSITE = KeyKind(("branch", "id"))


def sample() -> pd.DataFrame:
    """What the model is fitted on: two numbers that are never missing, and one that may be."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {"x": rng.normal(size=COUNT), "y": rng.lognormal(2, 1, COUNT), "z": rng.normal(50, 9, COUNT)}
    ).round(3)
    frame.loc[::7, "z"] = np.nan
    return frame


def fitted() -> Pipeline:
    """Yes or no, from three numbers; it raises where y is negative."""
    data = sample()
    model = make_pipeline(DerivedFeatures(logs=["y"]), SimpleImputer(), LogisticRegression())
    return model.fit(data, np.where(data["x"] + np.log1p(data["y"]) > 2, "yes", "no"))


def job_text(
    key: KeyKind = SINGLE, *, source: str = "", predictions: str = "", run: str = "", after: str = "", model: str = ""
) -> str:
    """The job file, with more in some of its sections."""
    columns = ", ".join(f'"{name}"' for name in key.columns)
    return (
        f'[source]\ntable = "facts"\nkey = [{columns}]\nchanged_at = "at"\n{source}\n[model]\nname = "facts"\n{model}\n'
        f'[predictions]\ntable = "predictions"\npositive_label = "yes"\nmax_quarantined = 1.0\n{predictions}\n'
        f"[run]\n{run}\n{after}\n"
    )


def prepare(workspace: Workspace, key: KeyKind = SINGLE, **said: str) -> Workspace:
    """Forty facts, their job and its champion: ready to run."""
    numbers_of = "x DOUBLE PRECISION, y DOUBLE PRECISION, z DOUBLE PRECISION"
    workspace.sql(
        f"CREATE TABLE facts (id INTEGER NOT NULL, branch TEXT NOT NULL, {numbers_of}, at TIMESTAMP,"
        f" PRIMARY KEY ({key.selected}))"
    )
    numbers = range(1, COUNT + 1)
    frame = sample().assign(id=numbers, branch=[branch_of(number) for number in numbers], at=AT)
    workspace.insert_frame("facts", frame)
    workspace.write_job("facts", job_text(key, **said))
    workspace.upgrade()
    workspace.register(fitted(), sample(), name="facts")
    return workspace


Make = Callable[[Workspace], Workspace]

_made: dict[tuple[Make, str], Workspace] = {}


def copied(request: pytest.FixtureRequest, workspace: Workspace, make: Make) -> Workspace:
    """A workspace as ``make`` makes it from an empty one. It is made once, and copied for each test."""
    kind = workspace.dialect.name
    databases: Databases = request.getfixturevalue(DATABASES[kind])
    if (make, kind) not in _made:
        folder = request.getfixturevalue("tmp_path_factory").mktemp("made")
        _made[make, kind] = make(Workspace(folder, databases.create_database()))
    made = _made[make, kind]
    workspace.database_url = databases.copy_database(made.database_url)
    for part in ("jobs", "artifacts"):
        shutil.copytree(made.folder / part, workspace.folder / part, dirs_exist_ok=True)
    return workspace


def change(workspace: Workspace, assignment: str, *numbers: int, at: str | None = None) -> None:
    """Change facts; with ``at`` so that a run finds them changed."""
    version = "" if at is None else f", at = '{at}'"
    workspace.sql(f"UPDATE facts SET {assignment}{version} WHERE id IN ({', '.join(map(str, numbers))})")


def tables(workspace: Workspace, *names: str) -> dict[str, list[tuple[Any, ...]]]:
    """What stands in tables, in an order that does not change."""
    names = names or (
        *("predictions", "predictions_superseded"),
        *("predictions_quarantine", "predictions_quarantine_closed"),
        "scoring_runs",
    )
    return {name: sorted(workspace.query(f"SELECT * FROM {name}"), key=str) for name in names}


@contextmanager
def unchanged(workspace: Workspace, *names: str) -> Iterator[None]:
    """Nothing is written to the tables within the block."""
    before = tables(workspace, *names)
    yield
    assert tables(workspace, *names) == before


def command(workspace: Workspace, *arguments: str, stdin: str = "") -> Done:
    """A command as ``Workspace.cli`` runs it, in this process; an error that nobody foresaw is raised."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    given = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
    with (
        mock.patch.dict(os.environ, workspace.process_environ, clear=True),
        mock.patch.object(sys, "argv", ["batch-scoring", *arguments]),
        mock.patch.object(sys, "stdin", given),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as exc:
            code = int(exc.code or 0)
    return Done(arguments, code, out.getvalue(), err.getvalue())


def refused(done: Done, code: int, *words: str) -> None:
    """The command ended with the code and said the words, without a result."""
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    for word in words:
        assert word in done.stderr


def command_json(workspace: Workspace, *arguments: str) -> Any:
    """The JSON of a command that must succeed."""
    done = command(workspace, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def active_run(workspace: Workspace) -> Iterator[int]:
    """Another run of the job owns it within the block."""
    with workspace.database() as database:
        stalled_after = timedelta(minutes=5)
        run_id = claim_run(database, job="facts", job_config={}, environment={}, stalled_after=stalled_after).run_id
    yield run_id
    workspace.sql(
        "UPDATE scoring_runs SET status = 'failed', end_reason = 'error', finished_at = heartbeat_at"
        " WHERE run_id = :run",
        {"run": run_id},
    )


def moment_text(workspace: Workspace, moment: datetime) -> str:
    """A timestamp in UTC as the database keeps it."""
    return workspace.words.timestamp_text(moment)


def ago(workspace: Workspace, **age: float) -> str:
    """A timestamp that has passed, as the database keeps it."""
    return moment_text(workspace, datetime.now(UTC) - timedelta(**age))


def killed(workspace: Workspace, *arguments: str, at: str, call: int = 1, after: bool = False) -> None:
    """Carry a command out in a process that kills itself where it calls a function for the n-th time.

    ``after`` lets that call end first. The run it leaves behind is then as old as one that may be taken over.
    """
    process = forks().Process(target=_die, args=(workspace.process_environ, arguments, at, call, after))
    process.start()
    process.join(timeout=120)
    assert process.exitcode == -signal.SIGKILL, "it came to its end"
    stalled = "UPDATE scoring_runs SET heartbeat_at = :long_ago WHERE status = 'running'"
    workspace.sql(stalled, {"long_ago": ago(workspace, days=1)})


def _die(environ: Mapping[str, str], arguments: tuple[str, ...], at: str, call: int, after: bool) -> None:
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["batch-scoring", *arguments]
    sys.stdin = io.StringIO()
    module, _, name = at.rpartition(".")
    __import__(module)
    original = getattr(sys.modules[module], name)
    calls = 0

    def deadly(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*given, **named)
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    with mock.patch(at, deadly), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        main()
