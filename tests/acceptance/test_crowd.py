"""A crowd on one job: services and cron-like loops start runs of it all at once, while other sessions write to its
source and commit late. Then every version that was ever committed is held against every prediction there ever was.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from conftest import prepare_loans
from faults import (
    assert_counters_equal_rows,
    assert_each_applicant_has_one_current_prediction_of_its_present_version,
    loan_job,
)
from serving import EVERY_SECOND, Serving, serving, without_schedule
from support import Workspace

from batch_scoring.model.training import TrainedModel

NAME = "loan_eligibility"

_SECONDS = float(os.environ.get("CROWD_SECONDS", "20"))
"""How long the crowd goes on; 60 for the full measure."""

_CHUNK_ROWS = 20
"""Few, so that a run has many chunks between which others commit."""


_ROLLED_BACK_SHARE = 0.1


class _RolledBack(Exception):
    """A writer changes its mind."""


@dataclass(frozen=True, kw_only=True)
class _Pace:
    """How long a writer takes, in seconds: at least and at most."""

    before: tuple[float, float] = (0.0, 0.0)
    """From choosing keys and timestamps to the transaction that writes them."""
    held: tuple[float, float] = (0.0, 0.01)
    """From writing to COMMIT."""
    pause: float = 0.1


@dataclass(frozen=True, kw_only=True)
class _Crowd:
    """How many of each, and for how long."""

    services: int
    loops: int
    seconds: float
    writers: Sequence[_Pace]


@dataclass
class _Ledger:
    """What was committed to the source: the versions of each key, the present one last."""

    versions: dict[str, list[str]] = field(default_factory=dict)
    late: int = 0
    """Transactions that committed keys and timestamps older than some that others had committed before."""
    never: list[tuple[str, str]] = field(default_factory=list)
    """Versions that were rolled back."""
    _number: int = 0
    _highest_committed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_number(self) -> int:
        """Each row and each version gets its own, when it is thought of and not when it is committed."""
        with self._lock:
            self._number += 1
            return self._number

    def committed(self, written: Mapping[str, int]) -> None:
        with self._lock:
            self.late += min(written.values()) < self._highest_committed
            self._highest_committed = max(self._highest_committed, *written.values())
            for key, number in written.items():
                self.versions.setdefault(key, []).append(_moment(number))

    def rolled_back(self, written: Mapping[str, int]) -> None:
        with self._lock:
            self.never += [(key, _moment(number)) for key, number in written.items()]

    @property
    def updates(self) -> int:
        return sum(len(versions) - 1 for versions in self.versions.values())


def _moment(number: int) -> str:
    return f"{datetime(2026, 1, 1) + timedelta(milliseconds=number):%Y-%m-%d %H:%M:%S.%f}"  # noqa: DTZ001 - as text


class _Writer:
    """A session that inserts rows and updates its own."""

    def __init__(self, workspace: Workspace, ledger: _Ledger, seed: int) -> None:
        self._workspace, self._ledger = workspace, ledger
        self._random = random.Random(seed)
        self._keys: list[str] = []

    def go_on(self, stop: threading.Event, pace: _Pace) -> None:
        with self._workspace.database() as database:
            while not stop.is_set():
                planned = self._plan()
                stop.wait(self._random.uniform(*pace.before))
                try:
                    with database.write() as connection:
                        self._write(connection, planned)
                        stop.wait(self._random.uniform(*pace.held))
                        if self._random.random() < _ROLLED_BACK_SHARE:
                            raise _RolledBack
                except _RolledBack:
                    self._ledger.rolled_back(planned)
                else:
                    self._ledger.committed(planned)
                    self._keys += [key for key in planned if key not in self._keys]
                stop.wait(pace.pause)

    def _plan(self) -> dict[str, int]:
        """The numbers of the next versions: of rows of its own and of new ones."""
        known = self._random.sample(self._keys, min(2, len(self._keys)))
        planned = {key: self._ledger.next_number() for key in known}
        for _ in range(3):
            number = self._ledger.next_number()
            planned[f"N{number:08d}"] = number
        return planned

    def _write(self, connection: sa.Connection, planned: Mapping[str, int]) -> None:
        for key, number in planned.items():
            values = {"key": key, "income": 500 + number, "moment": _moment(number)}
            if key in self._keys:
                connection.execute(_UPDATE, values)
            else:
                connection.execute(_INSERT, {**values, "offset": number % 300})


_COPIED = (
    '"Gender", "Married", "Dependents", "Education", "Self_Employed", "CoapplicantIncome", "LoanAmount",'
    ' "Loan_Amount_Term", "Credit_History", "Property_Area"'
)
_INSERT = sa.text(
    f'INSERT INTO applicants ("Loan_ID", "ApplicantIncome", updated_at, {_COPIED})'
    f" SELECT :key, :income, :moment, {_COPIED} FROM applicants WHERE \"Loan_ID\" LIKE 'LP%'"
    ' ORDER BY "Loan_ID" LIMIT 1 OFFSET :offset'
).bindparams(sa.bindparam("moment", type_=sa.Text()))
_UPDATE = sa.text('UPDATE applicants SET "ApplicantIncome" = :income, updated_at = :moment WHERE "Loan_ID" = :key')


def _like_cron(workspace: Workspace, stop: threading.Event, codes: list[int]) -> None:
    """Start runs, one after the other, each as cron would: in a session of its own, which gets its share of the CPU."""
    while not stop.is_set():
        done = subprocess.run(
            [sys.executable, "-m", "batch_scoring", "run", NAME],
            cwd=workspace.folder,
            env=workspace.process_environ,
            capture_output=True,
            start_new_session=True,
            timeout=120,
            check=False,
        )
        codes.append(done.returncode)


def _gather(workspace: Workspace, crowd: _Crowd, ledger: _Ledger) -> tuple[list[Serving], list[int]]:
    """All of them at once for a time; gives the services, which are down, and the exit codes of the loops."""
    stop = threading.Event()
    codes: list[int] = []
    with ThreadPoolExecutor(32) as pool, ExitStack() as stack:
        stack.callback(stop.set)
        services = list(pool.map(lambda _: stack.enter_context(serving(workspace)), range(crowd.services)))
        working = [pool.submit(_like_cron, workspace, stop, codes) for _ in range(crowd.loops)]
        for seed, pace in enumerate(crowd.writers):
            working.append(pool.submit(_Writer(workspace, ledger, seed).go_on, stop, pace))
        time.sleep(crowd.seconds)
        stop.set()
        assert list(pool.map(Serving.stop, services)) == [0] * crowd.services
        for done in working:
            done.result()
    return services, codes


def _assert_each_start_of_a_run_is_accounted_for(
    workspace: Workspace, services: list[Serving], codes: list[int]
) -> None:
    """Every process that was started did a run or was recorded as skipped, and no slot was filled twice."""
    recorded = Counter(
        {
            (trigger, status): count
            for trigger, status, count in workspace.query(
                "SELECT trigger, status, count(*) FROM scoring_runs GROUP BY trigger, status"
            )
        }
    )
    of_services = Counter(event["exit_code"] for service in services for event in service.events("run_ended"))
    for trigger, ended in (("cli", Counter(codes)), ("schedule", of_services)):
        assert ended.keys() <= {0, 75} | ({1, -signal.SIGTERM} if trigger == "schedule" else set()), ended
        by_code = {"succeeded": ended[0], "skipped": ended[75], "failed": ended[1]}
        more = {status: recorded[trigger, status] - count for status, count in by_code.items()}
        # a signal ends a process at once before it has begun, and when all is done and Python shuts down
        assert min(more.values()) >= 0, more
        assert sum(more.values()) <= ended[-signal.SIGTERM], more
    assert recorded.total() == sum(
        recorded[t, s] for t in ("cli", "schedule") for s in ("succeeded", "skipped", "failed")
    )
    assert workspace.query("SELECT DISTINCT error_type FROM scoring_runs WHERE status = 'failed'") in (
        [],
        [("RunStopped",)],
    )
    assert workspace.query("SELECT DISTINCT error_type FROM scoring_runs WHERE status = 'skipped'") == [
        ("AnotherRunActive",)
    ]
    fired = {event["slot"] for service in services for event in service.events("slot_fired")}
    filled = [
        slot
        for (slot,) in workspace.query(
            "SELECT scheduled_for FROM scoring_runs WHERE scheduled_for IS NOT NULL AND status = 'succeeded'"
        )
    ]
    assert len(set(filled)) == len(filled) == recorded["schedule", "succeeded"]
    assert len(filled) <= len(fired)
    assert [event for service in services for event in service.events("service_fault")] == []
    print(
        f"{sum(of_services.values())} processes started by services for {len(fired)} slots, {len(codes)} by loops;"
        f" {len(filled)} slots filled, none twice"
    )
    print("runs: " + ", ".join(f"{count} {trigger} {status}" for (trigger, status), count in sorted(recorded.items())))


def _text(moment: object) -> str:
    """A timestamp as the ledger writes it."""
    if isinstance(moment, datetime):
        return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"
    return str(moment)


def _assert_nothing_is_lost_or_doubled(workspace: Workspace, ledger: _Ledger, model: TrainedModel) -> None:
    outcomes = workspace.query(
        'SELECT "Loan_ID", source_changed_at, valid_to FROM predictions_history WHERE "Loan_ID" LIKE \'N%\''
    )
    seen = Counter((key, _text(version)) for key, version, _ in outcomes)
    current = Counter((key, _text(version)) for key, version, valid_to in outcomes if str(valid_to) > "9999")
    present = {(key, versions[-1]) for key, versions in ledger.versions.items()}
    ever = {(key, version) for key, versions in ledger.versions.items() for version in versions}
    lost, doubled = present - current.keys(), [outcome for outcome, count in seen.items() if count > 1]
    print(
        f"{len(ledger.versions)} rows inserted, {ledger.updates} updates, {ledger.late} transactions committed late,"
        f" {len(ledger.never)} versions rolled back; {len(outcomes)} predictions of these rows;"
        f" lost {len(lost)}, doubled {len(doubled)}"
    )
    assert (lost, doubled) == (set(), [])
    assert current.keys() == present, "one current prediction a key, of its present version"
    assert seen.keys() <= ever, "nothing that was never committed was scored"
    assert workspace.scalar("SELECT count(*) FROM predictions_quarantine") == 0
    assert_counters_equal_rows(workspace)
    assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)

    # and each score is that of the values that stand beside the version
    columns = list(model.features.columns)
    names = ", ".join(f's."{name}"' for name in columns)
    rows = workspace.query(
        f'SELECT p.score, {names} FROM applicants s JOIN predictions_current p ON p."Loan_ID" = s."Loan_ID"'
    )
    plain = [[float(v) if isinstance(v, (Decimal, int)) else v for v in row[1:]] for row in rows]
    frame = pd.DataFrame(plain, columns=columns).astype(model.features.dtypes.to_dict())
    positive = list(model.pipeline.classes_).index("Y")
    expected = model.pipeline.predict_proba(frame)[:, positive]
    assert np.abs(expected - np.array([row[0] for row in rows])).max() <= 1e-12


def _crowd_on_one_job(workspace: Workspace, model: TrainedModel, crowd: _Crowd) -> None:
    prepare_loans(workspace, model, job=without_schedule(loan_job(chunk_rows=_CHUNK_ROWS)) + EVERY_SECOND)
    ledger = _Ledger()
    services, codes = _gather(workspace, crowd, ledger)

    last = workspace.cli("run", NAME)
    assert last.returncode == 0, last.stderr
    codes.append(last.returncode)

    database = workspace.dialect.product
    print(f"\n{crowd.services} services and {crowd.loops} loops for {crowd.seconds:.0f} s on {database}")
    _assert_each_start_of_a_run_is_accounted_for(workspace, services, codes)
    _assert_nothing_is_lost_or_doubled(workspace, ledger, model)
    assert min(ledger.late, ledger.updates, len(ledger.never)) > 0, "the writers did too little"


@pytest.mark.slow
@pytest.mark.timeout(300 + 3 * _SECONDS)
def test_a_crowd_on_postgresql(postgresql_workspace: Workspace, loan_model: TrainedModel) -> None:
    late = _Pace(held=(1.0, 4.0), pause=0.5)
    crowd = _Crowd(services=8, loops=8, seconds=_SECONDS, writers=[_Pace(), _Pace(), late, late, late, late])
    _crowd_on_one_job(postgresql_workspace, loan_model, crowd)


@pytest.mark.slow
def test_a_crowd_on_sqlite(sqlite_workspace: Workspace, loan_model: TrainedModel) -> None:
    """One session at a time may write there, so who is late is so before the transaction and holds it for less."""
    late = _Pace(before=(1.0, 2.0), held=(0.1, 0.3), pause=0.5)
    crowd = _Crowd(services=2, loops=2, seconds=min(_SECONDS, 8), writers=[_Pace(), late])
    _crowd_on_one_job(sqlite_workspace, loan_model, crowd)
