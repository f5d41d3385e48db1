"""Every block of docs/mlflow.md runs as it is written, against servers with three kinds of databases."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import watchdog
from documents import COMMANDS, blocks
from environment import program
from mlflow_server import MlflowServer, free_port
from support import REPOSITORY, PostgresServer, wait_until

pytestmark = pytest.mark.slow

DOCUMENT = REPOSITORY / "docs" / "mlflow.md"


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def server(request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer) -> Iterator[MlflowServer]:
    """A server with another database behind it."""
    folder = tmp_path / "server"
    folder.mkdir()
    if request.param == "sqlite":
        found = MlflowServer(folder)
    elif request.param == "postgresql":
        backend = postgres.create_database().replace("postgresql://", "postgresql+psycopg2://")
        found = MlflowServer(folder, backend)
    else:
        with mariadb(tmp_path / "mariadb") as backend:
            found = MlflowServer(folder, backend)
            yield found
            found.stop()
        return
    yield found
    found.stop()


@contextmanager
def mariadb(folder: Path) -> Iterator[str]:
    """A server of MariaDB of this test's own; yields the URL of an empty database."""
    daemon = program("mariadbd", "mariadb-server")
    install = program("mariadb-install-db", "mariadb-server")
    watchdog.remove_at_the_end(folder)
    user = ["--user=root"] if os.geteuid() == 0 else []
    subprocess.run(
        [install, *user, f"--datadir={folder}", "--auth-root-authentication-method=normal", "--skip-test-db"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    port, log = free_port(), folder / "log"
    socket = folder / "s"
    with log.open("w") as written:
        process = subprocess.Popen(
            [
                *(daemon, "--no-defaults", *user, f"--datadir={folder}", f"--socket={socket}"),
                *(f"--port={port}", "--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=0"),
            ],
            stdout=written,
            stderr=written,
            start_new_session=True,
        )
    try:
        wait_until(socket.exists)
        client = program("mariadb", "mariadb-client")
        subprocess.run(
            [client, "--no-defaults", f"--socket={socket}", "-uroot", "-e", "CREATE DATABASE mlflow"], check=True
        )
        yield f"mysql+pymysql://root@127.0.0.1:{port}/mlflow"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def script(server: MlflowServer, port: int) -> str:
    """All blocks that are run, as one script of a shell."""
    parts = []
    for block in blocks(DOCUMENT):
        if block.why_not_run is None and block.language in ("sh", "python"):
            text = f"python - <<'END'\n{block.text}END\n" if block.language == "python" else block.text
            parts.append(text)
    joined = "\n".join(parts).replace("http://127.0.0.1:5000", server.url)
    assert joined.count("5001") == 3
    return joined.replace("5001", str(port))


@pytest.mark.timeout(900)
def test_the_walk_through_of_mlflow_works_one_block_after_the_other(server: MlflowServer, tmp_path: Path) -> None:
    environ = {
        "PATH": f"{COMMANDS}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "CHECKOUT": str(REPOSITORY),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONWARNINGS": "ignore",
        watchdog.MARK: os.environ[watchdog.MARK],
    }
    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", script(server, free_port())],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )

    assert done.returncode == 0, done.stderr[-4000:]
    assert "in MLflow: models:/loan_eligibility/1" in done.stdout
    versions = re.findall(r"run \d+ of loan_eligibility: (\d+) read, .* by loan_eligibility version (\d+)", done.stdout)
    assert [version for _, version in versions][:2] == ["2", "3"]  # version 1 is that of the demo
    assert versions[0][0] == versions[1][0]
    (served,) = re.findall(r'\{"predictions": \[\[([0-9.]+), ([0-9.]+)\]\]\}', done.stdout)
    assert sum(map(float, served)) == pytest.approx(1)
