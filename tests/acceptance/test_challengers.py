"""Challengers score the rows of a run beside the champion; what happens to them costs the champion nothing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import facts
import numpy as np
import pytest
from facts import COMPOSITE, COUNT, SINGLE, KeyKind, change, command, command_json, fitted, killed, sample
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from support import Workspace

from batch_scoring.domain.runs import Run
from batch_scoring.scoring import challengers
from batch_scoring.scoring.events import ChallengerFailed, Event

CHALLENGED = 'challengers = ["challenger"]'
ENGINES = ('engine = "python"', 'engine = "database"')


def challenger() -> Pipeline:
    """Another model than the champion, which the database can compute too."""
    data = sample()
    return make_pipeline(SimpleImputer(), LogisticRegression(C=0.01, max_iter=1_000)).fit(data, fitted().predict(data))


def prepared(workspace: Workspace, model: Any, key: KeyKind = SINGLE, **said: str) -> Workspace:
    """Forty facts with a champion and a challenger."""
    facts.prepare(workspace, key, model=CHALLENGED, **said)
    workspace.register(model, sample(), name="facts")
    workspace.promote(2, name="facts", alias="challenger")
    return workspace


def of_challenger(run: Run) -> dict[str, Any]:
    assert run.challengers is not None
    (one,) = run.challengers
    return one


def assert_together(workspace: Workspace, version: int = 2) -> None:
    """Each prediction has what the challenger gave, and nothing else has."""
    same = "c.id = p.id AND c.valid_from = p.valid_from AND c.run_id = p.run_id"
    joined = (
        f"SELECT count(*) FROM {workspace.with_past()} p JOIN predictions_challengers c ON {same}"
        f" WHERE c.model_version = {version}"
    )
    written = workspace.scalar(f"SELECT count(*) FROM {workspace.with_past()} p")
    assert workspace.scalar(joined) == written == workspace.scalar("SELECT count(*) FROM predictions_challengers")


@pytest.mark.parametrize("key", [SINGLE, COMPOSITE], ids=["single", "composite"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("chunk_rows", [7, 1000])
def test_they_score_the_same_rows_and_count_for_nothing(
    workspace: Workspace, engine: str, key: KeyKind, chunk_rows: int
) -> None:
    prepared(workspace, challenger(), key, run=f"{engine}\nchunk_rows = {chunk_rows}")
    run = workspace.run("facts")

    assert run.scored_count == COUNT
    expected = {"alias": "challenger", "model_version": 2, "scored_count": COUNT, "failed_count": 0, "failure": None}
    assert of_challenger(run) == expected
    data = sample()
    for table, model in (("predictions", fitted()), ("predictions_challengers", challenger())):
        rows = workspace.query(f"SELECT score, prediction FROM {table} ORDER BY id")
        probabilities = model.predict_proba(data)[:, 1]
        np.testing.assert_allclose([score for score, _ in rows], probabilities, atol=1e-12)
        assert [label for _, label in rows] == np.where(probabilities >= 0.5, "yes", "no").tolist()
    assert_together(workspace)
    assert workspace.query("SELECT DISTINCT model_version FROM predictions_current") == [(1,)]

    change(workspace, "y = y + 2", 3, 4, 5, at="2031-01-01")
    assert of_challenger(workspace.run("facts"))["scored_count"] == 3
    assert_together(workspace)
    assert of_challenger(workspace.run("facts"))["scored_count"] == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_the_view_says_how_far_they_agree(workspace: Workspace, engine: str) -> None:
    prepared(workspace, challenger(), run=engine)
    workspace.run("facts")
    one, two = (model.predict_proba(sample())[:, 1] for model in (fitted(), challenger()))
    agreeing = int(((one >= 0.5) == (two >= 0.5)).sum())

    ((name, version, other, count, agree, share, difference, correlation),) = workspace.query(
        "SELECT model_name, model_version, challenger_version, prediction_count, agreeing_count, agreeing_share,"
        " mean_absolute_difference, correlation FROM predictions_agreement"
    )
    assert (name, version, other, count, agree) == ("facts", 1, 2, COUNT, agreeing)
    assert float(share) == pytest.approx(agreeing / COUNT)
    assert difference == pytest.approx(np.abs(one - two).mean())
    assert correlation == pytest.approx(np.corrcoef(one, two)[0, 1])


def test_a_quarantined_row_has_no_challenger_and_is_none(workspace: Workspace) -> None:
    prepared(workspace, challenger())
    change(workspace, "y = -1", 3, 4)  # the champion raises, the challenger does not
    change(workspace, "x = NULL", 5)  # neither takes it
    run = workspace.run("facts")
    assert (run.scored_count, run.quarantined_count) == (COUNT - 3, 3)
    assert of_challenger(run)["scored_count"] == COUNT - 3
    assert_together(workspace)


def test_a_challenger_that_takes_another_column_is_given_it(workspace: Workspace) -> None:
    facts.prepare(workspace, model=CHALLENGED)
    workspace.sql("ALTER TABLE facts ADD COLUMN more DOUBLE PRECISION")
    workspace.sql("UPDATE facts SET more = id")
    data = sample()[["x"]].assign(more=np.arange(1.0, COUNT + 1))
    workspace.register(LogisticRegression(max_iter=1_000).fit(data, fitted().predict(sample())), data, name="facts")
    workspace.promote(2, name="facts", alias="challenger")
    assert of_challenger(workspace.run("facts"))["scored_count"] == COUNT


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3])
def test_workers_have_challengers_of_their_own(workspace: Workspace, workers: int) -> None:
    prepared(workspace, challenger(), run=f"workers = {workers}\nchunk_rows = 4")
    assert of_challenger(workspace.run("facts"))["scored_count"] == COUNT
    assert_together(workspace)


# --- what may happen to them

_MODULE = """
import os
import time

from sklearn.base import BaseEstimator, ClassifierMixin


class Fragile(ClassifierMixin, BaseEstimator):
    def __init__(self, model=None, does=None):
        self.model, self.does = model, does

    def fit(self, frame, labels):
        self.classes_ = self.model.classes_
        self.n_features_in_ = frame.shape[1]
        self.feature_names_in_ = frame.columns.to_numpy(dtype=object)
        return self

    def predict_proba(self, frame):
        if frame["x"].max() > 1e6:
            if self.does == "exits":
                os._exit(0)
            if self.does == "is killed":
                os.kill(os.getpid(), 9)
            if self.does == "hangs":
                time.sleep(600)
            raise ValueError("applicant 4711 earns 12345")
        return self.model.predict_proba(frame)

    def predict(self, frame):
        return self.model.predict(frame)
"""
_REASONS = {
    "raises": "rows of a chunk failed alike",
    "exits": "its process ended",
    "is killed": "its process ended",
    "hangs": "longer than the model",
}


@pytest.fixture
def fragile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The class, importable in every process that a test starts."""
    (tmp_path / "fragile_model.py").write_text(_MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield importlib.import_module("fragile_model").Fragile
    sys.modules.pop("fragile_model", None)


@pytest.mark.slow
@pytest.mark.parametrize("does", _REASONS)
def test_a_challenger_that_fails_on_every_row_leaves_the_run_succeeded(
    workspace: Workspace, fragile: Any, does: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(challengers, "PATIENCE", 4.0)
    model = fragile(fitted(), does).fit(sample(), fitted().predict(sample()))
    prepared(workspace, model, run="chunk_rows = 80")
    workspace.sql(
        "INSERT INTO facts SELECT id + 40, branch, 2e6, y, z, at FROM facts"
        " UNION ALL SELECT id + 80, branch, 3e6, y, z, at FROM facts"
    )
    seen: list[Event] = []
    run = workspace.run("facts", observers=[seen.append])

    assert (run.status, run.scored_count) == ("succeeded", 3 * COUNT)
    found = of_challenger(run)
    if does == "raises":  # the rows that it can score are scored, until a chunk of which it scores none
        assert found["scored_count"] == COUNT
    else:
        assert _REASONS[does] in found["failure"]
        assert [event.alias for event in seen if isinstance(event, ChallengerFailed)] == ["challenger"]
    assert "4711" not in str(run.challengers)
    assert "12345" not in str(workspace.query("SELECT challengers FROM scoring_runs"))


def test_a_command_says_that_a_challenger_failed(workspace: Workspace) -> None:
    version = prepared(workspace, challenger())
    with workspace.database() as database:
        from batch_scoring.store import registry

        file = workspace.artifacts_dir / registry.get_version(database, "facts", 2).artifact_uri
    file.unlink()
    done = command(version, "run", "facts")
    assert done.returncode == 0, done.stderr
    assert "; challenger challenger (version 2) failed after 0 rows: " in done.stdout
    assert workspace.scalar("SELECT count(*) FROM predictions") == COUNT
    assert "challenger_failed" in done.stderr


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("what", ["no alias", "same version", "other file", "other columns", "other kind"])
def test_a_challenger_that_cannot_score_is_named_with_the_reason(workspace: Workspace, what: str, engine: str) -> None:
    prepared(workspace, challenger(), run=engine)
    data = sample().fillna(1.0)
    reason = {
        "no alias": "has no nobody",
        "same version": "it is version 1, which scores the job",
        "other file": "is not the registered one",
        "other columns": "elsewhere is missing",
        "other kind": "needs a binary model",
    }[what]
    if what == "no alias":
        workspace.write_job("facts", facts.job_text(model='challengers = ["nobody"]', run=engine))
    elif what == "same version":
        workspace.promote(1, name="facts", alias="challenger")
    elif what == "other file":
        (file,) = [
            workspace.artifacts_dir / uri
            for (uri,) in workspace.query("SELECT artifact_uri FROM model_versions WHERE version = 2")
        ]
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    elif what == "other columns":
        moved = data.rename(columns={"x": "elsewhere"})
        workspace.register(LogisticRegression().fit(moved, fitted().predict(sample())), moved, name="facts")
        workspace.promote(3, name="facts", alias="challenger")
    else:
        workspace.register(LinearRegression().fit(data, np.arange(COUNT)), data, name="facts")
        workspace.promote(3, name="facts", alias="challenger")

    run = workspace.run("facts")
    assert (run.status, run.scored_count) == ("succeeded", COUNT)
    assert reason in of_challenger(run)["failure"]
    assert workspace.scalar("SELECT count(*) FROM predictions_challengers") == 0


def test_a_check_warns_of_a_challenger_that_cannot_score(workspace: Workspace) -> None:
    prepared(workspace, challenger())
    found = command(workspace, "check")
    assert "version 2 scores the rows of job facts for comparison" in found.stdout
    workspace.write_job("facts", facts.job_text(model='challengers = ["nobody"]'))
    found = command(workspace, "check")
    assert found.returncode == 0
    assert "it does not score job facts: model facts has no nobody" in found.stdout


def test_the_alias_of_a_challenger_has_a_gate_for_the_source(workspace: Workspace) -> None:
    prepared(workspace, challenger())
    moved = sample().fillna(1.0).rename(columns={"x": "elsewhere"})
    workspace.register(LogisticRegression().fit(moved, fitted().predict(sample())), moved, name="facts")
    promote = ("model", "promote", "facts", "3", "--alias")
    facts.refused(command(workspace, *promote, "challenger"), 3, "signature of job facts", "elsewhere is missing")
    assert command(workspace, *promote, "another").returncode == 0


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ('["champion"]', "champion is the alias that scores the job"),
        ('["a", "a"]', "expected each alias once"),
        ('["A B"]', "model.challengers"),
        ('["a", "b", "c", "d", "e"]', "model.challengers"),
        ('"challenger"', "expected a valid list"),
    ],
)
def test_a_wrong_list_of_challengers_is_refused(sqlite_workspace: Workspace, listed: str, message: str) -> None:
    workspace = facts.prepare(sqlite_workspace)
    text = facts.job_text(model=f"challengers = {listed}")
    (workspace.jobs_dir / "facts.toml").write_text(text, encoding="utf-8")
    facts.refused(command(workspace, "run", "facts"), 2, message)


# --- the database engine


def forest() -> Any:
    """A model that the database cannot compute."""
    data = sample().fillna(0)
    return RandomForestClassifier(n_estimators=5, random_state=0).fit(data, fitted().predict(sample()))


def test_a_challenger_without_translation_takes_the_job_to_python(workspace: Workspace) -> None:
    prepared(workspace, forest(), run='engine = "auto"')
    run = workspace.run("facts")
    assert (run.engine, run.scored_count) == ("python", COUNT)
    assert "challenger challenger: " in str(run.engine_reason)
    assert of_challenger(run)["failure"] is None


def test_a_challenger_without_translation_is_left_out_where_the_database_is_demanded(workspace: Workspace) -> None:
    prepared(workspace, forest(), run='engine = "database"')
    run = workspace.run("facts")
    assert (run.engine, run.scored_count) == ("database", COUNT)
    assert "RandomForestClassifier" in of_challenger(run)["failure"]


def test_a_challenger_that_the_database_fails_to_compute_is_left_out(
    postgresql_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from batch_scoring.store.engine.programs import CompiledProgram

    workspace = prepared(postgresql_workspace, challenger(), run='engine = "database"\nchunk_rows = 10')
    over = CompiledProgram.over

    def failing(self: CompiledProgram, rows: Any, values: Any, carried: Any, **options: Any) -> Any:
        scored = over(self, rows, values, carried, **options)
        if "raw 0" not in str(rows) or "changed at" in carried:
            return scored
        import sqlalchemy as sa

        zero: sa.ColumnElement[Any] = sa.literal_column("1 / (0 * length(current_user::text))")
        return sa.select(*(scored.c[name] for name in carried), zero.label("score"), scored.c.prediction).subquery()

    monkeypatch.setattr(CompiledProgram, "over", failing)
    run = workspace.run("facts")
    assert (run.status, run.scored_count, run.engine) == ("succeeded", COUNT, "database")
    assert of_challenger(run)["failure"] == "the database fails to compute it"
    assert workspace.scalar("SELECT count(*) FROM predictions_challengers") == 0


def test_a_challenger_that_the_database_fails_to_prove_is_left_out(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from batch_scoring.errors import DatabaseFault
    from batch_scoring.scoring.engines import database as engine

    prepared(workspace, challenger(), run='engine = "database"')
    prove, calls = engine.prove, []

    def failing(*given: Any) -> float:
        calls.append(given)
        if len(calls) == 1:  # the challengers come first
            raise DatabaseFault("value out of range: overflow")
        return prove(*given)

    monkeypatch.setattr(engine, "prove", failing)
    run = workspace.run("facts")
    assert (run.status, run.scored_count, run.engine) == ("succeeded", COUNT, "database")
    assert of_challenger(run)["failure"] == "the database fails to compute it"


def test_inputs_and_challengers_are_written_by_the_same_statement(postgresql_workspace: Workspace) -> None:
    workspace = prepared(
        postgresql_workspace, challenger(), run='engine = "database"\nchunk_rows = 9', predictions="keep_inputs = true"
    )
    run = workspace.run("facts")
    assert (run.engine, of_challenger(run)["scored_count"]) == ("database", COUNT)
    assert_together(workspace)
    assert workspace.scalar("SELECT count(*) FROM predictions_inputs") == COUNT


# --- killed, purged, compared


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("engine", "at"),
    [
        (ENGINES[0], "batch_scoring.store.outcomes.chunk.fence"),
        (ENGINES[0], "batch_scoring.store.outcomes.chunk.record_chunk"),
        (ENGINES[1], "batch_scoring.store.outcomes.in_database.fence"),
        (ENGINES[1], "batch_scoring.store.outcomes.in_database.record_chunk"),
    ],
)
@pytest.mark.parametrize("superseding", [False, True])
def test_champion_and_challenger_of_a_chunk_stand_or_fall_together(
    workspace: Workspace, engine: str, at: str, after: bool, superseding: bool
) -> None:
    prepared(workspace, challenger(), run=f'{engine}\nchunk_rows = 6\nstalled_after = "30 seconds"')
    if superseding:
        workspace.run("facts")
        change(workspace, "y = y + 2", *range(1, COUNT + 1), at="2031-01-01")
    killed(workspace, "run", "facts", at=at, call=3, after=after)
    assert_together(workspace)

    workspace.run("facts")
    assert_together(workspace)
    assert workspace.scalar("SELECT count(*) FROM predictions") == COUNT
    assert workspace.scalar("SELECT count(*) FROM predictions_superseded") == (COUNT if superseding else 0)


def test_what_challengers_gave_is_purged_with_the_prediction_and_kept_on_hold(workspace: Workspace) -> None:
    prepared(workspace, challenger())
    workspace.run("facts")
    change(workspace, "y = y + 2", *range(1, COUNT + 1), at="2031-01-01")
    workspace.run("facts")
    assert command(workspace, "hold", "add", "facts", "--key", "7", "--reason", "court").returncode == 0
    later = ("--superseded-before", "2090-01-01")
    shown = command(workspace, "purge", "facts", *later, "--dry-run")
    assert "39 superseded predictions, 39 scores of challengers" in shown.stdout
    assert command(workspace, "purge", "facts", *later, "--reason", "old", "--yes").returncode == 0
    assert_together(workspace)
    assert workspace.scalar("SELECT count(*) FROM predictions_challengers") == COUNT + 1
    with pytest.raises(Exception, match="legal hold"):
        workspace.sql("DELETE FROM predictions_challengers WHERE id = 7")


def test_stored_results_are_compared(workspace: Workspace) -> None:
    prepared(workspace, challenger())
    refusal = command(workspace, "model", "compare", "facts", "1", "2", "--live")
    facts.refused(refusal, 2, "version 2 has challenged version 1 on no row of job facts")
    workspace.run("facts")
    found = command_json(workspace, "model", "compare", "facts", "1", "2", "--live")["live"]
    one, two = (model.predict_proba(sample())[:, 1] for model in (fitted(), challenger()))
    assert found["compared_count"] == COUNT
    assert found["flipped_count"] == int(((one >= 0.5) != (two >= 0.5)).sum())
    assert found["correlation"] == pytest.approx(np.corrcoef(one, two)[0, 1])
    assert found["mean_absolute_difference"] == pytest.approx(np.abs(one - two).mean())
    assert int(found["largest"][0]["key"]) == int(np.abs(one - two).argmax()) + 1
