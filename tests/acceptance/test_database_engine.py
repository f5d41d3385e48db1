"""The database engine scores as scikit-learn does, leaves to it what it cannot score, and is stopped if it differs."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any
from unittest import mock

import facts
import numpy as np
import pipelines
import pytest
from facts import COMPOSITE, COUNT, SINGLE, KeyKind, change, command, killed
from fitted import job_for
from hypothesis import given, settings
from hypothesis import strategies as st
from pipelines import ESTIMATORS, GRADES, OF_NUMBERS, OF_TEXTS, Spec
from sklearn.ensemble import RandomForestClassifier
from support import Workspace

from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.expressions import (
    Call,
    Case,
    Coalesce,
    Comparison,
    Difference,
    Expression,
    Number,
    Product,
    Program,
    Quotient,
    Sum,
    Text,
)
from batch_scoring.errors import EngineDiffers, EngineUnavailable
from batch_scoring.model.artifact import dump
from batch_scoring.model.describe import describe
from batch_scoring.model.scorer import Scorer
from batch_scoring.model.translation.program import translate
from batch_scoring.scoring import preparation
from batch_scoring.scoring.engines import database as engine
from batch_scoring.scoring.events import EngineDistrusted, Event
from batch_scoring.store.engine.database import Database

DATABASE = 'engine = "database"'
AUTO = 'engine = "auto"'

# --- it scores as scikit-learn does


@cache
def _scorer(spec: Spec) -> Scorer:
    model = pipelines.fit(spec)
    manifest = describe(model, dump(model), pipelines.data())
    return Scorer(model, manifest, DecisionPolicy.of(job_for(manifest), manifest))


SPECS = [
    Spec(estimator, list(OF_NUMBERS)[i % len(OF_NUMBERS)], list(OF_TEXTS)[i % len(OF_TEXTS)])
    for i, estimator in enumerate(ESTIMATORS)
] + [Spec("logistic", numbers, texts) for numbers in OF_NUMBERS for texts in OF_TEXTS]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.estimator}-{spec.of_numbers}-{spec.of_texts}")
def test_every_kind_of_pipeline_is_translated_and_proven(database_url: str, spec: Spec) -> None:
    scorer = _scorer(spec)
    database = _database(database_url)

    assert engine.prove(database, _compiled(scorer, database), scorer) <= 1e-12
    assert scorer.manifest.only_in_python is None


def _database(url: str) -> Database:
    database = Database(url)
    if database.file is not None:
        database.file.touch()
    return database


def _compiled(scorer: Scorer, database: Database) -> Any:
    from batch_scoring.store.engine.programs import CompiledProgram

    return CompiledProgram(
        program=translate(scorer.model, scorer.manifest, scorer.policy), columns={}, dialect=database.dialect
    )


NUMBER = st.one_of(
    st.none(),
    st.floats(-200, 200),
    st.sampled_from([0.0, -0.0, 1e-320, 1e-14, 1e14, -1e14, 1e16, -1e300, 1e308, 0.1 + 0.2, 2.0**53]),
)
ROW = st.fixed_dictionaries(
    {
        "amount": NUMBER,
        "balance": NUMBER,
        "count": st.one_of(st.integers(0, 6), st.sampled_from([-1, 10**9])),
        "grade": st.one_of(st.none(), st.sampled_from([*GRADES, "unseen", "", "a", "A "])),
        "plan": st.sampled_from(["x", "y", "X"]),
    }
)


@pytest.fixture(scope="module")
def both(postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Database]]:
    databases = [_database(postgres.create_database())]
    databases.append(_database(f"sqlite:///{tmp_path_factory.mktemp('engine') / 'test.db'}"))
    yield databases
    for database in databases:
        database.dispose()


@pytest.mark.slow
@given(spec=st.sampled_from(SPECS), rows=st.lists(ROW, min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_the_database_scores_generated_rows_as_scikit_learn_does(
    both: list[Database], spec: Spec, rows: list[dict[str, Any]]
) -> None:
    scorer = _scorer(spec)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    scored = scorer.score_singly(columns)
    expected = dict(zip(scored.positions, zip(_scores(scored), _labels(scored), strict=True), strict=True))

    for database in both:
        with database.read() as connection:
            found = _compiled(scorer, database).compute(connection, columns)
        for position, result in enumerate(found):
            if result is None:
                continue  # left to scikit-learn
            assert position in expected, "a row with a fault was scored"
            score, label = expected[position]
            assert abs(result[0] - score) <= 1e-12 * max(1.0, abs(score))
            assert result[1] == label


def _scores(scored: Any) -> list[float]:
    found: list[float] = scored.scores.tolist()
    return found


def _labels(scored: Any) -> list[str | None]:
    return scored.labels or [None] * len(scored.positions)


# --- the same outcomes of whole runs


@pytest.mark.parametrize("key", [SINGLE, COMPOSITE], ids=["single", "composite"])
@pytest.mark.parametrize("chunk_rows", [3, 1000])
def test_runs_of_both_engines_have_the_same_outcomes(workspace: Workspace, key: KeyKind, chunk_rows: int) -> None:
    outcomes = {}
    for name in ("python", "database"):
        if name == "database":
            workspace.rewrite("DELETE FROM predictions")
            for table in ("predictions_superseded", "predictions_quarantine", "predictions_quarantine_closed"):
                workspace.rewrite(f"DELETE FROM {table}")
            workspace.sql("DROP TABLE facts")
        _prepare_or_reset(workspace, key, run=f'engine = "{name}"\nchunk_rows = {chunk_rows}')
        change(workspace, "y = -1", 3, 4)
        change(workspace, "x = NULL", 5)
        first = workspace.run("facts")
        change(workspace, "y = 2", 3, at="2031-01-01")
        change(workspace, "x = 4", 6, 7, at="2031-01-01")
        second = workspace.run("facts")
        assert {first.engine, second.engine} == {name}
        counts = [(run.scored_count, run.superseded_count, run.quarantined_count) for run in (first, second)]
        outcomes[name] = (
            counts,
            workspace.query("SELECT id, score, prediction, source_changed_at FROM predictions ORDER BY id"),
            workspace.query("SELECT id, score, prediction FROM predictions_superseded ORDER BY id"),
            workspace.query("SELECT id, reason_code, column_name, attempts FROM predictions_quarantine ORDER BY id"),
            workspace.query("SELECT id, reason_code FROM predictions_quarantine_closed ORDER BY id"),
        )

    python, database = outcomes["python"], outcomes["database"]
    assert python[0] == database[0] == [(COUNT - 3, 0, 3), (3, 2, 0)]
    assert python[3:] == database[3:]
    for own, other in zip(python[1] + python[2], database[1] + database[2], strict=True):
        assert own[0] == other[0]
        assert own[2:] == other[2:]
        assert abs(own[1] - other[1]) <= 1e-12


def _prepare_or_reset(workspace: Workspace, key: KeyKind, *, run: str) -> None:
    if not (workspace.jobs_dir / "facts.toml").exists():
        facts.prepare(workspace, key, run=run)
        return
    columns = "x DOUBLE PRECISION, y DOUBLE PRECISION, z DOUBLE PRECISION"
    workspace.sql(
        f"CREATE TABLE facts (id INTEGER NOT NULL, branch TEXT NOT NULL, {columns}, at TIMESTAMP,"
        f" PRIMARY KEY ({key.selected}))"
    )
    numbers = range(1, COUNT + 1)
    frame = facts.sample().assign(id=numbers, branch=[facts.branch_of(n) for n in numbers], at=facts.AT)
    workspace.insert_frame("facts", frame)
    workspace.write_job("facts", facts.job_text(key, run=run))


def test_a_run_records_its_engine_and_the_largest_difference(workspace: Workspace) -> None:
    facts.prepare(workspace, run=AUTO)

    run = workspace.run("facts")
    assert (run.engine, run.engine_reason) == ("database", None)
    assert run.largest_difference is not None
    assert run.largest_difference <= 1e-12
    columns = "engine, largest_difference"
    assert workspace.query(f"SELECT {columns} FROM run_history") == [("database", run.largest_difference)]
    assert "rows are scored in the database" in command(workspace, "check").stdout


@pytest.mark.parametrize("workers", [2, 3])
def test_several_sessions_score_at_the_same_time(postgresql_workspace: Workspace, workers: int) -> None:
    workspace = facts.prepare(postgresql_workspace, run=f"{DATABASE}\nchunk_rows = 3\nworkers = {workers}")

    run = workspace.run("facts")
    assert (run.scored_count, run.engine) == (COUNT, "database")
    assert workspace.query("SELECT count(*), count(DISTINCT id) FROM predictions") == [(COUNT, COUNT)]


def test_a_rescore_uses_the_engine_too(workspace: Workspace) -> None:
    facts.prepare(workspace, run=DATABASE)
    workspace.run("facts")
    done = command(workspace, "rescore", "facts", "--key", "1", "--key", "2", "--reason", "r", "--yes")

    assert done.returncode == 0, done.stderr
    assert workspace.query("SELECT engine, scored_count FROM run_history WHERE run_id = 2") == [("database", 2)]


# --- what it cannot score


def test_a_model_without_translation_is_scored_in_python_and_the_run_says_why(workspace: Workspace) -> None:
    facts.prepare(workspace, run=AUTO)
    frame = facts.sample().fillna(0)
    forest = RandomForestClassifier(n_estimators=3, random_state=0).fit(frame, np.where(frame.x > 0, "yes", "no"))
    version = workspace.register(forest, frame, name="facts").version
    change(workspace, "z = 0", *range(1, COUNT + 1))
    assert command(workspace, "model", "promote", "facts", str(version)).returncode == 0

    run = workspace.run("facts")
    assert (run.engine, run.engine_reason) == ("python", "RandomForestClassifier has no translation")
    assert "Python: RandomForestClassifier" in command(workspace, "model", "show", "facts", str(version)).stdout
    assert "scored in Python: RandomForestClassifier" in command(workspace, "check").stdout
    facts.refused(command(workspace, "model", "sql", "facts"), 3, "is scored in Python only: RandomForestClassifier")

    workspace.write_job("facts", facts.job_text(run=DATABASE))
    change(workspace, "x = 1", 1, at="2031-01-01")
    with pytest.raises(EngineUnavailable, match="RandomForestClassifier has no translation"):
        workspace.run("facts")
    assert command(workspace, "check").returncode == 3


def test_rows_that_are_left_to_python_do_not_load_the_model_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts.prepare(workspace, run=DATABASE)
    change(workspace, "y = -1", 3)
    loads = mock.Mock(wraps=preparation.load_scorer)
    monkeypatch.setattr(preparation, "load_scorer", loads)

    assert workspace.run("facts").quarantined_count == 1
    assert loads.call_count == 1


def test_stored_inputs_are_pythons_where_a_statement_writes_one_table(sqlite_workspace: Workspace) -> None:
    workspace = facts.prepare(sqlite_workspace, run=AUTO, predictions="keep_inputs = true")

    run = workspace.run("facts")
    assert run.engine == "python"
    assert "keep_inputs" in str(run.engine_reason)


def test_columns_that_the_database_reads_otherwise_are_pythons(postgresql_workspace: Workspace) -> None:
    workspace = facts.prepare(postgresql_workspace, run=AUTO)
    workspace.sql("ALTER TABLE facts ALTER x TYPE money USING x::numeric::money")

    assert workspace.scalar("SELECT count(*) FROM facts") == COUNT
    assert command(workspace, "run", "facts").returncode == 3  # the model takes no money, in any engine


@pytest.mark.parametrize("type_", ["real", "numeric(12, 3)", "numeric", "double precision"])
def test_numbers_of_every_type_are_read_as_in_python(postgresql_workspace: Workspace, type_: str) -> None:
    scores = {}
    workspace = facts.prepare(postgresql_workspace, run='engine = "python"')
    workspace.sql(f"ALTER TABLE facts ALTER x TYPE {type_}")
    for name in ("python", "database"):
        workspace.write_job("facts", facts.job_text(run=f'engine = "{name}"'))
        workspace.sql("UPDATE facts SET at = at + interval '1 day'")
        assert workspace.run("facts").engine == name
        scores[name] = dict(workspace.query("SELECT id, score FROM predictions"))

    assert all(abs(score - scores["database"][key]) <= 1e-12 for key, score in scores["python"].items())


@pytest.mark.parametrize("value", ["'NaN'", "'Infinity'", "1e400", "1e-400", "1e300"])
def test_a_number_that_cannot_be_cast_ends_no_statement(postgresql_workspace: Workspace, value: str) -> None:
    workspace = facts.prepare(postgresql_workspace, run=DATABASE)
    workspace.sql("ALTER TABLE facts ALTER x TYPE numeric")
    change(workspace, f"x = {value}", 3)

    run = workspace.run("facts")
    assert run.scored_count + run.quarantined_count == COUNT
    assert run.scored_count >= COUNT - 1


def test_values_of_another_type_in_sqlite_are_pythons(sqlite_workspace: Workspace) -> None:
    workspace = facts.prepare(sqlite_workspace, run=DATABASE)
    change(workspace, "x = 'text'", 3)
    change(workspace, "x = 7", 4)

    run = workspace.run("facts")
    assert (run.scored_count, run.quarantined_count) == (COUNT - 1, 1)
    assert workspace.query("SELECT id, reason_code FROM predictions_quarantine") == [(3, "wrong_type")]


# --- wrong translations


def _mapped(tree: Any, function: Callable[[Any], Any]) -> Any:
    """The first part for which the function returns something else, replaced."""
    changed = False

    def walk(part: Any) -> Any:
        nonlocal changed
        if isinstance(part, tuple):
            return tuple(walk(each) for each in part)
        if not hasattr(part, "__dataclass_fields__"):
            return part
        found = part if changed else function(part)
        if found is not part:
            changed = True
            return found
        return replace(part, **{name: walk(getattr(part, name)) for name in part.__dataclass_fields__})

    result = walk(tree)
    assert changed, "the mutation finds nothing"
    return result


def _number(old: Callable[[float], bool], new: Callable[[float], float]) -> Callable[[Any], Any]:
    return lambda part: Number(new(part.value)) if isinstance(part, Number) and old(part.value) else part


def _last_branch_first(part: Any) -> Any:
    if isinstance(part, Case) and len(part.branches) > 1 and all(isinstance(v, Number) for _, v in part.branches):
        values = [value for _, value in part.branches]
        return Case(tuple((c, v) for (c, _), v in zip(part.branches, values[1:] + values[:1], strict=True)))
    return part


def _only_rare(part: Any) -> Any:
    """Another coefficient for a category that no golden row may have."""
    if isinstance(part, Case):
        for i, (condition, value) in enumerate(part.branches):
            is_rare = isinstance(condition, Comparison) and condition.right == Text("rare")
            if is_rare and isinstance(value, Number):
                branches = list(part.branches)
                branches[i] = (condition, Number(value.value + 0.01))
                return Case(tuple(branches), part.otherwise)
    return part


MUTATIONS: dict[str, Callable[[Any], Any]] = {
    "a coefficient with the other sign": lambda part: (
        Product((Number(-part.factors[0].value), *part.factors[1:]))
        if isinstance(part, Product) and isinstance(part.factors[0], Number) and part.factors[0].value != -1
        else part
    ),
    "a missing value that is not imputed": lambda part: part.value if isinstance(part, Coalesce) else part,
    "a missing value that is imputed by another": lambda part: (
        Coalesce(part.value, Number(0.0)) if isinstance(part, Coalesce) else part
    ),
    "a category with the coefficient of another": _last_branch_first,
    "a rare category with another coefficient": _only_rare,
    "a term that is missing": lambda part: (
        Sum(part.terms[1:]) if isinstance(part, Sum) and len(part.terms) > 2 else part
    ),
    "a mean that is added": lambda part: Sum((part.left, part.right)) if isinstance(part, Difference) else part,
    "a scale that is a factor": lambda part: (
        Product((part.left, part.right))
        if isinstance(part, Quotient) and isinstance(part.right, Number) and part.right.value != 1
        else part
    ),
    "a coefficient off by a billionth": lambda part: (
        Product((Number(part.factors[0].value * (1 + 1e-9)), *part.factors[1:]))
        if isinstance(part, Product) and isinstance(part.factors[0], Number) and part.factors[0].value != -1
        else part
    ),
    "an exponent with the other sign": lambda part: (
        Call("exp", Product((Number(1.0), *part.argument.factors[1:])))
        if isinstance(part, Call) and part.function == "exp" and isinstance(part.argument, Product)
        else part
    ),
    "labels that are swapped": lambda part: (
        Case(((part.branches[0][0], part.otherwise),), otherwise=part.branches[0][1])
        if isinstance(part, Case) and isinstance(part.otherwise, Text)
        else part
    ),
    "a constant that is doubled": _number(lambda value: value not in (0.0, 1.0, -1.0), lambda value: 2 * value),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_translation_is_caught_before_the_first_write(
    database_url: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    scorer = _scorer(Spec("logistic", "median and indicator", "most frequent"))
    right = translate(scorer.model, scorer.manifest, scorer.policy)
    computed = replace(right, conditions=(), accepted=())  # conditions only leave more rows to Python
    mutated = _mapped(computed, MUTATIONS[name])
    wrong = replace(mutated, conditions=right.conditions, accepted=right.accepted)
    monkeypatch.setattr(engine, "translate", lambda *_: wrong)
    database = _database(database_url)
    from batch_scoring.store.engine.programs import CompiledProgram

    with pytest.raises(EngineDiffers):
        engine.prove(database, CompiledProgram(program=wrong, columns={}, dialect=database.dialect), scorer)


def _halved(program: Program) -> Program:
    wrong: Expression = Product((program.score, Number(0.5)))
    return replace(program, score=wrong)


def test_a_job_that_demands_the_database_fails_and_writes_nothing_where_it_differs(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts.prepare(workspace, run=DATABASE)
    monkeypatch.setattr(engine, "translate", lambda *given: _halved(translate(*given)))

    with pytest.raises(EngineDiffers, match="other scores than the model"):
        workspace.run("facts")
    assert workspace.scalar("SELECT count(*) FROM predictions") == 0
    assert workspace.query("SELECT status, error_type FROM run_history") == [("failed", "EngineDiffers")]


def test_auto_falls_back_to_python_and_says_so(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    facts.prepare(workspace, run=AUTO)
    monkeypatch.setattr(engine, "translate", lambda *given: _halved(translate(*given)))
    events: list[Event] = []

    run = workspace.run("facts", observers=[events.append])
    assert (run.scored_count, run.engine) == (COUNT, "python")
    assert "other scores than the model" in str(run.engine_reason)
    assert run.largest_difference is not None
    assert run.largest_difference > 1e-3
    assert [event.scored_count for event in events if isinstance(event, EngineDistrusted)] == [0]
    change(workspace, "x = 1", 1, at="2031-01-01")
    assert "the rest of the run is scored in Python" in command(workspace, "run", "facts").stderr


def test_a_difference_that_appears_while_scoring_ends_the_use_of_the_database(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts.prepare(workspace, run=f"{AUTO}\nchunk_rows = 10")
    monkeypatch.setattr(engine, "translate", lambda *given: _halved(translate(*given)))
    monkeypatch.setattr(engine, "prove", lambda *_: 0.0)
    events: list[Event] = []

    run = workspace.run("facts", observers=[events.append])
    assert run.scored_count == COUNT
    assert [event.scored_count for event in events if isinstance(event, EngineDistrusted)] == [10]
    assert run.largest_difference is not None
    assert run.largest_difference > 1e-3


# --- faults


def _assert_each_row_is_scored_once(workspace: Workspace) -> None:
    both = "SELECT id FROM predictions UNION ALL SELECT id FROM predictions_quarantine"
    assert sorted(workspace.query(both)) == sorted(workspace.query("SELECT id FROM facts"))


KILLED_AT = "batch_scoring.store.outcomes.in_database"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", [1, 3, 5])
@pytest.mark.parametrize("at", ["fence", "record_chunk"])
@pytest.mark.parametrize("superseding", [False, True])
def test_a_killed_run_leaves_whole_chunks(
    workspace: Workspace, at: str, call: int, after: bool, superseding: bool
) -> None:
    facts.prepare(workspace, run=f'{DATABASE}\nchunk_rows = 6\nstalled_after = "30 seconds"')
    change(workspace, "y = -1", 3, 30)
    if superseding:
        workspace.run("facts")
        change(workspace, "y = y + 2", *range(1, COUNT + 1), at="2031-01-01")
    killed(workspace, "run", "facts", at=f"{KILLED_AT}.{at}", call=call, after=after)
    assert workspace.scalar("SELECT count(*) FROM predictions WHERE run_id = 2") % 2 == 0

    run = workspace.run("facts")
    assert run.engine == "database"
    _assert_each_row_is_scored_once(workspace)
    assert workspace.run("facts").due_count == 0
    total = "SELECT sum(scored_count) - sum(superseded_count) FROM run_history"
    assert workspace.scalar(total) == workspace.scalar("SELECT count(*) FROM predictions")
    if superseding:
        assert workspace.query("SELECT count(*), count(DISTINCT id) FROM predictions_superseded") == [
            (COUNT - 2, COUNT - 2)
        ]


def test_a_zombie_writes_nothing_more(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from batch_scoring.errors import Fenced
    from batch_scoring.store.outcomes.in_database import DatabaseScoring

    facts.prepare(workspace, run=f"{DATABASE}\nchunk_rows = 10")
    original = DatabaseScoring.score
    calls = 0

    def taken_over(self: DatabaseScoring, *given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            workspace.sql(
                "UPDATE scoring_runs SET status = 'abandoned', end_reason = 'stalled', finished_at = heartbeat_at"
            )
        return original(self, *given)

    monkeypatch.setattr(DatabaseScoring, "score", taken_over)
    with pytest.raises(Fenced):
        workspace.run("facts")
    # the second transaction may be at the fence when its run is taken over
    assert workspace.scalar("SELECT count(*) FROM predictions") in (10, 20)


@pytest.mark.slow
def test_a_crowd_of_runs_scores_each_row_once(postgresql_workspace: Workspace) -> None:
    workspace = facts.prepare(postgresql_workspace, run=f"{DATABASE}\nchunk_rows = 5")
    started = [workspace.start("run", "facts") for _ in range(6)]
    for process in started:
        process.communicate(timeout=120)

    _assert_each_row_is_scored_once(workspace)
    assert workspace.scalar("SELECT sum(scored_count) FROM run_history") == COUNT


def test_a_stop_ends_the_run_between_two_chunks(workspace: Workspace) -> None:
    from batch_scoring.errors import RunStopped
    from batch_scoring.scoring.events import ChunkCommitted
    from batch_scoring.scoring.runner import RunOptions, run_job

    facts.prepare(workspace, run=f"{DATABASE}\nchunk_rows = 10")
    stop = threading.Event()

    def after_two(event: Event) -> None:
        if isinstance(event, ChunkCommitted) and workspace.scalar("SELECT count(*) FROM predictions") >= 20:
            stop.set()

    with workspace.database() as database, pytest.raises(RunStopped):
        run_job(
            database,
            workspace.job("facts"),
            workspace.artifacts_dir,
            options=RunOptions(),
            observers=[after_two],
            stop=stop,
        )
    written = workspace.scalar("SELECT count(*) FROM predictions")
    assert 20 <= written <= 30  # another session may have been writing
    assert workspace.scalar("SELECT scored_count FROM run_history") == written
    assert workspace.run("facts").scored_count == COUNT - written


# --- the query to read


@pytest.mark.parametrize("where", ["", "where = 'x < 1'"])
def test_the_query_returns_the_scores_of_the_run(workspace: Workspace, where: str) -> None:
    facts.prepare(workspace, source=where, run=DATABASE)
    workspace.run("facts")
    done = command(workspace, "model", "sql", "facts")
    assert done.returncode == 0, done.stderr
    assert "-- facts version 1: LogisticRegression" in done.stdout
    (sha256,) = workspace.query("SELECT artifact_sha256 FROM model_versions")[0]
    assert sha256 in done.stdout

    query = done.stdout.rstrip().rstrip(";")
    found = dict(workspace.query(f"SELECT id, score FROM (\n{query}\n) AS q"))
    written = dict(workspace.query("SELECT id, score FROM predictions"))
    assert found.keys() <= written.keys()
    assert len(found) >= len(written) - 1
    assert all(math.isclose(score, written[key], rel_tol=1e-12) for key, score in found.items())


def test_the_query_becomes_a_view(workspace: Workspace) -> None:
    facts.prepare(workspace)
    done = command(workspace, "model", "sql", "facts", "--view", "scores_now")
    workspace.sql("\n".join(line for line in done.stdout.splitlines() if not line.startswith("--")).rstrip(";\n"))

    assert workspace.scalar("SELECT count(*) FROM scores_now") == COUNT


def test_the_query_of_another_database_is_printed(workspace: Workspace) -> None:
    facts.prepare(workspace)
    other = "sqlite" if workspace.dialect.name == "postgresql" else "postgresql"

    done = command(workspace, "model", "sql", "facts", "--dialect", other, "--version", "1", "--job", "facts")
    assert done.returncode == 0, done.stderr
    assert ("::float8" in done.stdout) == (other == "postgresql")
