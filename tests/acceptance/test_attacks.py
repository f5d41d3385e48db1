"""Attacks on what the scoring host reads and answers: registry rows, job files, the open port, texts of others."""

from __future__ import annotations

import csv
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa
from attackers import HOSTILE_FILES, connect, flood, many_descriptors
from conftest import prepare_loans
from hypothesis import given
from hypothesis import strategies as st
from logins import NAME, Granted, answer
from serving import EVERY_SECOND, serving, without_schedule
from support import LOAN_JOB, Workspace, wait_until

from batch_scoring.errors import ArtifactChanged, ArtifactMissing, ModelRefused, SourceFault
from batch_scoring.files.formulas import escaped, unescaped
from batch_scoring.model.training import TrainedModel
from batch_scoring.printable import printable

# --- rows of the registry


class Planted:
    """A pickle that leaves a file where it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.file}",)


def _pickled(workspace: Workspace) -> bytes:
    from batch_scoring.model.artifact import dump

    return dump(Planted(workspace.folder / "planted"))


def _set_row(workspace: Workspace, *, uri: str | None = None, manifest: dict[str, Any] | None = None) -> None:
    if uri is not None:
        workspace.sql("UPDATE model_versions SET artifact_uri = :uri", {"uri": uri})
    if manifest is not None:
        column = f"CAST(:manifest AS {workspace.words.json})"
        workspace.sql(f"UPDATE model_versions SET manifest = {column}", {"manifest": json.dumps(manifest)})


def _manifest(workspace: Workspace) -> dict[str, Any]:
    found = workspace.scalar("SELECT manifest FROM model_versions")
    loaded: dict[str, Any] = json.loads(found) if isinstance(found, str) else found
    return loaded


def _file(workspace: Workspace) -> Path:
    (file,) = (workspace.artifacts_dir / NAME).glob("*.joblib")
    return file


def _a_file_outside(workspace: Workspace) -> None:
    content = _pickled(workspace)
    from batch_scoring.model.artifact import sha256

    (workspace.folder / "avatar.png").write_bytes(content)
    workspace.sql("UPDATE model_versions SET artifact_sha256 = :sha", {"sha": sha256(content)})
    _set_row(workspace, uri="../avatar.png", manifest={**_manifest(workspace), "artifact_sha256": sha256(content)})


def _a_link(workspace: Workspace) -> None:
    file = _file(workspace)
    file.rename(workspace.folder / "moved.joblib")
    file.symlink_to(workspace.folder / "moved.joblib")


def _a_linked_folder(workspace: Workspace) -> None:
    folder = _file(workspace).parent
    folder.rename(workspace.folder / "moved")
    folder.symlink_to(workspace.folder / "moved")


def _a_device(workspace: Workspace) -> None:
    _file(workspace).unlink()
    _file_path = workspace.artifacts_dir / str(workspace.scalar("SELECT artifact_uri FROM model_versions"))
    os.mknod(_file_path, stat.S_IFCHR | 0o666, os.makedev(1, 5))


def _a_pipe(workspace: Workspace) -> None:
    file = _file(workspace)
    file.unlink()
    os.mkfifo(file)


def _a_folder(workspace: Workspace) -> None:
    file = _file(workspace)
    file.unlink()
    file.mkdir()


def _labels_swapped(workspace: Workspace) -> None:
    manifest = _manifest(workspace)
    _set_row(workspace, manifest={**manifest, "labels": manifest["labels"][::-1]})


def _another_threshold(workspace: Workspace) -> None:
    _set_row(workspace, manifest={**_manifest(workspace), "decision": {"label": "Y", "threshold": 0.01}})


def _another_hash(workspace: Workspace) -> None:
    _set_row(workspace, manifest={**_manifest(workspace), "artifact_sha256": "0" * 64})


ROWS: dict[str, tuple[Callable[[Workspace], None], type[ModelRefused]]] = {
    "a file outside the artifacts folder": (_a_file_outside, ArtifactChanged),
    "an absolute path": (lambda workspace: _set_row(workspace, uri="/dev/zero"), ArtifactChanged),
    "a symbolic link": (_a_link, ArtifactChanged),
    "a folder that is a symbolic link": (_a_linked_folder, ArtifactChanged),
    "a device without an end": (_a_device, ArtifactChanged),
    "a pipe that nobody writes to": (_a_pipe, ArtifactChanged),
    "a folder": (_a_folder, ArtifactMissing),
    "labels in another order": (_labels_swapped, ArtifactChanged),
    "a threshold that the model does not have": (_another_threshold, ArtifactChanged),
    "a hash that is not the manifest's": (_another_hash, ArtifactChanged),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_the_registry_is_no_evidence(name: str, sqlite_workspace: Workspace, loan_model: TrainedModel) -> None:
    workspace = prepare_loans(sqlite_workspace, loan_model)
    attack, error = ROWS[name]
    if name == "a device without an end" and os.geteuid() != 0:
        pytest.skip("only root creates devices")
    attack(workspace)

    started = time.monotonic()
    with pytest.raises(error):
        workspace.run()
    assert answer(workspace, "model", "verify", NAME, "1")[0] == 3
    assert time.monotonic() - started < 20
    assert not (workspace.folder / "planted").exists()
    assert workspace.scalar("SELECT count(*) FROM predictions") == 0


@pytest.mark.slow
def test_golden_rows_are_as_private_as_the_umask_says_and_are_not_printed(
    sqlite_workspace: Workspace, loan_model: TrainedModel
) -> None:
    before = os.umask(0o077)
    try:
        workspace = prepare_loans(sqlite_workspace, loan_model)
    finally:
        os.umask(before)
    files = [file for file in workspace.artifacts_dir.rglob("*") if file.is_file()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    printed = workspace.cli_json("model", "show", NAME, "1")
    assert printed["manifest"]["golden"] == {"count": 20, "stored_in": "model_versions.manifest"}
    assert len(_manifest(workspace)["golden"]["rows"]) == 20


# --- job files


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_a_hostile_job_file_is_named_and_no_other_job_is_touched(
    name: str, sqlite_workspace: Workspace, loan_model: TrainedModel
) -> None:
    workspace = prepare_loans(sqlite_workspace, loan_model, job=without_schedule(LOAN_JOB) + EVERY_SECOND)
    HOSTILE_FILES[name](workspace.jobs_dir / f"{NAME}.toml")

    assert workspace.cli("run", NAME).returncode == 0
    done = workspace.cli("check")
    printed = done.stdout + done.stderr
    if name != "dangling":
        assert done.returncode == 2
    assert "Traceback" not in printed
    assert printed.replace("\n", "").isprintable()


@pytest.mark.slow
def test_a_service_outlives_hostile_files_a_missing_folder_and_unexpected_errors(
    sqlite_workspace: Workspace, loan_model: TrainedModel
) -> None:
    workspace = prepare_loans(sqlite_workspace, loan_model, job=without_schedule(LOAN_JOB) + EVERY_SECOND)
    with serving(workspace) as service:
        wait_until(lambda: service.get("/readyz")[0] == 200)
        for plant in HOSTILE_FILES.values():
            plant(workspace.jobs_dir / f"{NAME}.toml")
        wait_until(lambda: len(service.events("job_file_broken")) >= len(HOSTILE_FILES) - 2)
        status, reason = service.get("/readyz")
        assert (status, "nested too deeply" in reason) == (503, True)
        assert service.get("/metrics")[0] == 200
        fired = len(service.events("slot_fired"))
        wait_until(lambda: len(service.events("slot_fired")) >= fired + 2)
        for file in workspace.jobs_dir.iterdir():
            if file.name != f"{NAME}.toml":
                file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()
        wait_until(lambda: service.get("/readyz")[0] == 200)

        workspace.jobs_dir.rename(workspace.folder / "away")
        wait_until(lambda: service.get("/readyz")[0] == 503)
        assert "cannot be listed" in service.get("/readyz")[1]
        (workspace.folder / "away").rename(workspace.jobs_dir)
        wait_until(lambda: service.get("/readyz")[0] == 200)
        assert service.stop() == 0


def test_an_unexpected_error_is_counted_and_the_service_goes_on(
    sqlite_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from batch_scoring.scheduling.job_files import JobFiles
    from batch_scoring.scheduling.service import Service

    sqlite_workspace.upgrade()
    steps: list[int] = []
    events: list[object] = []
    with sqlite_workspace.database() as database:
        service = Service(JobFiles(sqlite_workspace.jobs_dir), database, emit=events.append)

        def refresh() -> bool:
            steps.append(1)
            if len(steps) == 5:
                assert service.fault is not None
            if len(steps) == 6:
                service.stop()
            if 2 <= len(steps) <= 4:
                raise ZeroDivisionError("a value of an applicant: 4711")
            return False

        monkeypatch.setattr(service.files, "refresh", refresh)
        service.run()
    assert (service.fault_count, service.fault) == (3, None)
    assert [str(event) for event in events if "ZeroDivisionError" in str(event)] != []
    assert not any("4711" in str(event) for event in events)


# --- the open port


@pytest.mark.parametrize("count", [300, pytest.param(5_000, marks=pytest.mark.slow)])
def test_bad_connections_do_not_stop_the_service(
    count: int, sqlite_workspace: Workspace, loan_model: TrainedModel
) -> None:
    workspace = prepare_loans(sqlite_workspace, loan_model, job=without_schedule(LOAN_JOB) + EVERY_SECOND)
    with many_descriptors(), serving(workspace) as service:
        wait_until(lambda: service.get("/readyz")[0] == 200)
        flood(service, 100)
        process = psutil.Process(service.process.pid)
        memory = process.memory_info().rss
        logged = service.log.stat().st_size
        fired = len(service.events("slot_fired"))

        flood(service, count)

        assert service.get("/readyz") == (200, "ok\n")
        wait_until(lambda: len(service.events("slot_fired")) >= fired + 2)
        wait_until(lambda: process.num_fds() < 100 and process.num_threads() < 250)
        assert process.memory_info().rss < memory * 1.3
        assert b"Traceback" not in service.log.read_bytes()[logged:]
        assert service.stop() == 0


@pytest.mark.slow
def test_a_connection_that_drips_is_closed_and_a_probe_is_answered_meanwhile(
    sqlite_workspace: Workspace, loan_model: TrainedModel
) -> None:
    workspace = prepare_loans(sqlite_workspace, loan_model, job=without_schedule(LOAN_JOB) + EVERY_SECOND)
    with serving(workspace) as service:
        wait_until(lambda: service.get("/readyz")[0] == 200)
        connections = [connect(service.port) for _ in range(60)]
        started = time.monotonic()
        is_closed = False
        while not is_closed and time.monotonic() - started < 30:
            assert service.get("/healthz")[0] == 200
            try:
                for connection in connections[-1:]:
                    connection.sendall(b"X")
            except OSError:
                is_closed = True
            time.sleep(0.5)
        assert is_closed
        for connection in connections:
            connection.close()


# --- texts of others


@given(st.text())
def test_printable_text_prints_and_tells_texts_apart(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
    assert shown == text if text.isprintable() else shown != text


@given(st.text())
def test_a_field_of_a_csv_file_is_never_a_formula(field: str) -> None:
    written = escaped(field)
    assert unescaped(written) == field
    is_number = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", written) is not None
    assert is_number or not written.startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.slow
def test_an_exported_key_that_is_a_formula_is_text_and_is_read_back(
    workspace: Workspace, loan_model: TrainedModel
) -> None:
    prepare_loans(workspace, loan_model)
    formula = "=HYPERLINK(A1)"
    workspace.sql(f"""UPDATE applicants SET "ApplicantIncome" = NULL, "Loan_ID" = '{formula}'
        WHERE "Loan_ID" = 'LP001015'""")
    workspace.run()
    file = workspace.folder / "out.csv"
    assert workspace.cli("quarantine", "export", NAME, "--out", str(file)).returncode == 0
    with file.open(newline="") as exported:
        rows = list(csv.reader(exported))
    assert rows[1][0] == f"'{formula}"
    retried = workspace.cli("quarantine", "retry", NAME, "--keys-file", str(file), "--reason", "corrected", "--json")
    assert json.loads(retried.stdout)["closed"] == 1


RAISING = """CREATE FUNCTION risky(income float8, id text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF income > 3000 THEN
    RAISE EXCEPTION 'income % of applicant % is odd', income, id USING ERRCODE = '{code}';
  END IF;
  RETURN true;
END $$"""


@pytest.mark.parametrize("code", ["P0001", "42501", "42P01", "XX000", "22023", "57014"])
def test_what_a_function_of_the_source_raises_is_not_passed_on(
    code: str, postgresql_workspace: Workspace, loan_model: TrainedModel
) -> None:
    where = 'where = \'risky("ApplicantIncome", "Loan_ID")\'\n\n[model]'
    workspace = prepare_loans(postgresql_workspace, loan_model, job=LOAN_JOB)
    workspace.sql(RAISING.format(code=code))
    (workspace.jobs_dir / f"{NAME}.toml").write_text(LOAN_JOB.replace("[model]", where, 1))

    done = workspace.cli("run", NAME)

    assert done.returncode != 0
    recorded = workspace.query("SELECT error_message FROM run_history")
    for text in (done.stdout, done.stderr, str(recorded)):
        assert "income" not in text.replace("ApplicantIncome", "")
        assert "LP00" not in text


@pytest.mark.slow
def test_a_heartbeat_at_the_end_of_time_ends_nothing_in_a_traceback(
    postgresql_workspace: Workspace, loan_model: TrainedModel
) -> None:
    workspace = prepare_loans(postgresql_workspace, loan_model)
    workspace.sql(
        "INSERT INTO scoring_runs (job, trigger, status, started_at, heartbeat_at, host, process_id, package_version,"
        f" environment, job_config, requested_by) VALUES ('{NAME}', 'cli', 'running', now(), 'infinity', 'h', 1, '0',"
        " '{}', '{}', 'me')"
    )
    done = workspace.cli("run", NAME)
    assert done.returncode == 75
    assert "9999-12-31" in done.stderr
    for command in (("runs", "list"), ("runs", "show", "1"), ("status",), ("runs", "show", "1", "--json")):
        assert "Traceback" not in workspace.cli(*command).stderr


def test_a_body_is_not_ended_by_the_name_of_a_table(postgresql_workspace: Workspace, loan_model: TrainedModel) -> None:
    table = "p$as_of$ $$ $body$ $gone$"
    job = LOAN_JOB.replace('table = "predictions"', f"table = '{table}'")
    workspace = prepare_loans(postgresql_workspace, loan_model, job=job)
    assert workspace.run().scored_count == 367
    with workspace.database() as database, database.read() as connection:
        function = sa.text(f'SELECT count(*) FROM "{table}_as_of"(now())')
        assert connection.execute(function).scalar_one() == 367


def test_the_past_is_read_under_any_search_path(postgresql_workspace: Workspace, loan_model: TrainedModel) -> None:
    workspace = prepare_loans(postgresql_workspace, loan_model)
    workspace.run()
    with workspace.database() as database, database.read() as connection:
        connection.exec_driver_sql("SET LOCAL search_path = pg_catalog")
        found = connection.exec_driver_sql("SELECT count(*) FROM public.predictions_as_of(now())").scalar_one()
    assert found == 367


def test_rows_that_row_level_security_hides_do_not_count_as_deleted(granted: Granted) -> None:
    closing = LOAN_JOB.replace("[model]", 'deleted = "close"\nmax_deleted = 1.0\n\n[model]', 1)
    scorer = granted.by("scorer")
    (scorer.jobs_dir / f"{NAME}.toml").write_text(closing)
    granted.administrate(
        "ALTER TABLE applicants ENABLE ROW LEVEL SECURITY",
        """CREATE POLICY p ON applicants USING ("Property_Area" = 'Urban')""",
    )
    before = granted.owner.scalar("SELECT count(*) FROM predictions")

    with pytest.raises(SourceFault, match="row-level security"):
        scorer.run()

    assert granted.owner.scalar("SELECT count(*) FROM predictions") == before


@pytest.mark.slow
def test_a_key_that_no_index_holds_is_named_with_what_to_do(
    postgresql_workspace: Workspace, loan_model: TrainedModel
) -> None:
    job = LOAN_JOB.replace('"applicants"', '"wide"').replace('"predictions"', '"of_wide"')
    workspace = prepare_loans(postgresql_workspace, loan_model)
    workspace.sql("CREATE TABLE wide AS SELECT * FROM applicants")
    key = secrets.token_hex(500_000)
    workspace.sql("""UPDATE wide SET "Loan_ID" = :key WHERE "Loan_ID" = 'LP001015'""", {"key": key})
    (workspace.jobs_dir / f"{NAME}.toml").write_text(job)

    done = workspace.cli("run", NAME)
    assert done.returncode == 1
    assert "leave such rows out with [source] where" in done.stderr
    assert key[:50] not in done.stderr

    (workspace.jobs_dir / f"{NAME}.toml").write_text(
        job.replace("[model]", "where = 'length(\"Loan_ID\") < 100'\n\n[model]", 1)
    )
    assert workspace.cli_json("run", NAME)["scored_count"] == 366
