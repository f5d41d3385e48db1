"""Inputs of every type and key are kept as the model took them; whatever was altered since is found and named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from facts import (
    COUNT,
    change,
    command,
    copied,
    fitted,
    job_text,
    killed,
    prepare,
    refused,
    sample,
    unchanged,
)
from kept import KEEP, assert_in_step, assert_whole, replayed
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from support import Workspace

from batch_scoring.operations.replay import replay_key

# --- every type a model takes


def nanoseconds(frame: pd.DataFrame) -> Any:
    """Moments as numbers a model can add up; zero where there is none."""
    moments = frame.iloc[:, [0]].astype("datetime64[us]")
    return np.nan_to_num(moments.astype("int64").to_numpy() * moments.notna().to_numpy() / 1e15)


def texts(frame: pd.DataFrame) -> Any:
    """The first column as a list of texts."""
    return frame.iloc[:, 0].astype(object).fillna("").tolist()


def typed_sample() -> pd.DataFrame:
    """A column of each type, some with missing values; the key is an input, too."""
    rng = np.random.default_rng(5)
    maybe = pd.Series(rng.choice([True, False], COUNT), dtype=object)
    maybe[::5] = np.nan
    word = pd.Series(rng.choice(["red", "green", "blue"], COUNT), dtype=object)
    word[::6] = np.nan
    moment = pd.to_datetime("2020-01-01 00:00:00.25") + pd.to_timedelta(rng.integers(0, 10**9, COUNT), unit="s")
    amount = rng.normal(0, 1e6, COUNT).round(2)
    amount[::8] = np.nan
    frame = pd.DataFrame(
        {
            "id": np.arange(1, COUNT + 1),
            "amount": amount,
            "many": rng.integers(-(2**40), 2**40, COUNT),
            "flag": rng.random(COUNT) < 0.5,
            "maybe": maybe,
            "moment": pd.Series(moment).astype("datetime64[us]"),
            "word": word,
            "memo": [f"memo {i}: " + "lorem ipsum, \n\"dolor\"; '\\N' " * (i % 9) for i in range(COUNT)],
        }
    )
    frame.loc[::7, "moment"] = pd.NaT
    return frame


ROWS: list[tuple[Any, ...]] = [
    (1, 0.1 + 0.2, 2**40, True, False, "1969-12-31 23:59:59.999999", "red", "x" * 20_000),
    (2, -0.0, -(2**53), False, None, "0001-01-01 00:00:00", None, ""),
    (3, 5e-324, 2**53, False, False, "9999-12-31 23:59:59.999999", "", "\\N"),
    (4, 1.7976931348623157e308, 0, True, True, None, "NULL", "\\."),
    (5, None, 7, False, None, "2026-03-29 02:30:00", "unseen", "é\u001e\t\r\n\"',;\\"),
    (6, 123456789.123456789, -1, True, True, "1970-01-01 00:00:00", "blue", "  spaces  "),
    (7, 1 / 3, 3, False, False, "2024-02-29 12:00:00.1", "green", "e\u0301"),
]


def typed_model() -> Pipeline:
    """A pipeline that each of the columns matters to."""
    data = typed_sample()
    scale = FunctionTransformer(np.arctan)
    prepare_columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), scale), ["amount"]),
        (make_pipeline(StandardScaler(), scale), ["many", "id"]),
        ("passthrough", ["flag"]),
        (OneHotEncoder(handle_unknown="ignore"), ["maybe", "word"]),
        (FunctionTransformer(nanoseconds), ["moment"]),
        (make_pipeline(FunctionTransformer(texts), HashingVectorizer(n_features=16)), ["memo"]),
    )
    model = make_pipeline(prepare_columns, LogisticRegression(max_iter=2000))
    return model.fit(data, np.where(np.random.default_rng(1).random(COUNT) < 0.5, "yes", "no"))


def typed_job(bulk: str = "auto", chunk_rows: int = 3) -> str:
    """The job of the typed facts."""
    return (
        f'[source]\ntable = "typed"\nkey = ["id"]\n[model]\nname = "typed"\n[predictions]\ntable = "typed_{bulk}"\n'
        f'positive_label = "yes"\n{KEEP}\n[run]\nchunk_rows = {chunk_rows}\nbulk = "{bulk}"\n'
    )


def typed(workspace: Workspace) -> Workspace:
    """Facts of each type, scored with their inputs kept, in each way in which rows are moved."""
    workspace.sql(
        "CREATE TABLE typed (id INTEGER PRIMARY KEY, amount DOUBLE PRECISION, many BIGINT NOT NULL,"
        " flag BOOLEAN NOT NULL, maybe BOOLEAN, moment TIMESTAMP, word TEXT, memo TEXT NOT NULL)"
    )
    names = ("id", "amount", "many", "flag", "maybe", "moment", "word", "memo")
    values = ", ".join(f":{name}" for name in names)
    workspace.sql(f"INSERT INTO typed VALUES ({values})", [dict(zip(names, row, strict=True)) for row in ROWS])
    for bulk in ("auto", "portable"):
        workspace.write_job("typed", typed_job(bulk))
        if bulk == "auto":
            workspace.upgrade()
            workspace.register(typed_model(), typed_sample(), name="typed")
        assert workspace.run("typed").scored_count == len(ROWS), workspace.query("SELECT * FROM typed_auto_quarantine")
    workspace.write_job("typed", typed_job())
    return workspace


@pytest.fixture
def facts_of_each_type(request: pytest.FixtureRequest, workspace: Workspace) -> Workspace:
    """Seven facts with a column of each type, scored by run 1."""
    return copied(request, workspace, typed)


@pytest.mark.slow
def test_each_type_of_input_is_kept_as_the_model_took_it(facts_of_each_type: Workspace) -> None:
    workspace = facts_of_each_type
    for number, bulk in enumerate(("auto", "portable"), start=1):
        workspace.write_job("typed", typed_job(bulk))
        rows = workspace.query(f"SELECT id, amount, many, word, memo FROM typed_{bulk}_inputs ORDER BY id")
        assert rows == [(row[0], row[1], row[2], row[6], row[7]) for row in ROWS]
        truths = workspace.query(f"SELECT flag, maybe FROM typed_{bulk}_inputs ORDER BY id")
        assert truths == [(row[3], row[4]) for row in ROWS]
        moments = workspace.query(f"SELECT moment FROM typed_{bulk}_inputs ORDER BY id")
        assert [m if m is None else pd.Timestamp(str(m)) for (m,) in moments] == [
            row[5] if row[5] is None else pd.Timestamp(row[5]) for row in ROWS
        ]
        assert "id" not in [column for column, in_key in columns_of(workspace, f"typed_{bulk}_inputs") if not in_key]
        assert_whole(replayed(workspace, number, job="typed"), len(ROWS))
        assert_in_step(workspace, f"typed_{bulk}")


def columns_of(workspace: Workspace, table: str) -> list[tuple[str, bool]]:
    """The columns of a table, each with whether it is one of the key."""
    import sqlalchemy as sa

    with workspace.database() as database, database.read() as connection:
        inspector = sa.inspect(connection)
        keys = inspector.get_pk_constraint(table)["constrained_columns"]
        return [(column["name"], column["name"] in keys) for column in inspector.get_columns(table)]


ALTERED = [
    # the row, its column, and what is written there
    (1, "amount", "amount + 1e-9"),
    (6, "amount", "-amount"),
    (7, "amount", "NULL"),
    (5, "amount", "0"),
    (3, "many", "many + 2"),
    (4, "many", "NULL"),
    (1, "flag", "FALSE"),
    (2, "flag", "TRUE"),
    (3, "flag", "NULL"),
    (3, "maybe", "TRUE"),
    (3, "maybe", "NULL"),
    (5, "maybe", "FALSE"),
    (1, "moment", "'1969-12-31 23:59:59.999998'"),
    (7, "moment", "NULL"),
    (4, "moment", "'2026-01-01 00:00:00'"),
    (1, "word", "'blue'"),
    (2, "word", "''"),
    (3, "word", "NULL"),
    (6, "word", "'blue '"),
    (1, "memo", "memo || 'x'"),
    (2, "memo", "NULL"),
    (7, "memo", "'\u00e9'"),
]


@pytest.mark.slow
def test_an_input_that_was_altered_is_named_with_its_row_and_no_other(facts_of_each_type: Workspace) -> None:
    workspace = facts_of_each_type
    for number, column, value in ALTERED:
        kept = workspace.scalar(f"SELECT {column} FROM typed_auto_inputs WHERE id = {number}")
        workspace.sql(f"UPDATE typed_auto_inputs SET {column} = {value} WHERE id = {number}")

        done = replayed(workspace, job="typed")

        assert (done.row_count, done.reproduced_count) == (len(ROWS), len(ROWS) - 1), (number, column, value)
        (found,) = done.deviations
        assert (found.key, found.run_id, list(found.altered)) == (str(number), 1, [column])
        workspace.sql(f"UPDATE typed_auto_inputs SET {column} = :kept WHERE id = {number}", {"kept": kept})
    assert_whole(replayed(workspace, job="typed"), len(ROWS))


@pytest.mark.slow
def test_a_value_of_another_type_is_an_altered_input(sqlite_workspace: Workspace) -> None:
    workspace = typed(sqlite_workspace)
    for column in ("amount", "flag", "moment"):
        workspace.sql(f"CREATE TABLE kept AS SELECT {column} FROM typed_auto_inputs WHERE id = 6")
        workspace.sql(f"UPDATE typed_auto_inputs SET {column} = 'no such value' WHERE id = 6")
        (found,) = replayed(workspace, job="typed").deviations
        assert (found.key, list(found.altered), found.replayed) == ("6", [column], None)
        workspace.sql(f"UPDATE typed_auto_inputs SET {column} = (SELECT {column} FROM kept) WHERE id = 6")
        workspace.sql("DROP TABLE kept")


@pytest.mark.slow
def test_several_rows_and_columns_that_were_altered_are_all_named(facts_of_each_type: Workspace) -> None:
    workspace = facts_of_each_type
    workspace.sql("UPDATE typed_auto_inputs SET amount = 1, memo = 'x' WHERE id IN (1, 2)")
    workspace.sql("UPDATE typed_auto_inputs SET many = NULL, word = 'x' WHERE id = 7")
    done = command(workspace, "replay", "typed", "--run", "1", "--json")
    assert done.returncode == 1
    found = {one["key"]: one["altered"] for one in json.loads(done.stdout)["deviations"]}
    assert {key: found[key] for key in ("1", "2")} == {"1": ["amount", "memo"], "2": ["amount", "memo"]}
    assert "many" in found["7"], "a value that the model does not take hides the others"
    assert set(found) == {"1", "2", "7"}


# --- what was altered beside the inputs


def kept_facts(workspace: Workspace) -> Workspace:
    """Forty facts, scored with their inputs kept."""
    prepare(workspace, predictions=KEEP, run="chunk_rows = 16")
    assert workspace.run("facts").scored_count == COUNT
    return workspace


@pytest.fixture
def kept(request: pytest.FixtureRequest, workspace: Workspace) -> Workspace:
    """Forty facts, scored by run 1."""
    return copied(request, workspace, kept_facts)


def test_one_key_is_replayed_with_its_score(kept: Workspace) -> None:
    done = kept.cli("replay", "facts", "7")
    assert (done.returncode, done.stderr) == (0, "")
    score = kept.scalar("SELECT score FROM predictions WHERE id = 7")
    assert "1 of 1 score reproduced (100.00%) within 1e-12 by facts version 1 (" in done.stdout
    assert f"score {score!r}" in done.stdout
    sha256 = kept.scalar("SELECT artifact_sha256 FROM scoring_runs WHERE run_id = 1")
    assert sha256 in done.stdout
    (answer,) = [json.loads(command(kept, "replay", "facts", "7", "--json").stdout)]
    assert (answer["row_count"], answer["reproduced_count"], answer["score"]) == (1, 1, score)


def test_an_altered_score_is_told_from_an_altered_input(kept: Workspace) -> None:
    kept.rewrite("UPDATE predictions SET score = score * 0.999 WHERE id = 7")
    kept.rewrite("UPDATE predictions SET score = score + CASE WHEN score < 0.5 THEN 1e-11 ELSE -1e-11 END WHERE id = 8")
    done = replayed(kept)
    assert (done.row_count, done.reproduced_count) == (COUNT, COUNT - 2)
    assert {one.key: list(one.altered) for one in done.deviations} == {"7": [], "8": []}
    for one in done.deviations:
        assert one.replayed is not None
        assert one.score is not None
        assert 0 < abs(one.score - one.replayed) == pytest.approx(abs(one.score / 999) if one.key == "7" else 1e-11)
    shown = command(kept, "replay", "facts", "7")
    assert shown.returncode == 1
    assert "0 of 1 score reproduced" in shown.stdout
    assert "the stored inputs are intact, but give another score or label: it was altered" in shown.stdout
    assert command(kept, "replay", "facts", "9").returncode == 0


def test_an_altered_digest_is_found(kept: Workspace) -> None:
    blob = kept.words.zeros.format(count=12)
    kept.sql(f"UPDATE predictions_inputs SET digest = {blob} WHERE id = 7")
    shorter = kept.words.zeros.format(count=3)
    kept.sql(f"UPDATE predictions_inputs SET digest = {shorter} WHERE id = 8")
    done = replayed(kept)
    assert {one.key: list(one.altered) for one in done.deviations} == {"7": ["x", "y", "z"], "8": ["digest"]}
    assert command(kept, "replay", "facts", "7").returncode == 1


def test_inputs_of_another_row_are_found(kept: Workspace) -> None:
    kept.sql(
        "UPDATE predictions_inputs SET x = (SELECT x FROM facts WHERE id = 8), y = (SELECT y FROM facts WHERE id = 8),"
        " z = (SELECT z FROM facts WHERE id = 8) WHERE id = 7"
    )
    (found,) = replayed(kept).deviations
    assert (found.key, list(found.altered)) == ("7", ["x", "y", "z"])


def artifact(workspace: Workspace) -> Path:
    """The one model file."""
    (found,) = workspace.artifacts_dir.rglob("*.joblib")
    return found


def test_without_the_very_artifact_nothing_is_replayed(kept: Workspace) -> None:
    file = artifact(kept)
    content = file.read_bytes()
    with unchanged(kept):
        file.write_bytes(content + b"x")
        refused(command(kept, "replay", "facts", "7"), 3, "is not the registered one", "restore it")
        file.unlink()
        refused(command(kept, "replay", "facts", "7"), 3, str(file), "restore it from a backup")
        done = kept.cli("replay", "facts", "--run", "1")
        refused(done, 3, str(file))
    file.write_bytes(content)
    assert command(kept, "replay", "facts", "7").returncode == 0


def test_another_artifact_under_the_version_is_refused(kept: Workspace) -> None:
    kept.sql("UPDATE model_versions SET artifact_sha256 = :sha256", {"sha256": "0" * 64})
    for arguments in (["7"], ["--run", "1"]):
        refused(command(kept, "replay", "facts", *arguments), 3, "facts version 1", "another artifact than run 1 used")
    kept.sql("DELETE FROM model_promotions")
    kept.sql("DELETE FROM model_versions")
    assert command(kept, "replay", "facts", "7").returncode == 3


def test_another_version_of_scikit_learn_is_refused_unless_it_is_allowed(kept: Workspace) -> None:
    manifest = kept.scalar("SELECT CAST(manifest AS TEXT) FROM model_versions")
    changed = json.dumps({**json.loads(manifest), "scikit_learn_version": "1.0.2"})
    kept.sql(
        f"UPDATE model_versions SET manifest = CAST(:manifest AS {kept.words.json})",
        {"manifest": changed},
    )
    refused(command(kept, "replay", "facts", "--run", "1"), 3, "scikit-learn 1.0.2", "--allow-version-mismatch")
    allowed = command(kept, "replay", "facts", "--run", "1", "--allow-version-mismatch")
    assert allowed.returncode == 0
    assert f"{COUNT} of {COUNT} scores reproduced" in allowed.stdout


# --- which prediction is meant


def test_the_prediction_that_held_at_a_time_is_replayed(kept: Workspace) -> None:
    other = fitted().set_params(logisticregression__C=0.01).fit(sample(), ["yes", "no"] * (COUNT // 2))
    kept.register(other, sample(), name="facts")
    kept.promote(2, name="facts")
    change(kept, "x = -x", 7, at="2026-02-02 00:00:00")
    kept.run("facts")
    first, second = kept.query("SELECT valid_from, score FROM predictions_history WHERE id = 7 ORDER BY valid_from")
    between = moment(second[0]) - (moment(second[0]) - moment(first[0])) / 2

    for as_of, score, version in ((None, second[1], 2), (moment(second[0]), second[1], 2), (between, first[1], 1)):
        arguments = [] if as_of is None else ["--as-of", f"{as_of:%Y-%m-%d %H:%M:%S.%f}"]
        done = command(kept, "replay", "facts", "7", *arguments, "--json")
        assert done.returncode == 0, done.stdout
        answer = json.loads(done.stdout)
        assert answer["score"] == score
        assert answer["models"][0].startswith(f"facts version {version} (")
    early = command(kept, "replay", "facts", "7", "--as-of", "2020-01-01")
    refused(early, 2, "7 has no prediction that was current at 2020-01-01 00:00:00 UTC", "why facts 7")
    assert_whole(replayed(kept, 1), COUNT)
    assert_whole(replayed(kept, 2), 1)
    assert_in_step(kept)


def moment(stored: Any) -> datetime:
    """A stored timestamp."""
    found = stored if isinstance(stored, datetime) else datetime.fromisoformat(stored)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def test_a_sample_is_as_large_as_it_is_asked_for(kept: Workspace) -> None:
    assert_whole(replayed(kept, sample=5), 5)
    assert_whole(replayed(kept, sample=10_000), COUNT)
    done = command(kept, "replay", "facts", "--run", "1", "--sample", "3")
    assert "3 of 3 scores reproduced" in done.stdout


def test_a_job_that_reads_its_model_otherwise_now_replays_as_it_did_then(kept: Workspace) -> None:
    text = job_text(predictions=KEEP).replace('positive_label = "yes"', 'positive_label = "no"\nthreshold = 0.9')
    kept.write_job("facts", text)
    assert_whole(replayed(kept), COUNT)


def test_inputs_that_were_not_kept_are_said_to_be_missing(workspace: Workspace) -> None:
    prepare(workspace)
    workspace.run("facts")
    for arguments in (["7"], ["--run", "1"]):
        refused(
            command(workspace, "replay", "facts", *arguments), 2, "keep_inputs = true stores them from the next run"
        )

    workspace.write_job("facts", job_text(predictions=KEEP))
    change(workspace, "x = -x", 7, at="2026-02-02 00:00:00")
    assert workspace.run("facts").scored_count == 1
    assert command(workspace, "replay", "facts", "7").returncode == 0
    refused(command(workspace, "replay", "facts", "8"), 2, "the inputs of 8 were not stored when run 1 scored it")

    workspace.write_job("facts", job_text())
    change(workspace, "x = -x", 7, at="2026-03-03 00:00:00")
    workspace.run("facts")
    refused(command(workspace, "replay", "facts", "7"), 2, "the inputs of 7 were not stored when run 3 scored it")
    assert_whole(replayed(workspace, 2), 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["expected either a KEY or --run"]),
        (["7", "--run", "1"], ["expected either a KEY or --run"]),
        (["7", "--sample", "3"], ["--sample requires --run"]),
        (["--run", "1", "--as-of", "2026-01-01"], ["--as-of requires a KEY"]),
        (["--run", "9"], ["job facts has no run 9"]),
        (["--run", "2"], ["no inputs of run 2 are stored"]),
        (["--run", "0"], ["--run"]),
        (["--run", "1", "--sample", "0"], ["--sample"]),
        (["7", "--as-of", "yesterday"], ["--as-of"]),
        (["999"], ["999 has no current prediction", "why facts 999"]),
        (["seven"], ["'seven'", "id is INTEGER"]),
        ([""], ["expected a value of id"]),
    ],
)
def test_what_cannot_be_replayed_is_refused(in_sqlite: Workspace, arguments: list[str], words: list[str]) -> None:
    with unchanged(in_sqlite):
        refused(command(in_sqlite, "replay", "facts", *arguments), 2, *words)


@pytest.fixture(scope="module")
def in_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Forty facts scored by run 1; run 2 found nothing. Tests change nothing in it."""
    folder = tmp_path_factory.mktemp("kept")
    workspace = kept_facts(Workspace(folder, f"sqlite:///{folder}/test.db"))
    workspace.run("facts")
    return workspace


def test_a_run_of_another_job_is_none_of_this_one(kept: Workspace) -> None:
    kept.write_job("other", job_text().replace('table = "predictions"', 'table = "elsewhere"'))
    kept.run("other")
    refused(command(kept, "replay", "facts", "--run", "2"), 2, "job facts has no run 2")
    refused(command(kept, "replay", "other", "--run", "1"), 2, "job other has no run 1")


# --- models that change, and models of each kind


def test_a_later_model_with_other_inputs_gets_its_columns(kept: Workspace) -> None:
    data = sample().assign(branch=["B 0", "B 1"] * (COUNT // 2)).drop(columns=["z"])
    prepared = make_column_transformer((SimpleImputer(), ["x", "y"]), (OneHotEncoder(), ["branch"]))
    later = make_pipeline(prepared, LogisticRegression()).fit(data, ["yes", "no"] * (COUNT // 2))
    kept.register(later, data, name="facts")
    kept.promote(2, name="facts")
    kept.sql("UPDATE facts SET branch = 'B 1'")
    kept.sql("UPDATE facts SET at = '2026-02-02 00:00:00' WHERE id <= 10")

    assert kept.run("facts").scored_count == 10

    assert kept.query("SELECT count(*), count(z), count(branch) FROM predictions_inputs") == [
        (COUNT + 10, kept.scalar("SELECT count(z) FROM facts"), 10)
    ]
    assert_whole(replayed(kept, 1), COUNT)
    assert_whole(replayed(kept, 2), 10)
    assert_in_step(kept)
    kept.sql("UPDATE predictions_inputs SET branch = 'B 0' WHERE run_id = 2 AND id = 7")
    (found,) = replayed(kept, 2).deviations
    assert (found.key, list(found.altered)) == ("7", ["branch"])
    assert_whole(replayed(kept, 1), COUNT)


def test_a_later_model_that_takes_another_type_under_the_name_is_refused(kept: Workspace) -> None:
    data = sample().assign(x=["a", "b"] * (COUNT // 2))
    prepared = make_column_transformer((SimpleImputer(), ["y", "z"]), (OneHotEncoder(), ["x"]))
    kept.register(make_pipeline(prepared, LogisticRegression()).fit(data, data["x"]), data, name="facts")
    kept.promote(2, name="facts")
    kept.sql("ALTER TABLE facts RENAME TO numbers")
    kept.sql("CREATE VIEW facts AS SELECT id, branch, CAST('a' AS TEXT) AS x, y, z, at FROM numbers")
    kept.write_job("facts", job_text(predictions=KEEP).replace('"yes"', '"a"'))
    kept.sql("UPDATE numbers SET at = '2026-02-02 00:00:00'")
    with unchanged(kept, "predictions", "predictions_inputs"):
        done = kept.cli("run", "facts")
        assert done.returncode == 2, done.stderr
        assert "predictions_inputs was created for other inputs (x is " in done.stderr


def write_job(workspace: Workspace, kind: str) -> None:
    """A job over the table ``rows`` that keeps its inputs."""
    workspace.write_job(
        "facts",
        f'[source]\ntable = "measured"\nkey = ["id"]\n[model]\nname = "kind"\n[predictions]\ntable = "predicted"\n'
        f'kind = "{kind}"\n{KEEP}\n[run]\nchunk_rows = 7\n',
    )


@pytest.mark.parametrize("kind", ["regression", "multiclass"])
def test_models_of_each_kind_are_replayed(workspace: Workspace, kind: str) -> None:
    rng = np.random.default_rng(2)
    data = pd.DataFrame(rng.normal(size=(60, 3)).round(4), columns=["a", "b", "c"])
    labels = np.array(["low", "mid", "high"])[np.digitize(data["a"] + data["b"] / 3, [-0.4, 0.4])]
    model: Any = LinearRegression() if kind == "regression" else RandomForestClassifier(8, random_state=0)
    model.fit(data, 3 * data["a"] - data["c"] if kind == "regression" else labels)
    workspace.sql("CREATE TABLE measured (id INTEGER PRIMARY KEY, a DOUBLE PRECISION, b DOUBLE PRECISION, c NUMERIC)")
    workspace.insert_frame("measured", data.assign(id=range(60))[["id", "a", "b", "c"]])
    write_job(workspace, kind)
    workspace.upgrade()
    workspace.register(model, data, name="kind")
    assert workspace.run("facts").scored_count == 60

    assert_whole(replayed(workspace), 60)

    workspace.sql("UPDATE predicted_inputs SET c = c + 1 WHERE id = 33")
    (found,) = replayed(workspace).deviations
    assert (found.key, list(found.altered)) == ("33", ["c"])


EXACT_KEYS: dict[str, Sequence[str]] = {
    "NUMERIC(20, 4)": ["0.5000", "12345678901234.5678", "7.0000"],
    "CHAR(6)": ["K1", "K 2", "K00003"],
    "UUID": ["6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b811-9dad-11d1-80b4-00c04fd430c8"],
    "DATE": ["1890-02-28", "2026-01-31"],
}


@pytest.mark.parametrize("declared", EXACT_KEYS)
def test_inputs_are_kept_under_keys_of_any_type(postgresql_workspace: Workspace, declared: str) -> None:
    workspace = postgresql_workspace
    keys = EXACT_KEYS[declared]
    data = pd.DataFrame({"a": [1.5, 2.5, 4.0], "w": ["p", "", "q"]})
    prepared = make_column_transformer(("passthrough", ["a"]), (OneHotEncoder(handle_unknown="ignore"), ["w"]))
    model = make_pipeline(prepared, LinearRegression()).fit(data, [1.0, 2.0, 4.5])
    workspace.sql(f"CREATE TABLE measured (id {declared} PRIMARY KEY, a REAL, w TEXT)")
    rows = zip(keys, ["", "new\n\"',", "p"], strict=False)
    workspace.sql("INSERT INTO measured VALUES (:id, 1.1, :w)", [{"id": key, "w": word} for key, word in rows])
    write_job(workspace, "regression")
    workspace.upgrade()
    workspace.register(model, data, name="kind")
    assert workspace.run("facts").scored_count == len(keys)
    assert_whole(replayed(workspace), len(keys))
    for key in keys:
        with workspace.database() as database:
            assert_whole(replay_key(database, workspace.job("facts"), workspace.artifacts_dir, (key,)), 1)


# --- however a run goes


@pytest.mark.parametrize("chunk_rows", [1, 7])
def test_chunks_make_no_difference_and_what_is_quarantined_has_no_inputs(workspace: Workspace, chunk_rows: int) -> None:
    prepare(workspace, predictions=KEEP, run=f"chunk_rows = {chunk_rows}")
    change(workspace, "y = -5", 3, 17)
    change(workspace, "x = NULL", 5)
    run = workspace.run("facts")
    assert (run.scored_count, run.quarantined_count) == (COUNT - 3, 3)
    assert_in_step(workspace)
    assert_whole(replayed(workspace), COUNT - 3)
    assert workspace.query("SELECT id FROM predictions_inputs WHERE id IN (3, 5, 17)") == []


@pytest.mark.parametrize(
    ("at", "call"), [("_compare", 3), ("_compare", 4)], ids=["between a prediction and its inputs", "before the commit"]
)
def test_a_run_that_is_killed_leaves_inputs_and_predictions_in_step(workspace: Workspace, at: str, call: int) -> None:
    prepare(workspace, predictions=KEEP, run="chunk_rows = 7")
    # each chunk inserts into two tables and compares the count of each; the second chunk is the one that is killed
    killed(workspace, "run", "facts", at=f"batch_scoring.store.outcomes.chunk.{at}", call=call)
    assert workspace.scalar("SELECT count(*) FROM predictions") == 7
    assert_in_step(workspace)

    assert workspace.run("facts").scored_count == COUNT - 7

    assert_in_step(workspace)
    assert_whole(replayed(workspace, 1), 7)
    assert_whole(replayed(workspace, 2), COUNT - 7)
