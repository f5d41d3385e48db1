"""What other sessions, the server's limits and a connection pooler do to a run: it outlasts them or says why it ended.

The faults are PostgreSQL's own, made by another session or by a setting.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from conftest import prepare_loans
from environment import program
from faults import (
    assert_counters_equal_rows,
    assert_each_applicant_has_one_current_prediction_of_its_present_version,
    loan_job,
    ready,
)
from support import PostgresServer, Workspace, wait_until

from batch_scoring.errors import (
    AnotherRunActive,
    BatchScoringError,
    ConnectionLost,
    DatabaseUnreachable,
    ExitCode,
    TransientError,
)
from batch_scoring.model.training import TrainedModel
from batch_scoring.scoring import lifecycle as record
from batch_scoring.scoring import transient as retrying
from batch_scoring.scoring.events import ChunkCommitted, Event, Observer
from batch_scoring.store.engine.timeouts import Timeouts

ALL = 2 * 367
CHUNK_ROWS = 40
Reported = Callable[[str], int]


@pytest.fixture
def changed(postgresql_workspace: Workspace, loan_model: TrainedModel, loan_test: pd.DataFrame) -> Workspace:
    """Applicants that were scored and have all changed since: the next run closes predictions and writes new ones."""
    workspace = ready(postgresql_workspace, loan_model, loan_test, chunk_rows=500, stalled_after="2 seconds", copies=1)
    workspace.run()
    workspace.write_job("loan_eligibility", loan_job(chunk_rows=CHUNK_ROWS, stalled_after="2 seconds"))
    workspace.sql("UPDATE applicants SET updated_at = '2026-02-02 00:00:00'")
    return workspace


@pytest.fixture
def reported(changed: Workspace, postgres: PostgresServer) -> Reported:
    """How often the server has reported an SQLSTATE, or other words, to a session since the test began."""
    changed.sql(f"ALTER DATABASE {_name(changed)} SET log_error_verbosity = 'verbose'")
    log = postgres.socket_dir / "log"
    begun = log.stat().st_size

    def count(words: str) -> int:
        return log.read_bytes()[begun:].count(words.encode())

    return count


def _name(workspace: Workspace) -> str:
    return str(sa.make_url(workspace.database_url).database)


@contextmanager
def _another_session(workspace: Workspace) -> Iterator[sa.Connection]:
    """A session that is no run's; what it has not committed by the end is rolled back."""
    url = sa.make_url(workspace.database_url).set(drivername="postgresql+psycopg2")
    with sa.create_engine(url, poolclass=sa.pool.NullPool).connect() as connection:
        yield connection


def _midway(act: Callable[[], object]) -> Observer:
    """Acts once, when the first chunk of a run has been committed."""
    acted = False

    def observe(event: Event) -> None:
        nonlocal acted
        if isinstance(event, ChunkCommitted) and not acted:
            acted = True
            act()

    return observe


def _pid(connection: sa.Connection) -> int:
    return int(connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())


def _a_run_waits_for(workspace: Workspace, pid: int) -> bool:
    """Whether a session of a run waits for this one; sessions of a run also wait for each other, for a short time."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE 'batch-scoring run %' AND :pid = ANY(pg_blocking_pids(pid))"
    )
    return bool(workspace.scalar(waiting, pid=pid))


def _end_sessions_of_runs(workspace: Workspace, connection: sa.Connection) -> None:
    """End them for good: a session that was told to end may live on for a moment."""
    theirs = (
        f"FROM pg_stat_activity WHERE datname = '{_name(workspace)}' AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    )
    connection.execute(sa.text(f"SELECT pg_terminate_backend(pid, 5000) {theirs}"))


def _let_the_run_stall(workspace: Workspace) -> None:
    age = "SELECT extract(epoch FROM clock_timestamp() - heartbeat_at) FROM scoring_runs WHERE status = 'running'"
    wait_until(lambda: workspace.scalar(age) > 2.1)


def _statuses(workspace: Workspace) -> list[str]:
    """Of the runs after the one that scored everything at first."""
    return [status for (status,) in workspace.query("SELECT status FROM scoring_runs WHERE run_id > 1 ORDER BY run_id")]


def _assert_nothing_lost_or_doubled(workspace: Workspace) -> None:
    assert_counters_equal_rows(workspace)
    assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)
    assert workspace.scalar("SELECT count(*) FROM predictions_history") == 2 * ALL
    assert workspace.scalar("SELECT count(*) FROM predictions_quarantine") == 0


def _assert_partly_done(workspace: Workspace) -> None:
    """The run under test committed whole chunks and left the rest."""
    (written,) = workspace.query("SELECT scored_count, chunk_count FROM run_history WHERE run_id = 2")
    assert 0 < written[0] < ALL
    assert written[0] == written[1] * CHUNK_ROWS
    assert_counters_equal_rows(workspace)


@pytest.mark.slow
def test_a_run_that_loses_a_deadlock_does_its_chunk_again(changed: Workspace, reported: Reported) -> None:
    # the run is the one that looks for a deadlock, so that it is the one that is ended
    changed.sql(f"ALTER DATABASE {_name(changed)} SET deadlock_timeout = '5s'")
    with ThreadPoolExecutor(1) as pool, _another_session(changed) as other:
        other.execute(sa.text("SET LOCAL deadlock_timeout = '10min'"))
        last = '(SELECT max("Loan_ID") FROM predictions)'
        other.execute(sa.text(f'SELECT 1 FROM predictions WHERE "Loan_ID" = {last} FOR UPDATE'))
        pid = _pid(other)
        running = pool.submit(changed.run)
        wait_until(lambda: _a_run_waits_for(changed, pid))

        other.execute(sa.text("SELECT 1 FROM scoring_runs WHERE run_id = 2 FOR UPDATE"))
        other.execute(sa.text("UPDATE scoring_runs SET reason = 'looked at' WHERE run_id = 2"))
        other.commit()
        run = running.result()

    assert reported("40P01") >= 1
    assert (run.status, run.scored_count, run.superseded_count) == ("succeeded", ALL, ALL)
    assert run.reason == "looked at"
    _assert_nothing_lost_or_doubled(changed)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_run_is_not_disturbed_by_a_database_whose_transactions_are_serializable_by_default(
    changed: Workspace, reported: Reported, level: str
) -> None:
    changed.sql(f"ALTER DATABASE {_name(changed)} SET default_transaction_isolation = '{level}'")
    with ThreadPoolExecutor(1) as pool, _another_session(changed) as other:
        other.execute(sa.text("SET LOCAL session_replication_role = replica"))
        other.execute(sa.text("UPDATE predictions SET score = score"))
        pid = _pid(other)
        running = pool.submit(changed.run)
        wait_until(lambda: _a_run_waits_for(changed, pid))

        other.commit()
        run = running.result()

    assert reported("40001") == 0
    assert (run.status, run.scored_count, run.superseded_count) == ("succeeded", ALL, ALL)
    _assert_nothing_lost_or_doubled(changed)


@dataclass(frozen=True)
class Lock:
    """What another session holds."""

    statement: str
    is_the_run_s_own_row: bool = False


LOCKS = [
    pytest.param(Lock("SELECT 1 FROM scoring_runs WHERE run_id = 2 FOR UPDATE", True), id="the run's row"),
    pytest.param(Lock("SELECT 1 FROM predictions FOR UPDATE"), id="rows of predictions"),
    pytest.param(Lock("LOCK TABLE predictions IN ACCESS EXCLUSIVE MODE"), id="predictions"),
    pytest.param(Lock("LOCK TABLE applicants IN ACCESS EXCLUSIVE MODE"), id="the source"),
]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs whose sessions wait a third of a second for a lock, and a second for a statement."""
    limits = {"lock": timedelta(seconds=0.3), "statement": timedelta(seconds=1)}
    monkeypatch.setattr(record, "Timeouts", partial(Timeouts, **limits))


@pytest.fixture
def giving_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that try a step three times."""
    monkeypatch.setattr(retrying, "ATTEMPTS", 2)


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("lock", LOCKS)
def test_a_run_outlasts_a_lock_that_is_held_longer_than_it_waits(
    changed: Workspace, reported: Reported, lock: Lock
) -> None:
    with ThreadPoolExecutor(1) as pool, _another_session(changed) as other:
        held = _midway(lambda: other.execute(sa.text(lock.statement)))
        running = pool.submit(changed.run, observers=[held])
        wait_until(lambda: reported("55P03") >= 2)
        other.rollback()
        run = running.result()

    assert (run.status, run.scored_count, run.superseded_count) == ("succeeded", ALL, ALL)
    _assert_nothing_lost_or_doubled(changed)


@pytest.mark.slow
@pytest.mark.usefixtures("hasty", "giving_up_soon")
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_that_is_never_let_go_fails_the_run_and_the_next_one_finishes(changed: Workspace, lock: Lock) -> None:
    with _another_session(changed) as other:
        held = _midway(lambda: other.execute(sa.text(lock.statement)))
        with pytest.raises(TransientError, match="a lock that was not released in time") as raised:
            changed.run(observers=[held])

    assert raised.value.exit_code is ExitCode.RUN_FAILED
    _assert_partly_done(changed)
    if lock.is_the_run_s_own_row:  # nobody could write down how it ended
        assert _statuses(changed) == ["running"]
        _let_the_run_stall(changed)
        changed.run()
        assert _statuses(changed) == ["abandoned", "succeeded"]
    else:
        _assert_recorded(changed, raised.value)
        changed.run()
        assert _statuses(changed) == ["failed", "succeeded"]
    _assert_nothing_lost_or_doubled(changed)


def _assert_recorded(workspace: Workspace, error: BatchScoringError) -> None:
    recorded = workspace.query("SELECT status, error_type, error_message FROM scoring_runs WHERE run_id = 2")
    assert recorded == [("failed", type(error).__name__, str(error))]


def _put_brakes_on(workspace: Workspace) -> None:
    """Writing predictions takes as long as the table ``brakes`` says."""
    workspace.sql("CREATE TABLE brakes AS SELECT 0.0::double precision AS seconds")
    workspace.sql(
        "CREATE FUNCTION brake() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN PERFORM pg_sleep(seconds) FROM brakes; RETURN NULL; END'"
    )
    workspace.sql(
        "CREATE TRIGGER brake BEFORE INSERT OR UPDATE ON predictions FOR EACH STATEMENT EXECUTE FUNCTION brake()"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
def test_a_run_outlasts_statements_that_are_ended_for_their_length(changed: Workspace, reported: Reported) -> None:
    _put_brakes_on(changed)
    slow = _midway(lambda: changed.sql("UPDATE brakes SET seconds = 60"))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(changed.run, observers=[slow])
        wait_until(lambda: reported("57014") >= 2)
        changed.sql("UPDATE brakes SET seconds = 0")
        run = running.result()

    assert (run.status, run.scored_count, run.superseded_count) == ("succeeded", ALL, ALL)
    _assert_nothing_lost_or_doubled(changed)


@pytest.mark.slow
@pytest.mark.usefixtures("hasty", "giving_up_soon")
def test_statements_that_stay_too_long_fail_the_run_and_the_next_one_finishes(changed: Workspace) -> None:
    _put_brakes_on(changed)
    slow = _midway(lambda: changed.sql("UPDATE brakes SET seconds = 60"))
    with pytest.raises(TransientError, match="a statement over its time limit") as raised:
        changed.run(observers=[slow])

    assert raised.value.exit_code is ExitCode.RUN_FAILED
    _assert_partly_done(changed)
    _assert_recorded(changed, raised.value)
    changed.sql("UPDATE brakes SET seconds = 0")
    assert changed.run().status == "succeeded"
    _assert_nothing_lost_or_doubled(changed)


@dataclass(frozen=True)
class Narrow:
    """A workspace whose runs log in as a role that the server does not let in without limit."""

    workspace: Workspace
    role: str
    server: PostgresServer

    def admit(self, connections: int, *, by: str = "ROLE") -> None:
        """Let so many sessions in; -1 is no limit. Those that are there stay."""
        name = self.role if by == "ROLE" else _name(self.workspace)
        self.server.execute(f"ALTER {by} {name} CONNECTION LIMIT {connections}")

    def shut(self, *, by: str) -> None:
        """Let nobody in, and end what is there."""
        self.admit(0, by=by)
        with _another_session(replace(self.workspace, database_url=self.server.url("postgres"))) as other:
            _end_sessions_of_runs(self.workspace, other)


@pytest.fixture
def narrow(changed: Workspace, postgres: PostgresServer) -> Iterator[Narrow]:
    role = f"clerk_{_name(changed)}"
    changed.sql(f"CREATE ROLE {role} LOGIN")
    changed.sql(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    changed.sql(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}")
    yield Narrow(replace(changed, database_url=postgres.url(_name(changed), user=role)), role, postgres)
    changed.sql(f"DROP OWNED BY {role}")
    changed.sql(f"DROP ROLE {role}")


@pytest.mark.slow
@pytest.mark.parametrize("connections", [1, 2])
def test_a_run_makes_do_with_as_few_connections_as_it_gets(
    narrow: Narrow, changed: Workspace, connections: int
) -> None:
    changed.write_job("loan_eligibility", loan_job(chunk_rows=100, stalled_after="2 seconds"))
    narrow.admit(connections)

    run = narrow.workspace.run()

    assert (run.status, run.scored_count, run.superseded_count) == ("succeeded", ALL, ALL)
    _assert_nothing_lost_or_doubled(changed)


@pytest.mark.slow
def test_workers_make_do_with_few_connections_or_leave_the_rest_to_the_next_run(
    narrow: Narrow, changed: Workspace
) -> None:
    narrow.admit(3)
    with suppress(DatabaseUnreachable):
        narrow.workspace.run(workers=2)
    assert_counters_equal_rows(changed)
    narrow.admit(-1)
    if _statuses(changed) == ["running"]:
        _let_the_run_stall(changed)

    assert narrow.workspace.run(workers=2).status == "succeeded"

    _assert_nothing_lost_or_doubled(changed)


@pytest.mark.slow
def test_workers_that_try_again_leave_standard_output_to_the_result(narrow: Narrow) -> None:
    narrow.admit(3)

    done = narrow.workspace.cli("run", "loan_eligibility", "--workers", "2", "--json")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("{"), done.stdout
    assert json.loads(done.stdout)["scored_count"] == ALL


@pytest.mark.slow
@pytest.mark.parametrize("by", ["ROLE", "DATABASE"])
def test_a_run_that_is_shut_out_for_a_while_comes_back_and_finishes(
    narrow: Narrow, changed: Workspace, reported: Reported, by: str
) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(narrow.workspace.run, observers=[_midway(lambda: narrow.shut(by=by))])
        wait_until(lambda: reported("too many connections") >= 2)
        narrow.admit(-1, by=by)
        run = running.result()

    assert (run.status, run.scored_count, run.superseded_count) == ("succeeded", ALL, ALL)
    _assert_nothing_lost_or_doubled(changed)


@pytest.mark.slow
@pytest.mark.usefixtures("giving_up_soon")
def test_a_run_that_stays_shut_out_says_why_and_is_taken_over_when_there_is_room(
    narrow: Narrow, changed: Workspace
) -> None:
    with pytest.raises(DatabaseUnreachable, match="too many connections for role") as raised:
        narrow.workspace.run(observers=[_midway(lambda: narrow.shut(by="ROLE"))])

    assert raised.value.exit_code is ExitCode.RUN_FAILED
    assert _statuses(changed) == ["running"], "nobody could write down how it ended"
    _assert_partly_done(changed)
    with pytest.raises(DatabaseUnreachable, match="too many connections for role"):
        narrow.workspace.run()
    narrow.admit(-1)
    _let_the_run_stall(changed)
    assert narrow.workspace.run().status == "succeeded"
    assert _statuses(changed) == ["abandoned", "succeeded"]
    _assert_nothing_lost_or_doubled(changed)


@pytest.mark.slow
def test_a_database_that_turns_read_only_in_the_middle_of_a_run_ends_it_and_the_next_one_finishes(
    changed: Workspace, postgres: PostgresServer
) -> None:
    changed.write_job("loan_eligibility", loan_job(chunk_rows=1, stalled_after="2 seconds"))
    process = changed.start("run", "loan_eligibility")
    try:
        wait_until(lambda: changed.scalar("SELECT count(*) FROM run_history WHERE run_id = 2 AND chunk_count > 2"))
        with _another_session(changed) as other:
            other.execute(sa.text(f"ALTER DATABASE {_name(changed)} SET default_transaction_read_only = on"))
            other.commit()
            _end_sessions_of_runs(changed, other)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()

    assert process.returncode == 1
    assert "can only be read; connect to the primary server" in err
    assert "Traceback" not in err
    assert _statuses(changed) == ["running"], "nobody could write down how it ended"
    done = changed.scalar("SELECT scored_count FROM run_history WHERE run_id = 2")
    assert 0 < done < ALL
    assert_counters_equal_rows(changed)

    postgres.execute(f"ALTER DATABASE {_name(changed)} RESET default_transaction_read_only")
    changed.write_job("loan_eligibility", loan_job(chunk_rows=500, stalled_after="2 seconds"))
    with suppress(AnotherRunActive):  # until it counts as stalled
        changed.run()
    if _statuses(changed)[-1] == "skipped":
        _let_the_run_stall(changed)
        changed.run()
    statuses = _statuses(changed)
    assert (statuses[0], statuses[-1]) == ("abandoned", "succeeded")
    assert changed.query("SELECT scored_count FROM run_history ORDER BY run_id DESC LIMIT 1") == [(ALL - done,)]
    _assert_nothing_lost_or_doubled(changed)


@dataclass
class PgBouncer:
    """A PgBouncer in transaction mode before the tests' server."""

    folder: Path
    server: PostgresServer
    database: str
    connections: int
    """How many it keeps to the server."""
    port: int = field(init=False)
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder.mkdir()
        (self.folder / "pgbouncer.ini").write_text(
            "[databases]\n"
            f"{self.database} = host={self.server.socket_dir} dbname={self.database} user=postgres\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            "auth_type = any\npool_mode = transaction\nserver_login_retry = 1\n"
            f"default_pool_size = {self.connections}\n",
            encoding="utf-8",
        )

    @property
    def url(self) -> str:
        return f"postgresql://clerk@127.0.0.1:{self.port}/{self.database}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        found = program("pgbouncer", "pgbouncer")
        # it refuses to run as root; the server's own user may reach the server's socket
        owner = pwd.getpwuid(self.server.socket_dir.stat().st_uid).pw_name
        user = ["-u", owner] if os.geteuid() == 0 else []
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([found, *user, str(self.folder / "pgbouncer.ini")], stdout=log, stderr=log)
        wait_until(self._listens, seconds=10)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """Stop it at once, whatever goes through it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None


@pytest.fixture
def pgbouncer(
    request: pytest.FixtureRequest, changed: Workspace, postgres: PostgresServer, tmp_path: Path
) -> Iterator[PgBouncer]:
    bouncer = PgBouncer(tmp_path / "pgbouncer", postgres, _name(changed), getattr(request, "param", 2))
    bouncer.start()
    try:
        yield bouncer
    finally:
        bouncer.stop()


@pytest.mark.slow
@pytest.mark.parametrize("pgbouncer", [1, 5], indirect=True, ids=["one connection", "five connections"])
def test_a_run_goes_through_pgbouncer_in_transaction_mode(changed: Workspace, pgbouncer: PgBouncer) -> None:
    run = replace(changed, database_url=pgbouncer.url).run()

    assert (run.status, run.scored_count, run.superseded_count) == ("succeeded", ALL, ALL)
    _assert_nothing_lost_or_doubled(changed)


@pytest.mark.slow
def test_the_commands_go_through_pgbouncer_in_transaction_mode(
    postgresql_workspace: Workspace,
    loan_model: TrainedModel,
    postgres: PostgresServer,
    tmp_path: Path,
) -> None:
    bouncer = PgBouncer(tmp_path / "pgbouncer", postgres, _name(postgresql_workspace), 2)
    bouncer.start()
    try:
        workspace = replace(postgresql_workspace, database_url=bouncer.url)
        prepare_loans(workspace, loan_model)
        done = [workspace.cli(*arguments) for arguments in (("db", "upgrade"), ("check",), ("run", "loan_eligibility"))]
    finally:
        bouncer.stop()

    assert [(command.returncode, command.stderr) for command in done if command.returncode] == []
    assert "367 scored" in done[-1].stdout
    assert_counters_equal_rows(postgresql_workspace)
    assert_each_applicant_has_one_current_prediction_of_its_present_version(postgresql_workspace)


@pytest.mark.slow
@pytest.mark.parametrize("pgbouncer", [2], indirect=True)
def test_workers_go_through_pgbouncer_in_transaction_mode(changed: Workspace, pgbouncer: PgBouncer) -> None:
    run = replace(changed, database_url=pgbouncer.url).run(workers=2)

    assert (run.status, run.scored_count, run.superseded_count) == ("succeeded", ALL, ALL)
    _assert_nothing_lost_or_doubled(changed)


@pytest.mark.slow
def test_a_run_outlasts_the_end_of_the_sessions_behind_pgbouncer(changed: Workspace, pgbouncer: PgBouncer) -> None:
    def cut() -> None:
        with _another_session(changed) as other:
            _end_sessions_of_runs(changed, other)

    run = replace(changed, database_url=pgbouncer.url).run(observers=[_midway(cut)])

    assert (run.status, run.scored_count, run.superseded_count) == ("succeeded", ALL, ALL)
    _assert_nothing_lost_or_doubled(changed)


@pytest.mark.slow
def test_a_run_outlasts_a_restart_of_pgbouncer(changed: Workspace, pgbouncer: PgBouncer) -> None:
    stopped = _midway(pgbouncer.stop)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(replace(changed, database_url=pgbouncer.url).run, observers=[stopped])
        wait_until(lambda: running.done() or pgbouncer._process is None)
        pgbouncer.start()
        run = running.result()

    assert (run.status, run.scored_count, run.superseded_count) == ("succeeded", ALL, ALL)
    _assert_nothing_lost_or_doubled(changed)


@pytest.mark.slow
@pytest.mark.usefixtures("giving_up_soon")
def test_a_pgbouncer_that_is_gone_ends_the_run_and_the_next_one_finishes(
    changed: Workspace, pgbouncer: PgBouncer
) -> None:
    workspace = replace(changed, database_url=pgbouncer.url)
    with pytest.raises((ConnectionLost, DatabaseUnreachable)) as raised:
        workspace.run(observers=[_midway(pgbouncer.stop)])

    assert raised.value.exit_code is ExitCode.RUN_FAILED
    assert "check" in str(raised.value)
    _assert_partly_done(changed)
    pgbouncer.start()
    _let_the_run_stall(changed)
    assert workspace.run().status == "succeeded"
    assert _statuses(changed) == ["abandoned", "succeeded"]
    _assert_nothing_lost_or_doubled(changed)
