"""Inputs that the database engine stores are those that it scored, and every alteration of them is found."""

from __future__ import annotations

from typing import Any

import facts
import numpy as np
import pandas as pd
import pytest
from facts import COMPOSITE, COUNT, SINGLE, KeyKind, change, command, killed
from hypothesis import given
from hypothesis import strategies as st
from kept import KEEP, assert_in_step, assert_whole, replayed
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder
from support import Workspace

from batch_scoring.domain.checksums import ANY_COLUMN, row_checksum
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.dialects.postgresql.expressions import PostgreSQLExpressions

DATABASE = 'engine = "database"'

CELL = st.one_of(st.none(), st.floats(allow_nan=False), st.text(st.characters(exclude_characters="\0", codec="utf-8")))


@pytest.fixture(scope="module")
def postgresql(postgres: Any) -> Any:
    database = Database(postgres.create_database())
    yield database
    database.dispose()


@pytest.mark.slow
@given(rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=20))
def test_the_database_computes_the_checksum_that_python_does(
    postgresql: Database, rows: list[tuple[float | str | None, ...]]
) -> None:
    import sqlalchemy as sa

    def typed(value: float | str | None) -> sa.ColumnElement[Any]:
        kind = sa.Text() if isinstance(value, str) else sa.Double()
        return sa.cast(sa.literal(value, kind), kind)

    with postgresql.read() as connection:
        for row in rows:
            checksum = PostgreSQLExpressions().checksum([typed(value) for value in row])
            assert bytes(connection.execute(sa.select(checksum)).scalar_one()) == row_checksum(row)


def test_values_that_look_alike_have_different_checksums() -> None:
    rows = [("a", "b"), ("ab", ""), ("", "ab"), (None, "ab"), ("ab", None), (0.0, "ab"), (1.0, None), (None, None)]
    assert len({row_checksum(row) for row in rows}) == len(rows)
    assert row_checksum([-0.0]) == row_checksum([0.0]) == row_checksum([False])


@pytest.mark.parametrize("key", [SINGLE, COMPOSITE], ids=["single", "composite"])
@pytest.mark.parametrize("chunk_rows", [3, 1000])
def test_they_are_stored_by_the_statement_that_scores(
    postgresql_workspace: Workspace, key: KeyKind, chunk_rows: int
) -> None:
    workspace = facts.prepare(postgresql_workspace, key, run=f"{DATABASE}\nchunk_rows = {chunk_rows}", predictions=KEEP)
    change(workspace, "y = -1", 3, 4)  # quarantined: in Python, within the same run
    change(workspace, "x = 1e16", 5)  # scored in Python
    assert workspace.run("facts").scored_count == COUNT - 2
    change(workspace, "y = 2, z = NULL", 6, 7, at="2031-01-01")
    second = workspace.run("facts")

    assert (second.engine, second.superseded_count) == ("database", 2)
    assert_in_step(workspace)
    assert_whole(replayed(workspace, 1), COUNT - 2)
    assert_whole(replayed(workspace, 2), 2)
    stored = workspace.query("SELECT id, x, y, z FROM predictions_inputs WHERE run_id = 2 ORDER BY id")
    assert stored == workspace.query("SELECT id, x, y, z FROM facts WHERE id IN (6, 7) ORDER BY id")


def test_an_alteration_is_found_with_its_row(postgresql_workspace: Workspace) -> None:
    workspace = facts.prepare(postgresql_workspace, run=DATABASE, predictions=KEEP)
    change(workspace, "x = 1e16", 5)
    workspace.run("facts")
    workspace.sql("UPDATE predictions_inputs SET x = x * 1.000001 WHERE id IN (5, 8)")
    workspace.sql("UPDATE predictions_inputs SET z = NULL WHERE id = 9")
    workspace.sql(
        "UPDATE predictions_inputs SET digest = (SELECT digest FROM predictions_inputs WHERE id = 12) WHERE id = 11"
    )

    found = {one.key: list(one.altered) for one in replayed(workspace).deviations}
    assert found == {"5": ["x"], "8": [ANY_COLUMN], "9": [ANY_COLUMN], "11": [ANY_COLUMN]}
    shown = command(workspace, "replay", "facts", "8")
    assert shown.returncode == 1
    assert "a stored input was altered" in shown.stdout


def typed_sample() -> pd.DataFrame:
    """A column of each type that the database takes."""
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "id": np.arange(1, COUNT + 1),
            "amount": rng.normal(0, 100, COUNT).round(2),
            "many": rng.integers(-(2**20), 2**20, COUNT),
            "flag": rng.random(COUNT) < 0.5,
            "word": rng.choice(["red", "grün", "it's \\ 'so'"], COUNT),
            "code": rng.choice(["A", "B"], COUNT),
        }
    )


def typed_model() -> Pipeline:
    """A pipeline that takes each column, the key included."""
    data = typed_sample()
    texts = make_column_transformer((OneHotEncoder(), ["word", "code"]), remainder="passthrough")
    return make_pipeline(texts, LogisticRegression(C=1e-6, max_iter=5000)).fit(data, data["flag"])


def test_a_column_of_each_type_is_stored_as_the_model_took_it(postgresql_workspace: Workspace) -> None:
    workspace = postgresql_workspace
    workspace.sql(
        "CREATE TABLE typed (id INTEGER PRIMARY KEY, amount NUMERIC(12, 2) NOT NULL, many BIGINT NOT NULL,"
        " flag BOOLEAN NOT NULL, word TEXT NOT NULL, code CHAR(3) NOT NULL)"
    )
    workspace.insert_frame("typed", typed_sample())
    workspace.write_job(
        "typed",
        '[source]\ntable = "typed"\nkey = ["id"]\n[model]\nname = "typed"\n[predictions]\ntable = "typed_scores"\n'
        f'positive_label = "True"\n{KEEP}\n[run]\n{DATABASE}\n',
    )
    workspace.upgrade()
    workspace.register(typed_model(), typed_sample(), name="typed")

    run = workspace.run("typed")

    assert (run.engine, run.scored_count) == ("database", COUNT)
    columns = "id, amount, many, flag, word, trim(code)"
    stored = workspace.query(f"SELECT {columns} FROM typed_scores_inputs ORDER BY id")
    expected = workspace.query(f"SELECT {columns} FROM typed ORDER BY id")
    assert [(*row[:1], float(row[1]), *row[2:]) for row in expected] == stored
    assert_whole(replayed(workspace, job="typed"), COUNT)
    for change_of in ("amount = amount + 1", "many = many + 1", "flag = NOT flag", "word = 'red '", "code = 'C'"):
        workspace.sql("CREATE TABLE before AS SELECT * FROM typed_scores_inputs WHERE id = 3")
        workspace.sql(f"UPDATE typed_scores_inputs SET {change_of} WHERE id = 3")
        (found,) = replayed(workspace, job="typed").deviations
        assert (found.key, list(found.altered)) == ("3", [ANY_COLUMN]), change_of
        workspace.sql("DELETE FROM typed_scores_inputs WHERE id = 3")
        workspace.sql("INSERT INTO typed_scores_inputs SELECT * FROM before")
        workspace.sql("DROP TABLE before")


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", ["fence", "record_chunk"])
@pytest.mark.parametrize("superseding", [False, True])
def test_a_killed_run_leaves_each_prediction_with_its_inputs(
    postgresql_workspace: Workspace, at: str, after: bool, superseding: bool
) -> None:
    run = f'{DATABASE}\nchunk_rows = 6\nstalled_after = "30 seconds"'
    workspace = facts.prepare(postgresql_workspace, run=run, predictions=KEEP)
    if superseding:
        workspace.run("facts")
        change(workspace, "y = y + 2", *range(1, COUNT + 1), at="2031-01-01")
    killed(workspace, "run", "facts", at=f"batch_scoring.store.outcomes.in_database.{at}", call=3, after=after)
    assert_in_step(workspace)

    assert workspace.run("facts").engine == "database"
    assert_in_step(workspace)
    written = COUNT * (2 if superseding else 1)
    assert workspace.scalar("SELECT count(*) FROM predictions_inputs") == written
    assert (
        sum(
            replayed(workspace, run).reproduced_count
            for (run,) in workspace.query("SELECT DISTINCT run_id FROM predictions_inputs")
        )
        == written
    )
