"""Rows that are due though they have not changed: by the age of their outcome, and by the version of the model."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import facts
import pytest
from facts import COUNT, change, command, command_json, killed
from support import Workspace

from batch_scoring.domain.runs import Run
from batch_scoring.errors import BatchScoringError
from batch_scoring.scoring.events import ChunkCommitted, Event

HOUR = timedelta(hours=1)
DAILY = 'refresh = "1 day"'
EVERY_HOUR = '[schedule]\nevery = "1 hour"'


def now() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def _age(workspace: Workspace, hours: float, *ids: int, table: str = "predictions") -> None:
    """Let outcomes be so old."""
    chosen = f" WHERE id IN ({', '.join(map(str, ids))})" if ids else ""
    workspace.rewrite(f"UPDATE {table} SET valid_from = :time{chosen}", {"time": facts.ago(workspace, hours=hours)})


def _counts(run: Run) -> tuple[int, int, int, int]:
    return run.due_count, run.refresh_count, run.new_version_count, run.scored_count


def _versions(workspace: Workspace) -> dict[int, int]:
    return dict(workspace.query("SELECT model_version, count(*) FROM predictions GROUP BY model_version"))


def _promote_another(workspace: Workspace) -> None:
    version = workspace.register(facts.fitted(), facts.sample(), name="facts").version
    assert command(workspace, "model", "promote", "facts", str(version)).returncode == 0


# --- age


@pytest.mark.parametrize("source", [DAILY, 'refresh = "1.5 hours"'])
def test_an_outcome_is_due_again_once_it_is_old_enough(workspace: Workspace, source: str) -> None:
    facts.prepare(workspace, source=source)
    change(workspace, "y = -1", 1)
    assert workspace.run("facts").quarantined_count == 1
    limit = 24 if source == DAILY else 1.5

    _age(workspace, limit - 0.1)
    _age(workspace, limit - 0.1, table="predictions_quarantine")
    assert _counts(workspace.run("facts")) == (0, 0, 0, 0)

    _age(workspace, limit + 0.1, 2, 3)
    _age(workspace, limit + 0.1, 1, table="predictions_quarantine")
    again = workspace.run("facts")
    assert _counts(again) == (3, 3, 0, 2)
    assert again.quarantined_count == 1
    assert _counts(workspace.run("facts")) == (0, 0, 0, 0)
    assert workspace.query("SELECT id, attempts FROM predictions_quarantine") == [(1, 2)]
    assert workspace.query("SELECT id FROM predictions_superseded ORDER BY id") == [(2,), (3,)]


def test_a_row_without_versions_is_scored_again_by_its_age_only(workspace: Workspace) -> None:
    facts.prepare(workspace, source=DAILY)
    text = facts.job_text(source=DAILY).replace('changed_at = "at"\n', "")
    workspace.write_job("facts", text)
    assert "scored once" not in command(workspace, "check").stdout
    assert workspace.run("facts").scored_count == COUNT

    change(workspace, "x = 5", 7, at="2031-01-01")
    assert workspace.run("facts").due_count == 0
    _age(workspace, 25, 7)
    assert _counts(workspace.run("facts")) == (1, 1, 0, 1)


def test_a_changed_row_is_due_at_once_and_counts_as_changed(workspace: Workspace) -> None:
    facts.prepare(workspace, source=DAILY)
    workspace.run("facts")
    _age(workspace, 30, 1, 2, 3)
    change(workspace, "x = 5", 3, 4, at="2031-01-01")

    assert _counts(workspace.run("facts")) == (4, 2, 0, 4)


@pytest.mark.parametrize(
    ("zone", "first"),
    [
        ("Europe/Berlin", datetime(2027, 3, 26, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2027, 10, 29, tzinfo=UTC)),
        ("America/St_Johns", datetime(2027, 3, 12, tzinfo=UTC)),
        ("UTC", datetime(2027, 3, 26, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("cron", ["30 2 * * *", "0 0 * * *", "15 1 * * *"])
def test_nightly_means_nightly_also_where_the_clock_changes(
    sqlite_workspace: Workspace, zone: str, first: datetime, cron: str
) -> None:
    from batch_scoring.domain.schedule import next_slot

    workspace = facts.prepare(sqlite_workspace, source=DAILY, after=f'[schedule]\ncron = "{cron}"\ntimezone = "{zone}"')
    schedule = workspace.job("facts").schedule
    assert schedule is not None
    slot: datetime | None = first
    for _ in range(5):
        assert slot is not None
        slot = next_slot(schedule, slot)
        assert workspace.run("facts", trigger="schedule", scheduled_for=slot).scored_count == COUNT, slot


def test_a_late_run_counts_from_its_slot(workspace: Workspace) -> None:
    """The slot of yesterday's 02:00 was filled eleven hours late; the slot of today's finds its outcomes a day old."""
    facts.prepare(workspace, source=DAILY)
    slot = now()
    workspace.run("facts", trigger="schedule", scheduled_for=slot - timedelta(days=1))

    assert _counts(workspace.run("facts", trigger="schedule", scheduled_for=slot)) == (COUNT, COUNT, 0, COUNT)
    assert workspace.run("facts", trigger="schedule", scheduled_for=slot + HOUR).due_count == 0


class _Failing:
    """Fails a run after some committed chunks."""

    def __init__(self, chunks: int) -> None:
        self._left = chunks

    def __call__(self, event: Event) -> None:
        if isinstance(event, ChunkCommitted):
            self._left -= 1
            if not self._left:
                raise BatchScoringError("the observer failed")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_each_key_is_scored_once_a_period_over_six_hundred_slots(workspace: Workspace) -> None:
    """Half of the slots are before the database's clock, half after it. Some runs fail, and are repeated."""
    slots, period = 600, 24
    facts.prepare(workspace, source=DAILY, after=EVERY_HOUR, run="chunk_rows = 3")
    workspace.sql("DELETE FROM facts WHERE id > 10")
    first = now() - slots // 2 * HOUR
    for number in range(slots):
        slot = first + number * HOUR
        if number == 150:  # a key that has another phase
            workspace.sql("INSERT INTO facts SELECT 99, branch, x, y, z, at FROM facts WHERE id = 1")
        if number % period == 0 and number % 5 == 0:
            with pytest.raises(BatchScoringError):
                workspace.run("facts", trigger="schedule", scheduled_for=slot, observers=[_Failing(2)])
        run = workspace.run("facts", trigger="schedule", scheduled_for=slot)
        assert run.due_count == run.scored_count

    found: dict[int, list[Any]] = defaultdict(list)
    scored = "SELECT id, run_id FROM predictions UNION ALL SELECT id, run_id FROM predictions_superseded"
    run_slots = workspace.query("SELECT run_id, scheduled_for FROM scoring_runs ORDER BY run_id")
    number_of = {run: number for number, (_, runs) in enumerate(_by_slot(run_slots)) for run in runs}
    for key, run_id in workspace.query(scored):
        found[key].append(number_of[run_id])
    assert {key: sorted(numbers) for key, numbers in found.items()} == {
        **{key: list(range(0, slots, period)) for key in range(1, 11)},
        99: list(range(150, slots, period)),
    }


def _by_slot(runs: list[Any]) -> list[tuple[Any, list[int]]]:
    slots: dict[Any, list[int]] = defaultdict(list)
    for run_id, slot in runs:
        slots[slot].append(run_id)
    return sorted(slots.items())


# --- model version


def test_a_new_version_leaves_predictions_as_they_are_by_default(workspace: Workspace) -> None:
    facts.prepare(workspace)
    workspace.run("facts")
    _promote_another(workspace)

    assert workspace.run("facts").due_count == 0
    assert _versions(workspace) == {1: COUNT}


def test_predictions_of_another_version_are_replaced_oldest_first(workspace: Workspace) -> None:
    facts.prepare(workspace, model='on_new_version = "rescore"\nper_run = 15', run="chunk_rows = 4")
    change(workspace, "y = -1", 40)
    workspace.run("facts")
    _age(workspace, 3, 30, 31, 32)
    _age(workspace, 2, 20, 21)
    workspace.sql("DELETE FROM facts WHERE id IN (30, 1)")  # what is gone is never due, and fills no share
    _promote_another(workspace)
    change(workspace, "x = 5", 31, 5, at="2031-01-01")

    first = workspace.run("facts")
    assert _counts(first) == (17, 0, 15, 17)
    replaced = {key for (key,) in workspace.query("SELECT id FROM predictions WHERE model_version = 2")}
    assert {31, 5, 32, 20, 21} <= replaced
    assert replaced - {31, 5, 32, 20, 21} == set(range(2, 15)) - {5}
    assert _counts(workspace.run("facts")) == (15, 0, 15, 15)
    assert _counts(workspace.run("facts")) == (5, 0, 5, 5)
    assert _counts(workspace.run("facts")) == (0, 0, 0, 0)
    assert _versions(workspace) == {1: 2, 2: COUNT - 3}


def test_a_rescore_with_another_version_is_replaced_by_the_next_run(workspace: Workspace) -> None:
    facts.prepare(workspace, model='on_new_version = "rescore"')
    workspace.run("facts")
    _promote_another(workspace)
    workspace.run("facts")
    done = command(workspace, "rescore", "facts", "--key", "1", "--model-version", "1", "--reason", "r", "--yes")
    assert done.returncode == 0, done.stderr

    assert _counts(workspace.run("facts")) == (1, 0, 1, 1)


def test_age_and_version_are_counted_apart(workspace: Workspace) -> None:
    facts.prepare(workspace, source=DAILY, model='on_new_version = "rescore"\nper_run = 10')
    workspace.run("facts")
    _age(workspace, 30, 1, 2, 3)
    _promote_another(workspace)
    change(workspace, "x = 5", 9, at="2031-01-01")

    status = command_json(workspace, "status", "facts")[0]
    assert (status["due_count"], status["due_by_refresh"], status["due_by_new_version"]) == (14, 3, 10)
    assert "due by age" in command(workspace, "status", "facts").stdout
    done = command(workspace, "run", "facts")
    assert "3 of them were due by age; 10 of them were due by model version" in done.stdout
    columns = "due_count, refresh_count, new_version_count, closed_count"
    assert workspace.query(f"SELECT {columns} FROM run_history WHERE run_id = 2") == [(14, 3, 10, 0)]


def test_a_lookback_sweeps_until_no_prediction_of_another_version_is_left(workspace: Workspace) -> None:
    lookback = 'lookback = "1 hour"\nsweep = "1 week"'
    facts.prepare(workspace, source=lookback, model='on_new_version = "rescore"\nper_run = 25')
    modes = [workspace.run("facts").mode for _ in range(2)]
    _promote_another(workspace)
    runs = [workspace.run("facts") for _ in range(3)]

    assert modes == ["sweep", "lookback"]
    assert [(run.mode, run.scored_count) for run in runs] == [("sweep", 25), ("sweep", 15), ("lookback", 0)]


# --- under faults


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_what_is_due_by_policy_is_scored_once_though_a_run_is_killed(workspace: Workspace, after: bool) -> None:
    facts.prepare(
        workspace, source=DAILY, model='on_new_version = "rescore"', run='chunk_rows = 7\nstalled_after = "30 seconds"'
    )
    workspace.run("facts")
    _promote_another(workspace)
    _age(workspace, 30, *range(1, 21))
    killed(workspace, "run", "facts", at="batch_scoring.store.outcomes.chunk.record_chunk", call=3, after=after)

    workspace.run("facts")
    assert workspace.run("facts").due_count == 0
    assert _versions(workspace) == {2: COUNT}
    assert workspace.query("SELECT count(*), count(DISTINCT id) FROM predictions_superseded") == [(COUNT, COUNT)]


# --- explained


def test_why_names_the_policy_by_which_a_row_is_due(workspace: Workspace) -> None:
    facts.prepare(workspace, source=DAILY, model='on_new_version = "rescore"\nper_run = 1')
    change(workspace, "y = -1", 4)
    workspace.run("facts")
    _age(workspace, 30, 1, 2)
    _age(workspace, 30, 4, table="predictions_quarantine")
    _promote_another(workspace)

    old, by_version, later, entry = (command_json(workspace, "why", "facts", str(key)) for key in (1, 3, 40, 4))
    assert (old["state"], by_version["state"], later["state"], entry["state"]) == ("due", "due", "scored", "due")
    assert "has not changed, but was scored longer than 1 day, 0:00:00 ago" in old["explanation"]
    assert "its prediction is of version 1 of facts and champion is version 2" in by_version["explanation"]
    assert "version 2 replaces it in a later run" in later["explanation"]
    assert "has not changed, but was quarantined longer than" in entry["explanation"]


@pytest.mark.parametrize(
    ("source", "model", "words"),
    [
        ('refresh = "0 days"', "", "source.refresh"),
        ('deleted = "drop"', "", "source.deleted"),
        ("max_deleted = 0.5", "", 'belongs to deleted = "close"'),
        ('deleted = "close"\nmax_deleted = 1.5', "", "source.max_deleted"),
        ("", "per_run = 5", 'belongs to on_new_version = "rescore"'),
        ("", 'on_new_version = "rescore"\nper_run = 0', "model.per_run"),
        ("", 'on_new_version = "replace"', "model.on_new_version"),
    ],
)
def test_a_wrong_policy_is_refused(sqlite_workspace: Workspace, source: str, model: str, words: str) -> None:
    facts.prepare(sqlite_workspace)
    (sqlite_workspace.jobs_dir / "facts.toml").write_text(facts.job_text(source=source, model=model))

    facts.refused(command(sqlite_workspace, "run", "facts"), 2, words)
