"""Scoring again by hand: what it would change, what it changes, and that nothing else changes."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import random
import re
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from commands import assert_no_traceback, assert_refused
from conftest import prepare_loans
from databases import DATABASES, Databases
from faults import (
    assert_counters_equal_rows,
    assert_each_applicant_has_one_current_prediction_of_its_present_version,
    freeze_between_transactions,
    loan_job,
    ready,
    seconds_without_heartbeat,
    start_rescore,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from support import Workspace, wait_until

from batch_scoring.cli.keys import parse_key, read_keys
from batch_scoring.domain.columns import as_list
from batch_scoring.domain.job import Job
from batch_scoring.domain.keys import key_text
from batch_scoring.domain.runs import Run
from batch_scoring.errors import ArtifactChanged, InputFault, RunStopped
from batch_scoring.model.training import Algorithm, TrainedModel, train
from batch_scoring.monitoring.health import status_of
from batch_scoring.operations import rescore
from batch_scoring.operations.preview import preview
from batch_scoring.scoring.events import ChunkCommitted, Event
from batch_scoring.scoring.runner import RunOptions, run_job
from batch_scoring.store import registry
from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.due.reader import KeysetReader
from batch_scoring.store.due.scan import RescoreScan
from batch_scoring.store.engine.database import Database
from batch_scoring.store.lifecycle import NewPromotion
from batch_scoring.store.runs.records import list_runs
from batch_scoring.store.schema.layout import layout_of
from batch_scoring.store.source.condition_parser import parse
from batch_scoring.store.source.selection import Request, Selection

NAME = "loan_eligibility"
ALL = Request()
BY_VERSION_1 = Request(selection=Selection(scored_by_version=1))


def everything(workspace: Workspace) -> dict[str, list[str]]:
    """All rows of all tables."""
    with workspace.database() as database, database.read() as connection:
        tables = sa.inspect(connection).get_table_names()
        return {
            name: sorted(map(repr, connection.execute(sa.select(sa.text("*")).select_from(sa.table(name)))))
            for name in tables
        }


def promote(workspace: Workspace, version: int, *, name: str = NAME) -> None:
    """Point the champion at a version."""
    with workspace.database() as database:
        registry.promote(database, NewPromotion(name=name, alias="champion", version=version, promoted_by="tests"))


def rescored(workspace: Workspace, request: Request = ALL, *, name: str = NAME, version: str | None = None) -> Run:
    """A rescore, in this process."""
    with workspace.database() as database:
        plan = rescore.plan(database, workspace.job(name), request, version=version)
    return workspace.run(name, trigger="rescore", rescore=plan.rescore, reason="a test")


def continued(workspace: Workspace, run_id: int, *, name: str = NAME) -> Run:
    """The rest of a rescore, in this process."""
    with workspace.database() as database:
        plan = rescore.continuation(database, workspace.job(name), run_id)
    return workspace.run(name, trigger="rescore", rescore=plan.rescore, reason=plan.reason)


@pytest.fixture(scope="session")
def challenger(loan_job: Job, loan_train: pd.DataFrame) -> TrainedModel:
    """Another algorithm on the same history."""
    return train(loan_job, loan_train, "Loan_Status", Algorithm.DECISION_TREE)


def scored_by_1_with_2_as_champion(
    workspace: Workspace, loan_model: TrainedModel, challenger: TrainedModel
) -> Workspace:
    """The applicants with predictions of version 1, while version 2 is the champion."""
    return with_a_challenger(prepare_loans(workspace, loan_model), challenger)


def with_a_challenger(workspace: Workspace, challenger: TrainedModel) -> Workspace:
    """Score what is due, then make version 2 the champion."""
    workspace.run()
    workspace.register(challenger.pipeline, challenger.features)
    promote(workspace, 2)
    return workspace


@pytest.fixture
def scored(workspace: Workspace, loan_model: TrainedModel, challenger: TrainedModel) -> Workspace:
    return scored_by_1_with_2_as_champion(workspace, loan_model, challenger)


# --- the shipped applicants


@dataclass
class Story:
    """A rescore of the shipped applicants, from its dry run to the ordinary run after it."""

    workspace: Workspace
    started: dict[str, list[str]]
    after_dry_runs: dict[str, list[str]]
    dry_run: dict[str, Any]
    shown: str
    rows: pd.DataFrame
    page: str
    before: datetime
    run: dict[str, Any]
    between: datetime
    ordinary: Run


@pytest.fixture(scope="module", params=DATABASES)
def story(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    loan_model: TrainedModel,
    challenger: TrainedModel,
) -> Story:
    """Told once for each database; tests read of it."""
    folder = tmp_path_factory.mktemp("story")
    databases: Databases = request.getfixturevalue(DATABASES[request.param])
    workspace = scored_by_1_with_2_as_champion(Workspace(folder, databases.create_database()), loan_model, challenger)

    def dry_run(*arguments: str) -> str:
        done = workspace.cli("rescore", NAME, "--scored-by-version", "1", "--dry-run", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    started = everything(workspace)
    found = json.loads(dry_run("--json", "--out", str(folder / "rows.csv")))
    shown = dry_run("--out", str(folder / "page.html"))
    after_dry_runs = everything(workspace)
    before = clock(workspace)
    said = ("--reason", "version 2 is better", "--requested-by", "risk@example.com", "--yes", "--json")
    done = workspace.cli("rescore", NAME, "--scored-by-version", "1", *said)
    assert done.returncode == 0, done.stderr
    return Story(
        workspace=workspace,
        started=started,
        after_dry_runs=after_dry_runs,
        dry_run=found,
        shown=shown,
        rows=pd.read_csv(folder / "rows.csv"),
        page=(folder / "page.html").read_text(encoding="utf-8"),
        before=before,
        run=json.loads(done.stdout),
        between=clock(workspace),
        ordinary=workspace.run(),
    )


def clock(workspace: Workspace) -> datetime:
    """The database's time."""
    from batch_scoring.store.engine.clock import now

    with workspace.database() as database, database.read() as connection:
        return now(connection)


@pytest.fixture(scope="module")
def by_hand(loan_test: pd.DataFrame, loan_model: TrainedModel, challenger: TrainedModel) -> pd.DataFrame:
    """What both models say of each applicant, without this package's scoring."""
    scores = {}
    for name, model in (("score", loan_model.pipeline), ("new_score", challenger.pipeline)):
        scores[name] = model.predict_proba(loan_test)[:, list(model.classes_).index("Y")]
    frame = pd.DataFrame(scores, index=pd.Index(loan_test["Loan_ID"], name="key"))
    return frame.assign(
        prediction=np.where(frame["score"] >= 0.5, "Y", "N"),
        new_prediction=np.where(frame["new_score"] >= 0.5, "Y", "N"),
        difference=frame["new_score"] - frame["score"],
    )


@pytest.mark.slow
def test_a_dry_run_writes_nothing_at_all(story: Story) -> None:
    assert story.after_dry_runs == story.started


def test_the_flips_of_a_dry_run_are_those_counted_by_hand(story: Story, by_hand: pd.DataFrame) -> None:
    crossed = by_hand.groupby(["prediction", "new_prediction"]).size()
    flips = {(old, new): count for old, new, count in story.dry_run["labels"]}
    assert flips == crossed.to_dict()
    flipped = int((by_hand["prediction"] != by_hand["new_prediction"]).sum())
    assert flipped > 0, "the models must disagree somewhere for this to mean anything"
    assert story.dry_run["flipped_count"] == flipped
    assert (story.dry_run["row_count"], story.dry_run["scored_count"], story.dry_run["superseded_count"]) == (
        367,
        367,
        367,
    )
    assert story.dry_run["quarantined"] == {}


def test_the_moves_of_a_dry_run_are_those_counted_by_hand(story: Story, by_hand: pd.DataFrame) -> None:
    assert story.dry_run["mean_difference"] == pytest.approx(by_hand["difference"].mean(), abs=1e-12)
    assert story.dry_run["mean_absolute_difference"] == pytest.approx(by_hand["difference"].abs().mean(), abs=1e-12)
    bars = story.dry_run["differences"]
    assert sum(bar["rows"] for bar in bars) == 367
    assert [bar["high"] for bar in bars[:-1]] == [bar["low"] for bar in bars[1:]]
    for bar in bars:
        tolerance = 1e-9  # a difference on an edge
        inside = by_hand["difference"].between(bar["low"] + tolerance, bar["high"] - tolerance).sum()
        around = by_hand["difference"].between(bar["low"] - tolerance, bar["high"] + tolerance).sum()
        assert inside <= bar["rows"] <= around


def test_the_twenty_rows_that_move_furthest_are_named(story: Story, by_hand: pd.DataFrame) -> None:
    furthest = by_hand["difference"].abs().sort_values(ascending=False).head(20)
    largest = story.dry_run["largest"]
    assert len(largest) == 20
    assert [abs(row["new_score"] - row["score"]) for row in largest] == pytest.approx(list(furthest), abs=1e-12)
    for row in largest:
        expected = by_hand.loc[row["key"]]
        assert abs(expected["difference"]) >= furthest.min() - 1e-12
        assert row["score"] == pytest.approx(expected["score"], abs=1e-12)
        assert row["new_score"] == pytest.approx(expected["new_score"], abs=1e-12)
        assert (row["label"], row["new_label"]) == (expected["prediction"], expected["new_prediction"])
    assert len({row["key"] for row in largest}) == 20


@pytest.mark.slow
def test_the_rows_that_a_dry_run_writes_to_a_file_equal_those_by_hand(story: Story, by_hand: pd.DataFrame) -> None:
    columns = ["Loan_ID", "score", "prediction", "new_score", "new_prediction", "difference"]
    assert list(story.rows.columns) == columns, "the key by its own name, so that the file is one of keys too"
    found = story.rows.set_index("Loan_ID").sort_index()
    expected = by_hand.rename_axis("Loan_ID").sort_index()[list(found.columns)]
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=0, atol=1e-12)


def test_terminal_and_page_show_the_flips_and_the_rows_that_move_furthest(story: Story) -> None:
    assert story.page.lstrip().lower().startswith("<!doctype html>")
    for printed in (html.unescape(re.sub(r"<[^>]+>", "", story.page)), story.shown):
        shown = " ".join(printed.split())
        assert "367 rows would be scored again by loan_eligibility version 2" in shown
        assert "367 predictions superseded, 0 rows quarantined; nothing was written" in shown
        assert f"{story.dry_run['flipped_count']} predictions would change" in shown
        for old, new, count in story.dry_run["labels"]:
            assert re.search(rf"\b{old} +{new} +{count}\b", shown)
        for row in story.dry_run["largest"]:
            difference = row["new_score"] - row["score"]
            line = f"{row['key']} {row['score']:.6g} {row['new_score']:.6g} {difference:+.4g} "
            assert line in shown


def test_a_rescore_supersedes_each_prediction_once_and_keeps_the_old_one(story: Story) -> None:
    run = story.run
    assert (run["due_count"], run["scored_count"], run["superseded_count"], run["quarantined_count"]) == (
        367,
        367,
        367,
        0,
    )
    workspace = story.workspace
    counts = workspace.query(
        "SELECT model_version, run_id, is_current, count(*) FROM predictions_history GROUP BY 1, 2, 3 ORDER BY 1"
    )
    assert [(version, run_id, bool(is_current), count) for version, run_id, is_current, count in counts] == [
        (1, 1, False, 367),
        (2, 2, True, 367),
    ]
    gaps = workspace.scalar(
        'SELECT count(*) FROM predictions_history old JOIN predictions_history new ON old."Loan_ID" = new."Loan_ID"'
        " WHERE old.run_id = 1 AND new.run_id = 2 AND old.valid_to <> new.valid_from"
    )
    assert gaps == 0, "a life ends where the next one begins"
    unchanged = workspace.scalar(
        'SELECT count(*) FROM predictions_history old JOIN predictions_history new ON old."Loan_ID" = new."Loan_ID"'
        " WHERE old.run_id = 1 AND new.run_id = 2 AND old.source_changed_at = new.source_changed_at"
    )
    assert unchanged == 367


def test_what_was_believed_before_and_after_a_rescore_can_still_be_asked(story: Story, by_hand: pd.DataFrame) -> None:
    for moment, score, prediction in (
        (story.before, "score", "prediction"),
        (story.between, "new_score", "new_prediction"),
    ):
        written = story.workspace.words.timestamp_text(moment)
        held = story.workspace.query(
            'SELECT "Loan_ID", score, prediction FROM predictions_history WHERE valid_from <= :at AND :at < valid_to',
            at=written,
        )
        frame = pd.DataFrame(held, columns=["key", "score", "prediction"]).set_index("key")
        expected = by_hand.reindex(frame.index)
        assert len(frame) == 367
        assert np.abs(frame["score"] - expected[score]).max() <= 1e-12
        assert (frame["prediction"] == expected[prediction]).all()
        if story.workspace.dialect.has_functions:
            as_of = story.workspace.query('SELECT "Loan_ID", score, prediction FROM predictions_as_of(:at)', at=moment)
            assert sorted(as_of) == sorted(held)


def test_who_asked_for_a_rescore_and_why_stands_with_the_run(story: Story) -> None:
    recorded = story.workspace.query(
        "SELECT trigger, status, requested_by, reason, model_version, continues_run_id, mode FROM scoring_runs"
        " WHERE run_id = 2"
    )
    assert recorded == [("rescore", "succeeded", "risk@example.com", "version 2 is better", 2, None, None)]
    ((selection, version),) = story.workspace.query(
        "SELECT selection, model_version FROM rescore_requests WHERE run_id = 2"
    )
    asked = selection if isinstance(selection, dict) else json.loads(selection)
    assert version == 2
    assert {name: value for name, value in asked.items() if value} == {"scored_by_version": 1}


def test_an_ordinary_run_after_a_rescore_finds_nothing_due(story: Story) -> None:
    assert (story.ordinary.status, story.ordinary.due_count, story.ordinary.scored_count) == ("succeeded", 0, 0)


@pytest.mark.slow
def test_a_rescore_makes_a_job_neither_healthy_nor_unhealthy(scored: Workspace) -> None:
    job = scored.job()

    def status() -> tuple[int | None, int | None, str | None]:
        with scored.database() as database:
            found = status_of(database, job, scored.artifacts_dir)
        last, success = found.last_run, found.last_success
        return last.run_id if last else None, success.run_id if success else None, found.issue

    assert status() == (1, 1, None)
    assert rescored(scored).status == "succeeded"
    assert status() == (1, 1, None), "a rescore is no last success"

    (artifact,) = [file for file in (scored.artifacts_dir / NAME).glob("*.joblib") if champion_of(scored) in file.name]
    content = artifact.read_bytes()
    artifact.write_bytes(content + b"x")
    with pytest.raises(ArtifactChanged):
        rescored(scored)
    assert scored.query("SELECT trigger, status FROM scoring_runs WHERE run_id = 3") == [("rescore", "failed")]
    assert status() == (1, 1, "model"), "what it met does: the model would be refused"
    artifact.write_bytes(content)
    assert status() == (1, 1, None), "a rescore that failed does not make the job unhealthy"

    artifact.write_bytes(content + b"x")
    applicant_changes(scored, "LP001015")
    with pytest.raises(ArtifactChanged):
        scored.run()
    artifact.write_bytes(content)
    assert status() == (4, 1, "failed"), "an ordinary run that failed does"
    assert rescored(scored).status == "succeeded"
    assert status() == (4, 1, "failed"), "and a rescore that succeeds does not mend that"


def champion_of(workspace: Workspace) -> str:
    """What the file of the champion has in its name."""
    with workspace.database() as database:
        return Path(registry.resolve_alias(database, NAME, "champion").artifact_uri).stem


def applicant_changes(workspace: Workspace, *keys: str, at: str = "2026-03-01 00:00:00.000000") -> None:
    """New versions of applicants."""
    workspace.sql(
        'UPDATE applicants SET updated_at = :at, "ApplicantIncome" = 2 * "ApplicantIncome" WHERE "Loan_ID" = :key',
        [{"key": key, "at": at} for key in keys],
    )


# --- faults


def stopped_midway(workspace: Workspace, request: Request, *, chunks: int) -> Run:
    """A rescore that was asked to stop after so many chunks."""
    with workspace.database() as database:
        plan = rescore.plan(database, workspace.job(), request)
    stop = threading.Event()
    committed = 0

    def observe(event: Event) -> None:
        nonlocal committed
        committed += isinstance(event, ChunkCommitted)
        if committed == chunks:
            stop.set()

    with pytest.raises(RunStopped):
        run_job(
            Database(workspace.database_url),
            workspace.job(),
            workspace.artifacts_dir,
            options=RunOptions(trigger="rescore", rescore=plan.rescore, reason="half of it"),
            observers=[observe],
            stop=stop,
        )
    with workspace.database() as database:
        (run,) = list_runs(database, limit=1)
    assert run.trigger == "rescore"
    assert 0 < run.scored_count < plan.row_count
    return run


def predictions_of(workspace: Workspace) -> dict[str, list[tuple[int, int, bool]]]:
    """Each applicant's predictions from the first to the current: version, run, and whether it is current."""
    found: dict[str, list[tuple[int, int, bool]]] = {}
    for key, version, run_id, is_current in workspace.query(
        'SELECT "Loan_ID", model_version, run_id, is_current FROM predictions_history ORDER BY valid_from'
    ):
        found.setdefault(key, []).append((version, run_id, bool(is_current)))
    return found


def assert_each_was_superseded_once(workspace: Workspace, keys: set[str]) -> None:
    """Lost 0, doubled 0: version 1 gave way to version 2 exactly once for each key."""
    found = predictions_of(workspace)
    assert set(found) == keys
    assert {tuple((version, is_current) for version, _, is_current in each) for each in found.values()} == {
        ((1, False), (2, True))
    }
    assert workspace.scalar("SELECT sum(superseded_count) FROM run_history") == len(keys)
    assert_counters_equal_rows(workspace)
    assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)


def applicant_keys(workspace: Workspace) -> list[str]:
    return [key for (key,) in workspace.query('SELECT "Loan_ID" FROM applicants ORDER BY "Loan_ID"')]


_KILLS = 6


@pytest.mark.slow
@pytest.mark.parametrize("is_by_keys", [False, True], ids=["by version", "by keys"])
def test_a_rescore_killed_again_and_again_and_continued_supersedes_each_prediction_once(
    workspace: Workspace, loan_model: TrainedModel, challenger: TrainedModel, loan_test: pd.DataFrame, is_by_keys: bool
) -> None:
    ready(workspace, loan_model, loan_test, chunk_rows=1_000, stalled_after="1 minute", copies=1 if is_by_keys else 3)
    with_a_challenger(workspace, challenger)
    workspace.write_job(NAME, loan_job(chunk_rows=4, stalled_after="1 minute"))
    keys = applicant_keys(workspace)
    request = Request(keys=tuple((key,) for key in keys)) if is_by_keys else BY_VERSION_1
    chance = random.Random(10)
    killed_midway = 0
    begun: int | None = None
    for _ in range(_KILLS):
        last = workspace.scalar("SELECT max(run_id) FROM scoring_runs")
        process = start_rescore(workspace, request, continues=begun)
        if chance.random() < 0.7:  # in or between its chunks, else wherever it is

            def has_committed(process: Any = process, last: int = last) -> bool:
                writing = "SELECT count(*) FROM run_history WHERE run_id > :last AND chunk_count > 0"
                return not process.is_alive() or bool(workspace.scalar(writing, last=last))

            wait_until(has_committed)
        process.join(timeout=chance.uniform(0.0, 0.25))
        process.kill()
        process.join()
        killed_midway += process.exitcode == -signal.SIGKILL
        assert_counters_equal_rows(workspace)
        # as if the time-out had passed
        workspace.sql("UPDATE scoring_runs SET heartbeat_at = '2026-01-01 00:00:00.000000' WHERE status = 'running'")
        begun = workspace.scalar("SELECT max(run_id) FROM rescore_requests")

    assert begun is not None
    latest = workspace.scalar("SELECT max(run_id) FROM scoring_runs WHERE trigger = 'rescore'")
    workspace.write_job(NAME, loan_job(chunk_rows=200))
    rest = continued(workspace, chance.choice([begun, latest]))

    assert rest.status == "succeeded"
    assert rest.continues_run_id == begun
    assert killed_midway >= _KILLS // 2, "the kills came too late to mean anything"
    assert_each_was_superseded_once(workspace, set(keys))
    assert continued(workspace, begun).due_count == 0
    assert workspace.run().due_count == 0
    print(f"killed {killed_midway} of {_KILLS} rescores midway; the last one did {rest.scored_count} of {len(keys)}")


@pytest.mark.slow
def test_the_rest_of_a_rescore_is_what_no_run_has_settled_since(
    workspace: Workspace, loan_model: TrainedModel, challenger: TrainedModel
) -> None:
    with_a_challenger(prepare_loans(workspace, loan_model, job=loan_job(chunk_rows=40)), challenger)
    keys = applicant_keys(workspace)
    half = stopped_midway(workspace, BY_VERSION_1, chunks=3)
    assert half.status == "failed"
    done, left = keys[: half.scored_count], keys[half.scored_count :]
    assert {key for key, each in predictions_of(workspace).items() if each[-1][1] == half.run_id} == set(done)

    applicant_changes(workspace, *done[:3], *left[:4])
    workspace.sql('UPDATE applicants SET "ApplicantIncome" = NULL WHERE "Loan_ID" = :key', {"key": left[3]})
    between = workspace.run()
    assert (between.scored_count, between.quarantined_count) == (6, 1)

    before = predictions_of(workspace)
    rest = continued(workspace, half.run_id)

    assert rest.continues_run_id == half.run_id
    assert (rest.reason, rest.model_version) == ("half of it", 2)
    assert (rest.due_count, rest.scored_count, rest.superseded_count) == (len(left) - 4,) * 3
    after = predictions_of(workspace)
    assert {key for key in keys if after[key] != before[key]} == set(left[4:])
    assert after[left[3]] == [(1, 1, True)], "a row quarantined since then keeps its prediction and is not tried again"
    assert_counters_equal_rows(workspace)
    assert continued(workspace, rest.run_id).due_count == 0, "what continued a rescore is continued, too"


@pytest.mark.slow
def test_the_rest_of_a_rescore_is_scored_by_the_version_it_began_with(scored: Workspace) -> None:
    scored.write_job(NAME, loan_job(chunk_rows=100))
    half = stopped_midway(scored, ALL, chunks=1)
    promote(scored, 1)
    rest = continued(scored, half.run_id)
    assert rest.model_version == 2
    assert_each_was_superseded_once(scored, set(applicant_keys(scored)))


@pytest.mark.slow
def test_of_a_rescore_and_what_is_started_beside_it_only_the_rescore_writes(scored: Workspace) -> None:
    scored.write_job(NAME, loan_job(chunk_rows=4))
    first = start_rescore(scored, ALL)
    wait_until(lambda: scored.scalar("SELECT count(*) FROM run_history WHERE run_id = 2 AND chunk_count > 0"))
    try:
        freeze_between_transactions(scored, first.pid)  # however slow the machine is, the others find it there
        others = [
            scored.cli("rescore", NAME, *arguments, "--reason", "the same again", "--yes")
            for arguments in (("--all",), ("--continue", "2"))
        ]
        others.append(scored.cli("run", NAME))
    finally:
        os.kill(first.pid, signal.SIGCONT)
    first.join()

    assert first.exitcode == 0
    for other in others:
        assert_refused(other, 75, "run 2 is active")
    statuses = scored.query("SELECT trigger, status FROM scoring_runs ORDER BY run_id")
    assert statuses[1:] == [("rescore", "succeeded"), *[("rescore", "skipped")] * 2, ("cli", "skipped")]
    assert_each_was_superseded_once(scored, set(applicant_keys(scored)))
    skipped = scored.scalar("SELECT min(run_id) FROM scoring_runs WHERE status = 'skipped'")
    refused = scored.cli("rescore", NAME, "--continue", str(skipped), "--yes")
    assert_refused(refused, 2, f"run {skipped} ended before its selection was recorded; start the rescore again")


@pytest.mark.slow
def test_a_frozen_rescore_is_taken_over_by_its_continuation_and_fenced_when_it_wakes_up(scored: Workspace) -> None:
    scored.write_job(NAME, loan_job(chunk_rows=2, stalled_after="2 seconds"))
    holder = scored.start("rescore", NAME, "--scored-by-version", "1", "--reason", "it will freeze", "--yes")
    try:
        wait_until(lambda: scored.scalar("SELECT count(*) FROM run_history WHERE run_id = 2 AND chunk_count >= 3"))
        freeze_between_transactions(scored, holder.pid)
        assert scored.scalar("SELECT chunk_count FROM run_history WHERE run_id = 2") < 184, "it must be midway"
        wait_until(lambda: seconds_without_heartbeat(scored, 2) > 2.1)

        scored.write_job(NAME, loan_job(chunk_rows=100, stalled_after="2 seconds"))
        successor = continued(scored, 2)
        after_takeover = everything(scored)
        os.kill(holder.pid, signal.SIGCONT)
        _, err = holder.communicate(timeout=60)
    finally:
        holder.kill()

    assert (successor.status, successor.run_id, successor.continues_run_id) == ("succeeded", 3, 2)
    assert holder.returncode == 1
    assert "fenced" in err
    assert everything(scored) == after_takeover
    assert scored.query("SELECT status FROM scoring_runs ORDER BY run_id") == [
        ("succeeded",),
        ("abandoned",),
        ("succeeded",),
    ]
    assert_each_was_superseded_once(scored, set(applicant_keys(scored)))


@pytest.mark.slow
def test_keys_that_leave_the_source_meanwhile_are_left_out(scored: Workspace) -> None:
    scored.write_job(NAME, loan_job(chunk_rows=5))
    keys = applicant_keys(scored)[:40]
    half = stopped_midway(scored, Request(keys=tuple((key,) for key in keys)), chunks=2)
    done, left = keys[: half.scored_count], keys[half.scored_count :]
    gone = [done[0], *left[:3]]
    scored.sql('DELETE FROM applicants WHERE "Loan_ID" = :key', [{"key": key} for key in gone])

    rest = continued(scored, half.run_id)

    assert (rest.due_count, rest.scored_count) == (len(left) - 3, len(left) - 3)
    found = predictions_of(scored)
    assert {key for key, each in found.items() if each[-1][0] == 2} == {*done, *left[3:]}
    assert all(len(each) == (2 if key in {*done, *left[3:]} else 1) for key, each in found.items())

    with scored.database() as database:
        plan = rescore.plan(database, scored.job(), Request(keys=tuple((key,) for key in left[3:6])))
    scored.sql('DELETE FROM applicants WHERE "Loan_ID" = :key', [{"key": key} for key in left[3:5]])
    assert plan.row_count == 3
    assert scored.run(trigger="rescore", rescore=plan.rescore, reason="some are gone").scored_count == 1
    scored.sql("DELETE FROM applicants")
    assert continued(scored, half.run_id).due_count == 0
    assert_counters_equal_rows(scored)


@pytest.mark.slow
@pytest.mark.parametrize("run", [1, 99], ids=["an ordinary run", "no run"])
def test_what_is_no_rescore_cannot_be_continued(scored: Workspace, run: int) -> None:
    before = everything(scored)
    with pytest.raises(InputFault, match=f"run {run} is not a rescore of job loan_eligibility"):
        continued(scored, run)
    assert everything(scored) == before


# --- what the selectors select


FACTS = """[source]
table = "facts"
key = {key}
[model]
name = "any"
[predictions]
table = {predictions}
positive_label = "yes"
"""


def job_of_facts(*key: str, predictions: str = "predictions") -> str:
    return FACTS.format(key=json.dumps(key), predictions=json.dumps(predictions))


@pytest.fixture(scope="module")
def any_model() -> tuple[Pipeline, pd.DataFrame]:
    """Yes or no, from one number that is never missing."""
    sample = pd.DataFrame({"x": np.linspace(-1.0, 1.0, 20)})
    return LogisticRegression().fit(sample, np.where(sample["x"] > 0.1, "yes", "no")), sample


def facts(
    workspace: Workspace,
    any_model: tuple[Pipeline, pd.DataFrame],
    columns: str,
    frame: pd.DataFrame,
    *key: str,
    predictions: str = "predictions",
) -> Workspace:
    """A table of its own with some rows, each scored once."""
    workspace.sql(f"CREATE TABLE facts (x DOUBLE PRECISION, {columns})")
    workspace.insert_frame("facts", frame.assign(x=np.linspace(-0.9, 0.9, len(frame))) if "x" not in frame else frame)
    workspace.write_job("any", job_of_facts(*key, predictions=predictions))
    workspace.upgrade()
    workspace.register(*any_model, name="any")
    workspace.run("any")
    return workspace


def selected(workspace: Workspace, request: Request, *, name: str = "any") -> list[str]:
    """The keys of the rows that a rescore would read, as a run and a dry run read them."""
    keys: list[str] = []
    with workspace.database() as database:
        job = workspace.job(name)
        plan = rescore.plan(database, job, request)
        source = plan.source
        for batch in RescoreScan(selection=plan.selection).batches(job.run.chunk_rows):
            query = DueQuery(source=source, layout=layout_of(job, source), scan=batch)
            remaining: KeysetReader | None = KeysetReader(query=query, bulk=bulk_for(database, "auto"), features=())
            while remaining is not None:
                with database.read() as connection:
                    chunk = remaining.next_chunk(connection, 100)
                found = zip(*map(as_list, chunk.rows.keys), strict=True)
                keys += [key_text(source.key, key) for key in found]
                remaining = chunk.rest
    assert plan.row_count == len(keys) == len(set(keys))
    return keys


def of_keys(names: Sequence[str], *texts: str) -> Request:
    return Request(keys=tuple(parse_key(text, names) for text in texts))


def where(*terms: str) -> Request:
    return Request(selection=Selection(where=tuple(map(parse, terms))))


def as_csv(*fields: str) -> str:
    """One line of CSV, without its end."""
    line = io.StringIO()
    csv.writer(line).writerow(fields)
    return line.getvalue().removesuffix("\r\n")


@pytest.mark.parametrize("chunk_rows", [None, 3])
def test_composite_keys_of_any_type_are_found_exactly(
    workspace: Workspace, any_model: tuple[Pipeline, pd.DataFrame], chunk_rows: int | None
) -> None:
    notes = [
        "plain",
        "a,b",
        'say "so"',
        "it's",
        "k=v",
        "",
        "007",
        "7",
        "NULL",
        "Ключ",
        "x'); DROP TABLE facts; --",
        "%s",
    ]
    frame = pd.DataFrame(
        {
            "account": [2**53 + i for i in range(6)] + [2**63 - 1, -(2**63), 0, 7, -7, 2**53],
            "note": notes,
            "ref": [str(uuid5(UUID(int=0), str(i))) for i in range(12)],
            "day": [f"2024-02-{i + 18}" for i in range(12)],
        }
    )
    names = ["account", "note", "ref", "day"]
    columns = f"account BIGINT, note TEXT, ref {workspace.words.uuid}, day DATE, PRIMARY KEY (account, note, ref, day)"
    facts(workspace, any_model, columns, frame, *names)
    if chunk_rows:
        workspace.write_job("any", job_of_facts(*names) + f"[run]\nchunk_rows = {chunk_rows}\n")
    rows = list(frame.astype(str).itertuples(index=False, name=None))
    shown = [as_csv(*(f"{name}={value}" for name, value in zip(names, row, strict=True))) for row in rows]

    for key in shown:
        assert selected(workspace, of_keys(names, key)) == [key], "a key is written as it is read"
    backwards = as_csv(*(f"{name}={value}" for name, value in reversed(list(zip(names, rows[1], strict=True)))))
    assert selected(workspace, of_keys(names, backwards)) == [shown[1]], "the columns may come in any order"
    upper = shown[0].replace(rows[0][2], rows[0][2].upper())
    if workspace.words.has_uuids:
        assert selected(workspace, of_keys(names, upper)) == [shown[0]], "a UUID is one however it is written"

    file = workspace.folder / "keys.csv"
    some = [row for row in rows if row[1]]  # a file has no way to say an empty text
    file.write_text("\n".join([as_csv("x", *names), *(as_csv("9", *row) for row in some)]), encoding="utf-8")
    request = Request(keys=read_keys(str(file), names))
    assert sorted(selected(workspace, request)) == sorted(shown[i] for i in range(12) if notes[i])

    run = rescored(workspace, request, name="any")
    assert (run.scored_count, run.superseded_count) == (11, 11)
    done = workspace.query("SELECT account, note FROM predictions WHERE run_id = 2")
    assert set(done) == {(int(row[0]), row[1]) for row in some}
    assert continued(workspace, 2, name="any").due_count == 0, "the keys that were kept with the run are the same"


TEXT_KEYS = ["7", "007", "7.0", "+7", "1e5", "100000", "a=b", "a,b", 'say "so"', "it's", "NULL", "null", "%s", ":x"]
TEXT_KEYS += ["Ключ", "é", "e\u0301", "line\nbreak", "\\N", "{}", "x'; DROP TABLE facts; --", "a", "A", "b ", "b", " c"]


def test_text_keys_are_taken_as_the_text_they_are(
    workspace: Workspace, any_model: tuple[Pipeline, pd.DataFrame]
) -> None:
    facts(workspace, any_model, "id TEXT PRIMARY KEY", pd.DataFrame({"id": TEXT_KEYS}), "id")
    for key in TEXT_KEYS:
        assert selected(workspace, of_keys(["id"], key)) == [key]
    file = workspace.folder / "keys.csv"
    bare = [key for key in TEXT_KEYS if key == key.strip()]
    file.write_text("\n".join(map(as_csv, bare)), encoding="utf-8")
    assert sorted(selected(workspace, Request(keys=read_keys(str(file), ["id"])))) == sorted(bare)
    run = rescored(workspace, of_keys(["id"], "007", "a=b"), name="any")
    assert run.superseded_count == 2
    assert workspace.query("SELECT id FROM predictions_current WHERE run_id = 2 ORDER BY id") == [("007",), ("a=b",)]


def test_keys_are_exact_where_the_source_compares_without_case(
    sqlite_workspace: Workspace, any_model: tuple[Pipeline, pd.DataFrame]
) -> None:
    frame = pd.DataFrame({"branch": ["a", "A", "b", "B"], "id": ["x", "x", "X", "x"]})
    columns = "branch TEXT NOT NULL COLLATE NOCASE, id TEXT NOT NULL COLLATE NOCASE"
    facts(sqlite_workspace, any_model, columns, frame, "branch", "id")
    names = ["branch", "id"]
    assert selected(sqlite_workspace, of_keys(names, "branch=a,id=x")) == ["branch=a,id=x"]
    assert selected(sqlite_workspace, of_keys(names, "branch=b,id=X")) == ["branch=b,id=X"]
    with pytest.raises(InputFault, match="1 key is not among the rows of facts"):
        selected(sqlite_workspace, of_keys(names, "branch=b,id=x"))
    assert rescored(sqlite_workspace, of_keys(names, "branch=A,id=x"), name="any").superseded_count == 1
    assert sqlite_workspace.query("SELECT branch, id FROM predictions_current WHERE run_id = 2") == [("A", "x")]


WHERE_FRAME = pd.DataFrame(
    {
        "id": range(1, 9),
        "n": [0.5, -1.25, 3.0, None, 1e6, 0.1, 2.5, 2.5],
        "i": [1, 2, 3, None, 5, -6, 0, 3],
        "t": ["a", "it's", "", None, "5", "a b", 'q"q', "x' OR '1'='1"],
        "d": ["2026-01-31", "2026-02-01", "2026-02-28", None, "2024-02-29", "1999-12-31", "2026-02-01", "2026-03-01"],
        "s": [f"2026-02-0{day} 12:00:00.000000" if day != 4 else None for day in range(1, 9)],
        "b": [True, False, True, None, False, False, True, True],
        "order": [1, 1, 2, 2, None, 3, 3, 3],
    }
)
DATES = pd.to_datetime(WHERE_FRAME["d"])
TRUTH = WHERE_FRAME["b"]
WHERES: dict[tuple[str, ...], Any] = {
    ("n > 0.5",): WHERE_FRAME["n"] > 0.5,
    ("n>=.5",): WHERE_FRAME["n"] >= 0.5,
    ("n < -1",): WHERE_FRAME["n"] < -1,
    ("n = 2.50",): WHERE_FRAME["n"] == 2.5,
    ("n != 2.5",): WHERE_FRAME["n"].notna() & (WHERE_FRAME["n"] != 2.5),
    ("n <> 2.5",): WHERE_FRAME["n"].notna() & (WHERE_FRAME["n"] != 2.5),
    ("n = 1e6",): WHERE_FRAME["n"] == 1e6,
    ("n is null",): WHERE_FRAME["n"].isna(),
    ("n IS NOT NULL",): WHERE_FRAME["n"].notna(),
    ("i = 3",): WHERE_FRAME["i"] == 3,
    ("i <= -6",): WHERE_FRAME["i"] <= -6,
    ("t = a",): WHERE_FRAME["t"] == "a",
    ("t = 'it''s'",): WHERE_FRAME["t"] == "it's",
    ("t = ''",): WHERE_FRAME["t"] == "",
    ("t = 5",): WHERE_FRAME["t"] == "5",
    ("t='a b'",): WHERE_FRAME["t"] == "a b",
    ("t = 'q\"q'",): WHERE_FRAME["t"] == 'q"q',
    ("t = 'x'' OR ''1''=''1'",): WHERE_FRAME["t"] == "x' OR '1'='1",
    ("t = 'nothing'' OR ''1''=''1'",): WHERE_FRAME["t"] == "no row",
    ("t = a and i = 3 or i <= -6",): (WHERE_FRAME["t"] == "a") & (WHERE_FRAME["i"] == 3) | (WHERE_FRAME["i"] <= -6),
    ("t in (a, 'a b')",): WHERE_FRAME["t"].isin(["a", "a b"]),
    ("t is null",): WHERE_FRAME["t"].isna(),
    ("d = 2026-02-01",): DATES == "2026-02-01",
    ("d < 2000-01-01",): pd.Timestamp("2000-01-01") > DATES,
    ("d >= '2026-02-28'",): pd.Timestamp("2026-02-28") <= DATES,
    ("d is null",): DATES.isna(),
    ("s < 2026-02-05",): pd.to_datetime(WHERE_FRAME["s"]) < pd.Timestamp("2026-02-05"),
    ("s >= 2026-02-05 12:00:00.000000",): pd.to_datetime(WHERE_FRAME["s"]) >= pd.Timestamp("2026-02-05 12:00"),
    ("b = true",): TRUTH == True,  # noqa: E712 - a column, not a truth
    ("b = F",): TRUTH == False,  # noqa: E712
    ("b != 1",): TRUTH == False,  # noqa: E712
    ("b is null",): TRUTH.isna(),
    ("order = 3",): WHERE_FRAME["order"] == 3,
    ('"order" is null',): WHERE_FRAME["order"].isna(),
    ("n > 0", "n < 3", "b = true"): WHERE_FRAME["n"].between(0.01, 2.99) & (TRUTH == True),  # noqa: E712
    ("id > 2", "id <> 4", "t is not null"): (WHERE_FRAME["id"] > 2) & (WHERE_FRAME["id"] != 4),
}


@pytest.mark.slow
def test_a_where_selects_what_it_says(workspace: Workspace, any_model: tuple[Pipeline, pd.DataFrame]) -> None:
    columns = "id INTEGER PRIMARY KEY, n NUMERIC(20, 4), i INTEGER, t TEXT, d DATE, s TIMESTAMP, b BOOLEAN"
    facts(workspace, any_model, f'{columns}, "order" INTEGER', WHERE_FRAME, "id")
    for terms, expected in WHERES.items():
        keys = WHERE_FRAME["id"][expected.fillna(False).astype(bool)].astype(str)
        assert sorted(selected(workspace, where(*terms))) == sorted(keys), terms
    assert workspace.scalar("SELECT count(*) FROM facts") == len(WHERE_FRAME)


@pytest.mark.slow
def test_version_and_timestamp_select_by_the_current_prediction(scored: Workspace) -> None:
    keys = applicant_keys(scored)
    applicant_changes(scored, *keys[:10])
    scored.run()
    stands = dict(scored.query('SELECT "Loan_ID", scored_at FROM predictions_current'))
    later = stands[keys[0]]
    later = later if isinstance(later, datetime) else datetime.fromisoformat(later)
    later = later.astimezone(UTC) if later.tzinfo else later.replace(tzinfo=UTC)
    earlier = later - timedelta(microseconds=1)

    def found(**said: Any) -> set[str]:
        return set(selected(scored, Request(selection=Selection(**said)), name=NAME))

    assert found(scored_by_version=2) == set(keys[:10])
    assert found(scored_by_version=1) == set(keys[10:])
    assert found(scored_after=later) == set(keys[:10]), "the moment itself is after"
    assert found(scored_before=later) == set(keys[10:]), "and not before"
    assert found(scored_after=earlier, scored_before=later) == set()
    assert found(scored_before=later + timedelta(microseconds=1)) == set(keys)
    assert found(scored_before=later + timedelta(microseconds=1), scored_after=later) == set(keys[:10])
    assert found(scored_by_version=1, scored_after=later) == set()

    in_tokyo = later.astimezone(timezone(timedelta(hours=9)))
    for option, written, count in (
        ("--scored-before", f"{later:%Y-%m-%d %H:%M:%S.%f}", 357),
        ("--scored-after", f"{in_tokyo:%Y-%m-%dT%H:%M:%S.%f%z}", 10),
    ):
        done = scored.cli("rescore", NAME, option, written, "--dry-run", "--json")
        assert json.loads(done.stdout)["row_count"] == count


def test_rows_that_were_never_scored_or_are_quarantined_can_be_asked_for(
    workspace: Workspace, any_model: tuple[Pipeline, pd.DataFrame]
) -> None:
    frame = pd.DataFrame({"id": range(1, 9), "x": [0.1, -0.2, 0.3, None, 0.5, 0.6, -0.7, 0.8]})
    facts(workspace, any_model, "id INTEGER PRIMARY KEY", frame, "id")
    workspace.sql("INSERT INTO facts (id, x) VALUES (9, 0.9)")
    assert workspace.query("SELECT id FROM predictions_quarantine") == [(4,)]
    everyone = {str(i) for i in range(1, 10)}
    assert set(selected(workspace, ALL)) == everyone
    assert set(selected(workspace, of_keys(["id"], "4", "9", "1"))) == {"4", "9", "1"}
    assert set(selected(workspace, where("x is null"))) == {"4"}
    assert set(selected(workspace, where("x > 0.7"))) == {"8", "9"}
    assert set(selected(workspace, BY_VERSION_1)) == everyone - {"4", "9"}

    with workspace.database() as database:
        job = workspace.job("any")
        found = preview(database, job, workspace.artifacts_dir, rescore.plan(database, job, ALL))
    assert (found.row_count, found.scored_count, found.superseded_count) == (9, 8, 7)
    assert found.quarantined == {"missing_value": 1}
    assert sum(count for old, _, count in found.labels if old is None) == 1
    assert found.flipped_count == 0, "a first prediction is no flip"

    run = rescored(workspace, ALL, name="any")
    assert (run.due_count, run.scored_count, run.superseded_count, run.quarantined_count) == (9, 8, 7, 1)
    entries = "SELECT id, run_id, attempts FROM predictions_quarantine"
    assert workspace.query(entries) == [(4, 2, 2)]

    _, sample = any_model
    lenient = make_pipeline(SimpleImputer(), LogisticRegression()).fit(sample, np.where(sample["x"] > 0, "yes", "no"))
    with_a_gap = sample.assign(x=sample["x"].where(sample.index != 3))
    workspace.register(lenient, with_a_gap, name="any")
    mended = rescored(workspace, of_keys(["id"], "4"), name="any", version="2")
    assert (mended.scored_count, mended.superseded_count, mended.quarantined_count) == (1, 0, 0)
    assert workspace.query(entries) == []
    assert workspace.query("SELECT id, run_id, model_version FROM predictions_current WHERE id = 4") == [(4, 3, 2)]
    assert_counters_equal_rows(workspace)


# --- what cannot be done


@pytest.fixture(scope="module", params=DATABASES)
def careful(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    loan_model: TrainedModel,
    challenger: TrainedModel,
    any_model: tuple[Pipeline, pd.DataFrame],
) -> Workspace:
    """Jobs with keys of one column and of several, one that has never run, and files of all kinds: to be refused."""
    folder = tmp_path_factory.mktemp("careful")
    databases: Databases = request.getfixturevalue(DATABASES[request.param])
    workspace = scored_by_1_with_2_as_champion(Workspace(folder, databases.create_database()), loan_model, challenger)
    frame = pd.DataFrame({"account": [1, 2**53 + 1], "note": ["a,b", "c"], "day": ["2026-01-31", "2026-02-01"]})
    columns = "account BIGINT, note TEXT, day DATE, PRIMARY KEY (account, note, day)"
    facts(workspace, any_model, columns, frame, "account", "note", "day", predictions="facts_predictions")
    workspace.write_job("fresh", job_of_facts("account", predictions="fresh_predictions"))
    (folder / "folder").mkdir()
    for name, content in KEY_FILES.items():
        (folder / name).write_bytes(content)
    return workspace


KEY_FILES = {
    "empty.csv": b"",
    "blank.csv": b"\n  \n,\n\r\n",
    "header.csv": b"Loan_ID\n",
    "latin1.csv": "LP001015\nM\u00fcller\n".encode("latin-1"),
    "utf16.csv": "Loan_ID\nLP001015\n".encode("utf-16") + b"\x00",
    "wide.csv": "Loan_ID\nLP001015\n".encode("utf-16-le"),
    "binary.csv": bytes(range(256)) * 40,
    "zeros.csv": bytes(1000),
    "two_fields.csv": b"LP001015,Male\n",
    "no_value.csv": b"Gender,Loan_ID\nMale,LP001015\nMale\n",
    "unknown.csv": b"LP001015\nLP000000\nLP999999\n",
    "pairs.csv": b"account,note\n1,c\n",
    "long.csv": b"LP001015\n" + b"x" * 200_000 + b"\n",
}

SAID = ["--reason", "a test", "--yes"]
REFUSED: dict[str, tuple[list[str], str]] = {
    "an unknown key": (
        ["--key", "LP000000"],
        "1 key is not among the rows of applicants that the job covers (key Loan_ID): LP000000",
    ),
    "an unknown key beside a known one": (
        ["--key", "LP001015", "--key", "lp001015"],
        "(key Loan_ID): lp001015; nothing",
    ),
    "an empty key": (["--key", ""], "--key: expected a value of Loan_ID, found nothing"),
    "an injection as a key": (["--key", "' OR '1'='1"], "(key Loan_ID): ' OR '1'='1; nothing was done"),
    "a deletion as a key": (["--key", "x'); DELETE FROM applicants; --"], "1 key is not among the rows"),
    "an empty file": (["--keys-file", "empty.csv"], "empty.csv: contains no keys"),
    "a file of blanks": (["--keys-file", "blank.csv"], "blank.csv: contains no keys"),
    "a file with a header alone": (["--keys-file", "header.csv"], "header.csv: contains no keys"),
    "a file that is not there": (["--keys-file", "absent.csv"], "absent.csv cannot be read: No such file"),
    "a folder as a file": (["--keys-file", "folder"], "folder cannot be read: Is a directory"),
    "a file in latin-1": (["--keys-file", "latin1.csv"], "latin1.csv, line 2: is not UTF-8; save it as UTF-8"),
    "a file in UTF-16 cut short": (["--keys-file", "utf16.csv"], "utf16.csv, line 3: is not UTF-16"),
    "a file in UTF-16 without its mark": (["--keys-file", "wide.csv"], "holds a NUL"),
    "a binary file": (["--keys-file", "binary.csv"], "is not UTF-8"),
    "a file of zeros": (["--keys-file", "zeros.csv"], "holds a NUL"),
    "a file of more fields": (["--keys-file", "two_fields.csv"], "line 1: has 2 fields where the key has 1"),
    "a file that lacks a value": (["--keys-file", "no_value.csv"], "line 3: expected a value for Loan_ID"),
    "a file of unknown keys": (["--keys-file", "unknown.csv"], "2 keys are not among the rows of applicants"),
    "a file of one huge field": (["--keys-file", "long.csv"], "long.csv, line 2: is not valid CSV"),
    "nothing on standard input": (["--keys-file", "-"], "-: contains no keys"),
    "a where with an unknown column": (["--where", "income > 3"], "the source has no column 'income' (it has Loan_ID,"),
    "a where with a column of our own": (["--where", "model_version = 1"], "the source has no column 'model_version'"),
    "a where in another case": (["--where", "gender = Male"], "the source has no column 'gender'"),
    "a where with an unknown operator": (["--where", "Gender ~ M"], "character 8: found '~', expected one of = != <"),
    "an empty where": (["--where", ""], "character 1: found the end, expected a column"),
    "a where without a column": (["--where", "= 3"], "character 1: found '=', expected a column"),
    "a where that is an injection": (
        ["--where", "1=1; DROP TABLE applicants; --"],
        "character 4: found ';'",
    ),
    "a where that closes the name": (
        ["--where", '"Gender"); DELETE FROM predictions; -- = x'],
        "character 9: found ')', expected one of",
    ),
    "a where that closes the condition": (["--where", "1) OR (1 = 1"], "character 2: found ')', expected one of"),
    "a where with a word for a number": (["--where", "ApplicantIncome > much"], "expected a number"),
    "a where with no number": (["--where", "ApplicantIncome > nan"], "expected a number"),
    "a where with an injection for a number": (
        ["--where", "ApplicantIncome > 0 OR 1=1"],
        "the source has no column '1'",
    ),
    "a where with nothing for a number": (["--where", "ApplicantIncome ="], "found the end, expected a value"),
    "a where with a word for a moment": (["--where", "updated_at > soon"], "expected a timestamp such as 2026-01-31"),
    "a where with a day that never was": (["--where", "updated_at > 2026-02-30"], "expected a timestamp"),
    "one good where and a bad one": (
        ["--where", "Gender = Male", "--where", "x"],
        "--where 'x', character 2: found the end, expected",
    ),
    "no selector": ([], "expected one selector, found none; the selectors are --key or --keys-file"),
    "two selectors": (["--all", "--key", "LP001015"], "found --key or --keys-file and --all"),
    "a selector and a continuation": (["--continue", "1", "--scored-by-version", "1"], "and --continue"),
    "an ordinary run to continue": (["--continue", "1"], "run 1 is not a rescore of job loan_eligibility"),
    "no run to continue": (["--continue", "99"], "run 99 is not a rescore"),
    "a continuation by another version": (["--continue", "1", "--model-version", "1"], "omit --model-version"),
    "rows to a file without a dry run": (["--all", "--out", "x.csv"], "--out requires --dry-run"),
    "a folder that is not there": (["--all", "--dry-run", "--out", "nowhere/x.csv"], "there is no folder nowhere"),
    "a file of another kind": (["--all", "--dry-run", "--out", "x.xlsx"], "a name that ends with .csv or .html"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_rescored_is_said_and_nothing_changes(careful: Workspace, case: str) -> None:
    arguments, words = REFUSED[case]
    assert_changes_nothing(careful, ["rescore", NAME, *arguments, *SAID], 2, words)


def assert_changes_nothing(workspace: Workspace, arguments: Sequence[str], code: int, *words: str) -> None:
    """The command is refused with the words, and every table is as it was."""
    before = everything(workspace)
    assert_refused(workspace.cli(*arguments), code, *words)
    assert everything(workspace) == before
    assert not list(workspace.folder.glob("x.*"))


REFUSED_PAIRS: dict[str, tuple[list[str], str]] = {
    "a column short": (["--key", "account=1,note=c"], "lacks day; expected account=…,note=…,day=…"),
    "a column twice": (["--key", "account=1,account=2,note=c,day=2026-01-31"], "each column once"),
    "a column that the key does not have": (["--key", "account=1,x=1"], "expected account=…,note=…,day=…, each"),
    "values without names": (["--key", "1,c,2026-01-31"], "expected account=…,note=…,day=…"),
    "nothing": (["--key", ""], "lacks account, note, day"),
    "a comma that is not quoted": (["--key", "account=1,note=a,b,day=2026-01-31"], "each column once"),
    "a word for a number": (["--key", "account=one,note=c,day=2026-01-31"], "account is BIGINT, expected an integer"),
    "a fraction for a number": (["--key", "account=1.5,note=c,day=2026-01-31"], "expected an integer"),
    "a day that never was": (["--key", "account=1,note=c,day=2026-02-30"], "day is DATE, expected a date such as"),
    "a word for a day": (["--key", "account=1,note=c,day=today"], "day is DATE, expected a date"),
    "halves of two keys": (
        ["--key", "account=1,note=c,day=2026-01-31"],
        "account, note, day): account=1,note=c,day=2026-01-31;",
    ),
    "a file with a column short": (["--keys-file", "pairs.csv"], "line 1: the header lacks day; the key is account"),
    "a where that compares days with words": (["--where", "day = today"], "day is DATE, expected a date"),
    "a where that compares whole numbers with fractions": (["--where", "account = 1.5"], "expected an integer"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED_PAIRS)
def test_a_key_of_several_columns_that_is_none_is_said(careful: Workspace, case: str) -> None:
    arguments, words = REFUSED_PAIRS[case]
    assert_changes_nothing(careful, ["rescore", "any", *arguments, *SAID], 2, words)


def test_a_rescore_needs_a_reason_and_a_yes_where_nobody_can_be_asked(careful: Workspace) -> None:
    reason = "--reason is missing; it is recorded"
    for arguments in ([], ["--reason", ""], ["--reason", "  "]):
        assert_changes_nothing(careful, ["rescore", NAME, "--all", "--yes", *arguments], 2, reason)
    everyone = "this would score 367 rows of applicants again with loan_eligibility version 2; add --yes"
    assert_changes_nothing(careful, ["rescore", NAME, "--all", "--reason", "a test"], 2, everyone)
    one = ["--key", "LP001015", "--model-version", "1", "--reason", "a test"]
    once = "this would score 1 row of applicants again with loan_eligibility version 1; add --yes"
    assert_changes_nothing(careful, ["rescore", NAME, *one], 2, once)


def test_what_has_never_been_scored_cannot_be_scored_again(careful: Workspace) -> None:
    words = "job fresh has scored nothing yet; `batch-scoring run fresh` does it"
    assert_changes_nothing(careful, ["rescore", "fresh", "--all", *SAID], 2, words)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("99", "has no version 99 (registered: 1, 2)"),
        ("0", "has no version 0"),
        ("challenger", "has no challenger"),
        ("1; DROP TABLE predictions", "has no 1; DROP TABLE predictions"),
    ],
)
def test_a_model_version_or_alias_that_is_not_there_is_refused(careful: Workspace, version: str, words: str) -> None:
    arguments = ["rescore", NAME, "--all", "--model-version", version, *SAID]
    assert_changes_nothing(careful, arguments, 3, words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scored-before", "soon"], "'soon' is not a time"),
        (["--scored-before", "2026-02-30"], "'2026-02-30' is not a time"),
        (["--scored-after", "31.01.2026"], "is not a time"),
        (["--scored-after", ""], "is not a time"),
        (["--scored-by-version", "one"], "should be a valid integer"),
        (["--scored-by-version", "0"], "greater than or equal to 1"),
        (["--scored-by-version", "9" * 30], "less than or equal to 2147483647"),
        (["--continue", "0"], "greater than or equal to 1"),
        (["--all", "--workers", "0"], "greater than or equal to 1"),
        (["--all", "--dry-run", "--out", "folder"], "is a directory"),
        (["--everything"], "No such option"),
    ],
)
def test_an_option_whose_value_makes_no_sense_is_refused(careful: Workspace, arguments: list[str], words: str) -> None:
    before = everything(careful)
    done = careful.cli("rescore", NAME, *arguments, *SAID)
    assert_no_traceback(done)
    assert done.returncode == 2, done.stderr
    assert words in " ".join(done.stderr.replace("│", " ").split())
    assert everything(careful) == before


@pytest.mark.parametrize(
    ("arguments", "stdin", "count", "notice"),
    [
        (["--keys-file", "-"], b"LP001015\nLP001022\nLP001015\n\nLP001015\n", 2, "2 of 4 keys are duplicates"),
        (["--keys-file", "-"], b"\xef\xbb\xbfGender,Loan_ID\r\nMale,LP001015\r\n,LP001022\r\n", 2, ""),
        (["--keys-file", "-", "--key", "LP001015", "--key", "LP001031"], b'"LP001015"\n  LP001022  ', 3, ""),
        (["--where", "Gender = 'x''; DROP TABLE applicants; --'"], b"", 0, ""),
        (["--where", "Gender = Male", "--where", "ApplicantIncome >= 20000"], b"", None, ""),
    ],
    ids=["duplicates", "header and other columns", "keys from both", "an injection", "two terms"],
)
def test_what_can_be_done_is_counted_and_a_dry_run_changes_nothing(
    careful: Workspace,
    loan_test: pd.DataFrame,
    arguments: list[str],
    stdin: bytes,
    count: int | None,
    notice: str,
) -> None:
    before = everything(careful)
    done = careful.cli("rescore", NAME, *arguments, "--dry-run", "--json", stdin=stdin)
    assert done.returncode == 0, done.stderr
    if count is None:
        count = int(((loan_test["Gender"] == "Male") & (loan_test["ApplicantIncome"] >= 20000)).sum())
        assert count > 0
    assert json.loads(done.stdout)["row_count"] == count
    assert notice in done.stderr
    assert everything(careful) == before


def test_very_many_keys_of_which_most_are_unknown_are_refused_in_a_few_words(careful: Workspace) -> None:
    before = everything(careful)
    file = careful.folder / "many.csv"
    known = applicant_keys(careful)
    file.write_text("\n".join([*known, *(f"X{i}" for i in range(100_000))]))
    request = Request(keys=read_keys(str(file), ["Loan_ID"]))
    with pytest.raises(InputFault, match=r"100,000 keys are not among the rows.*: X0, X1, X2, X3, X4 and 99,995 more;"):
        selected(careful, request, name=NAME)
    assert everything(careful) == before


@pytest.mark.slow
def test_a_hundred_thousand_keys_are_all_found(workspace: Workspace, any_model: tuple[Pipeline, pd.DataFrame]) -> None:
    facts(workspace, any_model, "id BIGINT PRIMARY KEY", pd.DataFrame({"id": [0]}), "id")
    workspace.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)"
        " INSERT INTO facts (id, x) SELECT 1000000007 * CAST(i AS BIGINT), 0.5 FROM n"
    )
    keys = tuple((str(1000000007 * i),) for i in range(100_000))
    with workspace.database() as database:
        plan = rescore.plan(database, workspace.job("any"), Request(keys=keys))
    assert plan.row_count == 100_000
