"""What is wrong is said, with what to do, and the exit code that cron sees; nothing is predicted meanwhile."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import psycopg2
import pytest
import sqlalchemy as sa
from commands import Done, assert_no_traceback, assert_refused, said
from conftest import prepare_loans
from environment import program
from sklearn.linear_model import LinearRegression, LogisticRegression
from support import DATA, LOAN_JOB, PostgresServer, Workspace, wait_until

from batch_scoring.model.training import TrainedModel

RUN = ("run", "loan_eligibility")


def count_rows(workspace: Workspace, table: str) -> int:
    """Rows of a table, none where there is no such table."""
    with workspace.database() as database, database.read() as connection:
        if not sa.inspect(connection).has_table(table):
            return 0
        return connection.execute(sa.select(sa.func.count()).select_from(sa.table(table))).scalar_one()


def assert_nothing_predicted(workspace: Workspace) -> None:
    """Neither a prediction nor a quarantine entry was written."""
    assert count_rows(workspace, "predictions") == 0
    assert count_rows(workspace, "predictions_quarantine") == 0


def assert_recorded(workspace: Workspace, done: Done, error_type: str) -> None:
    """The one run stands in the database as failed, with what the command said; nothing was predicted."""
    assert_nothing_predicted(workspace)
    (run,) = workspace.query(
        "SELECT status, error_type, error_message, scored_count, quarantined_count, chunk_count FROM run_history"
        " WHERE finished_at IS NOT NULL"
    )
    assert run == ("failed", error_type, said(done), 0, 0, 0)


@contextmanager
def mounted(target: Path, *options: str) -> Iterator[None]:
    """A mount for the length of the block; the test is skipped where the machine does not permit one."""
    done = subprocess.run(
        [program("mount", "mount"), *options, str(target)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(target)], check=True)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """A file or folder that nobody can write, the administrator included, for the length of the block."""
    with mounted(path, "--bind", str(path)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(path)], check=True)
        yield


def fill(folder: Path, *, leave: int) -> Path:
    """Let a file take all the space there is but ``leave`` bytes, whatever a server writes meanwhile."""
    free = os.statvfs(folder)
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        file.write(bytes(max(0, free.f_bavail * free.f_frsize - leave)))
    return filler


def test_an_unknown_job_is_named_with_the_jobs_there_are(loan_workspace: Workspace) -> None:
    done = loan_workspace.cli("run", "loan_elegibility")
    assert_refused(done, 2, "'loan_elegibility'", "jobs there: loan_eligibility", "BATCH_SCORING_JOBS_DIR")
    assert_nothing_predicted(loan_workspace)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"[source\ntable = 1", ["is not valid TOML", "line 1"], id="syntax"),
        pytest.param(b'[source]\ntable = "\xff"', ["is not valid TOML", "utf-8"], id="not UTF-8"),
        pytest.param(b"", ["source: is missing", "model: is missing", "predictions: is missing"], id="empty"),
        pytest.param(b"source = 3\nmodel = 4\n", ["source: ", "model: ", "predictions: is missing"], id="no sections"),
    ],
)
def test_a_broken_job_file_is_named_with_what_is_wrong_in_it(
    sqlite_workspace: Workspace, content: bytes, words: list[str]
) -> None:
    sqlite_workspace.upgrade()
    file = sqlite_workspace.jobs_dir / "loan_eligibility.toml"
    file.write_bytes(content)
    for arguments in (RUN, ("status", "loan_eligibility"), ("db", "upgrade")):
        assert_refused(sqlite_workspace.cli(*arguments), 2, f"{file}: ", *words)


THREE_FAULTS = (
    LOAN_JOB.replace("threshold = 0.5", "threshold = 1.5")
    .replace('key = ["Loan_ID"]', "key = []")
    .replace('cron = "*/15 * * * *"', 'cron = "every morning"')
)


def test_three_faults_of_a_job_file_are_all_reported_at_once(sqlite_workspace: Workspace) -> None:
    sqlite_workspace.upgrade()
    file = sqlite_workspace.jobs_dir / "loan_eligibility.toml"
    file.write_text(THREE_FAULTS, encoding="utf-8")

    done = sqlite_workspace.cli(*RUN)

    places = ("source.key", "predictions.threshold", "schedule.cron")
    assert_refused(done, 2, *(f"{file}: {place}: expected" if place.endswith("cron") else place for place in places))
    assert len(said(done).splitlines()) == 3


def test_faults_of_several_job_files_and_settings_are_reported_together(sqlite_workspace: Workspace) -> None:
    (sqlite_workspace.jobs_dir / "one.toml").write_text(THREE_FAULTS, encoding="utf-8")
    (sqlite_workspace.jobs_dir / "two.toml").write_text("[source", encoding="utf-8")
    done = sqlite_workspace.cli("db", "upgrade")
    assert_refused(done, 2, "one.toml: source.key", "one.toml: schedule.cron", "two.toml: is not valid TOML")
    assert len(said(done).splitlines()) == 4


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param('"5 minutes"', '"999999999999 days"', "run.stalled_after", id="a duration beyond any calendar"),
        pytest.param('"5 minutes"', '"soon"', "run.stalled_after: expected a duration", id="no duration"),
        pytest.param('"*/15 * * * *"', '"61 * * * *"', "schedule.cron", id="a minute that no hour has"),
        pytest.param('"UTC"', '"Europe/Atlantis"', "schedule.timezone", id="no time zone"),
        pytest.param("threshold = 0.5", "treshold = 0.5", "predictions.treshold: is not a known key", id="misspelt"),
        pytest.param(
            '["Loan_ID"]', '["Loan_ID", "score"]', "source.key: score", id="a key named like a column of ours"
        ),
        pytest.param("# chunk_rows = 50000", "chunk_rows = 0", "run.chunk_rows", id="no rows in a chunk"),
    ],
)
def test_a_value_that_cannot_be_carried_out_is_named_by_its_place(
    sqlite_workspace: Workspace, old: str, new: str, words: str
) -> None:
    sqlite_workspace.upgrade()
    assert old in LOAN_JOB
    (sqlite_workspace.jobs_dir / "loan_eligibility.toml").write_text(LOAN_JOB.replace(old, new), encoding="utf-8")
    assert_refused(sqlite_workspace.cli(*RUN), 2, f"loan_eligibility.toml: {words}")


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"BATCH_SCORING_DATABSE_URL": "sqlite:///x.db"}, ["BATCH_SCORING_DATABSE_URL: is not a setting"]),
        ({"BATCH_SCORING_DATABASE_URL": "applicants.db"}, ["BATCH_SCORING_DATABASE_URL: expected a SQLAlchemy URL"]),
        ({"BATCH_SCORING_DATABASE_URL": "sqlite://"}, ["BATCH_SCORING_DATABASE_URL", "name a file"]),
        ({"BATCH_SCORING_DATABASE_URL": "nosuch://host/name"}, ["BATCH_SCORING_DATABASE_URL", "nosuch"]),
        (
            {"BATCH_SCORING_DATABASE_URL": "postgresql://u:hidden@host:port/name"},
            ["BATCH_SCORING_DATABASE_URL: expected a SQLAlchemy URL"],
        ),
        (
            {"BATCH_SCORING_LOG_FORMAT": "xml", "BATCH_SCORING_WORKERS": "4"},
            ["BATCH_SCORING_LOG_FORMAT: expected console or json, found 'xml'", "BATCH_SCORING_WORKERS: is not"],
        ),
    ],
    ids=["unknown name", "no URL", "in memory", "no such driver", "no port", "two at once"],
)
def test_an_environment_variable_that_cannot_be_used_is_named(
    sqlite_workspace: Workspace, environ: dict[str, str], words: list[str]
) -> None:
    sqlite_workspace.write_job("loan_eligibility", LOAN_JOB)
    sqlite_workspace.environ.update(environ)
    for arguments in (RUN, ("check",), ("model", "list")):
        done = sqlite_workspace.cli(*arguments)
        assert_no_traceback(done)
        assert done.returncode == 2
        for word in words:
            assert word in done.stderr + done.stdout
        assert "hidden" not in done.stderr + done.stdout


def test_a_missing_source_table_is_named(loan_workspace: Workspace) -> None:
    loan_workspace.write_job("loan_eligibility", LOAN_JOB.replace('"applicants"', '"aplicants"'))
    done = loan_workspace.cli(*RUN)
    assert_refused(done, 2, "no table or view aplicants", "[source] table", "batch-scoring load")
    assert_recorded(loan_workspace, done, "SourceFault")


@pytest.mark.slow
def test_a_missing_key_or_version_column_is_named_with_the_columns_there_are(loan_workspace: Workspace) -> None:
    text = LOAN_JOB.replace('["Loan_ID"]', '["loan_id"]').replace('"updated_at"', '"changed"')
    loan_workspace.write_job("loan_eligibility", text)
    done = loan_workspace.cli(*RUN)
    assert_refused(done, 2, "applicants has no column loan_id, changed", "Loan_ID, Gender", "[source] key")
    assert_recorded(loan_workspace, done, "SourceFault")


def test_a_where_that_names_a_missing_column_is_a_fault_of_the_job(loan_workspace: Workspace) -> None:
    text = LOAN_JOB.replace("[model]", "where = \"status = 'submitted'\"\n[model]", 1)
    loan_workspace.write_job("loan_eligibility", text)
    done = loan_workspace.cli(*RUN)
    assert_refused(done, 2, "status", "[source] where")
    assert_recorded(loan_workspace, done, "SourceFault")


def loose_copy(workspace: Workspace, *statements: str) -> None:
    """A copy of the applicants on whose key nothing is enforced, as the job's source."""
    workspace.sql("CREATE TABLE loose AS SELECT * FROM applicants")
    for statement in statements:
        workspace.sql(statement)
    workspace.write_job("loan_eligibility", LOAN_JOB.replace('"applicants"', '"loose"'))


def test_a_key_that_is_not_unique_is_reported_with_its_columns_and_a_count(loan_workspace: Workspace) -> None:
    loose_copy(
        loan_workspace,
        "INSERT INTO loose SELECT * FROM applicants WHERE \"Loan_ID\" IN ('LP001015', 'LP001022')",
        "INSERT INTO loose SELECT * FROM applicants WHERE \"Loan_ID\" = 'LP001022'",
    )
    done = loan_workspace.cli(*RUN)
    assert_refused(done, 2, "key of loose (Loan_ID) is not unique: 2 keys occur in 5 rows", "[source] key")
    assert_recorded(loan_workspace, done, "SourceFault")


def test_a_key_that_is_null_is_reported_with_its_columns_and_a_count(loan_workspace: Workspace) -> None:
    loose_copy(
        loan_workspace, "UPDATE loose SET \"Loan_ID\" = NULL WHERE \"Loan_ID\" IN ('LP001015', 'LP001022', 'LP001031')"
    )
    done = loan_workspace.cli(*RUN)
    assert_refused(done, 2, "key of loose (Loan_ID) is NULL in 3 rows", "[source] where")
    assert_recorded(loan_workspace, done, "SourceFault")


def test_every_column_in_which_source_and_signature_disagree_is_named(loan_workspace: Workspace) -> None:
    loan_workspace.sql(
        'CREATE TABLE other ("Loan_ID" VARCHAR(20) PRIMARY KEY, updated_at TIMESTAMP, gender TEXT, "Married" TEXT,'
        ' "Dependents" TEXT, "Self_Employed" DOUBLE PRECISION, "ApplicantIncome" TEXT, "CoapplicantIncome" NUMERIC,'
        ' "LoanAmount" NUMERIC, "Loan_Amount_Term" DATE, "Credit_History" NUMERIC, "Property_Area" TEXT)'
    )
    loan_workspace.sql("INSERT INTO other (\"Loan_ID\") VALUES ('LP1')")
    loan_workspace.write_job("loan_eligibility", LOAN_JOB.replace('"applicants"', '"other"'))
    done = loan_workspace.cli(*RUN)
    assert_refused(
        done,
        3,
        "other does not match the signature of loan_eligibility version 1",
        "Gender is missing (there is gender)",
        "Education is missing",
        "Self_Employed is number, the model takes text",
        "ApplicantIncome is text, the model takes number",
        "Loan_Amount_Term is date, the model takes number",
        "Fix the source",
    )
    for sound in ("Married", "CoapplicantIncome", "Property_Area"):
        assert sound not in said(done)
    assert_recorded(loan_workspace, done, "SignatureMismatch")


@pytest.mark.slow
def test_a_job_without_a_model_says_how_to_get_one(loan_workspace: Workspace) -> None:
    loan_workspace.sql("DELETE FROM model_promotions")
    loan_workspace.sql("DELETE FROM model_versions")
    done = loan_workspace.cli(*RUN)
    assert_refused(done, 3, "loan_eligibility", "champion", "batch-scoring train")
    assert_recorded(loan_workspace, done, "NoSuchModel")


def test_a_model_without_a_champion_says_how_to_name_one(loan_workspace: Workspace) -> None:
    loan_workspace.sql("DELETE FROM model_promotions")
    done = loan_workspace.cli(*RUN)
    assert_refused(done, 3, "batch-scoring model promote loan_eligibility 1 --alias champion")
    assert_recorded(loan_workspace, done, "NoSuchModel")


def artifact(workspace: Workspace) -> Path:
    """The one artifact."""
    (file,) = (workspace.artifacts_dir / "loan_eligibility").glob("*.joblib")
    return file


def _remove(file: Path) -> None:
    file.unlink()


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _change_one_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _make_a_folder_of_it(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    ("damage", "error_type", "words"),
    [
        (_remove, "ArtifactMissing", ["cannot be read (No such file or directory)", "BATCH_SCORING_ARTIFACTS_DIR"]),
        (_make_a_folder_of_it, "ArtifactMissing", ["cannot be read", "BATCH_SCORING_ARTIFACTS_DIR"]),
        (_truncate, "ArtifactChanged", ["is not the registered one", "was not loaded", "restore it"]),
        (_empty, "ArtifactChanged", ["is not the registered one", "was not loaded", "restore it"]),
        (_change_one_byte, "ArtifactChanged", ["is not the registered one", "was not loaded", "restore it"]),
    ],
    ids=["missing", "a folder", "truncated", "empty", "one byte changed"],
)
def test_a_damaged_artifact_is_refused(
    loan_workspace: Workspace, damage: Callable[[Path], None], error_type: str, words: list[str]
) -> None:
    file = artifact(loan_workspace)
    damage(file)
    done = loan_workspace.cli(*RUN)
    assert_refused(done, 3, str(file), *words)
    assert_recorded(loan_workspace, done, error_type)


@dataclass(frozen=True)
class Payload:
    """Makes a folder when it is unpickled."""

    marker: str

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.marker,)


def test_an_exchanged_artifact_is_never_unpickled_by_any_command(loan_workspace: Workspace) -> None:
    marker = loan_workspace.folder / "code of the file was run"
    file = artifact(loan_workspace)
    file.write_bytes(pickle.dumps(Payload(str(marker))))
    joblib.load(file)
    assert marker.is_dir(), "the payload works"
    marker.rmdir()

    done = loan_workspace.cli(*RUN)

    assert_refused(done, 3, "is not the registered one", "was not loaded")
    assert_recorded(loan_workspace, done, "ArtifactChanged")
    for arguments in (
        ("model", "verify", "loan_eligibility"),
        ("model", "promote", "loan_eligibility", "1"),
        ("run", "loan_eligibility", "--allow-version-mismatch"),
    ):
        assert_refused(loan_workspace.cli(*arguments), 3, "is not the registered one")
    assert "is not the registered one" in loan_workspace.cli("check").stdout
    assert not marker.exists()


def set_fitted_with(workspace: Workspace, version: str) -> None:
    """Let the registry say that the model was fitted with another scikit-learn."""
    changed = workspace.words.json_with.format(column="manifest", name="scikit_learn_version")
    workspace.sql(f"UPDATE model_versions SET manifest = {changed}", {"scikit_learn_version": version})


@pytest.mark.slow
def test_another_scikit_learn_is_refused_and_accepted_on_demand_which_is_recorded(loan_workspace: Workspace) -> None:
    from sklearn import __version__ as installed

    set_fitted_with(loan_workspace, "0.24.2")
    difference = f"fitted with scikit-learn 0.24.2, installed is {installed}"

    refused = loan_workspace.cli(*RUN)
    assert_refused(refused, 3, difference, "--allow-version-mismatch")
    assert_recorded(loan_workspace, refused, "VersionMismatch")

    accepted = loan_workspace.cli(*RUN, "--allow-version-mismatch")
    assert accepted.returncode == 0, accepted.stderr
    assert "version_mismatch_accepted" in accepted.stderr
    assert count_rows(loan_workspace, "predictions") == 367
    with loan_workspace.database() as database:
        from batch_scoring.store.runs.records import get_run

        run = get_run(database, 2)
    assert run is not None
    assert run.environment["overrides"] == {"scikit_learn_version": difference}
    assert run.environment["scikit-learn"] == installed


def test_a_model_of_another_kind_than_the_job_is_refused(workspace: Workspace) -> None:
    rows = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0]})
    workspace.sql("CREATE TABLE houses (id INTEGER PRIMARY KEY, x DOUBLE PRECISION)")
    workspace.sql("INSERT INTO houses VALUES (1, 2.0)")
    job = '[source]\ntable = "houses"\nkey = ["id"]\n[model]\nname = "price"\n[predictions]\npositive_label = "Y"\n'
    workspace.write_job("houses", job)
    workspace.upgrade()
    workspace.register(LinearRegression().fit(rows, rows["x"] * 2), rows, name="price")
    done = workspace.cli("run", "houses")
    assert_refused(done, 3, "job houses needs a binary model and price is regression", "[predictions] kind")
    assert_recorded(workspace, done, "ModelRefused")


def test_a_positive_label_that_the_model_does_not_know_is_refused(loan_workspace: Workspace) -> None:
    loan_workspace.write_job("loan_eligibility", LOAN_JOB.replace('positive_label = "Y"', 'positive_label = "Yes"'))
    done = loan_workspace.cli(*RUN)
    assert_refused(done, 3, "positive_label 'Yes' is none of the model's labels (N, Y)", "fix [predictions]")
    assert_recorded(loan_workspace, done, "ModelRefused")


SECRET = "correct-horse-battery"


def test_a_database_that_is_not_there_is_named_and_the_password_is_not(sqlite_workspace: Workspace) -> None:
    sqlite_workspace.write_job("loan_eligibility", LOAN_JOB)
    for url, words in (
        (f"postgresql://scorer:{SECRET}@127.0.0.1:1/loans", "no connection to postgresql"),
        (f"postgresql://scorer:{SECRET}@no-such-host.invalid/loans", "no connection to postgresql"),
        (f"postgresql://scorer@127.0.0.1:1/loans?password={SECRET}", "no connection to postgresql"),
        (f"sqlite:///{sqlite_workspace.folder}/nowhere/loans.db", "there is no database file"),
    ):
        sqlite_workspace.environ["BATCH_SCORING_DATABASE_URL"] = url
        done = sqlite_workspace.cli(*RUN)
        assert_refused(done, 1, words, "loans")
        assert SECRET not in done.stderr, "the password is hidden wherever in the URL it stands"


def test_a_sqlite_file_that_cannot_be_made_is_named(sqlite_workspace: Workspace) -> None:
    sqlite_workspace.environ["BATCH_SCORING_DATABASE_URL"] = f"sqlite:///{sqlite_workspace.folder}/nowhere/loans.db"
    done = sqlite_workspace.cli("db", "upgrade")
    assert_refused(done, 1, "nowhere/loans.db cannot be opened", "folder exists")


def test_a_file_that_is_no_database_is_named(sqlite_workspace: Workspace) -> None:
    sqlite_workspace.write_job("loan_eligibility", LOAN_JOB)
    file = sqlite_workspace.folder / "test.db"
    file.write_bytes(b"Loan_ID,Gender,Married\n" * 100)
    done = sqlite_workspace.cli(*RUN)
    assert_refused(done, 1, f"{file} is not an SQLite database or is damaged", "name another file")
    assert file.read_bytes() == b"Loan_ID,Gender,Married\n" * 100


@pytest.fixture(scope="module")
def guarded_server() -> Iterator[PostgresServer]:
    """A server that wants a password of the user ``guarded``."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = PostgresServer(folder)
    try:
        server.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{SECRET}'")
        rules = folder / "pg_hba.conf"
        rules.write_text(f"local all guarded scram-sha-256\n{rules.read_text()}")
        server.execute("SELECT pg_reload_conf()")

        def asks_for_a_password() -> bool:
            try:
                psycopg2.connect(server.url("postgres", user="guarded", password="wrong")).close()
            except psycopg2.OperationalError:
                return True
            return False

        wait_until(asks_for_a_password)
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_wrong_password_is_reported_and_no_password_is_ever_printed(
    tmp_path: Path, guarded_server: PostgresServer
) -> None:
    url = sa.make_url(guarded_server.create_database())
    assert url.database is not None
    guarded_server.execute(
        f"GRANT ALL ON SCHEMA public TO guarded; GRANT CREATE ON DATABASE {url.database} TO guarded",
        database=url.database,
    )
    right = Workspace(tmp_path, guarded_server.url(url.database, user="guarded", password=SECRET))
    right.write_job("loan_eligibility", LOAN_JOB)
    wrong = Workspace(tmp_path, guarded_server.url(url.database, user="guarded", password="wrong-" + SECRET))
    none = Workspace(tmp_path, guarded_server.url(url.database, user="guarded"))

    printed = []
    for workspace in (wrong, none):
        for arguments in (RUN, ("check",), ("status",), ("db", "upgrade")):
            done = workspace.cli(*arguments)
            printed.append(done.stdout + done.stderr)
            assert_no_traceback(done)
            assert done.returncode == 1
            assert "denied access" in printed[-1]
            assert "check user, password and database" in printed[-1]
    for arguments in (("db", "upgrade"), ("check",), RUN):
        done = right.cli(*arguments)
        printed.append(done.stdout + done.stderr)
    assert "guarded:***@" in printed[-2], "the address is shown without the password"
    assert not [text for text in printed if SECRET in text]
    assert right.scalar("SELECT count(*) FROM scoring_runs WHERE CAST(environment AS text) LIKE '%horse%'") == 0


def test_a_database_without_our_schema_says_how_to_upgrade(workspace: Workspace) -> None:
    workspace.write_job("loan_eligibility", LOAN_JOB)
    workspace.sql('CREATE TABLE applicants ("Loan_ID" TEXT PRIMARY KEY, updated_at TIMESTAMP)')
    commands: list[tuple[str, ...]] = [
        RUN,
        ("model", "verify", "loan_eligibility"),
        ("model", "promote", "loan_eligibility", "1"),
        ("model", "list"),
        ("model", "show", "loan_eligibility", "1"),
        ("runs", "list"),
        ("runs", "show", "1"),
        ("train", "loan_eligibility", "--data", str(DATA / "loan_train.csv"), "--label", "Loan_Status"),
    ]
    for arguments in commands:
        done = workspace.cli(*arguments)
        assert_refused(done, 2, "the database has no batch_scoring schema", "batch-scoring db upgrade")
    unhealthy = workspace.cli("status")
    assert unhealthy.returncode == 5
    assert "the database has no batch_scoring schema" in unhealthy.stderr


def test_a_database_of_a_newer_version_is_left_alone(loan_workspace: Workspace) -> None:
    loan_workspace.sql("UPDATE alembic_version SET version_num = '9999'")
    for arguments in (RUN, ("db", "upgrade")):
        assert_refused(loan_workspace.cli(*arguments), 2, "schema revision 9999", "upgrade batch_scoring")
    assert_nothing_predicted(loan_workspace)


def test_a_sqlite_file_that_can_only_be_read_is_reported(sqlite_workspace: Workspace, loan_model: TrainedModel) -> None:
    prepare_loans(sqlite_workspace, loan_model)
    file = sqlite_workspace.folder / "test.db"
    with read_only(file):
        done = sqlite_workspace.cli(*RUN)
        assert_refused(done, 1, f"{file} can only be read", "check the permissions of the file")
        assert sqlite_workspace.cli("status").returncode == 0, "reading goes on"
    assert_nothing_predicted(sqlite_workspace)
    assert count_rows(sqlite_workspace, "scoring_runs") == 0


def test_a_sqlite_file_in_a_folder_that_can_only_be_read_is_reported(tmp_path: Path, loan_model: TrainedModel) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    workspace = prepare_loans(Workspace(tmp_path, f"sqlite:///{folder}/test.db"), loan_model)
    with read_only(folder):
        done = workspace.cli(*RUN)
        assert_refused(done, 1, f"{folder}/test.db", "folder")
    assert_nothing_predicted(workspace)


def test_a_sqlite_url_that_asks_for_reading_only_is_understood(
    sqlite_workspace: Workspace, loan_model: TrainedModel
) -> None:
    prepare_loans(sqlite_workspace, loan_model)
    file = sqlite_workspace.folder / "test.db"
    sqlite_workspace.environ["BATCH_SCORING_DATABASE_URL"] = f"sqlite:///file:{file}?mode=ro&uri=true"
    done = sqlite_workspace.cli(*RUN)
    assert_refused(done, 1, "can only be read")
    assert sqlite_workspace.cli("status").returncode == 0
    assert_nothing_predicted(sqlite_workspace)


def test_a_postgresql_database_that_can_only_be_read_is_reported(
    postgresql_workspace: Workspace, loan_model: TrainedModel, postgres: PostgresServer
) -> None:
    prepare_loans(postgresql_workspace, loan_model)
    name = sa.make_url(postgresql_workspace.database_url).database
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    done = postgresql_workspace.cli(*RUN)
    assert_refused(done, 1, "can only be read", "connect to the primary server")
    assert_nothing_predicted(postgresql_workspace)


def test_a_user_without_the_privilege_to_predict_is_told_which_it_is(
    postgresql_workspace: Workspace, loan_model: TrainedModel, postgres: PostgresServer
) -> None:
    prepare_loans(postgresql_workspace, loan_model)
    name = sa.make_url(postgresql_workspace.database_url).database
    assert name is not None
    for statement in (
        f"CREATE ROLE reader_{name} LOGIN",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader_{name}",
        f"GRANT INSERT, UPDATE ON scoring_runs, monitoring_limits TO reader_{name}",
        f"GRANT USAGE ON SEQUENCE scoring_runs_run_id_seq TO reader_{name}",
    ):
        postgres.execute(statement, database=name)
    postgresql_workspace.environ["BATCH_SCORING_DATABASE_URL"] = postgres.url(name, user=f"reader_{name}")
    done = postgresql_workspace.cli(*RUN)
    assert_refused(done, 1, "permission denied for table predictions", "ask for the privilege")
    assert_recorded(postgresql_workspace, done, "AccessDenied")


def grow(workspace: Workspace, times: int) -> int:
    """Make many applicants of few; returns how many there are."""
    columns = ", ".join(
        f'"{name}"' for name in pd.read_csv(DATA / "loan_test.csv", nrows=0).columns if name != "Loan_ID"
    )
    workspace.sql(
        f"""INSERT INTO applicants ("Loan_ID", {columns}, updated_at)
        WITH RECURSIVE copies(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM copies WHERE n < {times})
        SELECT "Loan_ID" || '-' || n, {columns}, updated_at FROM applicants CROSS JOIN copies"""
    )
    return count_rows(workspace, "applicants")


def assert_survives_a_full_disk(workspace: Workspace, disk: Path, *, leave: int) -> None:
    """The run fails with a reason and leaves whole chunks; once there is space again, the rest is scored once."""
    count = grow(workspace, 30)
    workspace.write_job("loan_eligibility", LOAN_JOB.replace("# chunk_rows = 50000", "chunk_rows = 1000"))
    filler = fill(disk, leave=leave)

    done = workspace.cli(*RUN)

    assert_refused(done, 1, "no space left", "free some, then run again")
    filler.unlink()  # before anything is looked at: PostgreSQL may let nobody in while its disk is full
    written = count_rows(workspace, "predictions")
    assert written % 1000 == 0
    assert 0 < written < count
    (run,) = workspace.query("SELECT status, error_type, error_message, scored_count FROM run_history")
    if "could not be recorded" in done.stderr:
        assert run == ("running", None, None, written)
        workspace.sql("UPDATE scoring_runs SET heartbeat_at = '2026-01-01 00:00:00'")
    else:
        assert run == ("failed", "DatabaseFull", said(done), written)
    workspace.run()
    assert count_rows(workspace, "predictions") == count
    assert workspace.scalar("SELECT count(*) FROM predictions_current") == count


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 32 MB, where the database server finds it too."""
    disk = Path(tempfile.mkdtemp(prefix="disk-"))
    disk.chmod(0o711)
    try:
        with mounted(disk, "-t", "tmpfs", "-o", "size=32m", "tmpfs"):
            yield disk
    finally:
        disk.rmdir()


@pytest.mark.slow
def test_a_run_that_fills_the_disk_under_sqlite_leaves_whole_chunks(
    tmp_path: Path, small_disk: Path, loan_model: TrainedModel
) -> None:
    workspace = prepare_loans(Workspace(tmp_path, f"sqlite:///{small_disk}/test.db"), loan_model)
    assert_survives_a_full_disk(workspace, small_disk, leave=1_000_000)


def test_a_disk_that_is_full_before_the_run_is_reported_under_sqlite(
    tmp_path: Path, small_disk: Path, loan_model: TrainedModel
) -> None:
    workspace = prepare_loans(Workspace(tmp_path, f"sqlite:///{small_disk}/test.db"), loan_model)
    filler = fill(small_disk, leave=0)
    done = workspace.cli(*RUN)
    assert_refused(done, 1, "no space left", "free some, then run again")
    filler.unlink()
    assert_nothing_predicted(workspace)
    assert workspace.run().scored_count == 367


@pytest.fixture
def on_small_disk(
    tmp_path: Path, small_disk: Path, loan_model: TrainedModel, postgres: PostgresServer
) -> Iterator[Workspace]:
    """Loans in a PostgreSQL database whose files are on the small disk; the server's log of writes is elsewhere."""
    owner = postgres.socket_dir.stat()
    space = small_disk / "space"
    space.mkdir()
    os.chown(space, owner.st_uid, owner.st_gid)
    name = f"small_{os.getpid()}"
    postgres.execute(f"CREATE TABLESPACE {name} LOCATION '{space}'")
    try:
        postgres.execute(f"CREATE DATABASE {name} TABLESPACE {name}")
        yield prepare_loans(Workspace(tmp_path, postgres.url(name)), loan_model)
    finally:
        postgres.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        postgres.execute(f"DROP TABLESPACE {name}")


@pytest.mark.slow
def test_a_run_that_fills_the_disk_under_postgresql_leaves_whole_chunks(
    on_small_disk: Workspace, small_disk: Path
) -> None:
    assert_survives_a_full_disk(on_small_disk, small_disk, leave=1_000_000)


def test_a_server_that_lets_nobody_in_because_its_disk_is_full_is_reported(
    on_small_disk: Workspace, small_disk: Path
) -> None:
    """Each new session reads a file of the catalogue's cache; where it is out of date, the session writes it again.

    A vacuum that ends meanwhile gives space back, and a session gets in: then the disk is filled again.
    """
    for _attempt in range(5):
        filler = fill(small_disk, leave=0)
        while caches := list(small_disk.glob("space/PG_*/*/pg_internal.init")):
            for cache in caches:
                cache.unlink()
            fill(small_disk, leave=0)
        done = on_small_disk.cli(*RUN)
        if "to accept a connection" in said(done):
            break
    assert_refused(done, 1, "no space left to accept a connection", "free some, then run again")
    filler.unlink()
    assert_nothing_predicted(on_small_disk)
    assert on_small_disk.run().scored_count == 367


@pytest.fixture(scope="module")
def nonsense_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with files of every kind of nonsense, to be copied."""
    folder = tmp_path_factory.mktemp("arguments")
    workspace = Workspace(folder, f"sqlite:///{folder}/test.db")
    workspace.write_job("loan_eligibility", LOAN_JOB)
    workspace.upgrade()
    rows = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0]})
    rows.to_csv(folder / "sample.csv", index=False)
    (folder / "empty.csv").write_bytes(b"")
    (folder / "header.csv").write_text("id,x\n")
    (folder / "rows.csv").write_text("id,x\n1,2\n")
    (folder / "twice.csv").write_text("id,x\n1,2\n1,3\n")
    (folder / "no_key.csv").write_text("id,x\n,2\n")
    (folder / "ragged.csv").write_text("id,x\n1,2\n2,3,4\n")
    (folder / "binary.csv").write_bytes(bytes(range(256)) * 10)
    (folder / "binary.parquet").write_bytes(b"PAR1 and then nothing")
    (folder / "noise.joblib").write_bytes(b"not a model")
    (folder / "noise.skops").write_bytes(b"not a model")
    joblib.dump({"a": "dictionary"}, folder / "dictionary.joblib")
    joblib.dump(LogisticRegression(), folder / "unfitted.joblib")
    joblib.dump(LinearRegression().fit(rows, rows["x"]), folder / "model.joblib")
    (folder / "other.csv").write_text("y\n1\n")
    return folder


@pytest.fixture
def arguments_workspace(nonsense_files: Path, tmp_path: Path) -> Workspace:
    """A copy of the workspace with the nonsense."""
    shutil.copytree(nonsense_files, tmp_path, dirs_exist_ok=True)
    return Workspace(tmp_path, f"sqlite:///{tmp_path}/test.db")


HUGE = "9" * 30
NONSENSE = {
    "nonsense": "No such command",
    "--nonsense": "No such option",
    "run": "Missing argument",
    "run a b": "unexpected extra argument",
    "run --nonsense x": "No such option",
    "run ../loan_eligibility": "there is no job",
    "run loan_eligibility.toml": "there is no job",
    "status nonsense": "there is no job",
    "status --max-age soon": "--max-age soon: expected a duration",
    f"status --max-age {HUGE}d": "--max-age",
    "status --max-age 0s": "longer than zero",
    "runs list --limit 0": "--limit",
    "runs list --limit many": "--limit",
    f"runs list --limit {HUGE}": "--limit",
    "runs show": "Missing argument",
    "runs show x": "integer",
    "runs show 77": "there is no run 77",
    f"runs show {HUGE}": "",
    f"model show nonsense {HUGE}": "",
    "runs show -- -1": "greater than or equal to 1",
    "db": "",
    "db nonsense": "No such command",
    "db sql --dialect oracle": "--dialect oracle: expected one of postgresql, sqlite",
    "db upgrade extra": "unexpected extra argument",
    "model": "",
    "model show loan_eligibility": "Missing argument",
    "model show loan_eligibility 0": "1",
    "model show loan_eligibility one": "integer",
    "model register": "Missing argument",
    "model register absent.joblib --name m --sample sample.csv": "does not exist",
    "model register model.joblib --sample sample.csv": "Missing option '--name'",
    "model register model.joblib --name m": "Missing option '--sample'",
    "model register model.joblib --name m --sample absent.csv": "does not exist",
    "model register model.joblib --name m --sample empty.csv": "empty.csv",
    "model register model.joblib --name m --sample binary.csv": "binary.csv",
    "model register model.joblib --name m --sample binary.parquet": "binary.parquet",
    "model register model.joblib --name ../m --sample sample.csv": "--name",
    "model register model.joblib --name m/n --sample sample.csv": "--name",
    "model register model.joblib --name m --alias 1st! --sample sample.csv": "--alias",
    "train": "Missing argument",
    "train nonsense --data rows.csv --label x": "there is no job",
    "train loan_eligibility --data absent.csv --label x": "does not exist",
    "train loan_eligibility --data rows.csv --label y": "has no column y",
    "train loan_eligibility --data header.csv --label x": "has a header and no rows",
    "train loan_eligibility --data rows.csv --label x --algorithm oracle": "oracle",
    "load": "Missing argument",
    "load t rows.csv": "Missing option '--key'",
    "load t absent.csv --key id": "does not exist",
    "load t . --key id": "is a directory",
    "load t rows.csv --key nonsense": "has no column nonsense",
    "load t rows.csv --key id --key id": "--key",
    "load t rows.csv --key id --changed-at x": "has a column x",
    "load .t rows.csv --key id": ".t",
    "load t empty.csv --key id": "empty.csv",
    "load t header.csv --key id": "no rows",
    "load t twice.csv --key id": "not unique",
    "load t no_key.csv --key id": "empty in 1 row, first in line 2",
    "load t ragged.csv --key id": "ragged.csv",
    "load t binary.csv --key id": "binary.csv",
    "demo --folder rows.csv": "rows.csv",
}
REFUSED_MODELS = {
    "model register noise.joblib --name m --sample sample.csv": "does not load as a model",
    "model register noise.skops --name m --sample sample.csv": "does not load as a model",
    "model register dictionary.joblib --name m --sample sample.csv": "the file holds no model but a dict",
    "model register unfitted.joblib --name m --sample sample.csv": "not fitted",
    "model register model.joblib --name m --sample other.csv": "lacks the model's column x",
    "model verify nonsense": "nonsense",
    "model verify nonsense 3": "has no version 3",
    "model promote nonsense 1": "has no version 1",
}


@pytest.mark.parametrize("line", NONSENSE)
def test_arguments_that_make_no_sense_end_with_2_and_no_traceback(arguments_workspace: Workspace, line: str) -> None:
    done = arguments_workspace.cli(*line.split())
    assert_no_traceback(done)
    assert done.returncode == 2, done.stderr
    assert NONSENSE[line] in " ".join(done.stderr.replace("│", " ").split())
    if line not in ("db", "model"):  # without a verb, these show their help
        assert done.stdout == ""
    assert count_rows(arguments_workspace, "t") == 0
    assert count_rows(arguments_workspace, "model_versions") == 0


@pytest.mark.parametrize("line", REFUSED_MODELS)
def test_a_model_that_cannot_be_used_is_refused_with_3_and_the_reason(
    arguments_workspace: Workspace, line: str
) -> None:
    assert_refused(arguments_workspace.cli(*line.split()), 3, REFUSED_MODELS[line])
    assert count_rows(arguments_workspace, "model_versions") == 0
    assert not list(arguments_workspace.artifacts_dir.rglob("*.joblib"))
