"""A run with nothing due notices that the model's file is gone or another one, and stays light."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import assert_refused
from conftest import prepare_loans
from serving import EVERY_SECOND, serving, without_schedule
from support import LOAN_JOB, Workspace, wait_until

from batch_scoring.errors import ArtifactChanged, ArtifactMissing
from batch_scoring.model.artifact import HASHED_AT_MOST, ArtifactReference, check_in_place, sha256
from batch_scoring.model.training import TrainedModel

NAME = "loan_eligibility"


def _artifact(workspace: Workspace) -> Path:
    (found,) = workspace.artifacts_dir.rglob("*.joblib")
    return found


def _remove(file: Path) -> None:
    file.unlink()


def _alter(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _make_a_folder_of_it(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "error", "words"),
    [
        (_remove, "ArtifactMissing", "cannot be read (No such file or directory)"),
        (_make_a_folder_of_it, "ArtifactMissing", "cannot be read"),
        (_alter, "ArtifactChanged", "is not the registered one"),
    ],
)
def test_an_idle_run_fails_with_3_where_the_model_could_not_be_loaded_and_status_agrees(
    loan_workspace: Workspace, harm: Callable[[Path], None], error: str, words: str
) -> None:
    assert loan_workspace.run().scored_count == 367
    content = _artifact(loan_workspace).read_bytes()
    file = _artifact(loan_workspace)
    harm(file)

    assert_refused(loan_workspace.cli("run", NAME), 3, words)

    latest = "SELECT status, error_type, due_count FROM scoring_runs ORDER BY run_id DESC LIMIT 1"
    assert loan_workspace.query(latest) == [("failed", error, 0)]
    status = loan_workspace.cli("status")
    assert (status.returncode, words in status.stderr) == (5, True)
    assert loan_workspace.scalar("SELECT count(*) FROM predictions_current") == 367

    if file.is_dir():
        file.rmdir()
    file.write_bytes(content)
    done = loan_workspace.cli("run", NAME)
    assert (done.returncode, "nothing was due" in done.stdout) == (0, True)
    assert loan_workspace.cli("status").returncode == 0


@pytest.mark.slow
def test_an_idle_run_loads_no_scikit_learn(loan_workspace: Workspace) -> None:
    loan_workspace.run()
    program = (
        "import sys\nsys.argv = ['batch-scoring', 'run', 'loan_eligibility']\n"
        "from batch_scoring.cli import main\n"
        "try:\n    main()\nexcept SystemExit as exc:\n    assert exc.code == 0, exc.code\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=loan_workspace.folder,
        env=loan_workspace.process_environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "nothing was due" in done.stdout
    assert not set(done.stdout.split()) & {"sklearn", "joblib", "scipy", "pandas"}


@pytest.mark.slow
def test_the_service_is_not_ready_while_a_model_would_be_refused(
    sqlite_workspace: Workspace, loan_model: TrainedModel
) -> None:
    workspace = prepare_loans(sqlite_workspace, loan_model, job=without_schedule(LOAN_JOB) + EVERY_SECOND)
    file = _artifact(workspace)
    with serving(workspace) as service:
        wait_until(lambda: service.get("/readyz")[0] == 200)
        file.rename(workspace.folder / "away")
        wait_until(lambda: service.get("/readyz")[0] == 503)
        assert f"job {NAME}: the artifact" in service.get("/readyz")[1]
        assert service.get("/healthz")[0] == 200
        (workspace.folder / "away").rename(file)
        wait_until(lambda: service.get("/readyz")[0] == 200)
        assert service.stop() == 0


def _reference(file: Path, content: bytes) -> ArtifactReference:
    file.write_bytes(content)
    return ArtifactReference(path=file, sha256=sha256(content))


def test_a_large_file_is_compared_by_its_size_and_not_read(tmp_path: Path) -> None:
    content = bytes(HASHED_AT_MOST + 1)
    large = _reference(tmp_path / "large.joblib", content)
    check_in_place(large, len(content))
    check_in_place(large, None)

    large.path.write_bytes(content + b"x")
    with pytest.raises(ArtifactChanged, match="4,194,306 bytes, registered 4,194,305"):
        check_in_place(large, len(content))
    check_in_place(large, None)

    large.path.write_bytes(content[:100])
    with pytest.raises(ArtifactChanged, match="SHA-256"):
        check_in_place(large, None)

    large.path.unlink()
    with pytest.raises(ArtifactMissing, match="No such file or directory"):
        check_in_place(large, None)


def test_a_small_file_is_compared_by_its_hash(tmp_path: Path) -> None:
    small = _reference(tmp_path / "small.joblib", b"model")
    check_in_place(small, None)
    small.path.write_bytes(b"medal")
    with pytest.raises(ArtifactChanged, match="SHA-256"):
        check_in_place(small, 5)
