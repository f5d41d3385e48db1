"""A source that changes under its job: its columns between two runs and in the middle of one, and rows that arrive in
awkward ways. What matters is named, what does not matter is no matter, and nothing is lost or doubled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import pandas as pd
import pytest
import sqlalchemy as sa
from conftest import prepare_loans
from faults import (
    assert_counters_equal_rows,
    assert_each_applicant_has_one_current_prediction_of_its_present_version,
    loan_job,
)
from support import Workspace, wait_until

from batch_scoring.errors import BatchScoringError, ConfigurationError, ExitCode, SignatureMismatch, SourceFault
from batch_scoring.model.training import TrainedModel
from batch_scoring.scoring.events import ChunkCommitted, Event, Observer, RunPlanned

ALL = 367
CHUNK_ROWS = 64
FEATURES = (
    "Gender",
    "Married",
    "Dependents",
    "Education",
    "Self_Employed",
    "ApplicantIncome",
    "CoapplicantIncome",
    "LoanAmount",
    "Loan_Amount_Term",
    "Credit_History",
    "Property_Area",
)
NUMBERS = {"ApplicantIncome", "CoapplicantIncome", "LoanAmount", "Loan_Amount_Term", "Credit_History"}
FEATURE_LIST = ", ".join(f'"{name}"' for name in FEATURES)


@pytest.fixture
def small_chunks(workspace: Workspace, loan_model: TrainedModel) -> Workspace:
    """The 367 applicants, ready to be scored in ten chunks."""
    return prepare_loans(workspace, loan_model, job=loan_job(chunk_rows=CHUNK_ROWS))


@pytest.fixture
def postgresql_small_chunks(postgresql_workspace: Workspace, loan_model: TrainedModel) -> Workspace:
    return prepare_loans(postgresql_workspace, loan_model, job=loan_job(chunk_rows=CHUNK_ROWS))


def _types(workspace: Workspace) -> dict[str, str]:
    """The columns of the applicants in order, with their types."""
    features = {name: "NUMERIC" if name in NUMBERS else "TEXT" for name in FEATURES}
    return {"Loan_ID": "TEXT", **features, "updated_at": f"{workspace.words.timestamp} NOT NULL"}


def _together(workspace: Workspace, *statements: str) -> None:
    """Several statements in one transaction."""
    with workspace.database() as database, database.write() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def _rebuild(
    workspace: Workspace, types: Mapping[str, str], values: Mapping[str, str] | None = None, *, key: str = "Loan_ID"
) -> None:
    """Replace the table of applicants by one with these columns, as a migration does. ``values`` say in SQL what goes
    into a column where it is not what stands there.
    """
    declared = ", ".join(f'"{name}" {ddl}' for name, ddl in types.items())
    names = ", ".join(f'"{name}"' for name in types)
    taken = ", ".join((values or {}).get(name, f'"{name}"') for name in types)
    _together(
        workspace,
        f'CREATE TABLE rebuilt ({declared}, PRIMARY KEY ("{key}"))',
        f"INSERT INTO rebuilt ({names}) SELECT {taken} FROM applicants",
        "DROP TABLE applicants",
        "ALTER TABLE rebuilt RENAME TO applicants",
    )


def _keep(workspace: Workspace) -> None:
    """A copy of the applicants as they are, for ``_mend``."""
    workspace.sql("CREATE TABLE kept AS SELECT * FROM applicants")


def _mend(workspace: Workspace) -> None:
    """Make the applicants what they were."""
    names = ", ".join(f'"{name}"' for name in _types(workspace))
    declared = ", ".join(f'"{name}" {ddl}' for name, ddl in _types(workspace).items())
    _together(
        workspace,
        "DROP TABLE applicants",
        f'CREATE TABLE applicants ({declared}, PRIMARY KEY ("Loan_ID"))',
        f"INSERT INTO applicants ({names}) SELECT {names} FROM kept",
    )


def _touch(workspace: Workspace) -> None:
    """Let everything be due once more, with the same values."""
    workspace.sql("UPDATE applicants SET updated_at = '2026-02-02 00:00:00.000000'")


def _midway(act: Callable[[], object], *, chunks: int = 1) -> Observer:
    """Acts once, when so many chunks of a run have been committed."""
    committed = 0

    def observe(event: Event) -> None:
        nonlocal committed
        if isinstance(event, ChunkCommitted):
            committed += 1
            if committed == chunks:
                act()

    return observe


def _scores(workspace: Workspace) -> dict[str, float]:
    return dict(workspace.query('SELECT "Loan_ID", score FROM predictions_current'))


def _assert_same_scores(workspace: Workspace, before: Mapping[str, float]) -> None:
    after = _scores(workspace)
    assert after.keys() == before.keys()
    assert max(abs(after[key] - before[key]) for key in before) <= 1e-12


def _assert_nothing_lost_or_doubled(workspace: Workspace) -> None:
    assert_counters_equal_rows(workspace)
    assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)
    assert workspace.scalar("SELECT count(*) FROM predictions_quarantine") == 0


def _assert_recorded(workspace: Workspace, error: BatchScoringError) -> None:
    last = "SELECT status, error_type, error_message FROM scoring_runs ORDER BY run_id DESC LIMIT 1"
    assert workspace.query(last) == [("failed", type(error).__name__, str(error))]


Change = Callable[[Workspace], None]


def _sql(*statements: str) -> Change:
    return lambda workspace: _together(workspace, *statements)


def _retype(name: str, ddl: str, value: str | None = None) -> Change:
    """Give a column another type by a rebuild; ``value`` is what goes into it."""

    def change(workspace: Workspace) -> None:
        types = {**_types(workspace), name: ddl}
        _rebuild(workspace, types, {name: value} if value else None)

    return change


def _reorder(workspace: Workspace) -> None:
    _rebuild(workspace, dict(reversed(_types(workspace).items())))


def _add_columns(workspace: Workspace) -> None:
    """Among them one named like a column of ours, and one that differs from a feature in case only."""
    for column in ("score DOUBLE PRECISION DEFAULT 7", "run_id TEXT", "valid_to TEXT", "remark TEXT DEFAULT 'new'"):
        workspace.sql(f"ALTER TABLE applicants ADD COLUMN {column}")
    if not workspace.dialect.folds_names:
        workspace.sql("ALTER TABLE applicants ADD COLUMN education TEXT DEFAULT 'none'")


def _add_in_front(workspace: Workspace) -> None:
    _rebuild(workspace, {"first": "INTEGER DEFAULT 1", **_types(workspace)}, {"first": "1"})


NO_MATTER = [
    pytest.param(_reorder, id="reordered"),
    pytest.param(_add_columns, id="added"),
    pytest.param(_add_in_front, id="added in front"),
    pytest.param(_retype("LoanAmount", "DOUBLE PRECISION"), id="numbers as floats"),
    pytest.param(_retype("ApplicantIncome", "BIGINT"), id="numbers as whole numbers"),
    pytest.param(_retype("Education", "VARCHAR(40)"), id="texts as shorter texts"),
]


@pytest.mark.slow
@pytest.mark.parametrize("change", NO_MATTER)
def test_a_change_between_two_runs_that_does_not_matter_changes_no_score(
    small_chunks: Workspace, change: Change
) -> None:
    small_chunks.run()
    before = _scores(small_chunks)

    change(small_chunks)

    assert small_chunks.run().due_count == 0
    _touch(small_chunks)
    assert small_chunks.run().superseded_count == ALL
    _assert_same_scores(small_chunks, before)
    _assert_nothing_lost_or_doubled(small_chunks)


@pytest.mark.parametrize("change", NO_MATTER)
def test_a_change_during_a_run_that_does_not_matter_lets_it_go_on(small_chunks: Workspace, change: Change) -> None:
    small_chunks.run()
    before = _scores(small_chunks)
    _touch(small_chunks)

    run = small_chunks.run(observers=[_midway(lambda: change(small_chunks))])

    assert (run.status, run.superseded_count) == ("succeeded", ALL)
    _assert_same_scores(small_chunks, before)
    _assert_nothing_lost_or_doubled(small_chunks)


@dataclass(frozen=True)
class Fault:
    """A change that a job cannot live with, and what a run begun after it says."""

    change: Change
    column: str
    error: type[BatchScoringError]
    exit_code: ExitCode
    words: str


REFUSED = ExitCode.MODEL_REFUSED
USAGE = ExitCode.WRONG_USAGE
MOVED = 'ALTER TABLE applicants RENAME COLUMN "{}" TO moved'
FAULTS = {
    "a feature dropped": Fault(
        _sql('ALTER TABLE applicants DROP COLUMN "Education"'),
        "Education",
        SignatureMismatch,
        REFUSED,
        "Education is missing",
    ),
    "a number dropped": Fault(
        _sql('ALTER TABLE applicants DROP COLUMN "LoanAmount"'),
        "LoanAmount",
        SignatureMismatch,
        REFUSED,
        "LoanAmount is missing",
    ),
    "a feature renamed": Fault(
        _sql(MOVED.format("Property_Area")), "Property_Area", SignatureMismatch, REFUSED, "Property_Area is missing"
    ),
    "the key renamed": Fault(_sql(MOVED.format("Loan_ID")), "Loan_ID", SourceFault, USAGE, "no column Loan_ID"),
    "changed_at renamed": Fault(
        _sql(MOVED.format("updated_at")), "updated_at", SourceFault, USAGE, "no column updated_at"
    ),
    "changed_at dropped": Fault(
        _sql("ALTER TABLE applicants DROP COLUMN updated_at"), "updated_at", SourceFault, USAGE, "no column updated_at"
    ),
    "numbers as words": Fault(
        _retype("LoanAmount", "TEXT", "'about ' || coalesce(\"LoanAmount\", 0)"),
        "LoanAmount",
        SignatureMismatch,
        REFUSED,
        "LoanAmount is text, the model takes number",
    ),
    "texts as numbers": Fault(
        _retype("Education", "NUMERIC", 'length("Education") + 0.5'),
        "Education",
        SignatureMismatch,
        REFUSED,
        "Education is number, the model takes text",
    ),
    "texts as moments": Fault(
        _retype("Property_Area", "TIMESTAMP", "CAST(NULL AS TIMESTAMP)"),
        "Property_Area",
        SignatureMismatch,
        REFUSED,
        "Property_Area is timestamp, the model takes text",
    ),
}
RETYPED_VERSIONS = {
    "another key type": Fault(
        _retype("Loan_ID", "VARCHAR(20) NOT NULL"), "Loan_ID", ConfigurationError, USAGE, "created for something else"
    ),
    "another type of moment": Fault(
        _retype("updated_at", "DATE NOT NULL", 'CAST("updated_at" AS DATE)'),
        "changed_at",
        ConfigurationError,
        USAGE,
        "updated_at is DATE, and the versions in predictions are",
    ),
}
BETWEEN = {**FAULTS, **RETYPED_VERSIONS}


@pytest.mark.slow
@pytest.mark.parametrize("name", BETWEEN)
def test_a_change_between_two_runs_that_matters_is_named_and_mended_without_loss(
    small_chunks: Workspace, name: str
) -> None:
    fault = BETWEEN[name]
    small_chunks.run()
    _touch(small_chunks)
    small_chunks.run()
    before = _scores(small_chunks)
    _keep(small_chunks)
    fault.change(small_chunks)

    with pytest.raises(fault.error) as raised:
        small_chunks.run()

    assert raised.value.exit_code is fault.exit_code
    assert fault.column in str(raised.value)
    assert fault.words in str(raised.value)
    _assert_recorded(small_chunks, raised.value)
    assert _scores(small_chunks) == before, "what was predicted stays"
    _mend(small_chunks)
    assert small_chunks.run().due_count == 0
    small_chunks.sql("UPDATE applicants SET updated_at = '2026-03-03 00:00:00.000000'")
    assert small_chunks.run().superseded_count == ALL
    _assert_same_scores(small_chunks, before)
    _assert_nothing_lost_or_doubled(small_chunks)


@pytest.mark.parametrize("name", FAULTS)
def test_a_change_during_a_run_that_matters_ends_it_by_the_name_of_the_column_and_is_mended_without_loss(
    small_chunks: Workspace, name: str
) -> None:
    fault = FAULTS[name]
    small_chunks.run()
    before = _scores(small_chunks)
    _touch(small_chunks)
    _keep(small_chunks)

    with pytest.raises(BatchScoringError) as raised:
        small_chunks.run(observers=[_midway(lambda: fault.change(small_chunks))])

    assert raised.value.exit_code in (ExitCode.RUN_FAILED, fault.exit_code)
    assert fault.column in str(raised.value)
    _assert_recorded(small_chunks, raised.value)
    done = small_chunks.scalar("SELECT scored_count FROM run_history WHERE run_id = 2")
    assert done in range(CHUNK_ROWS, ALL, CHUNK_ROWS), "whole chunks were written and the rest was not"
    with pytest.raises(fault.error, match=fault.words):
        small_chunks.run()
    _mend(small_chunks)
    assert small_chunks.run().superseded_count == ALL - done
    _assert_same_scores(small_chunks, before)
    _assert_nothing_lost_or_doubled(small_chunks)


def test_a_source_that_is_gone_in_the_middle_of_a_run_is_named_and_scored_when_it_is_back(
    small_chunks: Workspace,
) -> None:
    gone = _midway(lambda: small_chunks.sql("ALTER TABLE applicants RENAME TO elsewhere"))
    with pytest.raises(BatchScoringError, match="applicants") as raised:
        small_chunks.run(observers=[gone])

    assert raised.value.exit_code in (ExitCode.RUN_FAILED, USAGE)
    _assert_recorded(small_chunks, raised.value)
    small_chunks.sql("ALTER TABLE elsewhere RENAME TO applicants")
    small_chunks.run()
    assert small_chunks.scalar("SELECT count(*) FROM predictions") == ALL
    _assert_nothing_lost_or_doubled(small_chunks)


@pytest.mark.slow
def test_a_command_says_what_became_of_a_column_in_the_middle_of_its_run_without_data(
    postgresql_small_chunks: Workspace,
) -> None:
    workspace = postgresql_small_chunks
    url = sa.make_url(workspace.database_url).set(drivername="postgresql+psycopg2")
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with sa.create_engine(url, poolclass=sa.pool.NullPool).connect() as other:
        other.execute(sa.text("LOCK TABLE predictions IN SHARE MODE"))  # holds the run at its first chunk
        process = workspace.start("run", "loan_eligibility")
        try:
            wait_until(lambda: workspace.scalar(waiting))
            workspace.sql("ALTER TABLE applicants ALTER \"LoanAmount\" TYPE TEXT USING 'about ' || 7654321")
            other.rollback()
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()

    assert process.returncode in (ExitCode.RUN_FAILED, REFUSED)
    assert "7654321" not in err
    assert "Traceback" not in err
    assert "LoanAmount" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(['ALTER TABLE applicants ALTER "LoanAmount" TYPE DOUBLE PRECISION'], id="rewritten"),
        pytest.param(["TRUNCATE applicants", "INSERT INTO applicants SELECT * FROM kept"], id="filled anew"),
    ],
)
@pytest.mark.parametrize(
    ("moment", "workers"),
    [
        pytest.param(RunPlanned, 1, id="at the first read"),
        pytest.param(ChunkCommitted, 1, id="midway"),
        pytest.param(RunPlanned, 2, id="when ranges are cut for workers"),
    ],
)
def test_a_source_that_seems_empty_to_one_read_is_scored_to_its_end(
    postgresql_small_chunks: Workspace, statements: list[str], moment: type[Event], workers: int
) -> None:
    """A read that began before such a statement and waited for it finds the table empty, says PostgreSQL's manual
    (MVCC, Caveats).
    """
    workspace = postgresql_small_chunks
    _keep(workspace)
    url = sa.make_url(workspace.database_url).set(drivername="postgresql+psycopg2")
    reads = """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
        AND application_name LIKE 'batch-scoring run %' AND query LIKE '%applicants%'"""
    locked = threading.Event()

    def change() -> None:
        with sa.create_engine(url, poolclass=sa.pool.NullPool).begin() as other:
            other.execute(sa.text("LOCK TABLE applicants IN ACCESS EXCLUSIVE MODE"))
            locked.set()
            wait_until(lambda: workspace.scalar(reads))
            for statement in statements:
                other.execute(sa.text(statement))

    with ThreadPoolExecutor(1) as pool:
        changing: list[Future[None]] = []

        def begin(event: Event) -> None:
            if isinstance(event, moment) and not changing:
                changing.append(pool.submit(change))
                locked.wait(60)

        run = workspace.run(observers=[begin], workers=workers)
        changing[0].result()

    assert (run.status, run.due_count, run.scored_count) == ("succeeded", ALL, ALL)
    _assert_nothing_lost_or_doubled(workspace)


def _added(key: str, changed_at: str) -> str:
    """SQL that adds an applicant like the first one."""
    return (
        f'INSERT INTO applicants ("Loan_ID", {FEATURE_LIST}, updated_at) SELECT {key}, {FEATURE_LIST}, {changed_at}'
        " FROM applicants WHERE \"Loan_ID\" = 'LP001015'"
    )


@pytest.mark.slow
def test_transactions_that_commit_long_after_others_with_lower_ids_and_older_timestamps_are_scored(
    postgresql_small_chunks: Workspace,
) -> None:
    workspace = postgresql_small_chunks
    url = sa.make_url(workspace.database_url).set(drivername="postgresql+psycopg2")
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with ExitStack() as stack:
        early, midway, late, never = (stack.enter_context(engine.connect()) for _ in range(4))
        for number, (session, year) in enumerate([(early, 2001), (midway, 2000), (late, 1999), (never, 1998)]):
            for place in ("AA", "LP0015", "ZZ"):  # before, among and after all others
                session.execute(sa.text(_added(f"'{place}-{number}'", f"'{year}-01-01'")))
        first = workspace.run()
        early.commit()
        workspace.sql(_added("'AA-new'", "clock_timestamp()"))
        second = workspace.run()
        _touch_one_in_three(workspace)
        third = workspace.run(observers=[_midway(midway.commit)])
        late.commit()
        never.rollback()
        fourth = workspace.run()

    assert (first.scored_count, second.scored_count) == (ALL, 4)
    assert fourth.scored_count >= 3
    rest = third.scored_count - third.superseded_count + fourth.scored_count
    assert rest == 6, "the three committed in the middle of the third run, by whichever run saw them, and three late"
    assert workspace.scalar("SELECT count(*) FROM predictions_current") == ALL + 4 + 6
    assert workspace.run().due_count == 0
    _assert_nothing_lost_or_doubled(workspace)


def _touch_one_in_three(workspace: Workspace) -> None:
    workspace.sql(
        "UPDATE applicants SET updated_at = '2026-02-02' WHERE \"Loan_ID\" IN"
        ' (SELECT "Loan_ID" FROM (SELECT "Loan_ID", row_number() OVER (ORDER BY "Loan_ID") AS n FROM applicants) AS a'
        " WHERE n % 3 = 0)"
    )


@pytest.mark.slow
def test_ids_from_blocks_that_sessions_fetched_ahead_are_scored_in_whatever_order_they_arrive(
    postgresql_small_chunks: Workspace,
) -> None:
    workspace = postgresql_small_chunks
    workspace.sql("CREATE SEQUENCE ids CACHE 50")
    url = sa.make_url(workspace.database_url).set(drivername="postgresql+psycopg2")
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    insert = sa.text(_added("'N' || lpad(nextval('ids')::text, 6, '0')", "clock_timestamp()"))
    counts = []
    with ExitStack() as stack:
        writers = [stack.enter_context(engine.connect()) for _ in range(3)]
        for writer in writers:  # each takes its block
            writer.execute(insert)
        for writer in (*reversed(writers), *writers, writers[1], *reversed(writers)):
            writer.execute(insert)
            writer.commit()
            counts.append(workspace.run().scored_count)

    ids = [int(key[1:]) for (key,) in workspace.query('SELECT "Loan_ID" FROM applicants WHERE "Loan_ID" LIKE \'N%\'')]
    assert {number // 50 for number in ids} == {0, 1, 2}, "ids came from three blocks"
    assert counts == [ALL + 2, 2, 2, *[1] * 7]
    _assert_nothing_lost_or_doubled(workspace)


def _backfill(workspace: Workspace, loan_test: pd.DataFrame, place: str) -> None:
    """Hundreds of rows older than all others."""
    old = loan_test.assign(
        Loan_ID=place + loan_test["Loan_ID"],
        updated_at=[f"{1971 + number % 30}-01-01 00:00:00.000000" for number in range(len(loan_test))],
    )
    workspace.insert_frame("applicants", old)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["A", "LP0015", "Z"], ids=["before", "among", "after"])
def test_a_backfill_with_old_timestamps_in_the_middle_of_a_run_is_scored_by_it_or_by_the_next(
    small_chunks: Workspace, loan_test: pd.DataFrame, place: str
) -> None:
    during = small_chunks.run(observers=[_midway(lambda: _backfill(small_chunks, loan_test, place), chunks=5)])
    after = small_chunks.run()

    assert during.scored_count >= ALL
    assert during.scored_count + after.scored_count == 2 * ALL
    assert small_chunks.run().due_count == 0
    _assert_nothing_lost_or_doubled(small_chunks)


LOOKBACK = loan_job(chunk_rows=CHUNK_ROWS).replace(
    'changed_at = "updated_at"', 'changed_at = "updated_at"\nlookback = "2 days"\nsweep = "1 day"'
)


@pytest.mark.slow
def test_a_backfill_behind_a_sweep_under_way_is_found_by_the_next_sweep_and_by_no_run_before(
    small_chunks: Workspace, loan_test: pd.DataFrame
) -> None:
    small_chunks.write_job("loan_eligibility", LOOKBACK)
    sweep = small_chunks.run(observers=[_midway(lambda: _backfill(small_chunks, loan_test, "A"), chunks=5)])
    looked_back = small_chunks.run()
    _let_a_day_pass(small_chunks)
    next_sweep = small_chunks.run()

    found = [(run.mode, run.scored_count, run.sweep_only_count) for run in (sweep, looked_back, next_sweep)]
    assert found == [("sweep", ALL, 0), ("lookback", 0, 0), ("sweep", ALL, ALL)]
    _assert_nothing_lost_or_doubled(small_chunks)


def _let_a_day_pass(workspace: Workspace) -> None:
    """Move every run back, as if it had been so long ago."""
    moved = workspace.words.hours_before.format(time="started_at", hours=25)
    workspace.sql(f"UPDATE scoring_runs SET started_at = {moved}")


@pytest.fixture
def nullable(small_chunks: Workspace) -> Workspace:
    """Applicants whose timestamp may be NULL."""
    types = {**_types(small_chunks), "updated_at": _types(small_chunks)["updated_at"].removesuffix(" NOT NULL")}
    _rebuild(small_chunks, types)
    return small_chunks


def _assert_each_version_has_one_current_prediction(workspace: Workspace) -> None:
    """The ledger where versions may be NULL."""
    assert_counters_equal_rows(workspace)
    current = (
        'SELECT count(*) FROM predictions p WHERE p."Loan_ID" = s."Loan_ID"'
        " AND p.source_changed_at IS NOT DISTINCT FROM s.updated_at"
    )
    assert workspace.query(f'SELECT s."Loan_ID" FROM applicants s WHERE ({current}) <> 1') == []
    counted = "SELECT (SELECT count(*) FROM predictions_current), (SELECT count(*) FROM applicants)"
    ((predictions, applicants),) = workspace.query(counted)
    assert predictions == applicants


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["NULL", "'1990-01-01 00:00:00.000000'", "'0001-01-01 00:00:00.000000'"])
def test_timestamps_that_are_emptied_or_set_back_in_the_middle_of_a_run_are_versions_of_their_own(
    nullable: Workspace, moment: str
) -> None:
    def set_back() -> None:
        nullable.sql(
            f'UPDATE applicants SET updated_at = {moment}, "LoanAmount" = 50'
            " WHERE \"Loan_ID\" LIKE '%1' OR \"Loan_ID\" LIKE '%5'"
        )

    changed = "SELECT count(*) FROM applicants WHERE \"Loan_ID\" LIKE '%1' OR \"Loan_ID\" LIKE '%5'"
    count = nullable.scalar(changed)

    during = nullable.run(observers=[_midway(set_back, chunks=2)])
    after = nullable.run()

    assert (during.scored_count, during.superseded_count) == (ALL, 0)
    assert 0 < after.superseded_count < count, "those behind the walk, those before it were read as they are"
    assert after.scored_count == after.superseded_count
    assert nullable.run().due_count == 0
    _assert_each_version_has_one_current_prediction(nullable)

    nullable.sql("UPDATE applicants SET updated_at = '2026-02-02 00:00:00.000000'")
    assert nullable.run().superseded_count == ALL
    assert nullable.run().due_count == 0
    _assert_each_version_has_one_current_prediction(nullable)


@pytest.mark.slow
def test_rows_that_arrive_all_the_time_while_runs_follow_each_other_are_each_scored_once(
    postgresql_small_chunks: Workspace,
) -> None:
    workspace = postgresql_small_chunks
    done = threading.Event()

    def write(writer: int) -> int:
        url = sa.make_url(workspace.database_url).set(drivername="postgresql+psycopg2")
        number = 0
        with sa.create_engine(url, poolclass=sa.pool.NullPool).connect() as connection:
            while not done.wait(0.01 * (writer + 1)):
                key = f"'{'ALZ'[number % 3]}-{(number * 7919) % 10007:05d}-{writer}-{number}'"
                connection.execute(sa.text(_added(key, f"clock_timestamp() - {number % 5} * interval '100 days'")))
                number += 1
                if number % (writer + 2) == 0:  # the slower a writer, the longer its transactions
                    connection.commit()
            connection.commit()
        return number

    with ThreadPoolExecutor(3) as pool:
        writing = [pool.submit(write, writer) for writer in range(3)]
        try:
            runs = [workspace.run() for _ in range(8)]
        finally:
            done.set()
        written = sum(writer.result() for writer in writing)
    runs.append(workspace.run())

    assert sum(run.scored_count for run in runs) == ALL + written
    assert sum(run.superseded_count for run in runs) == 0
    assert workspace.run().due_count == 0
    _assert_nothing_lost_or_doubled(workspace)
