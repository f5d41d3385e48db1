"""What must survive a database that goes away: COMMITs whose answers are lost, and a server that is restarted."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import socketserver
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import psycopg2
import pytest
from conftest import prepare_loans
from faults import applicants, assert_counters_equal_rows, loan_job
from support import PostgresServer, Workspace, wait_until

from batch_scoring.domain.runs import Run
from batch_scoring.errors import TransientError
from batch_scoring.model import bisection
from batch_scoring.model.training import TrainedModel
from batch_scoring.scoring.events import ChunkCommitted, Event, RunPlanned

_SOCKET = ".s.PGSQL.5432"
_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
_READY = b"Z\x00\x00\x00\x05"
"""How the server's last message of an answer begins; the transaction's state follows."""

_SECONDS_AWAY = 1.0


class _Proxy(socketserver.ThreadingUnixStreamServer):
    """Stands between a run and its server, and cuts one connection at the k-th COMMIT of all connections."""

    def __init__(self, folder: Path, upstream: Path) -> None:
        super().__init__(str(folder / _SOCKET), _Session)
        self.upstream = upstream
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self.cut_at(0)

    def cut_at(self, commit: int, *, done: bool = False) -> None:
        """Count anew and cut at this COMMIT (0: at none): not done, or done and its answer lost."""
        self.commits, self.is_done, self._cut_at = 0, done, commit

    def is_to_be_cut(self) -> bool:
        """Count a COMMIT; whether it is the one."""
        with self._lock:
            self.commits += 1
            return self.commits == self._cut_at

    @property
    def has_cut(self) -> bool:
        return 0 < self._cut_at <= self.commits


class _Session(socketserver.BaseRequestHandler):
    """One connection, message by message on the way to the server. The first message has no type, only a length."""

    server: _Proxy
    request: socket.socket

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as upstream, suppress(OSError):
            upstream.connect(str(self.server.upstream))
            self._forward(upstream)

    def _forward(self, upstream: socket.socket) -> None:
        pending, header = b"", 0
        while not self.server.ended.is_set():
            ready, _, _ = select.select([self.request, upstream], [], [], 0.1)
            if upstream in ready:
                answer = upstream.recv(1 << 16)
                if not answer:
                    return
                self.request.sendall(answer)
            if self.request in ready:
                sent = self.request.recv(1 << 16)
                if not sent:
                    return
                pending += sent
            while len(pending) >= header + 4:
                end = header + int.from_bytes(pending[header : header + 4])
                if len(pending) < end:
                    break
                message, pending, header = pending[:end], pending[end:], 1
                if message == _COMMIT and self.server.is_to_be_cut():
                    if self.server.is_done:
                        upstream.sendall(message)
                        _await_answer(upstream)
                    return
                upstream.sendall(message)


def _await_answer(upstream: socket.socket) -> None:
    answer = b""
    while answer[-6:-1] != _READY:
        received = upstream.recv(1 << 16)
        assert received, "the server itself lost the connection"
        answer += received


@contextmanager
def _proxy(server: PostgresServer) -> Iterator[tuple[_Proxy, Path]]:
    """A proxy before a server, and the folder of its socket."""
    with (
        tempfile.TemporaryDirectory(prefix="px-", dir="/tmp") as folder,
        _Proxy(Path(folder), server.socket_dir / _SOCKET) as proxy,
    ):
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield proxy, Path(folder)
        finally:
            proxy.ended.set()
            proxy.shutdown()
            thread.join()


class _StoppableServer(PostgresServer):
    """A server that may be stopped at any moment, so it keeps what it has committed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            self.execute(f"ALTER SYSTEM SET {setting} = on")
        self.execute("SELECT pg_reload_conf()")

    def halt(self, how: signal.Signals) -> None:
        """SIGINT stops ``fast``, SIGQUIT ``immediate``; returns when the server is gone."""
        process_id = self._server.get_pid()
        assert process_id is not None
        os.kill(process_id, how)
        wait_until(lambda: not (self.socket_dir / "postmaster.pid").exists())

    def start_again(self) -> None:
        """Start on the same folder; does nothing where it runs."""
        self._server.start()


@pytest.fixture(scope="module")
def own_server() -> Iterator[_StoppableServer]:
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # on the disk, and a short path for its socket
    server = _StoppableServer(folder)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def own_workspace(
    own_server: _StoppableServer,
    tmp_path_factory: pytest.TempPathFactory,
    loan_model: TrainedModel,
    loan_test: pd.DataFrame,
) -> Workspace:
    """Rows of every kind due in about ten chunks. Each COMMIT that wrote predictions waits for advisory lock 1."""
    workspace = Workspace(tmp_path_factory.mktemp("away"), own_server.create_database())
    _due_in_every_way(workspace, loan_model, loan_test, chunk_rows=60)
    workspace.sql(
        "CREATE FUNCTION pass_the_gate() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END';"
        "CREATE CONSTRAINT TRIGGER gate AFTER INSERT OR UPDATE ON predictions DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION pass_the_gate()"
    )
    return workspace


def _due_in_every_way(
    workspace: Workspace, model: TrainedModel, loan_test: pd.DataFrame, *, chunk_rows: int
) -> Workspace:
    """After a first run: applicants that are new, changed, spoilt, mended, and that are not due; mixed in key order."""
    digit = 'substring("Loan_ID", 8, 1)'
    prepare_loans(workspace, model, job=loan_job(chunk_rows=chunk_rows))
    workspace.sql(f"UPDATE applicants SET \"Education\" = NULL WHERE {digit} = '1'")
    assert workspace.run().status == "succeeded"
    for table in ("predictions", "predictions_quarantine"):
        workspace.sql(f"CREATE TABLE {table}_of_the_first AS SELECT * FROM {table}")
    changes = {
        "1": "\"Education\" = 'Graduate'",
        "2": '"Education" = NULL',
        "34567": '"LoanAmount" = 100 + "LoanAmount"',
    }
    for digits, change in changes.items():
        workspace.sql(
            f"UPDATE applicants SET updated_at = '2026-02-01', {change} WHERE position({digit} IN :digits) > 0",
            {"digits": digits},
        )
    workspace.insert_frame("applicants", applicants(loan_test, 1).assign(updated_at="2026-01-01 00:00:00"))
    workspace.sql(f'UPDATE applicants SET "Education" = NULL WHERE length("Loan_ID") > 8 AND {digit} = \'1\'')
    return workspace


def _rewind(workspace: Workspace) -> None:
    """Undo every run but the first."""
    undo = "DELETE FROM {0}; INSERT INTO {0} SELECT * FROM {0}_of_the_first; DELETE FROM {1};"
    workspace.rewrite(
        undo.format("predictions", "predictions_superseded")
        + undo.format("predictions_quarantine", "predictions_quarantine_closed")
        + "DELETE FROM scoring_chunks WHERE run_id > 1; DELETE FROM scoring_profiles WHERE run_id > 1;"
        " DELETE FROM monitoring_limits WHERE run_id > 1; DELETE FROM drift_metrics WHERE run_id > 1;"
        " DELETE FROM drift_reports WHERE run_id > 1;" + "DELETE FROM scoring_runs WHERE run_id > 1"
    )


def _figures(run: Run) -> tuple[int, ...]:
    return run.due_count, run.scored_count, run.superseded_count, run.quarantined_count


def _assert_the_ledger_holds(workspace: Workspace) -> None:
    """Each version has one outcome, ever; that of the present one is current; counters equal rows."""
    outcomes = " UNION ALL ".join(
        f"SELECT '{table}' AS kind, \"Loan_ID\", source_changed_at, valid_from, valid_to"
        f" FROM {workspace.with_past(table)} p"
        for table in ("predictions", "predictions_quarantine")
    )
    lost = workspace.scalar(
        f"SELECT count(*) FROM applicants s WHERE NOT EXISTS (SELECT FROM ({outcomes}) o WHERE"
        ' o."Loan_ID" = s."Loan_ID" AND o.source_changed_at = s.updated_at AND o.valid_to > \'9999-01-01\')'
    )
    doubled = workspace.scalar(
        f'SELECT count(*) FROM (SELECT FROM ({outcomes}) o GROUP BY "Loan_ID", source_changed_at HAVING count(*) > 1) d'
    )
    overlapping = workspace.scalar(
        f'WITH o AS ({outcomes}) SELECT count(*) FROM o a JOIN o b USING (kind, "Loan_ID")'
        " WHERE a.valid_to < b.valid_to AND b.valid_from < a.valid_to"
    )
    assert {"lost": lost, "doubled": doubled, "overlapping": overlapping} == {
        "lost": 0,
        "doubled": 0,
        "overlapping": 0,
    }
    assert_counters_equal_rows(workspace)
    quarantined = workspace.query(
        "SELECT r.run_id, r.quarantined_count,"
        " (SELECT count(*) FROM "
        f"{workspace.with_past('predictions_quarantine')} q WHERE q.run_id = r.run_id) FROM run_history r"
    )
    assert [(run, count) for run, count, _ in quarantined] == [(run, rows) for run, _, rows in quarantined]


@pytest.mark.slow
@pytest.mark.parametrize("done", [False, True], ids=["not-done", "done"])
def test_a_commit_whose_answer_is_lost_loses_and_doubles_nothing_whichever_it_is(
    postgres: PostgresServer,
    postgresql_workspace: Workspace,
    loan_model: TrainedModel,
    loan_test: pd.DataFrame,
    done: bool,
) -> None:
    workspace = _due_in_every_way(postgresql_workspace, loan_model, loan_test, chunk_rows=200)
    endings: Counter[str] = Counter()
    with _proxy(postgres) as (proxy, folder):
        url = workspace.database_url.replace(str(postgres.socket_dir), str(folder))
        through_proxy = replace(workspace, database_url=url)
        whole = through_proxy.run()
        commits = proxy.commits
        _assert_the_ledger_holds(workspace)
        assert whole.chunk_count in (3, 4)
        assert min(_figures(whole)) > 0
        assert _figures(whole)[1] > whole.superseded_count, "some must be new"
        for commit in range(1, commits + 1):
            _rewind(workspace)
            proxy.cut_at(commit, done=done)
            events: list[Event] = []
            try:
                run = through_proxy.run(observers=[events.append])
            except TransientError:
                left = workspace.query("SELECT status FROM scoring_runs WHERE run_id > 1")
                assert left != [("succeeded",)], "a run that failed must not stand as succeeded"
                endings.update([f"failed, recorded as {left[0][0]}" if left else "failed, not recorded"])
            else:
                assert (run.status, _figures(run)) == ("succeeded", _figures(whole))
                chunks = [event.counts for event in events if isinstance(event, ChunkCommitted)]
                assert sum(chunk.scored for chunk in chunks) == run.scored_count, "each chunk is reported"
                _assert_the_ledger_holds(workspace)
                endings.update(["finished by itself"])
            assert proxy.has_cut
            # as if the time-out had passed
            workspace.sql("UPDATE scoring_runs SET heartbeat_at = '2026-01-01+00' WHERE status = 'running'")

            assert workspace.run().status == "succeeded"
            _assert_the_ledger_holds(workspace)
            assert workspace.scalar("SELECT sum(scored_count) FROM run_history WHERE run_id > 1") == whole.scored_count
    print(
        f"{commits} COMMITs of a run of {whole.chunk_count} chunks, due {whole.due_count}, scored {whole.scored_count},"
        f" superseded {whole.superseded_count}, quarantined {whole.quarantined_count}; each cut once,"
        f" {'done' if done else 'not done'}: {dict(endings)}; lost 0, doubled 0"
    )
    assert endings["finished by itself"] >= commits - 1, "only the first contact is not tried again"


@dataclass(frozen=True)
class _Hold:
    """What another session does to make a run wait at one point, and how its session looks while it waits."""

    statements: Sequence[str]
    waiting: str
    before_the_stop: str = "SELECT"


_HOLDS = {
    "reading": _Hold(
        ("BEGIN; LOCK TABLE applicants IN ACCESS EXCLUSIVE MODE",), "wait_event_type = 'Lock' AND query ~ 'applicants'"
    ),
    "writing": _Hold(
        ("BEGIN; LOCK TABLE predictions IN SHARE MODE",), "wait_event_type = 'Lock' AND query ~ '^(COPY|UPDATE)'"
    ),
    "committing": _Hold(("SELECT pg_advisory_lock(1)",), "query = 'COMMIT' AND wait_event = 'advisory'"),
    "committed": _Hold(
        ("ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()"),
        "query = 'COMMIT' AND wait_event = 'SyncRep'",
        "ALTER SYSTEM RESET synchronous_standby_names",
    ),
}
_STOPS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


@contextmanager
def _outage(
    server: _StoppableServer, workspace: Workspace, hold: _Hold, how: signal.Signals, at: type[Event]
) -> Iterator[Callable[[Event], None]]:
    """An observer that holds the run at the first event of a kind; once it waits, the server goes away for a second."""
    outages: list[Future[None]] = []
    with closing(psycopg2.connect(workspace.database_url)) as holder, ThreadPoolExecutor(1) as beside:
        holder.autocommit = True
        cursor = holder.cursor()

        def observe(event: Event) -> None:
            if isinstance(event, at) and not outages:
                for statement in hold.statements:
                    cursor.execute(statement)
                outages.append(beside.submit(go_away))

        def go_away() -> None:
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                f" AND application_name LIKE 'batch-scoring run %' AND {hold.waiting}"
            )
            wait_until(lambda: workspace.scalar(waiting))
            cursor.execute(hold.before_the_stop)
            server.halt(how)
            _start_in_a_second(server).join()

        yield observe
        assert outages, "the run never came to where it is held"
        outages[0].result()


def _start_in_a_second(server: _StoppableServer) -> threading.Timer:
    timer = threading.Timer(_SECONDS_AWAY, server.start_again)
    timer.start()
    return timer


def _assert_all_is_scored(workspace: Workspace, run: Run, what: str, seconds: float) -> None:
    assert run.status == "succeeded"
    assert run.due_count == run.read_count
    _assert_the_ledger_holds(workspace)
    again = workspace.run()
    assert (again.status, again.due_count) == ("succeeded", 0)
    print(f"{what}: finished by itself after {seconds:.1f} s, {run.chunk_count} chunks; lost 0, doubled 0")


@pytest.mark.slow
@pytest.mark.parametrize("how", _STOPS)
@pytest.mark.parametrize("point", _HOLDS)
def test_a_run_outlives_a_restart_of_the_server_wherever_it_is(
    own_server: _StoppableServer, own_workspace: Workspace, point: str, how: str
) -> None:
    _rewind(own_workspace)
    begun = perf_counter()
    with _outage(own_server, own_workspace, _HOLDS[point], _STOPS[how], ChunkCommitted) as observer:
        run = own_workspace.run(observers=[observer])
    _assert_all_is_scored(own_workspace, run, f"{point}, {how}", perf_counter() - begun)


@pytest.mark.slow
@pytest.mark.parametrize("how", _STOPS)
def test_a_run_outlives_a_restart_of_the_server_while_it_scores(
    own_server: _StoppableServer, own_workspace: Workspace, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    _rewind(own_workspace)
    outputs = bisection.model_outputs  # type: ignore[attr-defined]  # imported there
    committed: list[Event] = []
    starts: list[threading.Timer] = []

    def go_away_meanwhile(model: Any, kind: Any, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
        if any(isinstance(event, ChunkCommitted) for event in committed) and not starts:
            own_server.halt(_STOPS[how])
            starts.append(_start_in_a_second(own_server))
        return outputs(model, kind, frame)

    monkeypatch.setattr(bisection, "model_outputs", go_away_meanwhile)
    begun = perf_counter()
    run = own_workspace.run(observers=[committed.append])
    seconds = perf_counter() - begun
    assert starts, "the run never came to its second chunk"
    starts[0].join()
    _assert_all_is_scored(own_workspace, run, f"scoring, {how}", seconds)


@pytest.mark.slow
@pytest.mark.parametrize("how", _STOPS)
def test_a_run_in_two_processes_outlives_a_restart_of_the_server(
    own_server: _StoppableServer, own_workspace: Workspace, how: str
) -> None:
    _rewind(own_workspace)
    begun = perf_counter()
    with _outage(own_server, own_workspace, _HOLDS["writing"], _STOPS[how], RunPlanned) as observer:
        run = own_workspace.run(observers=[observer], workers=2)
    _assert_all_is_scored(own_workspace, run, f"two processes, {how}", perf_counter() - begun)
