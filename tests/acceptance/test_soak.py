"""A service that has done many runs is as it was after the first of them: memory, descriptors, connections, all."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import cycle
from pathlib import Path

import pandas as pd
import pytest
from conftest import prepare_loans
from prometheus_client.parser import text_string_to_metric_families
from serving import EVERY_SECOND, NEVER, Serving, serving, without_schedule
from support import LOAN_JOB, Workspace, wait_until

from batch_scoring.model.training import TrainedModel

_RUNS = int(os.environ.get("SOAK_RUNS", "12"))
"""How many runs that scored something; `make soak` asks for 2,000."""

_WARM_UP = min(100, _RUNS // 3)
"""So many of them come before the first measurement."""

_JOBS = ("north", "east", "south")
"""A run waits for the database and for its slot; so many jobs keep two processors busy."""

_ROWS = 3
"""New ones between two runs of a job."""

_MOST_MEMORY = 1.1
"""At the end, of what it was after the warm-up."""

_REST_SECONDS = 2.0
"""What has ended may need a moment to be gone."""

_CURVE_POINTS = 20


@dataclass(frozen=True, kw_only=True)
class _Footprint:
    """What a service holds while no run is under way."""

    memory_kib: int
    descriptors: int
    threads: int
    processes: int
    """Those it or its runs started, children that nobody waited for included."""
    connections: int
    files: int

    def __str__(self) -> str:
        numbers = [f"{getattr(self, field.name)} {field.name}" for field in fields(self)[1:]]
        return ", ".join([f"{self.memory_kib / 1024:.1f} MiB", *numbers])


@dataclass
class _Soak:
    """A service, the rows inserted for each of its jobs, and what its log said of its runs."""

    service: Serving
    rows: Iterator[pd.DataFrame]
    inserted: dict[str, list[str]] = field(default_factory=lambda: {job: [] for job in _JOBS})
    runs: int = 0
    """Those that scored something."""
    scored: int = 0
    memory: list[int] = field(default_factory=list)
    """After each run, KiB."""
    _seen: int = 0

    @property
    def workspace(self) -> Workspace:
        return self.service.workspace

    def go_on(self, runs: int) -> None:
        """Let the service run its jobs until it has done so many runs; then until every row is scored."""
        _schedule(self.workspace, EVERY_SECOND)
        for job in _JOBS:
            self.insert(job)
        while self.runs < runs or self.scored < sum(map(len, self.inserted.values())):
            wait_until(self._has_news)
            for job in self._jobs_that_ran():
                if self.runs < runs:
                    self.insert(job)

    def insert(self, job: str) -> None:
        """New rows for a job."""
        first = len(self.inserted[job])
        keys = [f"{job}-{number:06d}" for number in range(first, first + _ROWS)]
        self.workspace.insert_frame("applicants", next(self.rows).assign(Loan_ID=keys, updated_at="2026-01-01"))
        self.inserted[job] += keys

    def _has_news(self) -> bool:
        return len(self.service.events()) > self._seen or self.service.process.poll() is not None

    def _jobs_that_ran(self) -> Iterator[str]:
        """Read on in the log; gives the job of each run that ended, and looks in as a monitor would."""
        assert self.service.process.poll() is None, self.service.log.read_text()[-2_000:]
        news = self.service.events()[self._seen :]
        self._seen += len(news)
        for event in news:
            assert event["event"] not in ("service_fault", "run_failed"), event
            if event["event"] == "run_finished":
                assert event["status"] == "succeeded", event
                assert event["quarantined"] == 0, event
                self.runs += event["scored"] > 0
                self.scored += event["scored"]
            if event["event"] == "run_ended":
                assert event["exit_code"] == 0, event
                assert [self.service.get(path)[0] for path in ("/healthz", "/metrics")] == [200, 200]
                self.memory.append(_resident_kib(self.service.process.pid))
                yield event["job"]

    def at_rest(self) -> _Footprint:
        """What the service holds once no run is under way and it has seen how the last one ended."""
        _schedule(self.workspace, NEVER)
        fired = partial(self.service.events, "slot_fired")
        wait_until(lambda: len(self.service.events("run_ended")) == len(fired()))
        wait_until(lambda: self.counted("batch_scoring_runs_total", "status", "succeeded") == self._recorded_runs())
        time.sleep(_REST_SECONDS)
        process_id = self.service.process.pid
        return _Footprint(
            memory_kib=_resident_kib(process_id),
            descriptors=len(list(Path(f"/proc/{process_id}/fd").iterdir())),
            threads=len(list(Path(f"/proc/{process_id}/task").iterdir())),
            processes=len(_processes(self.workspace, process_id)),
            connections=_connections(self.workspace),
            files=sum(path.is_file() for path in self.workspace.folder.rglob("*")),
        )

    def counted(self, metric: str, label: str, value: str) -> float:
        """A metric as the service gives it, summed over the jobs."""
        status, text = self.service.get("/metrics")
        assert status == 200
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(sample.value for sample in samples if sample.name == metric and sample.labels[label] == value)

    def _recorded_runs(self) -> int:
        found: int = self.workspace.scalar("SELECT count(*) FROM scoring_runs WHERE status = 'succeeded'")
        return found


def _schedule(workspace: Workspace, when: str) -> None:
    """Give every job this schedule; each scores the applicants whose number begins with its name."""
    text = without_schedule(LOAN_JOB) + when + 'stale_after = "10 minutes"\n'
    for job in _JOBS:
        of_job = text.replace("[source]", f"[source]\nwhere = '''\"Loan_ID\" LIKE '{job}-%' '''")
        workspace.write_job(job, of_job.replace('table = "predictions"', f'table = "predictions_{job}"'))


def _resident_kib(process_id: int) -> int:
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def _processes(workspace: Workspace, service: int) -> set[int]:
    """The service's children, and every other process that works for the workspace, whoever is its parent now."""
    mark = f"BATCH_SCORING_JOBS_DIR={workspace.jobs_dir}".encode()
    found = set()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == service:
            continue
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == service or mark in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
        except OSError:  # it is gone, or another user's
            continue
    return found


def _connections(workspace: Workspace) -> int:
    """Of everybody but the one who asks."""
    found: int = workspace.scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return found


def _curve(memory: Sequence[int]) -> str:
    """Memory in the course of the runs, in MiB."""
    step = max(1, len(memory) // _CURVE_POINTS)
    return " ".join(f"{kib / 1024:.1f}" for kib in memory[step - 1 :: step])


def _assert_each_row_was_scored_once(soak: _Soak) -> None:
    """The ledger: every inserted row against every prediction there ever was."""
    for job, inserted in soak.inserted.items():
        outcomes = Counter(key for (key,) in soak.workspace.query(f'SELECT "Loan_ID" FROM predictions_{job}'))
        lost = set(inserted) - outcomes.keys()
        doubled = [key for key, count in outcomes.items() if count > 1]
        assert (lost, doubled) == (set(), [])
        assert outcomes.keys() == set(inserted), "a job scores its own rows only"
        assert soak.workspace.scalar(f"SELECT count(*) FROM predictions_{job}_quarantine") == 0
        counted = "SELECT sum(scored_count) FROM run_history WHERE job = :job AND status = 'succeeded'"
        assert soak.workspace.scalar(counted, job=job) == len(inserted)


@pytest.mark.slow
@pytest.mark.timeout(300 + 10 * _RUNS)
def test_a_service_does_not_grow_with_the_runs_it_has_done(
    postgresql_workspace: Workspace, loan_model: TrainedModel, loan_test: pd.DataFrame
) -> None:
    workspace = prepare_loans(postgresql_workspace, loan_model)
    workspace.sql("DELETE FROM applicants")
    (workspace.jobs_dir / "loan_eligibility.toml").unlink()
    _schedule(workspace, NEVER)
    workspace.upgrade()
    temporary = workspace.folder / "tmp"
    temporary.mkdir()
    workspace.environ["TMPDIR"] = str(temporary)
    pieces = [loan_test[first : first + _ROWS] for first in range(0, len(loan_test) - _ROWS, _ROWS)]

    with serving(workspace) as service:
        soak = _Soak(service, cycle(pieces))
        begun = time.monotonic()
        soak.go_on(_WARM_UP)
        early, early_runs = soak.at_rest(), soak.runs
        soak.go_on(_RUNS)
        late = soak.at_rest()
        seconds = time.monotonic() - begun
        rows = sum(map(len, soak.inserted.values()))
        print(
            f"\n{soak.runs} runs of {len(_JOBS)} jobs by one service in {seconds:.0f} s, {rows} rows inserted meanwhile"
            f"\nafter {early_runs} runs: {early}\nafter {soak.runs} runs: {late}"
            f"\nmemory: {late.memory_kib / early.memory_kib - 1:+.1%}; in its course, MiB: {_curve(soak.memory)}"
        )
        _assert_each_row_was_scored_once(soak)
        print("lost 0, doubled 0")

        assert late.memory_kib <= _MOST_MEMORY * early.memory_kib
        for name in ("descriptors", "threads", "processes", "connections", "files"):
            assert getattr(late, name) <= getattr(early, name), name
        assert (late.processes, list(temporary.iterdir())) == (0, [])
        assert soak.counted("batch_scoring_rows_total", "outcome", "scored") == rows
        assert [service.get(path)[0] for path in ("/healthz", "/readyz")] == [200, 200]
        assert service.stop() == 0

    assert _processes(workspace, service.process.pid) == set()
    wait_until(lambda: _connections(workspace) == 0)
    assert list(temporary.iterdir()) == []
