"""Models, trainings and runs in MLflow, with a real tracking server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pandas as pd
import pytest
from commands import assert_no_traceback, assert_refused, said
from conftest import prepare_loans
from logins import grant_roles
from mlflow_server import MlflowServer, Proxy, free_port, serving
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from support import DATA, LOAN_JOB, PostgresServer, Workspace

from batch_scoring.model.training import TrainedModel
from batch_scoring.scoring.events import ChunkCommitted, Event

NAME = "loan_eligibility"
RUN = ("run", NAME)
TRAIN = ("train", NAME, "--data", str(DATA / "loan_train.csv"), "--label", "Loan_Status", "--mlflow")

LONGEST = 20
"""Seconds that a run may take to find out that the server is of no use."""


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.stop()


@pytest.fixture
def proxy(mlflow_server: MlflowServer) -> Iterator[Proxy]:
    """A server as this test alone sees it: models are registered under names that no other test uses."""
    found = Proxy(mlflow_server)
    yield found
    found.stop()


def pair() -> tuple[str, str]:
    """A private and a public key in PEM."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture(scope="session")
def shared(mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a model in MLflow that was trained elsewhere, and that no test changes."""
    folder = tmp_path_factory.mktemp("elsewhere")
    workspace = ready(Workspace(folder, f"sqlite:///{folder}/test.db"), "shared", mlflow_server.url)
    trained(workspace)
    return "shared"


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name of a model in MLflow for this test alone."""
    return f"m{abs(hash((request.node.nodeid, os.getpid()))) % 10**12}"


def job_text(name: str, tracking_uri: str, *, model: str = "", mlflow: str = "") -> str:
    return LOAN_JOB.replace(
        'name = "loan_eligibility"\nalias = "champion"', f'uri = "models:/{name}@champion"{model}'
    ) + (f'\n[mlflow]\ntracking_uri = "{tracking_uri}"\n{mlflow}')


def ready(workspace: Workspace, name: str, tracking_uri: str, *, model: str = "", mlflow: str = "") -> Workspace:
    """The applicants, and a job whose model is in MLflow."""
    from batch_scoring.store.source.loading import load_csv

    workspace.write_job(NAME, job_text(name, tracking_uri, model=model, mlflow=mlflow))
    with workspace.database() as database:
        load_csv(database, "applicants", DATA / "loan_test.csv", key=["Loan_ID"])
    workspace.upgrade()
    return workspace


def trained(workspace: Workspace, *options: str) -> dict[str, Any]:
    done = workspace.cli(*TRAIN, "--mlflow-alias", "champion", *options, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def in_mlflow(tracking_uri: str, code: str) -> Any:
    """The result of Python code with MLflow's client, in a process of its own."""
    environ = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "MLFLOW_TRACKING_URI": tracking_uri,
        "MLFLOW_REGISTRY_URI": tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import json, mlflow\nclient = mlflow.MlflowClient()\n{code}"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def run_by(workspace: Workspace, code: str) -> subprocess.CompletedProcess[str]:
    """Run the job by a program in a new interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code, *RUN],
        cwd=workspace.folder,
        env=workspace.process_environ,
        capture_output=True,
        text=True,
        check=False,
    )


def nothing_predicted(workspace: Workspace) -> bool:
    return bool(workspace.scalar("SELECT count(*) FROM predictions") == 0)


def make_due(workspace: Workspace, number: int = 3) -> None:
    workspace.sql(
        'UPDATE applicants SET updated_at = :now, "LoanAmount" = "LoanAmount" + 1 WHERE "Loan_ID" IN'
        f' (SELECT "Loan_ID" FROM applicants ORDER BY "Loan_ID" LIMIT {number})',
        {"now": pd.Timestamp.now("UTC").to_pydatetime()},
    )


# --- the way of a model


def test_a_model_goes_from_a_training_to_mlflow_and_to_predictions(
    workspace: Workspace, mlflow_server: MlflowServer, name: str
) -> None:
    ready(workspace, name, mlflow_server.url, mlflow="log_runs = true\n")

    version = trained(workspace)
    finished = workspace.cli_json(*RUN)

    assert version["mlflow_uri"] == f"models:/{name}/1"
    assert (finished["scored_count"], finished["model_version"]) == (367, version["version"])
    assert workspace.query("SELECT trusted_by, uri FROM mlflow_versions") == [("training", f"models:/{name}/1")]
    assert workspace.query("SELECT run_id, uri, version_uri, is_cached FROM mlflow_resolutions") == [
        (finished["run_id"], f"models:/{name}@champion", f"models:/{name}/1", False)
    ]
    code = f"""
version = client.get_model_version_by_alias("{name}", "champion")
experiment = client.get_experiment_by_name("{NAME}")
runs = client.search_runs([experiment.experiment_id], "tags.`batch_scoring.run_id` = '{finished["run_id"]}'")
run = [one for one in runs if one.data.params["artifact_sha256"] == "{version["artifact_sha256"]}"][0]
run = client.get_run(run.info.run_id)
training = client.get_run(version.run_id)
print(json.dumps([version.tags, version.description, run.data.metrics, run.inputs.dataset_inputs[0].dataset.name,
    [one.model_id for one in run.inputs.model_inputs], version.source, sorted(training.data.params),
    sorted(file.path for file in client.list_artifacts(version.run_id))]))
"""
    tags, card, counts, table, models, source, params, files = in_mlflow(mlflow_server.url, code)
    assert tags == {"batch_scoring.sha256": version["artifact_sha256"]}
    assert card.startswith("# Model card of")
    assert (counts["scored"], counts["quarantined"], table) == (367.0, 0.0, "applicants")
    assert [f"models:/{model}" for model in models] == [source]
    assert {"algorithm", "label", "rows"} <= set(params)
    assert files == ["ROC_curve.svg", "calibration.svg", "confusion_matrix.svg", "model_card.html"]


@pytest.mark.slow
def test_the_model_served_over_http_gives_the_stored_scores(
    sqlite_workspace: Workspace, mlflow_server: MlflowServer, name: str
) -> None:
    workspace = ready(sqlite_workspace, name, mlflow_server.url)
    trained(workspace)
    workspace.cli_json(*RUN)
    rows = pd.read_csv(DATA / "loan_test.csv")
    numbers = ["ApplicantIncome", "CoapplicantIncome", "LoanAmount", "Loan_Amount_Term", "Credit_History"]
    rows[numbers] = rows[numbers].astype(float)
    features = rows.drop(columns=["Loan_ID"])
    body = {"dataframe_split": json.loads(features.to_json(orient="split", index=False, double_precision=15))}

    with serving(f"models:/{name}@champion", mlflow_server.url, workspace.folder) as address:
        request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            served = [pair[1] for pair in json.load(answer)["predictions"]]

    stored = dict(workspace.query('SELECT "Loan_ID", score FROM predictions'))
    assert len(served) == 367
    assert max(abs(stored[key] - score) for key, score in zip(rows["Loan_ID"], served, strict=True)) <= 1e-12


@pytest.mark.slow
def test_a_training_is_kept_here_when_the_server_cannot_be_reached(sqlite_workspace: Workspace, name: str) -> None:
    workspace = ready(sqlite_workspace, name, f"http://127.0.0.1:{free_port()}")

    done = workspace.cli(*TRAIN)

    assert done.returncode == 1
    assert "the version is registered here, but not in MLflow" in said(done)
    assert workspace.scalar("SELECT count(*) FROM model_versions") == 1
    assert workspace.scalar("SELECT count(*) FROM mlflow_versions") == 0


@pytest.mark.slow
def test_an_alias_that_moves_during_a_run_leaves_it_on_its_version(
    sqlite_workspace: Workspace, mlflow_server: MlflowServer, name: str
) -> None:
    workspace = ready(sqlite_workspace, name, mlflow_server.url)
    workspace.write_job(NAME, job_text(name, mlflow_server.url).replace("[run]", "[run]\nchunk_rows = 100"))
    first = trained(workspace)
    moved: list[str] = []

    def move(event: Event) -> None:
        if isinstance(event, ChunkCommitted) and not moved:
            moved.append(trained(workspace, "--algorithm", "decision_tree")["mlflow_uri"])

    finished = workspace.run(observers=[move])

    assert moved == [f"models:/{name}/2"]
    assert workspace.query("SELECT DISTINCT model_version FROM predictions") == [(first["version"],)]
    make_due(workspace)
    again = workspace.run()
    assert finished.model_version == first["version"]
    assert (again.scored_count, again.model_version) == (3, first["version"] + 1)


# --- models of others


def log_by_mlflow(tracking_uri: str, name: str, model: Any, rows: pd.DataFrame, folder: Path, more: str = "") -> None:
    """Log a model as its users do, without this package, and make it champion."""
    import joblib

    joblib.dump((model, rows), folder / "given.joblib")
    in_mlflow(
        tracking_uri,
        f"""
import joblib, mlflow.sklearn
from mlflow.models import infer_signature
model, rows = joblib.load({str(folder / "given.joblib")!r})
mlflow.set_experiment("others")
with mlflow.start_run():
    mlflow.sklearn.log_model(model, name="model", signature=infer_signature(rows, model.predict(rows)),
        registered_model_name="{name}", serialization_format="cloudpickle", pip_requirements=["scikit-learn"]{more})
version = client.search_model_versions("name='{name}'")[0].version
client.set_registered_model_alias("{name}", "champion", version)
print(json.dumps(version))
""",
    )


COLUMNS = ["ApplicantIncome", "LoanAmount", "Property_Area"]


@pytest.fixture(scope="session")
def by_others(loan_train: pd.DataFrame) -> tuple[Any, pd.DataFrame]:
    """A model that another program fitted, and its input."""
    rows = loan_train[COLUMNS].astype({"ApplicantIncome": float, "Property_Area": object})
    model = make_pipeline(
        make_column_transformer(
            (SimpleImputer(), ["ApplicantIncome", "LoanAmount"]),
            (OneHotEncoder(handle_unknown="ignore"), ["Property_Area"]),
        ),
        LogisticRegression(max_iter=2000),
    ).fit(rows, loan_train["Loan_Status"])
    return model, rows


@pytest.mark.slow
def test_a_model_that_mlflow_logged_is_trusted_on_first_use_and_says_so(
    workspace: Workspace, mlflow_server: MlflowServer, name: str, by_others: tuple[Any, pd.DataFrame]
) -> None:
    ready(workspace, name, mlflow_server.url)
    model, rows = by_others
    log_by_mlflow(mlflow_server.url, name, model, rows, workspace.folder)
    workspace.sql("""UPDATE applicants SET "Property_Area" = NULL WHERE "Loan_ID" = 'LP001015'""")

    done = workspace.cli(*RUN)

    assert done.returncode == 0, done.stderr
    assert "note: " in done.stderr
    assert "trusted on first use" in done.stderr
    assert workspace.scalar("SELECT trusted_by FROM mlflow_versions") == "first use"
    assert workspace.query("SELECT reason_code, column_name FROM predictions_quarantine") == [
        ("missing_value", "Property_Area")  # required by MLflow's signature
    ]
    applicants = workspace.frame('SELECT * FROM applicants WHERE "Property_Area" IS NOT NULL ORDER BY "Loan_ID"')
    given = applicants[COLUMNS].astype({"ApplicantIncome": float, "LoanAmount": float})
    expected = dict(zip(applicants["Loan_ID"], model.predict_proba(given)[:, 1], strict=True))
    stored = dict(workspace.query('SELECT "Loan_ID", score FROM predictions'))
    assert stored == pytest.approx(expected, abs=1e-12, rel=0)
    assert workspace.cli("check").returncode == 0
    assert "text" in workspace.cli_json("model", "show", name, "1")["manifest"]["only_in_python"]
    assert "first use" not in workspace.cli(*RUN).stderr


@pytest.mark.slow
def test_a_model_without_a_manifest_waits_for_rows_to_derive_one_from(
    sqlite_workspace: Workspace, mlflow_server: MlflowServer, name: str, by_others: tuple[Any, pd.DataFrame]
) -> None:
    workspace = ready(sqlite_workspace, name, mlflow_server.url)
    workspace.sql("CREATE TABLE kept AS SELECT * FROM applicants")
    workspace.sql("DELETE FROM applicants")
    log_by_mlflow(mlflow_server.url, name, *by_others, workspace.folder)

    assert_refused(workspace.cli(*RUN), 3, "no row that fits its signature", "run again when there are rows")
    assert workspace.scalar("SELECT count(*) FROM model_versions") == 0

    workspace.sql("INSERT INTO applicants SELECT * FROM kept")
    assert workspace.cli_json(*RUN)["scored_count"] == 367


@pytest.mark.slow
def test_a_scorer_may_register_versions_for_jobs_in_mlflow_and_for_no_others(
    postgresql_workspace: Workspace, mlflow_server: MlflowServer, postgres: PostgresServer, shared: str
) -> None:
    workspace = ready(postgresql_workspace, shared, mlflow_server.url)
    granted = grant_roles(workspace, postgres)
    scorer = granted.by("scorer")
    assert scorer.cli_json(*RUN)["scored_count"] == 367
    assert workspace.scalar("SELECT trusted_by FROM mlflow_versions") == "tag"
    assert workspace.cli("db", "roles", "--verify").returncode == 0

    workspace.write_job(NAME, LOAN_JOB)
    granted.administrate(workspace.cli("db", "roles").stdout)
    workspace.write_job(NAME, job_text("unknown", mlflow_server.url))
    in_mlflow(
        mlflow_server.url,
        f"""
version = client.get_model_version_by_alias("{shared}", "champion")
try:
    client.create_registered_model("unknown")
except mlflow.exceptions.MlflowException:
    pass
model_id = version.source.removeprefix("models:/")
new = client.create_model_version("unknown", source=version.source, run_id=version.run_id, model_id=model_id)
client.set_registered_model_alias("unknown", "champion", new.version)
print(json.dumps(new.version))
""",
    )
    make_due(workspace)
    assert_refused(scorer.cli(*RUN), 1, "may not register it", "db roles")
    assert workspace.scalar("SELECT count(*) FROM model_versions") == 1


@pytest.mark.slow
def test_where_keys_are_trusted_a_model_of_mlflow_scores_after_it_was_signed(
    sqlite_workspace: Workspace, mlflow_server: MlflowServer, shared: str
) -> None:
    private, public = pair()
    workspace = ready(sqlite_workspace, shared, mlflow_server.url)
    workspace.environ["BATCH_SCORING_TRUSTED_KEYS"] = public

    assert_refused(workspace.cli(*RUN), 3, "has no signature")

    assert nothing_predicted(workspace)
    workspace.environ["BATCH_SCORING_SIGNING_KEY"] = private
    assert workspace.cli("model", "sign", shared, "1").returncode == 0
    assert workspace.cli_json(*RUN)["scored_count"] == 367


@pytest.mark.slow
def test_code_in_the_folder_of_a_model_is_never_run(
    sqlite_workspace: Workspace, mlflow_server: MlflowServer, name: str, by_others: tuple[Any, pd.DataFrame]
) -> None:
    workspace = ready(sqlite_workspace, name, mlflow_server.url)
    model, rows = by_others
    log_by_mlflow(mlflow_server.url, name, model, rows, workspace.folder)
    source = in_mlflow(
        mlflow_server.url,
        f'print(json.dumps(client.get_model_version_by_alias("{name}", "champion").source))',
    )
    mlmodel = mlflow_server.file_of(source.removeprefix("models:/"), "MLmodel")
    mark = workspace.folder / "mark"
    mlmodel.with_name("evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    mlmodel.write_text(mlmodel.read_text().replace("loader_module: mlflow.sklearn", "loader_module: evil"))

    assert_refused(workspace.cli(*RUN), 3, "loader_module", "log the scikit-learn model itself")
    assert not mark.exists()
    assert nothing_predicted(workspace)


# --- what may go wrong


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("hang", 1, "did not answer within"),
        ("500", 1, "cannot be reached, or failed"),
        ("503", 1, "cannot be reached, or failed"),
        ("401", 3, "refuses access"),
        ("403", 3, "refuses access"),
        ("404", 3, "has no"),
        ("cut", 1, "ended after"),
        ("flip", 3, "was replaced in MLflow"),
    ],
)
def test_a_server_that_fails_ends_the_run_soon_and_nothing_is_predicted(
    sqlite_workspace: Workspace, proxy: Proxy, shared: str, fault: str, code: int, words: str
) -> None:
    workspace = ready(sqlite_workspace, shared, proxy.url)
    proxy.fault = fault

    started = monotonic()
    done = workspace.cli(*RUN)

    assert monotonic() - started < LONGEST
    assert_refused(done, code, words)
    assert "Jane Doe" not in done.stderr
    assert nothing_predicted(workspace)
    proxy.fault = None
    assert workspace.cli_json(*RUN)["scored_count"] == 367


@pytest.mark.slow
def test_a_server_that_is_down_ends_the_run_soon_and_nothing_is_predicted(
    sqlite_workspace: Workspace, name: str
) -> None:
    workspace = ready(sqlite_workspace, name, f"http://127.0.0.1:{free_port()}")
    started = monotonic()
    assert_refused(workspace.cli(*RUN), 1, "cannot be reached")
    assert monotonic() - started < LONGEST
    assert nothing_predicted(workspace)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["a byte", "its length"])
def test_a_file_that_was_replaced_in_mlflow_is_refused(
    sqlite_workspace: Workspace, mlflow_server: MlflowServer, name: str, change: str
) -> None:
    workspace = ready(sqlite_workspace, name, mlflow_server.url, model="\ncache = true")
    trained(workspace)
    workspace.cli_json(*RUN)
    ((model_id,),) = workspace.query("SELECT mlflow_model_id FROM mlflow_versions")
    file = mlflow_server.file_of(model_id, "model.pkl")
    content = file.read_bytes()
    file.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:] + b"x" * (change == "its length"))
    make_due(workspace)

    assert_refused(workspace.cli(*RUN), 3, "was replaced in MLflow", "was not loaded")

    assert workspace.scalar("SELECT count(*) FROM predictions_superseded") == 0
    file.write_bytes(content)
    assert workspace.cli_json(*RUN)["scored_count"] == 3


@pytest.mark.slow
def test_a_cached_version_scores_while_the_server_is_away_and_only_then(
    sqlite_workspace: Workspace, proxy: Proxy, shared: str
) -> None:
    workspace = ready(sqlite_workspace, shared, proxy.url, model="\ncache = true")
    workspace.cli_json(*RUN)
    for fault, code in (("500", 0), ("401", 3), ("404", 3)):
        make_due(workspace)
        proxy.fault = fault
        done = workspace.cli(*RUN)
        assert_no_traceback(done)
        assert done.returncode == code, done.stderr
        assert ("the tracking server was not reached" in done.stderr) == (code == 0)
    cached = workspace.query("SELECT run_id, is_cached FROM mlflow_resolutions ORDER BY run_id")
    assert cached == [(1, False), (2, True)]


@pytest.mark.slow
def test_a_run_with_nothing_due_does_not_touch_the_server(
    sqlite_workspace: Workspace, proxy: Proxy, shared: str
) -> None:
    workspace = ready(sqlite_workspace, shared, proxy.url)
    workspace.cli_json(*RUN)
    before = proxy.requests
    proxy.fault = "500"

    done = workspace.cli(*RUN)

    assert done.returncode == 0, done.stderr
    assert "nothing was due" in done.stdout
    assert proxy.requests == before
    code = "import sys; from batch_scoring.cli import main\ntry:\n main()\nfinally:\n print(sorted(sys.modules))"
    loaded = run_by(workspace, code).stdout
    assert "'batch_scoring.scoring.runner'" in loaded
    assert "'mlflow'" not in loaded
    assert "'batch_scoring.mlflow.client'" not in loaded


@pytest.mark.slow
def test_a_module_named_mlflow_in_the_current_folder_is_not_imported(
    sqlite_workspace: Workspace, mlflow_server: MlflowServer, shared: str
) -> None:
    workspace = ready(sqlite_workspace, shared, mlflow_server.url)
    mark = workspace.folder / "mark"
    (workspace.folder / "mlflow.py").write_text(f"open({str(mark)!r}, 'w')\n")

    done = workspace.cli_anew(*RUN)

    assert done.returncode == 0, done.stderr
    assert "367 scored" in done.stdout
    assert not mark.exists()


@pytest.mark.slow
def test_a_run_that_cannot_be_logged_succeeds_with_a_warning(
    sqlite_workspace: Workspace, loan_model: TrainedModel
) -> None:
    away = f'\n[mlflow]\ntracking_uri = "http://127.0.0.1:{free_port()}"\nlog_runs = true\n'
    workspace = prepare_loans(sqlite_workspace, loan_model, job=LOAN_JOB + away)

    done = workspace.cli(*RUN)

    assert done.returncode == 0
    assert "warning: mlflow: not delivered" in done.stderr
    assert workspace.scalar("SELECT count(*) FROM predictions") == 367


@pytest.mark.slow
def test_without_a_tracking_server_the_silent_default_of_mlflow_is_not_used(
    sqlite_workspace: Workspace, name: str
) -> None:
    workspace = ready(sqlite_workspace, name, "x")
    workspace.write_job(NAME, job_text(name, "x").partition("\n[mlflow]")[0])

    assert_refused(workspace.cli(*RUN), 2, "mlflow.tracking_uri", "MLFLOW_TRACKING_URI")
    assert not list(workspace.folder.rglob("mlflow.db"))
    workspace.environ["MLFLOW_TRACKING_URI"] = f"http://user:secret@127.0.0.1:{free_port()}"
    done = workspace.cli(*RUN)
    assert_refused(done, 1, "cannot be reached")
    assert "secret" not in done.stderr


def test_without_the_extra_the_message_names_it(sqlite_workspace: Workspace, name: str) -> None:
    workspace = ready(sqlite_workspace, name, "http://127.0.0.1:1")
    code = "import sys; sys.modules['mlflow'] = None; from batch_scoring.cli import main; main()"
    done = run_by(workspace, code)
    assert_refused(done, 2, "pip install 'batch-scoring[mlflow]'")
