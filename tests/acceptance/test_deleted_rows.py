"""Outcomes of rows that left the source: kept by default, or closed, in bounded steps and never too many at once."""

from __future__ import annotations

from datetime import timedelta

import facts
import pytest
import sqlalchemy as sa
from facts import COMPOSITE, COUNT, SINGLE, KeyKind, change, command, command_json, killed
from support import Workspace

from batch_scoring.domain.job import Job
from batch_scoring.domain.runs import Run
from batch_scoring.errors import DatabaseFault, SourceFault
from batch_scoring.store.outcomes.deleted import DeletedRows

CLOSE = 'deleted = "close"\nmax_deleted = 0.5'


def _delete(workspace: Workspace, condition: str) -> None:
    workspace.sql(f"DELETE FROM facts WHERE {condition}")


def _found(run: Run) -> tuple[int, int]:
    return run.scored_count, run.closed_count


def _assert_each_row_has_one_current_outcome(workspace: Workspace) -> None:
    both = "SELECT id, branch FROM predictions UNION ALL SELECT id, branch FROM predictions_quarantine"
    if "branch" not in [name for name, _ in _columns(workspace)]:
        both = both.replace(", branch", "")
    key = "id, branch" if ", branch" in both else "id"
    assert sorted(workspace.query(both)) == sorted(workspace.query(f"SELECT {key} FROM facts"))


def _columns(workspace: Workspace) -> list[tuple[str, str]]:
    with workspace.database() as database, database.read() as connection:
        return [(column["name"], "") for column in sa.inspect(connection).get_columns("predictions")]


def test_predictions_of_deleted_rows_are_kept_by_default(workspace: Workspace) -> None:
    facts.prepare(workspace)
    workspace.run("facts")
    _delete(workspace, "id <= 3")

    assert _found(workspace.run("facts")) == (0, 0)
    assert workspace.scalar("SELECT count(*) FROM predictions") == COUNT
    assert command_json(workspace, "status", "facts")[0]["deleted_count"] is None


@pytest.mark.parametrize("key", [SINGLE, COMPOSITE], ids=["single", "composite"])
def test_outcomes_of_deleted_rows_are_closed_and_kept_as_history(workspace: Workspace, key: KeyKind) -> None:
    facts.prepare(workspace, key, source=CLOSE)
    change(workspace, "y = -1", 1, 2)
    workspace.run("facts")
    before = dict(workspace.query("SELECT id, score FROM predictions"))
    _delete(workspace, "id IN (2, 3, 7, 40)")
    assert command_json(workspace, "status", "facts")[0]["deleted_count"] == 4
    change(workspace, "x = 5", 5, at="2031-01-01")

    done = command(workspace, "run", "facts")
    assert "4 outcomes of deleted rows closed" in done.stdout
    assert workspace.query("SELECT scored_count, closed_count FROM run_history WHERE run_id = 2") == [(1, 4)]
    _assert_each_row_has_one_current_outcome(workspace)
    closed = dict(workspace.query("SELECT id, score FROM predictions_superseded WHERE id IN (3, 7, 40)"))
    assert closed == {number: before[number] for number in (3, 7, 40)}
    assert workspace.query("SELECT id FROM predictions_quarantine_closed") == [(2,)]
    gone = command_json(workspace, "why", "facts", "3" if key is SINGLE else f"id=3,branch={facts.branch_of(3)}")
    assert gone["state"] == "gone"
    assert "the last one was closed at" in gone["explanation"]
    assert _found(workspace.run("facts")) == (0, 0)


def test_a_row_that_comes_back_is_scored_like_a_new_one(workspace: Workspace) -> None:
    facts.prepare(workspace, source=CLOSE)
    workspace.run("facts")
    workspace.sql("CREATE TABLE away AS SELECT * FROM facts WHERE id = 3")
    _delete(workspace, "id = 3")
    workspace.run("facts")
    workspace.sql("INSERT INTO facts SELECT * FROM away")

    assert _found(workspace.run("facts")) == (1, 0)
    periods = workspace.query("SELECT valid_from, valid_to FROM predictions_history WHERE id = 3 ORDER BY valid_from")
    assert len(periods) == 2
    assert periods[0][1] <= periods[1][0]


def test_rows_that_where_leaves_out_have_left_the_source(workspace: Workspace) -> None:
    job = facts.prepare(workspace, source=f"where = 'x < 100'\n{CLOSE}").job("facts")
    workspace.run("facts")
    change(workspace, "x = 200", 6)

    assert job.source.where is not None
    assert _found(workspace.run("facts")) == (0, 1)
    assert command_json(workspace, "why", "facts", "6")["state"] == "outside"


@pytest.mark.parametrize("condition", ["id > 0", "id <= 21"])
def test_a_source_that_lost_too_many_rows_is_a_fault_and_nothing_is_closed(
    workspace: Workspace, condition: str
) -> None:
    facts.prepare(workspace, source=CLOSE)
    workspace.run("facts")
    _delete(workspace, condition)
    workspace.sql(
        "INSERT INTO facts (id, branch, x, y, z, at) VALUES (1000, 'b', 1.0, 1.0, 1.0, '2030-01-01 00:00:00')"
    )

    with pytest.raises(SourceFault, match="max_deleted allows: none of them was closed"):
        workspace.run("facts")
    assert workspace.scalar("SELECT count(*) FROM predictions") == COUNT + 1, "what was due was scored"
    assert workspace.scalar("SELECT count(*) FROM predictions_superseded") == 0
    _delete(workspace, "id = 1000")
    assert command(workspace, "run", "facts").returncode == 2


def test_a_share_is_not_one_row_less_by_rounding(sqlite_workspace: Workspace) -> None:
    """0.29 of 100 is less than 29 in floating point."""
    workspace = facts.prepare(sqlite_workspace, source='deleted = "close"\nmax_deleted = 0.29')
    workspace.sql("INSERT INTO facts SELECT id + 40, branch, x, y, z, at FROM facts")
    workspace.sql("INSERT INTO facts SELECT id + 80, branch, x, y, z, at FROM facts WHERE id <= 20")
    assert workspace.run("facts").scored_count == 100
    _delete(workspace, "id <= 29")

    assert _found(workspace.run("facts")) == (0, 29)


def test_a_lookback_closes_nothing(workspace: Workspace) -> None:
    facts.prepare(workspace, source=f'{CLOSE}\nlookback = "1 hour"\nsweep = "1 week"')
    workspace.run("facts")
    _delete(workspace, "id = 3")

    looked_back = workspace.run("facts")
    assert (looked_back.mode, looked_back.closed_count) == ("lookback", 0)


def test_a_rescore_closes_nothing(workspace: Workspace) -> None:
    facts.prepare(workspace, source=CLOSE)
    workspace.run("facts")
    _delete(workspace, "id = 3")

    assert command(workspace, "rescore", "facts", "--key", "1", "--reason", "r", "--yes").returncode == 0
    assert workspace.scalar("SELECT count(*) FROM predictions WHERE id = 3") == 1


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_run_killed_while_closing_leaves_whole_steps(workspace: Workspace, call: int, after: bool) -> None:
    facts.prepare(workspace, source=CLOSE, run='chunk_rows = 4\nstalled_after = "30 seconds"')
    change(workspace, "y = -1", 1, 2)
    workspace.run("facts")
    _delete(workspace, "id <= 14")
    killed(workspace, "run", "facts", at="batch_scoring.store.outcomes.deleted.record_chunk", call=call, after=after)

    workspace.run("facts")
    _assert_each_row_has_one_current_outcome(workspace)
    assert workspace.query("SELECT count(*), count(DISTINCT id) FROM predictions_superseded") == [(12, 12)]
    counted = "SELECT sum(closed_count) FROM {}"
    assert workspace.scalar(counted.format("scoring_runs")) == workspace.scalar(counted.format("scoring_chunks")) == 14


def test_closing_goes_on_in_steps(workspace: Workspace) -> None:
    facts.prepare(workspace, source=CLOSE, run="chunk_rows = 4")
    workspace.run("facts")
    _delete(workspace, "id BETWEEN 5 AND 15")

    assert _found(workspace.run("facts")) == (0, 11)
    steps = workspace.query("SELECT closed_count FROM scoring_chunks WHERE run_id = 2 ORDER BY number")
    assert steps == [(4,), (4,), (3,)]


def test_the_end_is_after_the_start_though_the_clock_was_set_back(workspace: Workspace) -> None:
    facts.prepare(workspace, source=CLOSE)
    workspace.run("facts")
    later = {"time": facts.ago(workspace, hours=-3)}
    workspace.rewrite("UPDATE predictions SET valid_from = :time WHERE id = 3", later)
    _delete(workspace, "id IN (3, 4)")

    assert _found(workspace.run("facts")) == (0, 2)
    assert workspace.scalar("SELECT count(*) FROM predictions_superseded WHERE valid_from < valid_to") == 2


def test_a_prediction_cannot_be_deleted_unless_a_job_that_says_so_is_running(workspace: Workspace) -> None:
    facts.prepare(workspace, source=CLOSE)
    workspace.run("facts")
    delete = "DELETE FROM predictions WHERE id = 1"

    def refused() -> bool:
        try:
            workspace.sql(delete)
        except (sa.exc.DBAPIError, DatabaseFault):
            return True
        return False

    assert refused()
    with facts.active_run(workspace):  # its job file does not close
        assert refused()
    _start(workspace, workspace.job("facts"))
    assert not refused()
    assert workspace.query("SELECT id FROM predictions_superseded") == [(1,)], "the database keeps the old form"


def _start(workspace: Workspace, job: Job) -> None:
    from support import claim_run

    with workspace.database() as database:
        config = job.model_dump(mode="json")
        claim_run(database, job="facts", job_config=config, environment={}, stalled_after=timedelta(minutes=5))


def test_more_rows_deleted_while_closing_are_not_closed_beyond_the_share(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts.prepare(workspace, source='deleted = "close"\nmax_deleted = 0.2', run="chunk_rows = 4")
    workspace.run("facts")
    _delete(workspace, "id <= 8")
    original = DeletedRows.next_range
    calls = 0

    def meanwhile(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            _delete(workspace, "id BETWEEN 9 AND 12")
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(DeletedRows, "next_range", meanwhile)
    with pytest.raises(SourceFault, match="rows are being deleted"):
        workspace.run("facts")
    assert workspace.scalar("SELECT count(*) FROM predictions_superseded") == 8
