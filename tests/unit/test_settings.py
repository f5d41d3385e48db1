"""What the environment may say."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from batch_scoring.errors import ConfigurationError, ExitCode
from batch_scoring.settings import Settings

SECRET = "correct-horse"
URL = f"postgresql://scorer:{SECRET}@db.example/lending"


def wrong(environ: dict[str, str]) -> list[str]:
    """The variables named as wrong."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment(environ)
    return [problem.where for problem in caught.value.problems]


def test_an_empty_environment_means_the_documented_defaults() -> None:
    settings = Settings.from_environment({})

    assert settings.database_url == "sqlite:///batch_scoring.db"
    assert settings.jobs_dir == Path("jobs")
    assert settings.artifacts_dir == Path("artifacts")
    assert settings.log_format is None


def test_every_variable_is_read() -> None:
    settings = Settings.from_environment(
        {
            "BATCH_SCORING_DATABASE_URL": URL,
            "BATCH_SCORING_JOBS_DIR": "/srv/jobs",
            "BATCH_SCORING_ARTIFACTS_DIR": "/srv/artifacts",
            "BATCH_SCORING_LOG_FORMAT": "json",
        }
    )

    assert settings == Settings(
        database_url=URL, jobs_dir=Path("/srv/jobs"), artifacts_dir=Path("/srv/artifacts"), log_format="json"
    )


def test_an_empty_variable_counts_as_unset() -> None:
    names = ("DATABASE_URL", "JOBS_DIR", "ARTIFACTS_DIR", "LOG_FORMAT")

    assert Settings.from_environment({f"BATCH_SCORING_{name}": "" for name in names}) == Settings.from_environment({})


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_both_log_formats_are_known(log_format: str) -> None:
    assert Settings.from_environment({"BATCH_SCORING_LOG_FORMAT": log_format}).log_format == log_format


@pytest.mark.parametrize("log_format", ["JSON", "text", " json"])
def test_another_log_format_names_the_known_ones(log_format: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"BATCH_SCORING_LOG_FORMAT: expected console or json, found"
    ) as caught:
        Settings.from_environment({"BATCH_SCORING_LOG_FORMAT": log_format})
    assert caught.value.exit_code is ExitCode.WRONG_USAGE


@pytest.mark.parametrize("url", ["batch_scoring.db", "postgresql:lending", "db.example/lending"])
def test_a_database_url_that_is_none_is_named(url: str) -> None:
    with pytest.raises(ConfigurationError, match="BATCH_SCORING_DATABASE_URL: expected a SQLAlchemy URL such as"):
        Settings.from_environment({"BATCH_SCORING_DATABASE_URL": url})


def test_an_unknown_variable_of_the_package_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(ConfigurationError, match="BATCH_SCORING_DATABSE_URL: is not a setting") as caught:
        Settings.from_environment({"BATCH_SCORING_DATABSE_URL": URL})
    for name in ("DATABASE_URL", "JOBS_DIR", "ARTIFACTS_DIR", "LOG_FORMAT"):
        assert f"BATCH_SCORING_{name}" in str(caught.value)


def test_variables_of_others_are_left_alone() -> None:
    environ = {"PATH": "/usr/bin", "DATABASE_URL": "x", "BATCH_SCORINGS": "x", "batch_scoring_x": "x"}

    assert Settings.from_environment(environ) == Settings.from_environment({})


def test_everything_wrong_is_reported_together() -> None:
    named = wrong(
        {
            "BATCH_SCORING_LOG_FORMAT": "xml",
            "BATCH_SCORING_DATABASE_URL": "lending",
            "BATCH_SCORING_ZEAL": "1",
            "BATCH_SCORING_CHUNK_ROWS": "1",
        }
    )

    assert named == [
        "BATCH_SCORING_CHUNK_ROWS",
        "BATCH_SCORING_ZEAL",
        "BATCH_SCORING_DATABASE_URL",
        "BATCH_SCORING_LOG_FORMAT",
    ]


def test_the_process_environment_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BATCH_SCORING_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BATCH_SCORING_JOBS_DIR", "elsewhere")

    assert Settings.from_environment().jobs_dir == Path("elsewhere")


def test_the_password_is_in_no_repr() -> None:
    settings = Settings.from_environment({"BATCH_SCORING_DATABASE_URL": URL})

    for shown in (repr(settings), str(settings), f"{settings}", repr([settings])):
        assert SECRET not in shown
        assert "db.example" not in shown


def test_the_password_is_in_no_error() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment(
            {"BATCH_SCORING_DATABASE_URL": f"postgresql:scorer:{SECRET}@db", "BATCH_SCORING_DATABASEURL": URL}
        )
    assert len(caught.value.problems) == 2
    assert SECRET not in str(caught.value) + repr(caught.value)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().log_format = "json"  # type: ignore[misc]  # what the test is about
