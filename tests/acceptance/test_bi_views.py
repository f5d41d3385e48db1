"""The views BI reads say what pandas says of the tables behind them, whatever the job, its names and its history."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from rewriting import without_triggers
from sklearn.linear_model import LogisticRegression, Ridge
from support import Workspace, wait_until

from batch_scoring.domain.job import Job, Kind
from batch_scoring.errors import AnotherRunActive, BatchScoringError
from batch_scoring.operations.rescore import plan
from batch_scoring.scoring.runner import RunOptions, run_job
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.names import driver_sql
from batch_scoring.store.engine.sql_types import FOREVER
from batch_scoring.store.schema.job_tables import registered_layout
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.schema.views import PER_JOB, SHARED, dictionary, view_name
from batch_scoring.store.source.selection import Request, Selection

LABEL = """it's "on" 100%"""
KINDS: dict[Kind, str] = {
    "binary": f"positive_label = {json.dumps(LABEL)}\nthreshold = 0.4",
    "multiclass": 'kind = "multiclass"',
    "regression": 'kind = "regression"',
}
ROWS = 61
LAST_OF_JANUARY, FIRST_OF_FEBRUARY = "2026-01-31 23:59:59.999999", "2026-02-01 00:00:00.000000"
RUN_COLUMNS = ["run_id", "model_name", "trigger", "requested_by", "reason"]
DECILES = [f"decile_{tenth}" for tenth in range(1, 10)]
WITHIN = 0.005
"""How far PostgreSQL's deciles of probabilities may be off."""


def quoted(*names: str | None) -> str:
    """A name in the words of both databases."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names if name)


def said(moment: datetime, workspace: Workspace) -> str:
    """A timestamp as BI writes it on this database."""
    return workspace.words.timestamp_text(moment)


def moment_of(value: Any) -> Any:
    """A timestamp that a database gave; SQLite gives text."""
    return datetime.fromisoformat(value).replace(tzinfo=UTC) if isinstance(value, str) else value


def plain(value: Any) -> Any:
    """A value without what only one database does with it."""
    if isinstance(value, Decimal):
        return float(value)
    if pd.isna(value):
        return None
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def assert_same(found: pd.DataFrame, expected: pd.DataFrame, by: Sequence[str]) -> None:
    """The same columns in order and the same rows; rows are brought into order by some columns."""
    frames = []
    for frame in (found, expected):
        in_order = frame.sort_values(list(by)).reset_index(drop=True).astype(object)
        for column in in_order:
            values = in_order[column]
            if column in ("valid_from", "valid_to", "scored_at") or str(column).endswith("_at"):
                values = values.map(moment_of)
            in_order[column] = pd.Series([plain(value) for value in values], dtype=object)
        frames.append(in_order)
    pd.testing.assert_frame_equal(frames[0], frames[1], check_dtype=False, rtol=1e-12, atol=0)


@dataclass(frozen=True, kw_only=True)
class Names:
    """What the tables and columns of a job are called."""

    source: tuple[str | None, str] = (None, "facts")
    key: tuple[str, ...] = ("id",)
    changed_at: str = "changed"
    feature: str = "x"
    predictions: tuple[str | None, str] = (None, "predictions")


PLAIN = Names()
ODD = Names(
    source=(None, """Facts "of" 100% it's"""),
    key=('Branch "A"', "dot.ted no", "100% %s", "select"),
    changed_at="Changed At",
    feature='a "feature": 5%',
    predictions=("main", """Pre "dicted" 100% it's $x v2.0"""),
)


@dataclass
class Story:
    """A job with a past."""

    workspace: Workspace
    kind: Kind
    names: Names
    name: str = "story"
    seen: dict[datetime, pd.DataFrame] = field(default_factory=dict)
    """What was current at some times."""

    @property
    def source(self) -> str:
        return quoted(*self.names.source)

    @property
    def predictions(self) -> str:
        return quoted(*self.names.predictions)

    @property
    def keys(self) -> list[str]:
        return list(self.names.key)

    def view(self, view: str) -> str:
        schema, name = self.names.predictions
        return quoted(schema, f"{name}_{view}")

    def frame(self, statement: str, **options: Any) -> pd.DataFrame:
        return self.workspace.frame(statement, **options)

    def table(self) -> pd.DataFrame:
        """The predictions, each with what is to be known of its run."""
        runs = self.frame(f"SELECT {', '.join(map(quoted, RUN_COLUMNS))} FROM scoring_runs")
        rows = self.all_of("superseded").merge(runs, on="run_id")
        for column in ("valid_from", "valid_to"):
            rows[column] = rows[column].map(moment_of)
        rows["is_current"] = rows["valid_to"] == FOREVER
        return rows

    def all_of(self, past: str) -> pd.DataFrame:
        """The rows of a table and of that which has its past."""
        current = self.predictions if past == "superseded" else self.view("quarantine")
        rows = self.frame(f"SELECT * FROM {current}")
        rows["valid_to"] = FOREVER
        ended = self.frame(f"SELECT * FROM {self.view(past)}")
        ended["valid_to"] = ended["valid_to"].map(moment_of)
        return pd.concat([frame.astype(object) for frame in (rows, ended)], ignore_index=True)

    def rewrite(self, statement: str) -> None:
        with self.workspace.database() as database, database.write() as connection, without_triggers(connection):
            connection.exec_driver_sql(driver_sql(connection.dialect, statement))

    def execute(self, statement: str) -> None:
        with self.workspace.database() as database, database.write(create=True) as connection:
            connection.exec_driver_sql(driver_sql(connection.dialect, statement))

    def look(self) -> None:
        """Remember what is current at a time of its own, after all that was written and before all that will be."""
        with self.workspace.database() as database:
            latest = max(self.table()["valid_from"], default=datetime.min.replace(tzinfo=UTC))
            wait_until(lambda: _clock(database) > latest)
            moment = _clock(database)
            self.seen[moment] = self.frame(f"SELECT * FROM {self.view('current')}")
            wait_until(lambda: _clock(database) > moment)


def _clock(database: Database) -> datetime:
    with database.read() as connection:
        return now(connection)


def model_of(kind: Kind, feature: str, *, shift: float = 0.0) -> tuple[Any, pd.DataFrame]:
    """A model of one number, and what it was trained on."""
    x = np.linspace(-3, 3, 90) + np.tile([0.01, -0.01, 0.0], 30)
    sample = pd.DataFrame({feature: x})
    if kind == "regression":
        return Ridge().fit(sample, 1000 * (x + shift)), sample
    labels = [LABEL, "off"] if kind == "binary" else ["high", "low", "middle"]
    order = np.digitize(x + shift, [0.3] if kind == "binary" else [-1.0, 1.0])
    return LogisticRegression().fit(sample, np.array(labels)[order]), sample


def write_story_job(story: Story) -> Job:
    """The job file of a story."""
    names = story.names
    source, predictions = (".".join(filter(None, pair)) for pair in (names.source, names.predictions))
    return story.workspace.write_job(
        story.name,
        f"[source]\ntable = {json.dumps(source)}\nkey = {json.dumps(names.key)}\n"
        f"changed_at = {json.dumps(names.changed_at)}\n[model]\nname = {json.dumps(story.name)}\n"
        f"[predictions]\ntable = {json.dumps(predictions)}\n{KINDS[story.kind]}\nmax_quarantined = 1.0\n",
    )


def begin(workspace: Workspace, kind: Kind, names: Names = PLAIN, name: str = "story") -> Story:
    """The tables of a job, sixty-one rows of which two cannot be scored, and a model."""
    if workspace.words.new_schema and names.predictions[0] == "main":
        names = replace(names, predictions=('Sc "1"', names.predictions[1]))
    story = Story(workspace, kind, names, name)
    if names.predictions[0] not in (None, "main"):
        story.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(names.predictions[0])}")
    keys = ", ".join(map(quoted, names.key))
    declared = "".join(f"{quoted(key)} INTEGER NOT NULL, " for key in names.key)
    story.execute(
        f"CREATE TABLE {story.source} ({declared}{quoted(names.changed_at)} INTEGER,"
        f" {quoted(names.feature)} DOUBLE PRECISION, PRIMARY KEY ({keys}))"
    )
    xs = [None if i in (7, 8) else round(2.7 * np.sin(i), 4) for i in range(ROWS)]
    values = ", ".join(
        f"({', '.join([str(i), *(str(i % 5) for _ in names.key[1:])])}, 1, {'NULL' if x is None else x})"
        for i, x in enumerate(xs)
    )
    story.execute(f"INSERT INTO {story.source} VALUES {values}")
    write_story_job(story)
    workspace.upgrade()
    workspace.register(*model_of(kind, names.feature), name=name)
    return story


def rescore(story: Story, version: int, reason: str) -> None:
    """Have all rows scored again by hand."""
    workspace, job = story.workspace, story.workspace.job(story.name)
    with workspace.database() as database:
        planned = plan(database, job, Request(selection=Selection()), version=str(version))
    options = RunOptions(trigger="rescore", rescore=planned.rescore, reason=reason, requested_by="the auditor")
    run_job(Database(workspace.database_url), job, workspace.artifacts_dir, options=options)


def tell(story: Story) -> Story:
    """Four runs: the first, one after changes, a rescore by another version, and one after more changes."""
    names, workspace = story.names, story.workspace
    key, changed, x = quoted(names.key[0]), quoted(names.changed_at), quoted(names.feature)
    story.look()
    workspace.run(story.name)
    story.look()
    story.execute(f"UPDATE {story.source} SET {x} = {x} + 1.5, {changed} = 2 WHERE {key} BETWEEN 20 AND 33")
    story.execute(f"UPDATE {story.source} SET {x} = NULL, {changed} = 2 WHERE {key} = 40")
    story.execute(f"UPDATE {story.source} SET {x} = 0.25, {changed} = 2 WHERE {key} = 7")
    workspace.run(story.name)
    story.look()
    workspace.register(*model_of(story.kind, names.feature, shift=0.4), name=story.name)
    rescore(story, 2, "it's a drift, 5% of it")
    story.look()
    story.execute(f"UPDATE {story.source} SET {x} = {x} - 1, {changed} = 3 WHERE {key} < 4")
    workspace.run(story.name)
    story.look()
    for parity, moment in enumerate((LAST_OF_JANUARY, FIRST_OF_FEBRUARY)):
        for table in (story.predictions, story.view("superseded")):
            story.rewrite(f"UPDATE {table} SET valid_from = '{moment}' WHERE run_id = 1 AND {key} % 2 = {parity}")
    return story


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "names"),
    [("binary", ODD), ("multiclass", PLAIN), ("regression", PLAIN)],
    ids=["binary with odd names", "multiclass", "regression"],
)
def test_after_runs_changes_and_a_rescore_each_view_says_what_pandas_says(
    workspace: Workspace, kind: Kind, names: Names
) -> None:
    story = tell(begin(workspace, kind, names))
    table = story.table()
    assert table.groupby("run_id").size().tolist() == [59, 15, 59, 4]
    assert table["is_current"].sum() == 60, "a row that is quarantined keeps the prediction it had"

    assert_current(story, table)
    assert_history(story, table)
    assert_as_of(story, table)
    assert_daily(story, table)
    assert_distribution(story, table)
    assert_quarantine_summary(story)
    assert_run_history(story)

    before = {view: story.frame(f"SELECT * FROM {story.view(view)}") for view in PER_JOB}
    workspace.upgrade()
    for view, frame in before.items():
        assert_same(story.frame(f"SELECT * FROM {story.view(view)}"), frame, list(frame.columns[:3]))


def assert_current(story: Story, table: pd.DataFrame) -> None:
    columns = ["score", "prediction", "model_name", "model_version", "run_id", "scored_at", "source_changed_at"]
    entries = story.all_of("quarantine_closed")
    still = entries[entries["valid_to"].map(moment_of) == FOREVER]
    since = still[[*story.keys, "valid_from", "reason_code"]]
    since = since.rename(columns={"valid_from": "quarantined_since", "reason_code": "quarantine_reason"})
    expected = table[table["is_current"]].rename(columns={"valid_from": "scored_at"})
    expected = expected.merge(since, on=story.keys, how="left")
    expected["quarantined_since"] = expected["quarantined_since"].map(moment_of)
    found = story.frame(f"SELECT * FROM {story.view('current')}")
    found["quarantined_since"] = found["quarantined_since"].map(moment_of)
    assert_same(found, expected[[*story.keys, *columns, "quarantined_since", "quarantine_reason"]], story.keys)
    assert not found[story.keys].duplicated().any()


def assert_history(story: Story, table: pd.DataFrame) -> None:
    columns = ["score", "prediction", "model_name", "model_version", "run_id", "trigger", "requested_by", "reason"]
    life = ["source_changed_at", "valid_from", "valid_to", "is_current"]
    found = story.frame(f"SELECT * FROM {story.view('history')}")
    found["is_current"] = found["is_current"].astype(bool)
    assert_same(found, table[[*story.keys, *columns, *life]], [*story.keys, "valid_from"])
    by_hand = found[found["run_id"] == 3]
    assert set(by_hand["trigger"]) == {"rescore"}
    assert set(by_hand["requested_by"]) == {"the auditor"}
    assert set(by_hand["reason"]) == {"it's a drift, 5% of it"}
    assert found[found["run_id"] != 3]["reason"].isna().all()


def assert_as_of(story: Story, table: pd.DataFrame) -> None:
    first, *_ = sorted(story.seen)
    boundary = table.loc[table["run_id"] == 2, "valid_from"].max()
    january, february = (moment_of(text) for text in (LAST_OF_JANUARY, FIRST_OF_FEBRUARY))
    tick = timedelta(microseconds=1)
    moments = [*story.seen, january - tick, january, february, boundary - tick, boundary, table["valid_from"].max()]
    for moment in [*moments, datetime(2100, 1, 1, tzinfo=UTC)]:
        text = said(moment, story.workspace)
        query = f"SELECT * FROM {story.view('history')} WHERE valid_from <= '{text}' AND '{text}' < valid_to"
        found = story.frame(query)
        held = table[(table["valid_from"] <= moment) & (moment < table["valid_to"])]
        assert_same(found[[*story.keys, "score", "run_id"]], held[[*story.keys, "score", "run_id"]], story.keys)
        assert not found[story.keys].duplicated().any()
        if story.workspace.dialect.has_functions:
            called = story.frame(f"SELECT * FROM {story.view('as_of')}('{text}')", timezone="Pacific/Auckland")
            assert_same(called, found, story.keys)
        if moment in story.seen and moment != first:  # the first run was moved to an earlier day since
            columns = [*story.keys, "score", "prediction", "model_version", "run_id", "source_changed_at"]
            assert_same(found[columns], story.seen[moment][columns], story.keys)
    assert story.seen[first].empty


def daily_of(table: pd.DataFrame, label: str | None) -> pd.DataFrame:
    """What predictions_daily says, by pandas."""
    days = table.assign(day=[moment.date().isoformat() for moment in table["valid_from"]])
    rows = []
    for (day, name, version), group in days.groupby(["day", "model_name", "model_version"]):
        scores = group["score"].astype(float).to_numpy()
        positive = None if label is None else int((group["prediction"] == label).sum())
        ordinary = group[group["trigger"] != "rescore"]
        row = {
            "day": day,
            "model_name": name,
            "model_version": version,
            "prediction_count": len(group),
            "current_count": int(group["is_current"].sum()),
            "positive_count": positive,
            "positive_share": None if positive is None else positive / len(group),
            "mean_score": scores.mean(),
        }
        deciles = np.quantile(scores, np.arange(1, 10) / 10, method="inverted_cdf")
        by_trigger = {
            "ordinary_count": len(ordinary),
            "ordinary_positive_count": None if label is None else int((ordinary["prediction"] == label).sum()),
            "rescored_count": len(group) - len(ordinary),
        }
        rows.append({**row, **dict(zip(DECILES, deciles, strict=True)), **by_trigger})
    return pd.DataFrame(rows)


def assert_daily(story: Story, table: pd.DataFrame) -> None:
    expected = daily_of(table, LABEL if story.kind == "binary" else None)
    found = story.frame(f"SELECT * FROM {story.view('daily')}", timezone="Pacific/Auckland")
    assert list(found.columns) == list(expected.columns)
    found["day"] = found["day"].astype(str)
    by = ["day", "model_version"]
    counts = [*expected.columns[:7], *expected.columns[-3:]]
    assert_same(found[counts], expected[counts], by)
    in_order, wanted = (frame.sort_values(by)[["mean_score", *DECILES]].astype(float) for frame in (found, expected))
    np.testing.assert_allclose(in_order["mean_score"], wanted["mean_score"], rtol=1e-12)
    is_exact = story.workspace.words.exact_percentiles or story.kind == "regression"
    np.testing.assert_allclose(in_order[DECILES], wanted[DECILES], rtol=0, atol=0 if is_exact else WITHIN)


def distribution_of(table: pd.DataFrame, kind: Kind) -> pd.DataFrame:
    """What predictions_distribution says, by pandas: the edges are given, and the last one belongs to its band."""
    current = table[table["is_current"]]
    scores = current["score"].astype(float)
    low, high = (scores.min(), scores.max()) if kind == "regression" else (0.0, 1.0)
    edges = low + (high - low) * np.arange(21) / 20
    bands = np.minimum(np.searchsorted(edges, scores, side="right"), 20) if high > low else 1
    counted = current.assign(band=bands).groupby(["model_name", "model_version", "band"]).size()
    found = counted.reset_index(name="prediction_count")
    found["score_from"], found["score_to"] = edges[found["band"] - 1], edges[found["band"]]
    found["share"] = found["prediction_count"] / found.groupby(["model_name", "model_version"])[
        "prediction_count"
    ].transform("sum")
    return found


def assert_distribution(story: Story, table: pd.DataFrame) -> None:
    columns = ["model_name", "model_version", "band", "score_from", "score_to", "prediction_count", "share"]
    found = story.frame(f"SELECT * FROM {story.view('distribution')}")
    assert_same(found, distribution_of(table, story.kind)[columns], ["model_name", "model_version", "band"])


def assert_quarantine_summary(story: Story) -> None:
    entries = story.all_of("quarantine_closed")
    entries["valid_from"], entries["valid_to"] = (entries[c].map(moment_of) for c in ("valid_from", "valid_to"))
    still = entries[entries["valid_to"] == FOREVER]
    assert (len(entries), len(still)) == (5, 2)
    expected = (
        still.groupby(["reason_code", "column_name"])
        .agg(
            open_count=("attempts", "size"),
            since=("valid_from", "min"),
            latest=("valid_from", "max"),
            most_attempts=("attempts", "max"),
        )
        .reset_index()
    )
    expected.insert(0, "job", story.name)
    found = story.frame("SELECT * FROM quarantine_summary")
    for column in ("since", "latest"):
        found[column] = found[column].map(moment_of)
    assert_same(found, expected, ["job", "reason_code", "column_name"])
    assert expected["column_name"].tolist() == [story.names.feature]


def assert_run_history(story: Story) -> None:
    found = story.frame("SELECT * FROM run_history ORDER BY run_id")
    runs = story.frame("SELECT * FROM scoring_runs ORDER BY run_id")
    ended = [
        (moment_of(end) - moment_of(start)) for start, end in zip(runs["started_at"], runs["finished_at"], strict=True)
    ]
    assert found["status"].tolist() == ["succeeded"] * 4
    assert found["trigger"].tolist() == ["cli", "cli", "rescore", "cli"]
    own = ["seconds", "rows_per_second"]
    shared = [column for column in found.columns if column not in own]
    assert_same(found[shared], runs[shared], ["run_id"])
    for position, (_, row) in enumerate(found.iterrows()):
        seconds = ended[position].total_seconds()
        assert float(row["seconds"]) == pytest.approx(seconds, abs=0.001)
        rate = (row["scored_count"] + row["quarantined_count"]) / seconds
        assert float(row["rows_per_second"]) == pytest.approx(rate, rel=0.05)


def record_run(workspace: Workspace, **values: Any) -> None:
    """Write a run by hand."""
    row: Mapping[str, Any] = {
        "job": "story",
        "trigger": "cli",
        "status": "succeeded",
        "started_at": "2026-03-01 00:00:00.000000",
        "heartbeat_at": "2026-03-01 00:00:05.000000",
        "finished_at": None if values.get("status") == "running" else "2026-03-01 00:00:04.000000",
        "end_reason": None if values.get("status") == "running" else "completed",
        "model_name": "story",
        "host": "h",
        "process_id": 1,
        "package_version": "1",
        "environment": "{}",
        "job_config": "{}",
        "requested_by": "me",
        **values,
    }
    columns, labels = ", ".join(map(quoted, row)), ", ".join(f":{name}" for name in row)
    workspace.sql(f"INSERT INTO scoring_runs ({columns}) VALUES ({labels})", row)


def layout_of(story: Story) -> PredictionsLayout:
    with story.workspace.database() as database, database.read() as connection:
        layout = registered_layout(connection, story.workspace.job(story.name))
    assert layout is not None
    return layout


def write_scores(story: Story, scores: Mapping[datetime, Sequence[float]], *, first_key: int = 0) -> None:
    """Write current predictions by hand: at each timestamp some scores."""
    label = None if story.kind == "regression" else "off"
    made = [(moment, score) for moment, group in scores.items() for score in group]
    rows = [
        {
            "id": first_key + number,
            "run_id": 1,
            "model_version": 1,
            "score": float(score),
            "prediction": label,
            "valid_from": moment,
        }
        for number, (moment, score) in enumerate(made)
    ]
    with story.workspace.database() as database, database.write() as connection:
        connection.execute(sa.insert(layout_of(story).predictions_table), rows)


COUNTS = (1, 2, 9, 10, 11, 20, 97, 110)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_deciles_of_few_many_and_equal_scores_are_those_of_numpy(workspace: Workspace, kind: Kind) -> None:
    story = begin(workspace, kind)
    record_run(workspace, run_id=1)
    rng = np.random.default_rng(11)
    days = [datetime(2026, 5, 1, 12, tzinfo=UTC) + timedelta(days=day) for day in range(len(COUNTS) + 1)]
    scores = {day: rng.beta(0.3, 0.4, size=count) for day, count in zip(days, COUNTS, strict=False)}
    scores[days[-1]] = np.repeat([0.0, 0.4, 0.4004, 1.0], [9, 2, 3, 6])
    if kind == "regression":
        scores = {day: 1e6 * (values - 0.5) for day, values in scores.items()}
    write_scores(story, {day: values.tolist() for day, values in scores.items()})

    assert_daily(story, story.table())


def test_a_score_at_the_edge_of_a_band_belongs_to_the_band_that_begins_there(workspace: Workspace) -> None:
    story = begin(workspace, "binary")
    record_run(workspace, run_id=1)
    write_scores(story, {datetime(2026, 5, 1, tzinfo=UTC): [*(np.arange(21) / 20), 0.0, 1e-300, 0.999999, 1.0]})

    found = story.frame("SELECT * FROM predictions_distribution ORDER BY band")

    assert found["band"].tolist() == list(range(1, 21))
    assert found["prediction_count"].tolist() == [3, *[1] * 18, 4]
    np.testing.assert_allclose(found["score_from"].astype(float), np.arange(20) / 20, atol=1e-15)
    assert_distribution(story, story.table())


def test_values_that_are_all_the_same_stand_in_one_band(workspace: Workspace) -> None:
    story = begin(workspace, "regression")
    record_run(workspace, run_id=1)
    write_scores(story, {datetime(2026, 5, 1, tzinfo=UTC): [-7.25] * 3})

    found = workspace.query("SELECT score_from, score_to, prediction_count, share FROM predictions_distribution")

    assert found == [(-7.25, -7.25, 3, 1.0)]


def test_before_the_first_run_each_view_is_empty_and_says_that_nothing_is_fresh(workspace: Workspace) -> None:
    stories = [
        begin(workspace, kind, replace(PLAIN, source=(None, f"{kind}_facts"), predictions=(None, kind)), kind)
        for kind in KINDS
    ]
    workspace.upgrade()

    for story in stories:
        for view in PER_JOB:
            assert story.frame(f"SELECT * FROM {story.view(view)}").empty
        if workspace.dialect.has_functions:
            assert story.frame(f"SELECT * FROM {story.view('as_of')}(now())").empty
    assert workspace.query("SELECT * FROM quarantine_summary") == []
    assert workspace.query("SELECT * FROM run_history") == []
    fresh = workspace.query("SELECT * FROM data_freshness ORDER BY job")
    assert fresh == [(kind, kind, *[None] * 6) for kind in sorted(KINDS)]


def test_a_job_that_is_added_later_appears_and_the_views_of_the_first_stay(workspace: Workspace) -> None:
    first = begin(workspace, "binary", name="first")
    workspace.run("first")
    before = {view: first.frame(f"SELECT * FROM {first.view(view)}") for view in PER_JOB}
    summary = "SELECT job, reason_code, column_name, open_count, most_attempts FROM quarantine_summary ORDER BY job"
    assert workspace.query(summary) == [("first", "missing_value", "x", 2, 1)]

    names = replace(PLAIN, source=(None, "cards"), predictions=(workspace.words.new_schema, "scores"), feature="amount")
    second = begin(workspace, "regression", names, "second")
    assert workspace.query(summary) == [("first", "missing_value", "x", 2, 1)]
    workspace.run("second")

    assert workspace.query(summary) == [
        ("first", "missing_value", "x", 2, 1),
        ("second", "missing_value", "amount", 2, 1),
    ]
    table = "Cards.scores" if workspace.words.new_schema else "scores"
    fresh = "SELECT job, predictions_table, last_status FROM data_freshness ORDER BY job"
    assert workspace.query(fresh) == [("first", "predictions", "succeeded"), ("second", table, "succeeded")]
    assert workspace.query("SELECT run_id, job FROM run_history ORDER BY run_id") == [(1, "first"), (2, "second")]
    for view, frame in before.items():
        assert_same(first.frame(f"SELECT * FROM {first.view(view)}"), frame, list(frame.columns[:3]))
    assert_current(second, second.table())
    assert_distribution(second, second.table())


def test_freshness_is_that_of_ordinary_runs_and_completeness_that_of_sweeps(workspace: Workspace) -> None:
    begin(workspace, "binary")

    def day(number: int, **values: Any) -> None:
        text = f"2026-03-{number:02d} 00:00:0"
        times = {"started_at": f"{text}0.000000", "heartbeat_at": f"{text}3.000000", "finished_at": f"{text}4.000000"}
        record_run(workspace, **times, **values)

    def fresh() -> tuple[Any, ...]:
        columns = "last_success_at, complete_as_of, last_scored_at, last_status, last_started_at"
        (row,) = workspace.query(f"SELECT {columns} FROM data_freshness")
        return tuple(value if name == 3 else moment_of(value) for name, value in enumerate(row))

    def at(number: int, second: int) -> datetime:
        return datetime(2026, 3, number, 0, 0, second, tzinfo=UTC)

    day(1, mode="sweep", scored_count=5)
    assert fresh() == (at(1, 4), at(1, 0), at(1, 4), "succeeded", at(1, 0))
    day(2, mode="lookback", scored_count=0)
    assert fresh() == (at(2, 4), at(1, 0), at(1, 4), "succeeded", at(2, 0))
    day(3, mode="lookback", trigger="schedule", scored_count=1)
    assert fresh() == (at(3, 4), at(1, 0), at(3, 4), "succeeded", at(3, 0))
    day(4, mode="sweep", status="failed", scored_count=2)
    assert fresh() == (at(3, 4), at(1, 0), at(4, 4), "failed", at(4, 0)), "what it had committed stays"
    for trigger in ("rescore", "retry", "purge"):
        day(5, trigger=trigger)
    day(6, status="skipped")
    assert fresh() == (at(3, 4), at(1, 0), at(4, 4), "failed", at(4, 0))
    record_run(workspace, status="running", started_at="2026-03-07 00:00:00.000000", mode="sweep", job="story")
    assert fresh() == (at(3, 4), at(1, 0), at(4, 4), "running", at(7, 0))

    age, clock = workspace.scalar("SELECT seconds_since_success FROM data_freshness"), datetime.now(UTC)
    assert float(age) == pytest.approx((clock - at(3, 4)).total_seconds(), abs=60)
    workspace.sql("UPDATE scoring_runs SET heartbeat_at = '2100-01-01 00:00:00.000000' WHERE status = 'running'")
    with pytest.raises(AnotherRunActive):
        workspace.run("story")
    assert fresh()[3] == "running"
    (running,) = workspace.query("SELECT seconds, finished_at FROM run_history WHERE status = 'running'")
    assert float(running[0]) > 0
    assert running[1] is None


def test_a_run_that_failed_stands_in_the_history_with_what_it_was_and_what_to_do(workspace: Workspace) -> None:
    story = begin(workspace, "binary")
    workspace.run("story")
    story.execute("UPDATE facts SET changed = 2 WHERE id < 50")
    (artifact,) = workspace.artifacts_dir.rglob("*.joblib")
    artifact.write_bytes(b"another model")

    with pytest.raises(BatchScoringError) as raised:
        workspace.run("story")

    columns = "run_id, status, error_type, error_message, scored_count"
    assert workspace.query(f"SELECT {columns} FROM run_history ORDER BY run_id")[1:] == [
        (2, "failed", type(raised.value).__name__, str(raised.value), 0)
    ]


def test_each_column_of_each_view_is_explained_in_the_dictionary_and_in_the_database(workspace: Workspace) -> None:
    odd = ("Branch no", "100% %s", "it's", "UPPER", "select")
    stories = [
        begin(
            workspace,
            kind,
            replace(PLAIN, source=(None, f"{kind}_facts"), key=odd, predictions=(None, f"{kind} of 100%")),
            kind,
        )
        for kind in KINDS
    ]
    layouts = [(story.name, layout_of(story)) for story in stories]
    described = {each.name: each for each in dictionary(layouts)}
    views = [*SHARED, *(view_name(layout, view).name for _, layout in layouts for view in PER_JOB)]

    assert {name for name in described if not name.endswith(")")} == set(views)
    with workspace.database() as database, database.read() as connection:
        inspector = sa.inspect(connection)
        for name in views:
            columns = inspector.get_columns(name)
            assert [column["name"] for column in columns] == [column for column, _ in described[name].columns]
            assert all(meaning for _, meaning in described[name].columns)
            if connection.dialect.supports_comments:
                assert [(column["name"], column["comment"]) for column in columns] == described[name].columns
                assert inspector.get_table_comment(name)["text"] == described[name].meaning
    if workspace.dialect.has_functions:
        functions = workspace.query(
            "SELECT proname || CASE WHEN pronargs = 0 THEN '()' ELSE '(timestamptz)' END,"
            " obj_description(oid, 'pg_proc') FROM pg_proc WHERE proname LIKE '%as_of' OR proname LIKE '%100\\%_gone'"
        )
        assert dict(functions) == {name: each.meaning for name, each in described.items() if name.endswith(")")}
