"""Files as people bring them: what load, train and register make of the same file, and what they say."""

from __future__ import annotations

import itertools
import json
import tempfile
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from commands import assert_no_traceback, assert_refused, said
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import Workspace

from batch_scoring.domain.column_types import Family
from batch_scoring.domain.decision import positive_label
from batch_scoring.domain.job import Job
from batch_scoring.errors import InputFault
from batch_scoring.files.frame import read_frame
from batch_scoring.model.artifact import dump
from batch_scoring.model.describe import describe
from batch_scoring.model.signature import check_rows, derive_signature
from batch_scoring.model.training import Algorithm, train
from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.engine.database import Database
from batch_scoring.store.source.loading import load_csv
from batch_scoring.store.source.table import SourceTable

JOB = """
[source]
table = "people"
key = ["id"]
[model]
name = "m"
[predictions]
kind = "binary"
positive_label = "{positive}"
"""


def job(workspace: Workspace, positive: str = "yes") -> Job:
    return workspace.write_job("j", JOB.format(positive=positive))


# the same file, read by load and by train

numbers = st.one_of(
    st.integers(-(10**17), 10**17).map(str),
    st.floats(-1e12, 1e12, allow_nan=False).map(repr),
    st.decimals(-1000, 1000, places=2).map(str),
)
WORDS = ["a", "B", "NA", "?", "b c", " d", "e ", "ü", "1", "true", "2026-01-31", "x,y", 'say "hi"']
markers = st.sampled_from(["", "", " ", "NA", "?", "null"])
COLUMNS: dict[str, st.SearchStrategy[str]] = {
    "integers": st.integers(-1000, 1000).map(str),
    "numbers": numbers,
    "numbers_with_holes": st.one_of(numbers, numbers, numbers, markers),
    "flags": st.sampled_from(["true", "false"]),
    "flags_with_holes": st.sampled_from(["True", "False", "FALSE", "", "NA"]),
    "bits": st.sampled_from(["0", "1"]),
    "bits_with_holes": st.sampled_from(["0", "1", ""]),
    "codes": st.integers(0, 999).map(lambda n: f"{n:03}"),
    "days": st.dates(date(1900, 1, 1), date(2100, 1, 1)).map(str),
    "times": st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)).map(str),  # noqa: DTZ001 - as text
    "words": st.sampled_from(WORDS),
    "words_with_holes": st.sampled_from([*WORDS, ""]),
    "mixed": st.one_of(numbers, st.sampled_from(WORDS)),
}
files = st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=5, unique=True).flatmap(
    lambda names: st.tuples(
        st.just(names), st.lists(st.tuples(*(COLUMNS[name] for name in names)), min_size=1, max_size=12)
    )
)


def quoted(text: str) -> str:
    return '"{}"'.format(text.replace('"', '""')) if set(text) & set(',"\n') else text


def as_csv(names: list[str], rows: list[tuple[str, ...]], separator: str = ",") -> str:
    lines = [["id", *names], *([str(i), *map(quoted, row)] for i, row in enumerate(rows))]
    return "\n".join(separator.join(line) for line in lines) + "\n"


def loaded(database: Database, text: str, file: Path, work: Job) -> tuple[dict[str, Family], dict[str, Any]]:
    """The columns of the table that was loaded from a file: their families, and their values as a run reads them."""
    with database.write(create=True) as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS people")
    file.write_text(text, encoding="utf-8")
    load_csv(database, "people", file, key=["id"])
    with database.read() as connection:
        source = SourceTable.inspect(database, connection, work)
        names = [name for name in source.columns if name != "updated_at"]
        families = [source.columns[name].family for name in names]
        people = sa.table("people", *(sa.column(name) for name in names))
        values = bulk_for(database).fetch(connection, sa.select(*people.c).order_by(people.c.id), families)
    return dict(zip(names, families, strict=True)), dict(zip(names, values, strict=True))


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(files, st.sampled_from([",", ", "]))
def test_the_table_gives_a_model_what_the_file_gave_it_sqlite(
    tmp_path_factory: pytest.TempPathFactory, content: tuple[list[str], list[tuple[str, ...]]], separator: str
) -> None:
    folder = Path(tempfile.mkdtemp(dir=tmp_path_factory.getbasetemp()))
    workspace = Workspace(folder, f"sqlite:///{folder / 'test.db'}")
    with workspace.database() as database:
        assert_alike(database, as_csv(*content, separator), folder / "people.csv", job(workspace))


def assert_alike(database: Database, text: str, file: Path, work: Job) -> None:
    families, values = loaded(database, text, file, work)
    frame = read_frame(file, text.encode())
    frame = frame[[name for name in frame.columns if name != "id" and frame[name].notna().any()]]
    if not len(frame.columns):
        return
    signature = derive_signature(frame)
    assert signature.mismatches(families) == []
    plain = {name: frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame.columns}
    plain = {name: [v.item() if isinstance(v, np.generic) else v for v in column] for name, column in plain.items()}
    from_table, from_file = check_rows(signature, values), check_rows(signature, plain)
    assert from_table.faults == from_file.faults == {}
    pd.testing.assert_frame_equal(from_table.frame, from_file.frame, rtol=1e-15)


EVERYTHING = (
    "id,n,hole,flag,flaghole,code,day,time,word,wordhole\n"
    "0,1,1.5,true,True,007,2026-01-31,2026-01-31 10:00:00,a,x\n"
    "1,-2,NA,false,,8,2026-02-28,2026-01-31 11:00:00,NA,\n"
    "2,3e2,?,true,False,9,0001-01-01,2026-01-31 12:00:00, b,y\n"
    "3,0.1, ,true,NA,9,9999-12-31,2026-01-31 12:00:00,b ,y\n"
)


def test_the_table_gives_a_model_what_the_file_gave_it(workspace: Workspace) -> None:
    with workspace.database() as database:
        assert_alike(database, EVERYTHING, workspace.folder / "people.csv", job(workspace))


def history(rows: int = 60) -> tuple[str, str]:
    """A file of labelled rows, and the same rows without the label."""
    rng = np.random.default_rng(0)
    lines = []
    for i in range(rows):
        label = "yes" if i % 2 else "no"
        amount = " " if i % 7 == 3 else f"{rng.normal(i % 2, 0.5):.3f}"
        word = ["Private", "?", "", "State-gov"][i % 4]
        lines.append(
            [str(i), amount, str(i % 5), ["true", "false"][i % 3 == 0], word, ["NA", "007", "8"][i % 3], "", label]
        )
    header = ["id", "amount", "visits", "vip", "work", "code", "nothing", "label"]
    return tuple(  # type: ignore[return-value]
        "\n".join(", ".join(line[:end]) for line in [header, *lines]) + "\n" for end in (None, -1)
    )


@pytest.mark.slow
def test_a_model_trained_on_a_file_scores_the_table_loaded_from_it_as_the_file_itself(workspace: Workspace) -> None:
    job(workspace)
    labelled, unlabelled = history()
    (workspace.folder / "history.csv").write_text(labelled)
    (workspace.folder / "people.csv").write_text(unlabelled)
    assert workspace.cli("load", "people", "people.csv", "--key", "id").returncode == 0
    assert workspace.cli("db", "upgrade").returncode == 0

    trained = workspace.cli("train", "j", "--data", "history.csv", "--label", "label")
    assert trained.returncode == 0, trained.stderr
    assert "history.csv: nothing: no row has a value, left out of the features" in trained.stderr
    done = workspace.cli("run", "j")

    assert done.returncode == 0, done.stderr
    scores = dict(workspace.query("SELECT id, score FROM predictions"))
    frame = read_frame(workspace.folder / "history.csv", labelled.encode(), parse_dates=True)
    model = train(workspace.job("j"), frame, "label", Algorithm.LOGISTIC_REGRESSION)
    expected = model.pipeline.predict_proba(model.features)[:, 1]
    assert [scores[i] for i in range(60)] == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
def test_load_train_and_register_say_the_same_of_a_surprising_column(sqlite_workspace: Workspace) -> None:
    workspace = sqlite_workspace
    job(workspace)
    labelled, _ = history()
    (workspace.folder / "history.csv").write_text(labelled.replace(", ", ","))
    workspace.cli("db", "upgrade")
    note = "history.csv: amount: numbers but for 9 blanks, read as missing"

    load = workspace.cli("load", "people", "history.csv", "--key", "id", "--json")
    trained = workspace.cli("train", "j", "--data", "history.csv", "--label", "label")
    artifact = workspace.cli_json("model", "list")[0]["artifact_uri"]
    registered = workspace.cli(
        *("model", "register", f"artifacts/{artifact}", "--name", "m2", "--sample", "history.csv")
    )

    for done in (load, trained, registered):
        assert done.returncode == 0, done.stderr
        assert note in done.stderr.splitlines()
    assert json.loads(load.stdout)["inserted"] == 60


@pytest.mark.slow
def test_options_say_how_a_file_is_written_to_load_train_and_register(sqlite_workspace: Workspace) -> None:
    workspace = sqlite_workspace
    job(workspace, "Größe")
    rows = "".join(f"{i};1.23{i % 7},{i % 9};{'Größe' if i % 2 else 'Länge'}\n" for i in range(40))
    (workspace.folder / "history.csv").write_bytes(f"id;amount;label\n{rows}".encode("cp1252"))
    options = ("--encoding", "cp1252", "--delimiter", ";", "--decimal", ",", "--thousands", ".")
    workspace.cli("db", "upgrade")

    load = workspace.cli("load", "people", "history.csv", "--key", "id", *options)
    trained = workspace.cli("train", "j", "--data", "history.csv", "--label", "label", *options)
    artifact = workspace.cli_json("model", "list")[0]["artifact_uri"]
    registered = workspace.cli(
        *("model", "register", f"artifacts/{artifact}", "--name", "m2", "--sample", "history.csv", *options)
    )

    assert [load.returncode, trained.returncode, registered.returncode] == [0, 0, 0], trained.stderr
    assert workspace.query("SELECT amount, label FROM people WHERE id < 2 ORDER BY id") == [
        (1230.0, "Länge"),
        (1231.1, "Größe"),
    ]
    assert_refused(workspace.cli("load", "t", "history.csv", "--key", "id"), 2, "line 2: the text is not valid UTF-8")
    assert_refused(
        workspace.cli("load", "t", "history.csv", "--key", "id", "--encoding", "latin-1"), 2, "try --separator ';'"
    )


# what Parquet holds

N = 60
BASE = pd.DataFrame({"id": range(N), "x": np.arange(N) % 7 + np.arange(N) % 2})
LABEL = pd.Series(np.where(np.arange(N) % 2, "yes", "no"))

USABLE: dict[str, Any] = {
    "decimals": [Decimal(i) / 4 for i in range(N)],
    "decimals with nulls": [None if i % 9 == 0 else Decimal(i) / 4 for i in range(N)],
    "categories": pd.Categorical(["a", "b", "c"] * (N // 3), categories=["a", "b", "c", "unused"]),
    "integer categories": pd.Categorical([10, 20] * (N // 2), categories=[10, 20, 30]),
    "nullable integers": pd.array([None if i % 5 == 0 else i for i in range(N)], dtype="Int64"),
    "nullable booleans": pd.array([None if i % 7 == 0 else bool(i % 2) for i in range(N)], dtype="boolean"),
    "small integers": np.arange(N, dtype=np.int8),
    "large integers": np.arange(N, dtype=np.uint64) + np.uint64(2**63),
    "small floats": np.arange(N, dtype=np.float32),
    "texts with nulls": [None if i % 4 == 0 else "ab"[i % 2] for i in range(N)],
}
UNUSABLE: dict[str, tuple[Any, str]] = {
    "day": ([date(2024, 1, 1 + i % 28) for i in range(N)], "dates"),
    "moment": (pd.date_range("2024-01-01", periods=N), "timestamps"),
    "zoned": (pd.date_range("2024-01-01", periods=N, tz="Europe/Berlin"), "timestamps"),
    "span": (pd.to_timedelta(np.arange(N), unit="D"), "durations"),
    "raw": ([b"x", b"y"] * (N // 2), "bytes"),
    "tags": ([["a"], ["b", "c"]] * (N // 2), "lists or records"),
    "address": ([{"city": "a"}, {"city": "b"}] * (N // 2), "lists or records"),
    "clock": ([datetime(2024, 1, 1, i % 24).time() for i in range(N)], "times"),  # noqa: DTZ001
    "days of a category": (pd.Categorical(pd.date_range("2024-01-01", periods=2).repeat(N // 2)), "timestamps"),
}


@pytest.fixture
def parquet_workspace(sqlite_workspace: Workspace) -> Workspace:
    job(sqlite_workspace)
    return sqlite_workspace


def fitted(workspace: Workspace, labels: Any = LABEL, **columns: Any) -> Any:
    """What train makes of a Parquet file, and the manifest of the model."""
    file = workspace.folder / "history.parquet"
    BASE.assign(**columns, label=labels).to_parquet(file)
    trained = train(workspace.job("j"), read_frame(file, file.read_bytes()), "label", Algorithm.LOGISTIC_REGRESSION)
    return trained, describe(trained.pipeline, dump(trained.pipeline), trained.features)


@pytest.mark.parametrize("name", USABLE)
def test_train_takes_columns_of_parquet_as_the_database_gives_them(parquet_workspace: Workspace, name: str) -> None:
    trained, manifest = fitted(parquet_workspace, **{name: USABLE[name]})

    column = {column.name: column for column in manifest.signature.columns}[name]
    is_text = name in ("categories", "texts with nulls")
    assert column.type.value == ("text" if is_text else "number")
    if is_text:
        assert column.categories == (("a", "b", "c") if name == "categories" else ("a", "b"))
    assert np.isfinite(trained.pipeline.predict_proba(trained.features)).all()


@pytest.mark.parametrize("name", UNUSABLE)
def test_train_names_columns_that_it_does_not_use_and_what_to_do(parquet_workspace: Workspace, name: str) -> None:
    values, kind = UNUSABLE[name]

    with pytest.raises(InputFault) as refused:
        fitted(parquet_workspace, **{name: values})

    assert f"not column {name} ({kind}); cast it in the data and in the source" in str(refused.value)
    assert "list it in [training] ignore of job j" in str(refused.value)
    parquet_workspace.write_job("j", JOB.format(positive="yes") + f'[training]\nignore = ["{name}"]\n')
    fitted(parquet_workspace, **{name: values})


def test_all_columns_that_train_does_not_use_are_named_at_once(parquet_workspace: Workspace) -> None:
    with pytest.raises(InputFault, match=r"not columns day \(dates\), raw \(bytes\); cast them"):
        fitted(parquet_workspace, day=UNUSABLE["day"][0], raw=UNUSABLE["raw"][0])


def test_dates_of_a_csv_file_are_named_too(sqlite_workspace: Workspace) -> None:
    job(sqlite_workspace)
    lines = "".join(f"{i},2026-01-{1 + i % 28:02},{'yes' if i % 2 else 'no'}\n" for i in range(40))
    (sqlite_workspace.folder / "history.csv").write_text("id,day,label\n" + lines)
    sqlite_workspace.cli("db", "upgrade")

    done = sqlite_workspace.cli("train", "j", "--data", "history.csv", "--label", "label")

    assert_refused(done, 2, "not column day (timestamps)", "[training] ignore of job j")


YES_NO = [("yes" if i % 2 else "no") for i in range(N)]


@pytest.mark.parametrize(
    ("labels", "positive", "classes"),
    [
        (pd.Categorical(YES_NO, categories=["no", "yes", "unknown"]), "yes", ["no", "yes"]),
        (pd.Categorical([i % 2 for i in range(N)], categories=[0, 1, 2]), "1", [0, 1]),
        ([bool(i % 2) for i in range(N)], "True", [False, True]),
        ([bool(i % 2) for i in range(N)], "true", ["false", "true"]),
        ([bool(i % 2) for i in range(N)], "1", [0, 1]),
        ([Decimal(i % 2) for i in range(N)], "1", [0, 1]),
        ([float(i % 2) for i in range(N)], "1", [0, 1]),
        ([float(i % 2) for i in range(N)], "1.0", [0.0, 1.0]),
        (pd.array([i % 2 for i in range(N)], dtype="Int64"), "1", [0, 1]),
        (pd.array([bool(i % 2) for i in range(N)], dtype="boolean"), "true", ["false", "true"]),
        (YES_NO, " yes", [" yes", "no"]),
    ],
)
def test_labels_are_those_that_rows_have_in_the_spelling_of_the_job(
    parquet_workspace: Workspace, labels: Any, positive: str, classes: list[Any]
) -> None:
    job(parquet_workspace, positive)

    _, manifest = fitted(parquet_workspace, labels)

    assert list(manifest.labels) == classes
    assert positive_label(parquet_workspace.job("j"), manifest) is not None


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([b"a", b"b"] * (N // 2), "column label holds bytes; labels are text, integers or booleans"),
        ([date(2024, 1, 1 + i % 2) for i in range(N)], "column label holds dates"),
        ([0.5 * (i % 2) for i in range(N)], "column label holds numbers with decimals"),
    ],
)
def test_labels_that_are_none_are_refused(parquet_workspace: Workspace, labels: Any, said: str) -> None:
    with pytest.raises(InputFault, match=said):
        fitted(parquet_workspace, labels)


def test_damaged_and_odd_parquet_files_are_refused_by_name(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole, twice, empty = (tmp_path / f"{name}.parquet" for name in ("whole", "twice", "empty"))
    BASE.to_parquet(whole)
    BASE.head(0).to_parquet(empty)
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), twice)
    content = whole.read_bytes()
    for end in (4, 8, 100, len(content) // 2, len(content) - 1):
        with pytest.raises(InputFault, match=r"whole\.parquet cannot be read as Parquet"):
            read_frame(whole, content[:end])
    with pytest.raises(InputFault, match="several columns named a; give each a name of its own"):
        read_frame(twice, twice.read_bytes())
    with pytest.raises(InputFault, match="has no rows"):
        read_frame(empty, empty.read_bytes())


def test_a_named_index_of_a_parquet_file_is_a_column_and_a_nameless_one_is_not(tmp_path: Path) -> None:
    file = tmp_path / "people.parquet"
    for name, columns in (("id", ["id", "x"]), (None, ["x"])):
        BASE.set_index("id").rename_axis(name).to_parquet(file)
        assert read_frame(file, file.read_bytes()).columns.tolist() == columns


# files that are none

CONTENTS: dict[str, bytes] = {
    "empty.csv": b"",
    "noise.csv": bytes(np.random.default_rng(0).integers(0, 256, 5000, np.uint8)),
    "nul.csv": b"id,label\n1,\0\n",
    "workbook.csv": b"PK\x03\x04" + bytes(100),
    "latin.csv": "id,label\n1,é\n".encode("latin-1"),
    "utf16.csv": "id,label\n1,a\n".encode("utf-16-le"),
    "ragged.csv": b"id,label\n1,a,b\n",
    "open.csv": b'id,label\n1,"a\n2,b\n3,c\n',
    "header.csv": b"id,label\n",
    "noise.parquet": bytes(range(256)),
    "truncated.parquet": b"PAR1" + bytes(50),
    "long.csv": b"x" * 2_000_000,
    "quotes.csv": b'"' * 1001,
    "cut.csv.gz": b"\x1f\x8b\x08\x00",
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_that_is_no_table_is_an_error_of_one_line_in_every_command(
    sqlite_workspace: Workspace, name: str
) -> None:
    workspace = sqlite_workspace
    job(workspace)
    workspace.cli("db", "upgrade")
    (workspace.folder / name).write_bytes(CONTENTS[name])
    (workspace.folder / "model.joblib").write_bytes(dump(None))

    for command in (
        ("load", "people", name, "--key", "id"),
        ("train", "j", "--data", name, "--label", "label"),
        ("model", "register", "model.joblib", "--name", "m", "--sample", name),
    ):
        done = workspace.cli(*command)
        assert_refused(done, 2, name)
        assert len(said(done).splitlines()) == 1


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "."])
def test_devices_and_folders_are_no_files(sqlite_workspace: Workspace, path: str) -> None:
    job(sqlite_workspace)
    sqlite_workspace.cli("db", "upgrade")

    for command in (("load", "people", path, "--key", "id"), ("train", "j", "--data", path, "--label", "label")):
        done = sqlite_workspace.cli(*command)
        assert_no_traceback(done)
        assert done.returncode == 2


# tables that refuse a file


@pytest.fixture
def target(workspace: Workspace) -> Workspace:
    workspace.sql("CREATE TABLE branches (code VARCHAR(5) PRIMARY KEY)")
    workspace.sql("INSERT INTO branches VALUES ('a')")
    return workspace


def load(workspace: Workspace, ddl: str, text: str, *, key: str = "id") -> str:
    """What load says of a file that the table refuses; the table has a row already, which stays as it was."""
    workspace.sql(f"CREATE TABLE people (id INTEGER PRIMARY KEY, {ddl}, updated_at TIMESTAMP)")
    file = workspace.folder / "people.csv"
    file.write_text(text, encoding="utf-8")
    with workspace.database() as database, pytest.raises(InputFault) as refused:
        load_csv(database, "people", file, key=[key])
    assert workspace.scalar("SELECT count(*) FROM people") == 0
    message = str(refused.value)
    assert "secret" not in message
    assert not any(code in message for code in ("(2", "SQLITE", "constraint failed", "Error"))
    return message.replace(str(file), "people.csv")


@pytest.mark.parametrize(
    ("ddl", "text", "expected"),
    [
        ("x INTEGER NOT NULL", "id,x\n1,1\n2,\n3,\n", "line 3, column x: a value is missing where people needs one"),
        ("x INTEGER NOT NULL", "id,x\n1,1\n2,NA\n", "line 3, column x: a value is missing where people needs one"),
        ("x INTEGER, y TEXT NOT NULL", "id,x\n1,1\n", "people needs a value in column y (NOT NULL, without a default)"),
        ("x INTEGER CHECK (x > 0)", "id,x\n1,1\n2,2\n3,-5\n4,1\n", "people.csv, line 4: check constraint"),
        ("x VARCHAR(5) REFERENCES branches", "id,x\n1,a\n2,zz\n3,a\n", "people.csv, line 3: the row that"),
        ("x INTEGER UNIQUE", "id,x\n1,7\n2,8\n3,9\n4,7\n", "people.csv, line 5: another row has the same"),
        (
            "x INTEGER",
            "id,x\n1,1\n2,secret\n3,secret\n",
            "line 3, column x: text where people takes INTEGER (and 1 more",
        ),
        ("x INTEGER", "id,x\n1,1\n2,1.5\n", "line 3, column x: a number with decimals where people takes INTEGER"),
        ("x BIGINT", "id,x\n1,9223372036854775808\n", "line 2, column x: a number beyond the range of BIGINT"),
        ("x NUMERIC", 'id,x\n1,"1,5"\n', "column x: a number with a decimal comma (see --decimal) where"),
        ("x NUMERIC", "id,x\n1,2026-01-31\n", "line 2, column x: a date where people takes NUMERIC"),
        ("x DOUBLE PRECISION", "id,x\n1,inf\n", "line 2, column x: an infinite number where people takes"),
        ("x BOOLEAN", "id,x\n1,true\n2,maybe\n", "line 3, column x: text where people takes BOOLEAN"),
        (
            "x TEXT",
            'id,x\n1,"a\nb"\n1.0,b\n',
            "not unique: 1 key in 2 rows, and line 4 repeats line 2 (numbers such as",
        ),
        ("x TEXT", "id,x\n1,a\nNA,b\n", "the key (id) is empty in 1 row, first in line 3"),
        (
            "x INTEGER, total INTEGER GENERATED ALWAYS AS (x * 2) STORED",
            "id,x,total\n1,1,2\n",
            "people computes column total itself (GENERATED ALWAYS); leave it out of the file",
        ),
    ],
)
def test_what_a_table_refuses_is_said_with_line_column_and_kind(
    target: Workspace, ddl: str, text: str, expected: str
) -> None:
    assert expected in load(target, ddl, text)


@pytest.mark.parametrize(
    ("ddl", "text", "expected"),
    [
        ("x SMALLINT", "id,x\n1,1\n2,40000\n", "line 3, column x: a number beyond the range of SMALLINT"),
        ("x INTEGER", "id,x\n1,3000000000\n", "line 2, column x: a number beyond the range of INTEGER"),
        ("x NUMERIC(5, 2)", "id,x\n1,999.99\n2,1000\n", "line 3, column x: a number beyond the range of NUMERIC(5, 2)"),
        (
            "x NUMERIC(5, 2)",
            "id,x\n1,999.99\n2,999.999\n",
            "line 3, column x: a number is beyond the range of its column",
        ),
        ("x VARCHAR(3)", "id,x\n1,abc\n2,secret\n", "line 3, column x: a text that is too long for VARCHAR(3)"),
        ("x DATE", "id,x\n1,2026-01-31\n2,secret\n", "line 3, column x: a value is not of its column's type"),
        ("x TIMESTAMP", "id,x\n1,2026-01-31\n2,2026-13-01\n", "line 3, column x: a date or time is beyond the range"),
        ("x UUID", "id,x\n1,secret\n", "line 2, column x: a value is not of its column's type"),
        ("x INTEGER[]", 'id,x\n1,"{1,2}"\n2,secret\n', "line 3, column x: a value is not of its column's type"),
        (
            "n INTEGER GENERATED ALWAYS AS IDENTITY",
            "id,n\n1,1\n",
            "people numbers column n itself (GENERATED ALWAYS AS",
        ),
        (
            "x VARCHAR(5) REFERENCES branches DEFERRABLE INITIALLY DEFERRED",
            "id,x\n1,a\n2,zz\n",
            "people.csv, line 3: the row that foreign key people_x_fkey refers to is missing",
        ),
        ("x INTEGER CONSTRAINT positive CHECK (x > 0)", "id,x\n1,0\n", "check constraint positive does not allow it"),
    ],
)
def test_what_postgresql_refuses_is_said_with_line_column_and_kind(
    postgresql_workspace: Workspace, ddl: str, text: str, expected: str
) -> None:
    postgresql_workspace.sql("CREATE TABLE branches (code VARCHAR(5) PRIMARY KEY)")
    postgresql_workspace.sql("INSERT INTO branches VALUES ('a')")

    assert expected in load(postgresql_workspace, ddl, text)


@pytest.mark.parametrize("rows", [1, 2, 7, 64])
def test_the_line_that_a_table_refuses_is_found_wherever_it_is(sqlite_workspace: Workspace, rows: int) -> None:
    sqlite_workspace.sql("CREATE TABLE people (id INTEGER PRIMARY KEY, x INTEGER CHECK (x > 0), updated_at TIMESTAMP)")
    file = sqlite_workspace.folder / "people.csv"
    for bad in range(rows):
        file.write_text("id,x\n" + "".join(f"{i},{-1 if i >= bad else 1}\n" for i in range(rows)))
        with sqlite_workspace.database() as database, pytest.raises(InputFault, match=rf"line {bad + 2}: check"):
            load_csv(database, "people", file, key=["id"])


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        (["1.0", "2.0", "3"], [1, 2, 3]),
        (["999999999999999999.0", "1"], [1, 999999999999999999]),
        (["1.5", "2"], ["1.5", "2"]),
        (["1e5", "2"], ["1e5", "2"]),
        (["+1", "2"], ["+1", "2"]),
        (["007", "8"], ["007", "8"]),
    ],
)
def test_keys_are_exact_integers_or_the_text_that_is_written(
    workspace: Workspace, values: list[str], stored: list[Any]
) -> None:
    file = workspace.folder / "people.csv"
    file.write_text("id,x\n" + "".join(f"{value},1\n" for value in values))

    with workspace.database() as database:
        load_csv(database, "people", file, key=["id"])

    assert sorted(key for (key,) in workspace.query("SELECT id FROM people")) == stored


def test_110_and_110_0_are_one_key(workspace: Workspace) -> None:
    file = workspace.folder / "people.csv"
    file.write_text("id,x\n110,1\n7,2\n110.0,3\n")

    with (
        workspace.database() as database,
        pytest.raises(InputFault, match=r"2 keys in 3 rows, and line 4 repeats line 2"),
    ):
        load_csv(database, "people", file, key=["id"])


def test_the_types_of_a_table_decide_what_is_missing_in_later_files(workspace: Workspace) -> None:
    notes: list[str] = []
    file = workspace.folder / "people.csv"
    with workspace.database() as database:
        for number, text in enumerate(["id,amount,region\n1,2.5,DE\n", "id,amount,region\n2,NA,NA\n3, ,US\n"]):
            file.write_text(text)
            load_csv(database, "people", file, key=["id"], notify=notes.append)
            assert bool(notes) == bool(number)

    found = workspace.query("SELECT id, amount, region FROM people ORDER BY id")
    assert [(id_, amount and float(amount), region) for id_, amount, region in found] == [
        (1, 2.5, "DE"),
        (2, None, "NA"),
        (3, None, "US"),
    ]
    assert notes == ["people.csv: amount: numbers but for 1 blank and 1 NA, read as missing"]


def test_names_that_a_new_table_cannot_have_are_refused(workspace: Workspace) -> None:
    file = workspace.folder / "people.csv"
    limit = workspace.dialect.longest_name
    header = f"id,{'x' * (limit + 1)}" if limit else "id,Name,name"
    file.write_text(header + "\n" + ",".join(itertools.repeat("1", header.count(",") + 1)) + "\n")

    with workspace.database() as database, pytest.raises(InputFault, match=r"shortens names|upper and lower case"):
        load_csv(database, "people", file, key=["id"])
