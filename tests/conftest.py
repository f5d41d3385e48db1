"""Fixtures: each database is real, and each test has one of its own."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import budget
import environment
import logins
import pandas as pd
import pytest
import sampling
import watchdog
from databases import DATABASES, SqliteFiles
from hypothesis import HealthCheck, settings
from logins import Granted
from support import DATA, LOAN_JOB, REAL_DATA, PostgresServer, Workspace

from batch_scoring.domain.job import Job
from batch_scoring.domain.job_files import read_job
from batch_scoring.model.training import Algorithm, TrainedModel, train

environment.settle()


def pytest_configure() -> None:
    """Nothing that this process starts outlives it."""
    watchdog.start()
    budget.start()
    slow = [HealthCheck.too_slow]  # as a shared machine may be at any time
    settings.register_profile("tests", deadline=None, suppress_health_check=slow)
    settings.load_profile("tests")


def pytest_xdist_auto_num_workers() -> int:
    """One more than processors: many tests wait for clocks and other processes."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(tryfirst=True)  # before -m deselects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what ``make test`` leaves out, and skip what needs the real loan applications where they are missing."""
    sampling.mark_what_is_left_out(items)
    budget.order(items)
    reason = _why_no_real_loans()
    skips = bool(reason) and not (os.environ.get("CI") or os.environ.get("REQUIRE_LOAN_DATA"))
    for item in items:
        if "real_loans" in getattr(item, "fixturenames", ()):
            item.add_marker("real_loans")
            if skips:
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish() -> None:
    """Thousands of tests and what they import are no garbage: do not visit them with each collection."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)  # before its fixtures
def pytest_runtest_setup(item: pytest.Item) -> None:
    budget.skip_if_out_of_time(item)


def _why_no_real_loans() -> str:
    missing = [name for name in ("loan_train.csv", "loan_test.csv") if not (REAL_DATA / name).is_file()]
    if not missing:
        return ""
    return f"no {' and no '.join(missing)} in {REAL_DATA}; LOAN_DATA_DIR names the folder of the real applicants"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    folder = environment.short_folder("pg-")
    server = PostgresServer(folder)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite_files(tmp_path_factory: pytest.TempPathFactory) -> SqliteFiles:
    return SqliteFiles(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database: the test runs once on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def postgresql_url(postgres: PostgresServer) -> str:
    return postgres.create_database()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture
def workspace(tmp_path: Path, database_url: str) -> Workspace:
    """An empty workspace on each kind of database."""
    return Workspace(tmp_path, database_url)


@pytest.fixture
def sqlite_workspace(tmp_path: Path, sqlite_url: str) -> Workspace:
    return Workspace(tmp_path, sqlite_url)


@pytest.fixture
def postgresql_workspace(tmp_path: Path, postgresql_url: str) -> Workspace:
    return Workspace(tmp_path, postgresql_url)


@pytest.fixture(scope="session")
def loan_train() -> pd.DataFrame:
    """The 614 labelled applications that ship with the repository."""
    return pd.read_csv(DATA / "loan_train.csv")


@pytest.fixture(scope="session")
def loan_test() -> pd.DataFrame:
    """The 367 applications without an outcome that ship with the repository."""
    return pd.read_csv(DATA / "loan_test.csv")


@pytest.fixture(scope="session")
def real_loans() -> Path:
    """The folder of the real loan applications; without them an error, for a test that may do without is skipped."""
    if reason := _why_no_real_loans():
        pytest.fail(reason, pytrace=False)
    return REAL_DATA


@pytest.fixture(scope="session")
def loan_job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The shipped job."""
    file = tmp_path_factory.mktemp("jobs") / "loan_eligibility.toml"
    file.write_text(LOAN_JOB, encoding="utf-8")
    return read_job(file)


@pytest.fixture(scope="session")
def loan_model(loan_job: Job, loan_train: pd.DataFrame) -> TrainedModel:
    """Logistic regression fitted on the labelled applications."""
    return train(loan_job, loan_train, "Loan_Status", Algorithm.LOGISTIC_REGRESSION)


@pytest.fixture
def loan_workspace(workspace: Workspace, loan_model: TrainedModel) -> Workspace:
    """The shipped job, the 367 applicants and a champion: ready to run."""
    return prepare_loans(workspace, loan_model)


def prepare_loans(workspace: Workspace, model: TrainedModel, *, job: str = LOAN_JOB) -> Workspace:
    """Make a workspace ready to run the loan job."""
    from batch_scoring.store.source.loading import load_csv

    workspace.write_job("loan_eligibility", job)
    with workspace.database() as database:
        load_csv(database, "applicants", DATA / "loan_test.csv", key=["Loan_ID"])
    workspace.upgrade()
    workspace.register(model.pipeline, model.features)
    return workspace


@pytest.fixture
def granted(postgresql_workspace: Workspace, loan_model: TrainedModel, postgres: PostgresServer) -> Granted:
    """The loan job after a first run that kept its inputs and set one applicant aside; six others changed since."""
    workspace = prepare_loans(postgresql_workspace, loan_model, job=logins.KEPT)
    workspace.sql("""UPDATE applicants SET "ApplicantIncome" = NULL WHERE "Loan_ID" = 'LP002989'""")
    workspace.run()
    workspace.sql(
        f"""UPDATE applicants SET "ApplicantIncome" = "ApplicantIncome" + 500, updated_at = clock_timestamp()
        WHERE "Loan_ID" IN (SELECT "Loan_ID" FROM predictions ORDER BY "Loan_ID" LIMIT {logins.SOME})"""
    )
    return logins.grant_roles(workspace, postgres)
