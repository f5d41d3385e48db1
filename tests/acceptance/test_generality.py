"""Any table, key and model by its job file alone: keys come out exactly, scores are those the model gives by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

import joblib
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from support import PostgresServer, Workspace

TOLERANCE = 1e-12
KEYS = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71]


def quoted(name: str) -> str:
    """An identifier in the words of both databases."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Any) -> str:
    """A value in the words of both databases."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float | Decimal):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"


def execute(workspace: Workspace, statement: str | bytes) -> None:
    """Send a statement to the driver as it is: nothing in it is a parameter."""
    with workspace.database() as database, database.write(create=True) as connection:
        connection.connection.cursor().execute(statement)


def select(workspace: Workspace, statement: str) -> list[tuple[Any, ...]]:
    """Read with a statement that reaches the driver as it is."""
    with workspace.database() as database, database.read() as connection:
        cursor = connection.connection.cursor()
        cursor.execute(statement)
        return [tuple(row) for row in cursor.fetchall()]


def create(workspace: Workspace, table: str, columns: dict[str, str], rows: Sequence[Sequence[Any]]) -> None:
    """Make and fill a table; ``columns`` gives each its type and what stands behind it."""
    declared = ", ".join(f"{quoted(name)} {ddl}" if ddl else name for name, ddl in columns.items())
    execute(workspace, f"CREATE TABLE {table} ({declared})")
    for start in range(0, len(rows), 500):
        values = ", ".join(f"({', '.join(map(literal, row))})" for row in rows[start : start + 500])
        execute(workspace, f"INSERT INTO {table} VALUES {values}")


def toml(text: str) -> str:
    """A TOML string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def write_job(
    workspace: Workspace,
    *,
    table: str = "facts",
    key: Sequence[str] = ("id",),
    source: str = "",
    model: str = "any",
    predictions: str = "predictions",
    kind: str = 'positive_label = "yes"',
    chunk_rows: int = 50_000,
    bulk: str = "auto",
    name: str = "any",
) -> None:
    """A job file."""
    keys = ", ".join(map(toml, key))
    workspace.write_job(
        name,
        f"[source]\ntable = {toml(table)}\nkey = [{keys}]\n{source}\n[model]\nname = {toml(model)}\n"
        f"[predictions]\ntable = {toml(predictions)}\n{kind}\n"
        f'[run]\nchunk_rows = {chunk_rows}\nbulk = "{bulk}"\n',
    )


def ways(workspace: Workspace) -> list[str]:
    """The ways rows can be moved in this database."""
    return ["auto", "portable"] if workspace.dialect.bulk else ["auto"]


@pytest.fixture(scope="module")
def numbers() -> pd.DataFrame:
    """Two numbers for each of twenty rows, some missing."""
    rng = np.random.default_rng(7)
    frame = pd.DataFrame({"x": rng.normal(size=20).round(3), "y": rng.normal(100, 30, size=20).round(1)})
    frame.loc[[3, 8], "y"] = np.nan
    return frame


@pytest.fixture(scope="module")
def numbers_model(numbers: pd.DataFrame) -> Pipeline:
    """Yes or no, from two numbers."""
    model = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    return model.fit(numbers, np.where(numbers["x"] > 0, "yes", "no"))


@pytest.fixture
def by_hand(numbers: pd.DataFrame, numbers_model: Pipeline) -> np.ndarray[Any, Any]:
    """The probability of "yes" for each row, in order."""
    return np.asarray(numbers_model.predict_proba(numbers)[:, 1])


def number_rows(numbers: pd.DataFrame, keys: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Keys and numbers beside each other."""
    plain = numbers.astype(object).where(numbers.notna(), None)
    return [[*key, *row] for key, row in zip(keys, plain.itertuples(index=False, name=None), strict=True)]


def assert_scores(found: list[tuple[Any, ...]], keys: Sequence[Any], scores: Any) -> None:
    """Rows of key and score: each key once and as it is, each score as by hand."""
    stored = dict(found)
    assert len(found) == len(stored) == len(keys)
    assert set(stored) == set(keys)
    assert max(abs(stored[key] - score) for key, score in zip(keys, scores, strict=True)) <= TOLERANCE


@pytest.mark.slow
def test_a_composite_key_is_one_key_in_all_its_columns(
    workspace: Workspace, numbers: pd.DataFrame, numbers_model: Pipeline, by_hand: Any
) -> None:
    keys = [(f"branch {i % 3}", i // 3, date(2024, 1, 1 + i % 2)) for i in range(20)]
    create(
        workspace,
        "facts",
        {
            "branch": "TEXT",
            "account": "BIGINT",
            "day": "DATE",
            "x": "DOUBLE PRECISION",
            "y": "NUMERIC",
            "PRIMARY KEY (branch, account, day)": "",
        },
        number_rows(numbers, keys),
    )
    as_text = [(branch, account, day.isoformat()) for branch, account, day in keys]
    first = True
    for bulk in ways(workspace):
        for chunk_rows in (1, 7, 1000):
            target = f"predictions_{bulk}_{chunk_rows}"
            order = ["day", "branch", "account"]
            write_job(workspace, key=order, predictions=target, chunk_rows=chunk_rows, bulk=bulk)
            if first:
                workspace.upgrade()
                workspace.register(numbers_model, numbers, name="any")
            first = False
            run = workspace.run("any")
            assert (run.scored_count, run.chunk_count) == (20, -(-20 // chunk_rows))
            found = workspace.query(f"SELECT branch, account, CAST(day AS TEXT), score FROM {target}")
            assert_scores([(row[:3], row[3]) for row in found], as_text, by_hand)
    workspace.sql("UPDATE facts SET x = x + 1 WHERE account = 2")
    assert workspace.run("any").due_count == 0, "without changed_at, presence decides"


UUIDS = [uuid5(UUID(int=0), str(i)) for i in range(20)]
BIG = [2**53, 2**53 + 1, 2**53 + 2, 2**63 - 1, 2**63 - 2, -(2**63), -(2**53) - 1, 0, *range(1, 13)]
TEXTS = ["", " ", "a ", "a", "A", "é", "e\u0301", "NULL", "nan", "\\N", "\\.", '"', "'", ",", "%s", ":x", "1e5", "007"]
TEXTS += ["line\nbreak", "tab\tand\r\nreturn"]
EXACT_KEYS: dict[str, tuple[str, str, list[Any]]] = {
    "uuid": ("UUID", "TEXT", [str(each) for each in UUIDS]),
    "bigint": ("BIGINT", "BIGINT", BIG),
    "text": ("TEXT", "TEXT", TEXTS),
    "numeric": ("NUMERIC(30, 10)", "", [f"{12345678901234567890 + i}.0000000001" for i in range(20)]),
    "date": ("DATE", "DATE", [f"{1890 + 10 * i}-02-28" for i in range(20)]),
    "timestamp": (
        "TIMESTAMP WITH TIME ZONE",
        "TIMESTAMP",
        [f"2024-03-31 01:59:59.{i:06d}" for i in range(20)],
    ),
    "char": ("CHAR(6)", "CHAR(6)", [f"K{i:05d}" for i in range(20)]),
    "varchar": ("VARCHAR(40)", "VARCHAR(40)", [f"Ключ-{i}" for i in range(20)]),
    "integer": ("INTEGER", "INTEGER", KEYS),
}


@pytest.mark.parametrize("name", EXACT_KEYS)
def test_keys_come_out_exactly_as_they_went_in(
    workspace: Workspace, numbers: pd.DataFrame, numbers_model: Pipeline, by_hand: Any, name: str
) -> None:
    exactly, loosely, keys = EXACT_KEYS[name]
    ddl = exactly if workspace.dialect.enforces_types else loosely
    if not ddl:
        pytest.skip(f"{workspace.dialect.product} stores such numbers as floats")
    columns = {"id": f"{ddl} NOT NULL PRIMARY KEY", "x": "DOUBLE PRECISION", "y": "DOUBLE PRECISION"}
    create(workspace, "facts", columns, number_rows(numbers, [[key] for key in keys]))
    for number, bulk in enumerate(ways(workspace)):
        target = f"predictions_{bulk}"
        write_job(workspace, predictions=target, chunk_rows=7, bulk=bulk)
        if not number:
            workspace.upgrade()
            workspace.register(numbers_model, numbers, name="any")

        assert workspace.run("any").scored_count == 20
        assert workspace.run("any").due_count == 0

        missing = workspace.scalar(f"SELECT count(*) FROM facts WHERE id NOT IN (SELECT id FROM {target})")
        assert missing == 0
        source = dict(workspace.query("SELECT x, id FROM facts"))
        found = workspace.query(f"SELECT id, score FROM {target}")
        assert_scores(found, [source[x] for x in numbers["x"]], by_hand)
        if name in ("bigint", "text", "integer"):
            assert {key for key, _ in found} == set(keys)


def test_a_predictions_table_has_the_key_types_of_its_source(
    postgresql_workspace: Workspace, numbers: pd.DataFrame, numbers_model: Pipeline
) -> None:
    columns = {"id": "UUID", "n": "NUMERIC(12, 4)", "c": "VARCHAR(9)", "x": "REAL", "y": "REAL"}
    keys = [(each, "1.5000", "c") for each in UUIDS]
    create(postgresql_workspace, "facts", columns, number_rows(numbers, keys))
    write_job(postgresql_workspace, key=["id", "n", "c"])
    postgresql_workspace.upgrade()
    types = postgresql_workspace.query(
        "SELECT table_name, column_name, data_type, numeric_precision, numeric_scale, character_maximum_length"
        " FROM information_schema.columns WHERE column_name IN ('id', 'n', 'c')"
        " AND table_name IN ('facts', 'predictions', 'predictions_superseded', 'predictions_quarantine')"
    )
    by_table: dict[str, set[Any]] = {}
    for table, *rest in types:
        by_table.setdefault(table, set()).add(tuple(rest))
    assert by_table["predictions"] == by_table["predictions_quarantine"] == by_table["facts"]
    assert by_table["predictions_superseded"] == by_table["facts"]


NAMES = [
    "with space",
    "MixedCase",
    "select",
    "returning",  # a word of SQLite's that SQLAlchemy leaves unquoted
    "lateral",  # one of PostgreSQL's
    'a"quote',
    "it's",
    "100% %s",
    "%(x)s",
    "a:b :p",
    "k0",
    "v0",
    "param_1",
    "changed",
    "back\\slash",
    "${keys}",
    "semi;",
    "ünï-çode",
    "dot.ted (paren)",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_column_may_have_any_name_as_key_as_version_and_as_feature(
    workspace: Workspace, numbers: pd.DataFrame, numbers_model: Pipeline, by_hand: Any, name: str
) -> None:
    """Three columns share the odd name, with an addition each."""
    key, changed, feature = name, f"{name} 2", f"{name} 3"
    create(
        workspace,
        "facts",
        {
            key: "INTEGER NOT NULL PRIMARY KEY",
            changed: "INTEGER",
            feature: "DOUBLE PRECISION",
            "y": "DOUBLE PRECISION",
        },
        number_rows(numbers, [(each, 1) for each in KEYS]),
    )
    sample = numbers.rename(columns={"x": feature})
    model = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    model.fit(sample, np.where(numbers["x"] > 0, "yes", "no"))
    for number, bulk in enumerate(ways(workspace)):
        target = f"predictions_{bulk}"
        source = f"changed_at = {toml(changed)}\nwhere = {toml(f'{quoted(key)} > 0')}"
        write_job(workspace, key=[key], source=source, predictions=target, chunk_rows=7, bulk=bulk)
        if not number:
            workspace.upgrade()
            workspace.register(model, sample, name="any")

        assert workspace.run("any").scored_count == 20
        assert_scores(select(workspace, f"SELECT {quoted(key)}, score FROM {target}_current"), KEYS, by_hand)

        again = f"UPDATE facts SET {quoted(changed)} = {quoted(changed)} + 1 WHERE {quoted(key)} <= 5"
        execute(workspace, again)
        run = workspace.run("any")
        assert (run.due_count, run.superseded_count) == (3, 3)
        assert workspace.run("any").due_count == 0
        assert_scores(select(workspace, f"SELECT {quoted(key)}, score FROM {target}_current"), KEYS, by_hand)


@pytest.mark.parametrize(
    "name", ["With space", "returning", "lateral", 'a"quote', "100% %s", "a:b :p", "it's", "source"]
)
def test_a_table_may_have_any_name(
    workspace: Workspace, numbers: pd.DataFrame, numbers_model: Pipeline, by_hand: Any, name: str
) -> None:
    columns = {"id": "INTEGER NOT NULL PRIMARY KEY", "x": "DOUBLE PRECISION", "y": "DOUBLE PRECISION"}
    create(workspace, quoted(name), columns, number_rows(numbers, [[key] for key in KEYS]))
    target = f"{name} predicted"
    write_job(workspace, table=name, predictions=target, chunk_rows=7)
    workspace.upgrade()
    workspace.register(numbers_model, numbers, name="any")
    assert workspace.run("any").scored_count == 20
    assert workspace.run("any").due_count == 0
    assert_scores(select(workspace, f"SELECT id, score FROM {quoted(target + '_current')}"), KEYS, by_hand)


@pytest.mark.parametrize(
    "where",
    ["name LIKE 'A%'", "name LIKE 'A%' AND name <> ':x' AND name <> '%s'", "name = 'Anna' OR name = 'Ali'"],
)
def test_a_where_is_taken_word_for_word(
    workspace: Workspace, numbers: pd.DataFrame, numbers_model: Pipeline, where: str
) -> None:
    names = ["Anna", "Bob", "Ali", "Charlotte"] * 5
    columns = {
        "id": "INTEGER NOT NULL PRIMARY KEY",
        "name": "TEXT",
        "x": "DOUBLE PRECISION",
        "y": "DOUBLE PRECISION",
    }
    create(workspace, "facts", columns, number_rows(numbers, list(zip(KEYS, names, strict=True))))
    expected = sorted(key for key, name in zip(KEYS, names, strict=True) if name.startswith("A"))
    for number, bulk in enumerate(ways(workspace)):
        write_job(workspace, source=f"where = {toml(where)}", predictions=f"predictions_{bulk}", bulk=bulk)
        if not number:
            workspace.upgrade()
            workspace.register(numbers_model, numbers, name="any")
        workspace.run("any")
        found = workspace.query(f"SELECT id FROM predictions_{bulk} ORDER BY id")
        assert [key for (key,) in found] == expected


def test_a_view_may_be_the_source(
    workspace: Workspace, numbers: pd.DataFrame, numbers_model: Pipeline, by_hand: Any
) -> None:
    columns = {"number": "INTEGER NOT NULL PRIMARY KEY", "a": "DOUBLE PRECISION", "y": "NUMERIC", "at": "TIMESTAMP"}
    rows = [[*row, "2024-05-06 07:08:09"] for row in number_rows(numbers, [[key] for key in KEYS])]
    create(workspace, "base", columns, rows)
    workspace.sql(
        "CREATE VIEW facts AS SELECT number * 10 AS id, 'K-' || number AS code, a * 1.0 AS x, y, at FROM base"
        " WHERE number > 0"
    )
    for number, bulk in enumerate(ways(workspace)):
        target = f"predictions_{bulk}"
        write_job(
            workspace, key=["id", "code"], source='changed_at = "at"', predictions=target, chunk_rows=7, bulk=bulk
        )
        if not number:
            workspace.upgrade()
            workspace.register(numbers_model, numbers, name="any")
        assert workspace.run("any").scored_count == 20
        found = workspace.query(f"SELECT id, code, score FROM {target}_current")
        assert_scores(
            [((key, code), score) for key, code, score in found], [(key * 10, f"K-{key}") for key in KEYS], by_hand
        )
        assert workspace.run("any").due_count == 0


def test_source_and_predictions_may_be_in_other_schemas(
    postgresql_workspace: Workspace, numbers: pd.DataFrame, numbers_model: Pipeline, by_hand: Any
) -> None:
    workspace = postgresql_workspace
    execute(workspace, 'CREATE SCHEMA "Crm 1"; CREATE SCHEMA scores')
    columns = {"id": "INTEGER NOT NULL PRIMARY KEY", "x": "DOUBLE PRECISION", "y": "DOUBLE PRECISION"}
    create(workspace, '"Crm 1".facts', columns, number_rows(numbers, [[key] for key in KEYS]))
    create(workspace, "facts", {"other": "TEXT"}, [])
    write_job(workspace, table="Crm 1.facts", predictions="scores.predictions", chunk_rows=7)
    workspace.upgrade()
    workspace.register(numbers_model, numbers, name="any")

    assert workspace.run("any").scored_count == 20

    assert_scores(workspace.query("SELECT id, score FROM scores.predictions_current"), KEYS, by_hand)
    assert workspace.run("any").due_count == 0
    assert workspace.cli("check").returncode == 0


@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "SQL_ASCII"])
def test_a_database_in_another_encoding_is_served(
    postgresql_workspace: Workspace, postgres: PostgresServer, encoding: str
) -> None:
    name = f"{sa.make_url(postgresql_workspace.database_url).database}_{encoding.lower()}"
    postgres.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    workspace = Workspace(postgresql_workspace.folder, postgres.url(name))
    words = ["Müller", "Ågren", "plain", "née"]
    sample = pd.DataFrame({"word": words})
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(sample, ["yes", "no", "yes", "no"])
    values = ", ".join(f"('{word} 1', '{word}')" for word in words)
    execute(workspace, "CREATE TABLE facts (id TEXT PRIMARY KEY, word TEXT)")
    execute(workspace, f"INSERT INTO facts VALUES {values}")
    for number, bulk in enumerate(ways(workspace)):
        write_job(workspace, bulk=bulk, predictions=f"predictions_{bulk}", chunk_rows=3)
        if not number:
            workspace.upgrade()
            workspace.register(model, sample, name="any")
        run = workspace.run("any")
        assert (run.scored_count, run.unseen_category_count) == (4, 0)
        assert workspace.run("any").due_count == 0


def typed_sample() -> pd.DataFrame:
    """A column of each type that a model takes, as the database gives them."""
    rng = np.random.default_rng(11)
    size = 60
    frame = pd.DataFrame(
        {
            "amount": (rng.integers(1, 10**6, size) / 100).tolist(),
            "count": rng.integers(0, 50, size),
            "flag": rng.random(size) < 0.5,
            "maybe": pd.Series(np.where(rng.random(size) < 0.5, True, False), dtype=object),
            "day": pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 1500, size), unit="D"),
            "word": rng.choice(["red", "green", "blue"], size).astype(object),
            "nothing": pd.Series([np.nan] * size, dtype=float),
            "never": pd.Series([np.nan] * size, dtype=object),
        }
    )
    frame["day"] = frame["day"].astype("datetime64[us]")
    frame.loc[rng.random(size) < 0.2, "amount"] = np.nan
    frame.loc[rng.random(size) < 0.2, ["maybe", "word"]] = np.nan
    return frame


def typed_model(sample: pd.DataFrame) -> Pipeline:
    """A pipeline that every one of the columns matters to."""
    numbers = make_pipeline(SimpleImputer(add_indicator=True, keep_empty_features=True), StandardScaler())
    days = make_pipeline(FunctionTransformer(pd.DataFrame.astype, kw_args={"dtype": "int64"}), StandardScaler())
    prepare = make_column_transformer(
        (numbers, ["amount", "count", "nothing"]),
        ("passthrough", ["flag"]),
        (days, ["day"]),
        (OneHotEncoder(handle_unknown="ignore"), ["maybe", "word", "never"]),
    )
    labels = np.where(np.random.default_rng(12).random(len(sample)) < 0.5, "yes", "no")
    return make_pipeline(prepare, LogisticRegression(max_iter=1000)).fit(sample, labels)


@pytest.mark.slow
def test_each_type_of_column_reaches_the_model_as_it_was_fitted_whatever_the_chunk(workspace: Workspace) -> None:
    sample = typed_sample()
    model = typed_model(sample)
    expected = model.predict_proba(sample)[:, 1]
    plain = sample.astype(object).where(sample.notna(), None)
    plain["day"] = sample["day"].dt.strftime("%Y-%m-%d")
    keys = list(range(1, len(sample) + 1))
    create(
        workspace,
        "facts",
        {
            "id": "BIGINT NOT NULL PRIMARY KEY",
            "amount": "NUMERIC(12, 2)",
            "count": "SMALLINT",
            "flag": "BOOLEAN NOT NULL",
            "maybe": "BOOLEAN",
            "day": "DATE",
            "word": "VARCHAR(10)",
            "nothing": "NUMERIC",
            "never": "TEXT",
        },
        [[key, *row] for key, row in zip(keys, plain.itertuples(index=False, name=None), strict=True)],
    )
    tables: list[list[tuple[Any, ...]]] = []
    for bulk in ways(workspace):
        for chunk_rows in (1, 7, 1000):
            target = f"predictions_{bulk}_{chunk_rows}"
            write_job(workspace, predictions=target, chunk_rows=chunk_rows, bulk=bulk)
            if not tables:
                workspace.upgrade()
                workspace.register(model, sample, name="any")
            run = workspace.run("any")
            assert (run.scored_count, run.quarantined_count, run.unseen_category_count) == (60, 0, 0)
            tables.append(workspace.query(f"SELECT id, prediction, score FROM {target} ORDER BY id"))
    for table in tables:
        assert_scores([(key, score) for key, _, score in table], keys, expected)
        assert [label for _, label, _ in table] == np.where(expected >= 0.5, "yes", "no").tolist()


@pytest.mark.parametrize(
    ("labels", "positive", "stored"),
    [
        ([1, 0], "1", {"0", "1"}),
        ([True, False], "true", {"True", "False"}),
        ([1.0, 0.0], "1.0", {"0.0", "1.0"}),
        (["yes", "no"], '"no"', {"yes", "no"}),
    ],
    ids=["whole numbers", "booleans", "floats", "the other label"],
)
def test_labels_of_any_type_are_stored_as_text(
    sqlite_workspace: Workspace, numbers: pd.DataFrame, labels: list[Any], positive: str, stored: set[str]
) -> None:
    target = np.where(numbers["x"] > 0, *(np.array(label) for label in labels))
    model = make_pipeline(SimpleImputer(), LogisticRegression()).fit(numbers, target)
    columns = {"id": "INTEGER NOT NULL PRIMARY KEY", "x": "REAL", "y": "REAL"}
    create(sqlite_workspace, "facts", columns, number_rows(numbers, [[key] for key in KEYS]))
    write_job(sqlite_workspace, kind=f"positive_label = {positive}\nthreshold = 0.25")
    sqlite_workspace.upgrade()
    sqlite_workspace.register(model, numbers, name="any")
    sqlite_workspace.run("any")
    names = [str(label) for label in model.classes_]
    column = names.index(positive.strip('"').replace("true", "True"))
    expected = model.predict_proba(numbers)[:, column]
    found = sqlite_workspace.query("SELECT id, prediction, score FROM predictions ORDER BY id")
    assert_scores([(key, score) for key, _, score in found], KEYS, expected)
    assert [label for _, label, _ in found] == [names[column if p >= 0.25 else 1 - column] for p in expected]
    assert {label for _, label, _ in found} == stored


def write_frame(workspace: Workspace, frame: pd.DataFrame) -> list[int]:
    """The frame as the table ``facts``; returns its keys."""
    keys = list(range(1, len(frame) + 1))
    columns = {"id": "INTEGER NOT NULL PRIMARY KEY"} | {str(name): "DOUBLE PRECISION" for name in frame.columns}
    rows = [[key, *row] for key, row in zip(keys, frame.itertuples(index=False, name=None), strict=True)]
    create(workspace, "facts", columns, rows)
    return keys


def test_a_regression_stores_its_value_and_no_label(workspace: Workspace) -> None:
    data = load_diabetes(as_frame=True)
    model = make_pipeline(StandardScaler(), Ridge()).fit(data.data, data.target)
    keys = write_frame(workspace, data.data)
    write_job(workspace, kind='kind = "regression"', chunk_rows=100)
    workspace.upgrade()
    workspace.register(model, data.data, name="any")

    assert workspace.run("any").scored_count == len(keys)

    found = workspace.query("SELECT id, score FROM predictions_current")
    stored = np.array([score for _, score in sorted(found)])
    assert np.abs(stored / model.predict(data.data) - 1).max() <= TOLERANCE
    assert workspace.scalar("SELECT count(*) FROM predictions WHERE prediction IS NOT NULL") == 0


@pytest.mark.slow
@pytest.mark.parametrize("names", [True, False], ids=["labels are texts", "labels are numbers"])
def test_a_multi_class_model_stores_the_likeliest_label_and_its_probability(workspace: Workspace, names: bool) -> None:
    data = load_iris(as_frame=True)
    labels = data.target_names[data.target] if names else data.target
    model = RandomForestClassifier(20, max_depth=3, random_state=0, n_jobs=2).fit(data.data, labels)
    keys = write_frame(workspace, data.data)
    write_job(workspace, kind='kind = "multiclass"', chunk_rows=40)
    workspace.upgrade()
    workspace.register(model, data.data, name="any")

    run = workspace.run("any")

    assert (run.scored_count, run.chunk_count) == (150, 4)
    outputs = model.predict_proba(data.data)
    found = sorted(workspace.query("SELECT id, prediction, score FROM predictions_current"))
    assert_scores([(key, score) for key, _, score in found], keys, outputs.max(axis=1))
    assert [label for _, label, _ in found] == [str(model.classes_[row]) for row in outputs.argmax(axis=1)]
    assert len({label for _, label, _ in found}) == 3


def test_a_model_of_ones_own_is_registered_by_a_command_and_scores(workspace: Workspace) -> None:
    data = load_iris(as_frame=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(data.data, data.target_names[data.target])
    joblib.dump(model, workspace.folder / "iris.joblib")
    data.data.to_csv(workspace.folder / "iris.csv", index=False)
    keys = write_frame(workspace, data.data)
    write_job(workspace, model="iris", kind='kind = "multiclass"')
    workspace.upgrade()

    registered = workspace.cli_json("model", "register", "iris.joblib", "--name", "iris", "--sample", "iris.csv")

    assert (registered["name"], registered["version"]) == ("iris", 1)
    assert registered["manifest"]["labels"] == ["setosa", "versicolor", "virginica"]
    assert [column["name"] for column in registered["manifest"]["signature"]["columns"]] == list(data.data.columns)
    assert workspace.run("any").model_version == 1
    found = workspace.query("SELECT id, score FROM predictions_current")
    assert_scores(found, keys, model.predict_proba(data.data).max(axis=1))
    again = workspace.cli_json(
        "model", "register", "iris.joblib", "--name", "iris", "--sample", "iris.csv", "--alias", "challenger"
    )
    assert (again["version"], again["is_new"]) == (1, False)
    assert workspace.aliases() == [
        ("challenger", 1),
        ("champion", 1),
    ]
