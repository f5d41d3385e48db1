"""What tests take from their environment, and what becomes of a test whose needs a machine does not meet."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import environment
import pytest


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment, put back afterwards."""
    for name, value in os.environ.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize(
    "name",
    [
        "BATCH_SCORING_DATABASE_URL",
        "COLUMNS",
        "FORCE_COLOR",
        "GITHUB_ACTIONS",
        "LC_ALL",
        "LOGNAME",
        "PGOPTIONS",
        "PYTHONWARNINGS",
        "https_proxy",
    ],
)
def test_what_steers_clients_and_terminals_does_not_reach_a_test(variables: pytest.MonkeyPatch, name: str) -> None:
    variables.setenv(name, "odd")

    environment.settle()

    assert name not in os.environ


@pytest.mark.parametrize("name", ["CI", "HOME", "LOAN_DATA_DIR", "OMP_NUM_THREADS", "REQUIRE_LOAN_DATA", "TZ"])
def test_what_says_how_to_test_stays(variables: pytest.MonkeyPatch, name: str) -> None:
    variables.setenv(name, "kept")

    environment.settle()

    assert os.environ[name] == "kept"


def test_programs_are_found_where_systems_install_them(variables: pytest.MonkeyPatch) -> None:
    for path in ("", "/nowhere"):
        variables.setenv("PATH", path)

        environment.settle()

        assert Path(environment.program("sh", "dash")).is_absolute()


def test_a_temporary_folder_that_is_too_long_for_a_socket_is_not_used(
    variables: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("t" * 90)
    long.mkdir()
    variables.setenv("TMPDIR", str(long))
    variables.setattr(tempfile, "tempdir", None)

    environment.settle()

    assert tempfile.gettempdir() == os.environ["TMPDIR"] == "/tmp"


def test_a_missing_program_skips_a_test_and_fails_it_on_ci(variables: pytest.MonkeyPatch) -> None:
    variables.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="nonesuch is not installed: apt-get install nothing"):
        environment.program("nonesuch", "nothing")

    variables.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="nonesuch is not installed: apt-get install nothing"):
        environment.program("nonesuch", "nothing")
