"""The database's edge: transactions, sessions, clocks, and a name of ours for each fault a driver raises."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa
from sessions import IMPATIENT, SECRET, another, execute, fault_of, value_of, with_a_table
from support import PostgresServer, wait_until

from batch_scoring.errors import (
    AccessDenied,
    ConfigurationError,
    ConnectionLost,
    DatabaseFault,
    DatabaseFull,
    DatabaseReadOnly,
    DatabaseUnreachable,
    TransientError,
)
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.timeouts import Timeouts


@pytest.fixture
def postgresql_url(postgres: PostgresServer) -> str:
    """A database of its own, since tests change its settings and leave sessions open."""
    return postgres.create_database()


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    """An SQLite database with a table of two rows."""
    yield from with_a_table(sqlite_url)


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[Database]:
    """A PostgreSQL database with a table of two rows."""
    yield from with_a_table(postgresql_url)


@pytest.mark.parametrize("given", ["postgresql", "postgres"])
def test_a_postgresql_url_without_a_driver_means_psycopg2(given: str) -> None:
    database = Database(f"{given}://user:{SECRET}@host:5433/loans?sslmode=require")

    assert database.url.drivername == "postgresql+psycopg2"
    assert (database.url.host, database.url.port, database.url.database) == ("host", 5433, "loans")
    assert database.dialect.name == "postgresql"
    assert database.file is None


def test_a_driver_that_is_named_is_kept() -> None:
    assert Database("postgresql+psycopg://host/loans").url.drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@host/loans",
        f"postgresql://host/loans?user=user&password={SECRET}",
        f"postgresql+psycopg://user:{SECRET}@host/loans",
        f"postgresql://user:{SECRET}@host/loans?sslpassword={SECRET}",
    ],
)
def test_an_address_is_shown_without_its_password(url: str) -> None:
    shown = Database(url).shown

    assert "s3cr3t" not in shown
    assert "host/loans" in shown


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///"])
def test_an_sqlite_database_in_memory_is_refused_as_a_configuration(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"BATCH_SCORING_DATABASE_URL: .*in memory.*sqlite:///file\.db"):
        _ = Database(url).url


@pytest.mark.parametrize(
    "url", ["", "loans.db", f"//user:{SECRET}@host", f"postgresql://user:{SECRET}@host:port/loans", "postgresql//host"]
)
def test_a_url_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="expected a SQLAlchemy URL such as") as refused:
        _ = Database(url).url

    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize(
    "url", [f"postgresql+nodriver://user:{SECRET}@host/loans", f"sqlite+nodriver://user:{SECRET}@/x.db"]
)
def test_a_driver_that_is_not_installed_is_named_without_the_password(url: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"no driver for .* is installed; install it or use another URL"
    ) as refused:
        _ = Database(url).engine

    assert "s3cr3t" not in str(refused.value)


def test_a_write_on_sqlite_takes_the_lock_at_once(sqlite: Database, disposing: list[Database]) -> None:
    other = another(sqlite, disposing, IMPATIENT)
    with sqlite.write(), pytest.raises(TransientError), other.write():
        pass


def test_an_sqlite_file_comes_into_being_only_where_that_is_meant(tmp_path: Path, disposing: list[Database]) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new.db'}")
    disposing.append(database)

    with pytest.raises(DatabaseUnreachable), database.read():
        pass
    with pytest.raises(DatabaseUnreachable), database.write():
        pass
    assert not (tmp_path / "new.db").exists()
    with database.write(create=True) as connection:
        connection.exec_driver_sql("CREATE TABLE t (id INTEGER)")
    assert (tmp_path / "new.db").is_file()


def test_sqlite_keeps_a_write_ahead_log(sqlite: Database) -> None:
    assert value_of(sqlite, "PRAGMA journal_mode") == "wal"


def test_a_session_carries_its_label_its_limits_and_utc(postgresql_url: str, disposing: list[Database]) -> None:
    timeouts = Timeouts(
        lock=timedelta(milliseconds=1500), statement=timedelta(seconds=61), idle_in_transaction=timedelta(minutes=3)
    )
    database = Database(postgresql_url, label="batch-scoring run 7", timeouts=timeouts)
    disposing.append(database)
    for transaction in (database.read, database.write):
        with transaction() as connection:
            shown = {
                name: connection.exec_driver_sql(f"SHOW {name}").scalar_one()
                for name in (
                    "application_name",
                    "lock_timeout",
                    "statement_timeout",
                    "idle_in_transaction_session_timeout",
                    "TimeZone",
                )
            }
        assert shown == {
            "application_name": "batch-scoring run 7",
            "lock_timeout": "1500ms",
            "statement_timeout": "61s",
            "idle_in_transaction_session_timeout": "3min",
            "TimeZone": "UTC",
        }


def test_what_the_server_or_the_role_sets_does_not_change_how_timestamps_are_read(
    postgresql: Database, disposing: list[Database]
) -> None:
    name = postgresql.url.database
    for setting in ("TimeZone = 'Asia/Tokyo'", "DateStyle = 'German, DMY'", "IntervalStyle = 'iso_8601'"):
        with postgresql.write() as connection:
            connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET {setting}')
    other = another(postgresql, disposing)

    found = value_of(other, "SELECT TIMESTAMPTZ '2026-07-01 12:00:00+09'::text")

    assert found == "2026-07-01 03:00:00+00"


def test_a_run_s_locks_do_not_outlive_the_time_after_which_it_is_taken_over() -> None:
    within = Timeouts(idle_in_transaction=timedelta(minutes=10)).within(timedelta(seconds=30))

    assert within.idle_in_transaction == timedelta(seconds=30)
    assert Timeouts().within(timedelta(hours=1)) == Timeouts()


def test_a_disposed_database_has_no_session_left(postgresql_url: str, postgresql: Database) -> None:
    leaving = Database(postgresql_url)
    with leaving.read() as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    leaving.dispose()
    leaving.dispose()

    wait_until(lambda: value_of(postgresql, f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}") == 0)


def test_an_sqlite_file_locked_by_another_process_is_a_passing_fault(
    sqlite: Database, disposing: list[Database]
) -> None:
    other = another(sqlite, disposing, IMPATIENT)
    holder = sqlite3.connect(str(sqlite.file), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")

    fault = fault_of(other, "SELECT 1")

    assert isinstance(fault, TransientError)
    assert str(fault) == f"{sqlite.file} is locked by another process; try again when that has finished"
    holder.rollback()
    holder.close()
    execute(other, "INSERT INTO applicants VALUES (3, 'joan')")


def test_an_sqlite_file_opened_for_reading_only_is_named_as_read_only(
    sqlite: Database, disposing: list[Database]
) -> None:
    read_only = Database(f"sqlite:///file:{sqlite.file}?mode=ro&uri=true")
    disposing.append(read_only)

    assert value_of(read_only, "SELECT count(*) FROM applicants") == 2
    fault = fault_of(read_only, "INSERT INTO applicants VALUES (3, 'joan')")

    assert isinstance(fault, DatabaseReadOnly)
    assert str(fault) == f"{sqlite.file} can only be read; check the permissions of the file and its folder"


def test_an_sqlite_session_that_may_only_query_is_named_as_read_only(sqlite: Database) -> None:
    def write() -> None:
        with sqlite.write() as connection:
            connection.exec_driver_sql("PRAGMA query_only = ON")
            connection.exec_driver_sql("INSERT INTO applicants VALUES (3, 'joan')")

    with pytest.raises(DatabaseReadOnly):
        write()
    sqlite.dispose()


def test_a_file_that_is_no_database_is_named(tmp_path: Path, disposing: list[Database]) -> None:
    file = tmp_path / "loans.db"
    file.write_text("id,name\n" * 1000)
    database = Database(f"sqlite:///{file}")
    disposing.append(database)

    for writes in (True, False):
        fault = fault_of(database, "SELECT * FROM applicants", writes=writes)
        assert str(fault) == f"{file} is not an SQLite database or is damaged; restore it or name another file"
        assert not isinstance(fault, TransientError)


def test_a_damaged_database_is_named(sqlite: Database) -> None:
    for id_ in range(3, 200):
        execute(sqlite, f"INSERT INTO applicants VALUES ({id_}, '{'x' * 500}{id_}')")
    file = sqlite.file
    assert file is not None
    sqlite.dispose()
    size = file.stat().st_size
    with file.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xa5" * (size - 4096))

    assert "is not an SQLite database or is damaged" in str(
        fault_of(sqlite, "SELECT sum(length(name)) FROM applicants")
    )


def test_a_missing_sqlite_file_is_named_with_what_makes_it(tmp_path: Path, disposing: list[Database]) -> None:
    database = Database(f"sqlite:///{tmp_path / 'none.db'}")
    disposing.append(database)

    fault = fault_of(database, "SELECT 1")

    assert isinstance(fault, DatabaseUnreachable)
    assert f"there is no database file {tmp_path / 'none.db'}; create it with `batch-scoring db upgrade`" in str(fault)


def test_a_missing_folder_is_named(tmp_path: Path, disposing: list[Database]) -> None:
    database = Database(f"sqlite:///{tmp_path / 'nowhere' / 'loans.db'}")
    disposing.append(database)

    with (
        pytest.raises(DatabaseUnreachable, match="cannot be opened; check that its folder exists"),
        database.write(create=True),
    ):
        pass


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path, disposing: list[Database]) -> None:
    database = Database(f"sqlite:///{tmp_path}")
    disposing.append(database)

    assert isinstance(fault_of(database, "SELECT 1"), DatabaseUnreachable)


def test_an_sqlite_file_that_may_not_grow_is_full(sqlite: Database) -> None:
    def fill() -> None:
        with sqlite.write() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 5")
            connection.exec_driver_sql(f"INSERT INTO applicants VALUES (3, '{'x' * 100_000}')")

    with pytest.raises(DatabaseFull, match=r"there is no space left for .*; free some"):
        fill()

    assert value_of(sqlite, "SELECT count(*) FROM applicants") == 2


@pytest.fixture(scope="module")
def guarded(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """The server, where the role ``guarded`` needs its password."""
    hba = Path(_server_value(postgres, "SHOW hba_file"))
    before = hba.read_text()
    postgres.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{SECRET.replace('%', '%%')}'")
    hba.write_text(f"local all guarded scram-sha-256\n{before}")
    _reload(postgres)
    yield postgres
    hba.write_text(before)
    _reload(postgres)
    postgres.execute("DROP ROLE guarded")


def _server_value(server: PostgresServer, query: str) -> Any:
    database = Database(server.url("postgres"))
    try:
        return value_of(database, query)
    finally:
        database.dispose()


def _reload(server: PostgresServer) -> None:
    loaded = _server_value(server, "SELECT pg_conf_load_time()")
    server.execute("SELECT pg_reload_conf()")
    wait_until(lambda: _server_value(server, "SELECT pg_conf_load_time()") > loaded)


def _url_of_guarded(server: PostgresServer, password: str) -> str:
    return sa.URL.create(
        "postgresql",
        username="guarded",
        password=password or None,
        database="postgres",
        query={"host": str(server.socket_dir)},
    ).render_as_string(hide_password=False)


def test_the_right_password_opens_the_database(guarded: PostgresServer, disposing: list[Database]) -> None:
    database = Database(_url_of_guarded(guarded, SECRET))
    disposing.append(database)

    assert value_of(database, "SELECT current_user") == "guarded"


@pytest.mark.parametrize(
    ("password", "said"), [("s3cr3t-but-wrong", "password authentication failed"), ("", "denied access")]
)
def test_a_wrong_or_missing_password_is_access_denied_and_not_repeated(
    guarded: PostgresServer, disposing: list[Database], password: str, said: str
) -> None:
    database = Database(_url_of_guarded(guarded, password))
    disposing.append(database)

    fault = fault_of(database, "SELECT 1")

    assert isinstance(fault, AccessDenied)
    assert said in str(fault)
    assert "check user, password and database" in str(fault)
    assert "s3cr3t" not in str(fault)


def test_a_database_that_does_not_exist_is_access_denied_by_name(
    postgres: PostgresServer, disposing: list[Database]
) -> None:
    database = Database(postgres.url("no_such_database", password=SECRET.replace("%", "%25")))
    disposing.append(database)

    fault = fault_of(database, "SELECT 1")

    assert isinstance(fault, AccessDenied)
    assert 'database "no_such_database" does not exist' in str(fault)
    assert "s3cr3t" not in str(fault)


def test_a_user_that_does_not_exist_is_access_denied_by_name(
    postgres: PostgresServer, disposing: list[Database]
) -> None:
    database = Database(postgres.url("postgres", user="nobody_we_know"))
    disposing.append(database)

    fault = fault_of(database, "SELECT 1")

    assert isinstance(fault, AccessDenied)
    assert "nobody_we_know" in str(fault)


@pytest.mark.parametrize(
    "statement",
    ["SELECT * FROM applicants", "INSERT INTO applicants VALUES (3, 's3cr3t')", "CREATE TABLE public.t (id INTEGER)"],
)
def test_a_privilege_that_is_lacking_is_access_denied(postgresql: Database, statement: str) -> None:
    execute(postgresql, "DROP ROLE IF EXISTS lowly; CREATE ROLE lowly")

    def try_as_lowly() -> None:
        with postgresql.write() as connection:
            connection.exec_driver_sql("SET LOCAL ROLE lowly")
            connection.exec_driver_sql(statement)

    with pytest.raises(
        AccessDenied, match=r"permission denied for .*; ask for the privilege or use another user \(42501\)"
    ) as denied:
        try_as_lowly()

    assert "s3cr3t" not in str(denied.value)
    execute(postgresql, "DROP ROLE lowly")


def test_a_server_that_only_reads_is_named_as_read_only(postgresql: Database, disposing: list[Database]) -> None:
    execute(postgresql, f'ALTER DATABASE "{postgresql.url.database}" SET default_transaction_read_only = on')
    standby = another(postgresql, disposing)

    fault = fault_of(standby, "INSERT INTO applicants VALUES (3, 'joan')")

    assert isinstance(fault, DatabaseReadOnly)
    assert "can only be read; connect to the primary server" in str(fault)


def test_of_two_sessions_in_a_deadlock_one_gets_a_passing_fault_and_the_other_commits(postgresql: Database) -> None:
    meeting = Barrier(2)

    def update(ids: tuple[int, int]) -> DatabaseFault | None:
        try:
            with postgresql.write() as connection:
                connection.exec_driver_sql("SET LOCAL deadlock_timeout = '10ms'")
                connection.exec_driver_sql(f"UPDATE applicants SET name = 'row {ids[0]}' WHERE id = {ids[0]}")
                meeting.wait()
                connection.exec_driver_sql(f"UPDATE applicants SET name = 'row {ids[1]}' WHERE id = {ids[1]}")
        except DatabaseFault as fault:
            return fault
        return None

    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(update, [(1, 2), (2, 1)]))

    (fault,) = [end for end in ends if end is not None]
    assert type(fault) is TransientError
    assert str(fault) == "PostgreSQL reported a deadlock (40P01)"
    assert value_of(postgresql, "SELECT count(*) FROM applicants WHERE name LIKE 'row %%'") == 2


def test_a_serialization_failure_is_a_passing_fault(postgresql: Database) -> None:
    def update_after_another() -> None:
        with postgresql.write() as connection:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.exec_driver_sql("SELECT * FROM applicants")
            execute(postgresql, "UPDATE applicants SET name = 'joan' WHERE id = 1")
            connection.exec_driver_sql("UPDATE applicants SET name = 'anna' WHERE id = 1")

    with pytest.raises(TransientError, match=r"^PostgreSQL reported a serialization failure \(40001\)$"):
        update_after_another()

    assert value_of(postgresql, "SELECT name FROM applicants WHERE id = 1") == "joan"


def test_a_lock_that_is_not_released_in_time_is_a_passing_fault(
    postgresql: Database, disposing: list[Database]
) -> None:
    impatient = another(postgresql, disposing, IMPATIENT)
    with postgresql.write() as holder:
        holder.exec_driver_sql("UPDATE applicants SET name = 'joan' WHERE id = 1")

        fault = fault_of(impatient, "UPDATE applicants SET name = 'anna' WHERE id = 1")

    assert type(fault) is TransientError
    assert "a lock that was not released in time (55P03)" in str(fault)
    execute(impatient, "UPDATE applicants SET name = 'anna' WHERE id = 1")


def test_a_statement_over_its_time_limit_is_a_passing_fault(postgresql: Database, disposing: list[Database]) -> None:
    hasty = another(postgresql, disposing, Timeouts(statement=timedelta(milliseconds=50)))

    fault = fault_of(hasty, "SELECT count(*) FROM generate_series(1, 100000000000)")

    assert type(fault) is TransientError
    assert "a statement over its time limit (57014)" in str(fault)


def test_a_session_the_server_ended_is_a_lost_connection_and_the_next_one_works(postgresql: Database) -> None:
    def lose() -> None:
        with postgresql.write() as connection:
            connection.exec_driver_sql("UPDATE applicants SET name = 'joan' WHERE id = 1")
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            _end_session(postgresql, pid)
            connection.exec_driver_sql("SELECT 1")

    with pytest.raises(ConnectionLost, match=r"the connection to .* was lost; check that the server is up"):
        lose()

    assert value_of(postgresql, "SELECT name FROM applicants WHERE id = 1") == "ada"


def test_a_session_that_ends_before_its_commit_is_a_lost_connection(postgresql: Database) -> None:
    def lose() -> None:
        with postgresql.write() as connection:
            connection.exec_driver_sql("UPDATE applicants SET name = 'joan' WHERE id = 1")
            _end_session(postgresql, connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())

    with pytest.raises(ConnectionLost):
        lose()

    assert value_of(postgresql, "SELECT name FROM applicants WHERE id = 1") == "ada"


def test_a_session_that_ended_in_the_pool_is_not_noticed(postgresql: Database, disposing: list[Database]) -> None:
    other = another(postgresql, disposing)
    pid = value_of(other, "SELECT pg_backend_pid()")
    _end_session(postgresql, pid)

    assert value_of(other, "SELECT pg_backend_pid()") != pid


def test_one_session_suffices_again_after_another_was_lost(
    postgresql: Database, postgres: PostgresServer, disposing: list[Database]
) -> None:
    """The pool keeps the place of the lost one, and gives the two out in turn."""
    role = f"alone_{uuid.uuid4().hex[:12]}"
    postgres.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1")
    alone = Database(postgresql.url.set(username=role).render_as_string(hide_password=False))
    disposing.append(alone)

    def lose_one_of_two() -> None:
        with alone.read() as lost:
            _end_session(postgresql, lost.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
            assert value_of(alone, "SELECT 1") == 1
            lost.exec_driver_sql("SELECT 1")

    with pytest.raises(ConnectionLost):
        lose_one_of_two()

    for _ in range(4):
        assert value_of(alone, "SELECT 1") == 1
    alone.dispose()
    postgres.execute(f"DROP ROLE {role}")


def _end_session(database: Database, pid: int) -> None:
    execute(database, f"SELECT pg_terminate_backend({pid})")
    wait_until(lambda: value_of(database, f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}") == 0)


def test_a_copy_whose_session_ends_is_a_lost_connection_too(postgresql: Database) -> None:
    def lose() -> None:
        with postgresql.write() as connection:
            cursor: Any = connection.connection.cursor()
            _end_session(postgresql, connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
            with tempfile.TemporaryFile() as sink:
                cursor.copy_expert("COPY applicants TO STDOUT", sink)

    with pytest.raises(ConnectionLost):
        lose()


def test_a_transaction_that_stands_idle_too_long_is_ended_and_its_connection_lost(
    postgresql: Database, disposing: list[Database]
) -> None:
    idle = another(postgresql, disposing, Timeouts(idle_in_transaction=timedelta(milliseconds=50)))

    def idle_about() -> None:
        with idle.write() as connection:
            connection.exec_driver_sql("UPDATE applicants SET name = 'joan' WHERE id = 1")
            pid = connection.connection.driver_connection.get_backend_pid()  # type: ignore[union-attr]
            wait_until(lambda: value_of(postgresql, f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}") == 0)
            connection.exec_driver_sql("SELECT 1")

    with pytest.raises(ConnectionLost):
        idle_about()

    assert value_of(postgresql, "SELECT name FROM applicants WHERE id = 1") == "ada"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@127.0.0.1:1/loans",
        f"postgresql://user:{SECRET}@/loans?host=/nowhere/at/all",
        f"postgresql://user:{SECRET}@no-such-host.invalid/loans",
    ],
)
def test_an_address_where_nobody_answers_is_unreachable_and_shown_without_the_password(
    disposing: list[Database], url: str
) -> None:
    database = Database(url, timeouts=Timeouts(connect=timedelta(seconds=2)))
    disposing.append(database)

    fault = fault_of(database, "SELECT 1")

    assert isinstance(fault, DatabaseUnreachable)
    assert isinstance(fault, TransientError)
    assert "no connection to postgresql" in str(fault)
    assert "check the address and that the server is up" in str(fault)
    assert "s3cr3t" not in str(fault)


def test_a_server_without_a_free_connection_is_a_passing_fault(
    postgres: PostgresServer, disposing: list[Database]
) -> None:
    postgres.execute("DROP ROLE IF EXISTS crowded")
    postgres.execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
    database = Database(postgres.url("postgres", user="crowded"))
    disposing.append(database)

    assert isinstance(fault_of(database, "SELECT 1"), TransientError)


def test_a_server_that_stops_loses_its_connections_and_then_is_unreachable(disposing: list[Database]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = PostgresServer(folder)
    database = Database(server.url("postgres"))
    disposing.append(database)

    def outlive_the_server() -> None:
        with database.write() as connection:
            connection.exec_driver_sql("CREATE TABLE t (id INTEGER)")
            server.stop()
            connection.exec_driver_sql("SELECT 1")

    with pytest.raises(ConnectionLost):
        outlive_the_server()
    assert isinstance(fault_of(database, "SELECT 1"), DatabaseUnreachable)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 's3cr3t'::INTEGER",
        "SELECT '2026-13-45 s3cr3t'::DATE",
        "INSERT INTO applicants SELECT 99999999999, 's3cr3t'",
        "SELECT CAST('s3cr3t' AS UUID)",
        "SELECT * FROM applicants WHERE name = 's3cr3t' AND 1 / (id - id) = 1 OR name::INTEGER = 1",
    ],
)
def test_a_value_that_postgresql_refuses_is_not_repeated(postgresql: Database, statement: str) -> None:
    fault = fault_of(postgresql, statement)

    assert "PostgreSQL refused a value (22" in str(fault)
    for value in ("s3cr3t", "ada", "99999999999"):
        assert value not in str(fault)


def test_a_text_of_sqlite_that_is_no_utf_8_is_not_repeated(sqlite: Database) -> None:
    execute(sqlite, "INSERT INTO applicants VALUES (3, CAST(x'733363723374ff' AS TEXT))")

    def read() -> None:
        with sqlite.read() as connection:
            connection.exec_driver_sql("SELECT name FROM applicants").all()

    with pytest.raises(DatabaseFault) as raised:
        read()

    assert "s3cr3t" not in str(raised.value)
