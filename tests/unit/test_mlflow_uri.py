"""URIs of models in MLflow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import LOAN_JOB, Workspace

from batch_scoring.domain.mlflow_uri import ModelUri
from batch_scoring.errors import ConfigurationError
from batch_scoring.mlflow.server import Server


@pytest.mark.parametrize(
    ("text", "pinned"),
    [
        ("models:/loans@champion", "models:/loans/7"),
        ("models:/loan eligibility v1.0@champion".replace(" ", "_"), "models:/loan_eligibility_v1.0/7"),
        ("models:/loans/12", "models:/loans/12"),
        ("runs:/0a1b2c/model", "runs:/0a1b2c/model"),
    ],
)
def test_a_uri_is_pinned_to_the_version_that_it_points_to(text: str, pinned: str) -> None:
    assert ModelUri.parse(text).pinned("7") == pinned


@pytest.mark.parametrize(
    "text",
    [
        *("", "loans", "models:/", "models:/loans", "models:/loans@", "models:/loans/0", "models:/loans/1/2"),
        *("models:/loans/latest", "models:/loans/Staging", "runs:/1", "runs:/1/a/b", "models:/a b@c", "s3://b/m"),
        *("models://loans@champion", "models:/loans@a@b", "file:///etc/passwd", "models:/../x@y"),
    ],
)
def test_what_is_none_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected models:/NAME@ALIAS"):
        ModelUri.parse(text)


@pytest.mark.parametrize(("text", "words"), [("latest", "an alias when somebody moves it"), ("Staging", "aliases")])
def test_stages_and_latest_are_explained(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ModelUri.parse(f"models:/loans/{text}")


@given(st.text(max_size=30))
def test_any_text_is_a_uri_or_refused(text: str) -> None:
    try:
        found = ModelUri.parse(f"models:/{text}")
    except ValueError:
        return
    assert not set(found.name) & set("/:@ \n")
    assert ModelUri.parse(found.pinned("3")).alias is None


def test_the_model_of_a_job_is_named_after_its_uri(sqlite_workspace: Workspace) -> None:
    text = LOAN_JOB.replace('name = "loan_eligibility"\nalias = "champion"', 'uri = "models:/loans@champion"')
    job = sqlite_workspace.write_job("loans", text)
    assert (job.model.name, job.model.uses("loans", "champion")) == ("loans", False)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ('uri = "models:/loans@c"\nalias = "champion"', "model.alias: belongs to the registry of this package"),
        ('name = "loans"\ncache = true', "model.cache: belongs to uri"),
        ('uri = "models:/loans"', "model.uri: expected models:/NAME@ALIAS"),
        ('uri = "models:/-loans@c"', "model.name"),
        ("uri = 1", "model.uri"),
    ],
)
def test_what_does_not_belong_together_is_refused(sqlite_workspace: Workspace, model: str, words: str) -> None:
    text = LOAN_JOB.replace('name = "loan_eligibility"\nalias = "champion"', model)
    with pytest.raises(ConfigurationError, match=words):
        sqlite_workspace.write_job("loans", text)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://user:p%40ss@mlflow:5000/base?token=secret#x", "http://mlflow:5000/base"),
        ("http://user:p@ss@mlflow:5000", "http://mlflow:5000"),
        ("sqlite:////var/lib/mlflow.db", "sqlite:////var/lib/mlflow.db"),
        ("postgresql+psycopg2://u:p@db/mlflow?host=/run", "postgresql+psycopg2://db/mlflow"),
        ("databricks", "databricks"),
    ],
)
def test_a_server_is_shown_and_recorded_without_secrets(uri: str, shown: str) -> None:
    server = Server(uri=uri)
    assert server.shown == shown
    assert uri not in repr(server)
