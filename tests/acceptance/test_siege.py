"""A service under siege: bad connections, hostile job files and rows, for as long as SIEGE_MINUTES says."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from itertools import pairwise

import psutil
import pytest
from attackers import HOSTILE_FILES, flood, many_descriptors
from conftest import prepare_loans
from logins import NAME
from serving import EVERY_SECOND, serving, without_schedule
from support import LOAN_JOB, Workspace, wait_until

from batch_scoring.model.training import TrainedModel

_MINUTES = float(os.environ.get("SIEGE_MINUTES", "0.5"))
"""`make siege` asks for 10."""

_CONNECTIONS = 5_000
_COPIES = 4
"""Of each hostile file: about fifty in all."""

_JOB = without_schedule(LOAN_JOB) + EVERY_SECOND
_EVERY = "5 seconds"

_ROW = """INSERT INTO model_versions (name, version, artifact_uri, artifact_sha256, manifest, created_at, created_by)
  VALUES ('hostile', {number}, '../../{number}', 'x', '{manifest}', now(), E'\\x1b[31m')"""
_MANIFESTS = ("{}", "[]", "null", '{"labels": "[/ok]"}', '{"golden": 1, "signature": []}')


@pytest.mark.slow
@pytest.mark.timeout(60 * _MINUTES + 300)
def test_every_slot_is_filled_and_nothing_grows(postgresql_workspace: Workspace, loan_model: TrainedModel) -> None:
    workspace = prepare_loans(postgresql_workspace, loan_model, job=_JOB.replace("1 second", _EVERY))
    for number in range(50):
        workspace.sql(_ROW.format(number=number + 1, manifest=_MANIFESTS[number % len(_MANIFESTS)]))
    with many_descriptors(), serving(workspace) as service:
        wait_until(lambda: service.get("/readyz")[0] == 200)
        for copy in range(_COPIES):
            folder = workspace.folder / f"copy{copy}"
            folder.mkdir()
            (folder / f"{NAME}.toml").write_text(_JOB)
            for plant in HOSTILE_FILES.values():
                plant(folder / f"{NAME}.toml")
            for file in folder.iterdir():
                if file.name != f"{NAME}.toml":
                    file.rename(workspace.jobs_dir / f"{copy}{file.name}")
        wait_until(lambda: len(service.events("job_file_broken")) >= 30)
        flood(service, 200)
        process = psutil.Process(service.process.pid)
        memory, first = process.memory_info().rss, len(service.events("slot_fired"))
        started, sent, largest = time.monotonic(), 0, 0
        while time.monotonic() - started < 60 * _MINUTES:
            share = (time.monotonic() - started) / (60 * _MINUTES)
            if sent < share * _CONNECTIONS:
                flood(service, 50)
                sent += 50
            status, reason = service.get("/readyz")
            assert (status, "nested too deeply" in reason) == (503, True), "it says which files are broken"
            assert service.get("/healthz")[0] == 200
            largest = max(largest, process.num_fds())
            time.sleep(0.05)
        for file in workspace.jobs_dir.iterdir():
            if file.name != f"{NAME}.toml":
                file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()
        wait_until(lambda: service.get("/readyz") == (200, "ok\n"))
        grown, slots = process.memory_info().rss / memory, len(service.events("slot_fired")) - first
        print(f"{sent} connections: {grown:.3f} of the memory before, at most {largest} descriptors, {slots} slots")
        assert grown < 1.2
        assert largest < 200
        assert service.stop() == 0
        passed_over = {datetime.fromisoformat(event["slot"]) for event in service.events("slot_passed_over")}
    filled = {slot for (slot,) in workspace.query("SELECT scheduled_for FROM scoring_runs")}
    pairs = pairwise(sorted(filled | passed_over))
    lost = [(earlier, later) for earlier, later in pairs if later - earlier != timedelta(seconds=5)]
    assert lost == [], "each slot has a run, or passed while the previous run was active"
    most = len(filled) / 4 if _MINUTES >= 5 else len(filled | passed_over)  # half a minute has few slots
    assert len(passed_over - filled) <= most, "a slow machine passes over a slot now and then"
