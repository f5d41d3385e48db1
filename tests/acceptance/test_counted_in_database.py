"""What the database engine counts of the rows that it scores is what Python would have counted."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import facts
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from conftest import prepare_loans
from facts import COMPOSITE, COUNT, SINGLE, KeyKind, change, killed
from faults import assert_profiles_equal_counts
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from support import LOAN_JOB, Workspace

from batch_scoring.domain.bin_codes import words_of
from batch_scoring.domain.column_types import ColumnType
from batch_scoring.domain.expressions import Case, Comparison, Name, Number, Program, Text, inputs_of
from batch_scoring.domain.manifest import ModelForm, Signature, SignatureColumn
from batch_scoring.domain.profile import SCORE_BINS, Profile, Reference
from batch_scoring.errors import WrittenCountDiffers
from batch_scoring.model.profiling import build_reference, profile
from batch_scoring.model.scorer import ScoredRows
from batch_scoring.model.training import TrainedModel
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.programs import CompiledProgram
from batch_scoring.store.outcomes.counted import Counted, Counting
from batch_scoring.store.runs.profiles import profile_of_run

NAME = "loan_eligibility"
WORDS = ["a", "b's", 'q"uote', "back\\slash", "Ünïcode ☃", "50 %:x", "", " ", *(f"level {n}" for n in range(40))]
"""More than there are levels with counts of their own."""

SIGNATURE = Signature(
    columns=(
        SignatureColumn(name="number", type=ColumnType.NUMBER, nullable=True),
        SignatureColumn(name="score", type=ColumnType.NUMBER, nullable=False),
        SignatureColumn(name="integer", type=ColumnType.INTEGER, nullable=True),
        SignatureColumn(name="word", type=ColumnType.TEXT, nullable=True, categories=tuple(sorted(WORDS))),
        SignatureColumn(name="prediction", type=ColumnType.TEXT, nullable=False, categories=("x", "y")),
        SignatureColumn(name="branch", type=ColumnType.INTEGER, nullable=True, categories=("-1", "2", "30")),
        SignatureColumn(name="flag", type=ColumnType.BOOLEAN, nullable=False),
        SignatureColumn(name="constant", type=ColumnType.NUMBER, nullable=True),
        SignatureColumn(name="unknown", type=ColumnType.NUMBER, nullable=True),
    )
)
"""With inputs that have the names of results."""


def _sample() -> dict[str, list[Any]]:
    rng = np.random.default_rng(5)
    numbers = [0.0, -0.0, 1e-320, 1e-15, -1e-300, 0.1 + 0.2, 1e15, *rng.normal(0, 3, 93).round(2).tolist()]
    return {
        "number": [None, *numbers[1:]],
        "score": rng.random(100).tolist(),
        "integer": [None, *rng.integers(-5, 60, 99).tolist()],
        "word": [*WORDS, None, *["a"] * 20, *["b's"] * (100 - len(WORDS) - 21)],
        "prediction": ["x"] * 60 + ["y"] * 40,
        "branch": [-1, 2, 30, None, *[2] * 96],
        "flag": [True] * 70 + [False] * 30,
        "constant": [4.0] * 100,
        "unknown": [None] * 100,
    }


def _reference() -> Reference:
    sample = _sample()
    outputs = np.linspace(0, 1, 100)
    return build_reference(
        ModelForm(kind="binary", labels=("N", "o'Y")),
        SIGNATURE,
        sample,
        np.column_stack([1 - outputs, outputs]),
        origin="sample",
        is_out_of_fold=False,
    )


REFERENCE = _reference()
PROGRAM = Program(
    inputs=inputs_of(SIGNATURE),
    conditions=(),
    steps=(),
    score=Name("score"),
    label=Case(((Comparison(Name("score"), ">=", Number(0.5)), Text("o'Y")),), otherwise=Text("N")),
    accepted=(),
)
EDGES = sorted({edge for bins in REFERENCE.features for edge in (*(bins.edges or ()), bins.low, bins.high) if edge})
LIKELY = [near for edge in EDGES for near in (edge, math.nextafter(edge, -1e9), math.nextafter(edge, 1e9))]
NUMBER = st.one_of(st.floats(-1e15, 1e15), st.sampled_from([0.0, -0.0, 1e-15, -1e-15, 1e15, 4.0, *LIKELY])).filter(
    lambda value: value == 0 or abs(value) >= 1e-15
)
SCORE = st.one_of(
    st.floats(-2, 3),
    st.integers(-3, SCORE_BINS + 3).map(lambda number: number / SCORE_BINS),
    st.integers(0, SCORE_BINS).map(lambda number: math.nextafter(number / SCORE_BINS, -1)),
).filter(lambda value: value == 0 or abs(value) >= 1e-15)
ROW = st.fixed_dictionaries(
    {
        "number": st.none() | NUMBER,
        "score": SCORE,
        "integer": st.none() | st.integers(-100, 100) | st.sampled_from([10**15, -(10**15)]),
        "word": st.none() | st.sampled_from(WORDS),
        "prediction": st.sampled_from(["x", "y"]),
        "branch": st.sampled_from([None, -1, 2, 30]),
        "flag": st.booleans(),
        "constant": st.none() | NUMBER,
        "unknown": st.none() | NUMBER,
    }
)


@pytest.fixture(scope="module")
def both(postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Database]]:
    databases = [Database(postgres.create_database())]
    file = tmp_path_factory.mktemp("counted") / "test.db"
    file.touch()
    databases.append(Database(f"sqlite:///{file}"))
    yield databases
    for database in databases:
        database.dispose()


def counted_in(database: Database, rows: list[dict[str, Any]], reference: Reference = REFERENCE) -> Counted:
    """What a database counts of rows; every third of them again."""
    compiled = CompiledProgram.of(PROGRAM, _columns(), database.dialect)
    counting = Counting(reference=reference, inputs=PROGRAM.inputs, again=lambda due: due.rows.c["row number"] % 3 == 0)
    values = {name: [row[name] for row in rows] for name in SIGNATURE.names}
    syntax = database.dialect.expressions
    assert syntax is not None
    with database.read() as connection:
        source = compiled._given(values, range(len(rows)))
        due: Any = SimpleNamespace(rows=source)
        carried = counting.carried(due)
        query = sa.select(*(value.label(label) for label, value in carried.items())).select_from(source)
        scored = counting.extended(compiled).over(
            query, {name: source.c[name] for name in SIGNATURE.names}, [*carried], returned=counting.returned
        )
        if not syntax.stores_inputs:
            return counting.fetch(connection, scored, syntax)
        return counting.of_aggregates(tuple(row) for row in connection.execute(counting.aggregates(scored, syntax)))


def _columns() -> Any:
    from batch_scoring.store.engine.programs import plain_columns

    return plain_columns(PROGRAM.inputs)


def counted_in_python(rows: list[dict[str, Any]], reference: Reference = REFERENCE) -> Profile:
    scores = np.array([row["score"] for row in rows], dtype=float)
    scored = ScoredRows(
        positions=list(range(len(rows))),
        scores=scores,
        labels=["o'Y" if score >= 0.5 else "N" for score in scores],
        faults={},
        unseen_category_count=0,
    )
    columns = {name: [row[name] for row in rows] for name in SIGNATURE.names}
    return profile(reference, SIGNATURE, columns, scored)


ALL = [
    {name: values[position] for name, values in _sample().items()}
    for position in range(100)
    if _sample()["number"][position] is None
    or _sample()["number"][position] == 0
    or abs(_sample()["number"][position]) >= 1e-15
]


@pytest.mark.slow
@given(rows=st.lists(ROW, min_size=1, max_size=60))
@example(rows=ALL)
@settings(max_examples=60, deadline=None)
def test_generated_rows_have_the_bins_of_python(both: list[Database], rows: list[dict[str, Any]]) -> None:
    expected, again = counted_in_python(rows), counted_in_python(rows[::3])
    for database in both:
        found = counted_in(database, rows)
        assert found.rows == expected
        assert found.again == again


@pytest.mark.slow
def test_the_borders_of_every_bin_are_those_of_python(both: list[Database]) -> None:
    """The scores at and next to the border of each bin, and the edges of the numbers."""
    borders = [number / SCORE_BINS for number in range(SCORE_BINS + 1)]
    near = [math.nextafter(border, to) for border in borders[1:] for to in (-1, 2)]
    scores = [-0.5, 1.5, *borders, *near]
    likely = [value for value in LIKELY if abs(value) >= 1e-15]
    rows = [{**ALL[i % len(ALL)], "score": score, "number": likely[i % len(likely)]} for i, score in enumerate(scores)]
    expected = counted_in_python(rows)
    assert len(expected.scores) == SCORE_BINS
    for database in both:
        assert counted_in(database, rows).rows == expected


def test_hundreds_of_features_take_several_words(both: list[Database]) -> None:
    many = REFERENCE.model_copy(update={"features": REFERENCE.features * 20})
    assert len(words_of(Counting(reference=many, inputs=PROGRAM.inputs)._features)) > 8
    expected = counted_in_python(ALL, many)
    for database in both:
        assert counted_in(database, ALL, many).rows == expected


# --- runs


def profile_of_next(workspace: Workspace, job: str, engine: str) -> Profile:
    run = workspace.run(job)
    assert run.engine == engine
    with workspace.database() as database:
        found = profile_of_run(database, run.run_id)
    assert found is not None
    assert found.rows == run.scored_count + run.quarantined_count
    return found


EACH_RUN = "\n[monitoring]\nwindow_rows = 1\n"
"""Each run is a window, so that no row is counted there before."""

FIRST = {
    "y = -1": (3, 4),  # quarantined, in Python
    "x = NULL": (5,),
    "x = 1e16": (6,),  # scored in Python
    "x = 0.5": (7,),
    "z = NULL": (8, 9),
    "z = 50, x = -0.0": (10, 11),
}
SECOND = {"y = 2": (3,), "x = 4": (6, 7), "z = 1e9, x = -1e9": (10, 11)}


@pytest.mark.slow
@pytest.mark.parametrize("key", [SINGLE, COMPOSITE], ids=["single", "composite"])
@pytest.mark.parametrize("chunk_rows", [3, 1000])
def test_profiles_of_facts_are_those_of_python(workspace: Workspace, key: KeyKind, chunk_rows: int) -> None:
    facts.prepare(workspace, key)
    profiles: dict[str, list[Profile]] = {"python": [], "database": []}
    for number, engine in enumerate(profiles):
        settings = f'engine = "{engine}"\nchunk_rows = {chunk_rows}'
        window = f"[monitoring]\nwindow_rows = {2 * COUNT}"  # the runs of an engine
        workspace.write_job("facts", facts.job_text(key, run=settings, after=window))
        for stage, changes in enumerate((FIRST, SECOND)):
            for assignment, rows in changes.items():
                change(workspace, assignment, *rows)
            workspace.sql(f"UPDATE facts SET at = '203{number}-01-0{stage + 1} 00:00:00'")
            profiles[engine].append(profile_of_next(workspace, "facts", engine))
    assert profiles["database"] == profiles["python"]
    assert [profile.rows for profile in profiles["python"]] == [COUNT, COUNT]
    assert [profile.again is None for profile in profiles["python"]] == [True, False]
    assert_profiles_equal_counts(workspace)


@pytest.mark.slow
@pytest.mark.parametrize("options", ["", "keep_inputs = true"], ids=["plain", "inputs are stored"])
def test_profiles_of_applicants_are_those_of_python(
    workspace: Workspace, loan_model: TrainedModel, options: str
) -> None:
    if options and workspace.dialect.name == "sqlite":
        pytest.skip("the database engine of SQLite stores no inputs")
    job = LOAN_JOB.replace("# chunk_rows = 50000", "chunk_rows = 50").replace(
        "[predictions]", f"[predictions]\n{options}"
    )
    job += EACH_RUN
    prepare_loans(workspace, loan_model, job=job)
    workspace.sql("""UPDATE applicants SET "Property_Area" = 'Island' WHERE "Loan_ID" LIKE 'LP0010%'""")
    workspace.sql("""UPDATE applicants SET "ApplicantIncome" = NULL WHERE "Loan_ID" LIKE 'LP0020%'""")
    workspace.sql("""UPDATE applicants SET "Gender" = NULL, "LoanAmount" = NULL WHERE "Loan_ID" LIKE 'LP0021%'""")
    profiles: list[Profile] = []
    for engine in ("python", "database", "database"):
        workspace.write_job(NAME, job.replace("[run]", f'[run]\nengine = "{engine}"'))
        workspace.sql(f"UPDATE applicants SET updated_at = '203{len(profiles)}-01-01 00:00:00'")
        profiles.append(profile_of_next(workspace, NAME, engine))
    assert profiles[1] == profiles[2] == profiles[0]
    assert_profiles_equal_counts(workspace)
    assert {code for (code,) in workspace.query("SELECT DISTINCT reason_code FROM predictions_quarantine")}


TYPED = pd.DataFrame(
    {
        "amount": np.linspace(-3, 7, 60).round(2),
        "branch": [1, 2, 3] * 20,
        "flag": [True, False, False] * 20,
        "plan": ["x", "it's", "a\\b"] * 20,
    }
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["multiclass", "regression"])
@pytest.mark.parametrize("amount", ["DOUBLE PRECISION", "REAL", "NUMERIC(12, 3)", "BIGINT"])
def test_models_of_other_kinds_and_columns_of_other_types_are_counted_alike(
    workspace: Workspace, kind: str, amount: str
) -> None:
    columns = make_column_transformer(
        ("passthrough", ["amount", "branch", "flag"]), (OneHotEncoder(handle_unknown="ignore"), ["plan"])
    )
    target = TYPED["amount"] + TYPED["flag"]
    labels = np.where(target > 3, "high", np.where(target > 0, "mid", "it's low"))
    model = make_pipeline(columns, LinearRegression() if kind == "regression" else LogisticRegression(max_iter=5000))
    model.fit(TYPED, target if kind == "regression" else labels)
    flag = "INTEGER" if amount == "BIGINT" else "BOOLEAN"
    workspace.sql(
        f"CREATE TABLE typed (id INTEGER PRIMARY KEY, amount {amount}, branch SMALLINT, flag {flag}, plan VARCHAR(9),"
        " at TIMESTAMP)"
    )
    rows = TYPED.assign(id=range(60), at="2026-01-01 00:00:00")
    if flag == "INTEGER":
        rows["flag"] = rows["flag"].astype(int)
        rows.loc[7, "flag"] = 5  # no boolean: quarantined
    rows["amount"] = rows["amount"].round(0).astype(int) if amount == "BIGINT" else rows["amount"] * 1.7
    workspace.insert_frame("typed", rows)
    workspace.sql("UPDATE typed SET plan = 'new' WHERE id < 3")
    text = (
        '[source]\ntable = "typed"\nkey = ["id"]\nchanged_at = "at"\n[model]\nname = "typed"\n[predictions]\n'
        f'table = "predictions"\nkind = "{kind}"\nmax_quarantined = 1.0\n[run]\nchunk_rows = 20\n'
    )
    workspace.write_job("typed", text)
    workspace.upgrade()
    workspace.register(model, TYPED, name="typed")
    profiles: list[Profile] = []
    for engine in ("python", "database"):
        workspace.write_job("typed", f'{text}engine = "{engine}"\n{EACH_RUN}')
        workspace.sql(f"UPDATE typed SET at = '203{len(profiles)}-01-01 00:00:00'")
        profiles.append(profile_of_next(workspace, "typed", engine))
    assert profiles[0] == profiles[1]
    assert bool(profiles[1].labels) is (kind == "multiclass")


# --- faults


@pytest.mark.slow
@pytest.mark.parametrize("at", ["record_profile", "record_chunk"])
@pytest.mark.parametrize("after", [False, True])
def test_a_run_that_is_killed_has_counted_what_it_has_written(workspace: Workspace, at: str, after: bool) -> None:
    facts.prepare(workspace, run='engine = "database"\nchunk_rows = 6\nstalled_after = "30 seconds"')
    change(workspace, "y = -1", 3, 30)
    killed(workspace, "run", "facts", at=f"batch_scoring.store.outcomes.in_database.{at}", call=3, after=after)
    counted = workspace.scalar("SELECT coalesce(sum(read_count), 0) FROM scoring_profiles WHERE run_id = 1")
    assert counted == workspace.scalar("SELECT count(*) FROM predictions")
    workspace.run("facts")
    assert workspace.scalar("SELECT sum(read_count) FROM scoring_profiles") == COUNT
    assert_profiles_equal_counts(workspace)


@pytest.mark.slow
def test_rows_that_change_while_they_are_scored_are_counted_once(postgresql_workspace: Workspace) -> None:
    workspace = facts.prepare(postgresql_workspace, run='engine = "database"\nchunk_rows = 3')
    ended = threading.Event()

    def change_rows() -> None:
        step = 0
        while not ended.is_set():
            step += 1
            workspace.sql(f"UPDATE facts SET y = y + 1, at = now() WHERE id % 5 = {step % 5}")
            workspace.sql(f"DELETE FROM facts WHERE id = {step % COUNT + 1}")
            workspace.sql(f"INSERT INTO facts SELECT {1000 + step}, branch, 1, 2, 3, now() FROM facts LIMIT 1")

    with ThreadPoolExecutor() as pool:
        changing = pool.submit(change_rows)
        try:
            for _ in range(4):
                assert workspace.run("facts").engine == "database"
        finally:
            ended.set()
        changing.result()
    assert_profiles_equal_counts(workspace)


def test_rows_that_a_trigger_discards_end_the_run(postgresql_workspace: Workspace) -> None:
    workspace = facts.prepare(postgresql_workspace, run='engine = "database"')
    workspace.sql(
        "CREATE FUNCTION discard() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN IF NEW.id = 5 THEN RETURN NULL; END IF; RETURN NEW; END'"
    )
    workspace.sql("CREATE TRIGGER discards BEFORE INSERT ON predictions FOR EACH ROW EXECUTE FUNCTION discard()")
    with pytest.raises(WrittenCountDiffers, match=r"40 rows were scored for predictions and 39 written.*trigger"):
        workspace.run("facts")
    assert workspace.query("SELECT count(*) FROM predictions") == [(0,)]
    assert workspace.query("SELECT count(*) FROM scoring_profiles") == [(0,)]


def test_a_model_without_a_reference_is_scored_and_not_counted(workspace: Workspace) -> None:
    facts.prepare(workspace, run='engine = "database"')
    ((manifest,),) = workspace.query("SELECT manifest FROM model_versions")
    content = json.loads(manifest) if isinstance(manifest, str) else manifest
    del content["reference"]
    workspace.rewrite("UPDATE model_versions SET manifest = '{}'".format(json.dumps(content).replace("'", "''")))
    run = workspace.run("facts")
    assert (run.engine, run.scored_count) == ("database", COUNT)
    assert workspace.scalar("SELECT count(*) FROM scoring_profiles") == 0
