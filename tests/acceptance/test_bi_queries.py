"""The queries BI starts from give what pandas gives, for the shipped applicants after two runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import prepare_loans
from databases import DATABASES, Databases
from support import REPOSITORY, Workspace

from batch_scoring.model.training import TrainedModel
from batch_scoring.operations.rescore import plan
from batch_scoring.store.source.selection import Request

FILES = sorted((REPOSITORY / "sql" / "bi").glob("*.sql"))
SUNDAY, MONDAY = "2026-03-01 23:59:59.999999", "2026-03-02 00:00:00.000000"
MOMENT = "2026-06-30 12:00:00.000000"
GONE = "LP001022"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The loan job after two runs, and what stands in its tables."""

    workspace: Workspace
    predictions: pd.DataFrame
    quarantine: pd.DataFrame
    runs: pd.DataFrame

    @property
    def current(self) -> pd.DataFrame:
        return self.predictions[self.predictions["is_current"]]


def plain(value: Any) -> Any:
    """A value in a form that is the same for both databases: timestamps as text, numbers as floats."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    return value


def frame(workspace: Workspace, statement: str) -> pd.DataFrame:
    """What a query gives."""
    return workspace.frame(statement).map(plain)


@pytest.fixture(scope="module", params=DATABASES)
def scored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, loan_model: TrainedModel
) -> Scored:
    """All applicants; then nine lose their credit history, one cannot be scored and one is new. Tests only read."""
    folder = tmp_path_factory.mktemp("bi")
    databases: Databases = request.getfixturevalue(DATABASES[request.param])
    workspace = prepare_loans(Workspace(folder, databases.create_database()), loan_model)
    workspace.run()
    some = """SELECT "Loan_ID" FROM predictions_current WHERE prediction = 'Y' ORDER BY "Loan_ID" LIMIT 9"""
    later = "updated_at = '2027-01-01 00:00:00'"
    workspace.sql(f"""UPDATE applicants SET "Credit_History" = 0, {later} WHERE "Loan_ID" IN ({some})""")
    workspace.sql(f"""UPDATE applicants SET "ApplicantIncome" = NULL, {later} WHERE "Loan_ID" = 'LP002989'""")
    columns = [column for column in workspace.frame("SELECT * FROM applicants LIMIT 1") if column != "Loan_ID"]
    others = ", ".join(f'"{column}"' for column in columns)
    workspace.sql(
        f"""INSERT INTO applicants ("Loan_ID", {others}) SELECT 'NEW', {others} FROM applicants
        WHERE "Loan_ID" = 'LP001015'"""
    )
    workspace.run()
    with workspace.database() as database:
        rescore = plan(database, workspace.job(), Request(keys=(("LP001015",), ("LP001031",)))).rescore
    workspace.run(trigger="rescore", rescore=rescore, reason="checked", requested_by="me")
    workspace.sql(f"""DELETE FROM applicants WHERE "Loan_ID" = '{GONE}'""")
    for parity, moment in enumerate((SUNDAY, MONDAY)):
        for table in ("predictions", "predictions_superseded"):
            workspace.rewrite(
                f"UPDATE {table} SET valid_from = '{moment}' WHERE run_id = 1"
                f' AND CAST(substr("Loan_ID", 8, 1) AS INTEGER) % 2 = {parity}'
            )
    predictions = frame(workspace, f"SELECT * FROM {workspace.with_past()} p")
    runs = frame(workspace, "SELECT * FROM scoring_runs")
    predictions = predictions.merge(runs[["run_id", "model_name", "trigger", "requested_by", "reason"]], on="run_id")
    predictions["is_current"] = predictions["valid_to"].str.startswith("9999")
    predictions["positive"] = predictions["prediction"] == "Y"
    return Scored(
        workspace=workspace,
        predictions=predictions,
        quarantine=frame(workspace, f"SELECT * FROM {workspace.with_past('predictions_quarantine')} q"),
        runs=runs,
    )


def positives_by(rows: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """How many were decided and how many positively, by some columns and in their order."""
    grouped = rows.groupby(list(columns), as_index=False)
    return grouped.agg(
        decisions=("positive", "size"), positives=("positive", "sum"), positive_rate=("positive", "mean")
    )


def by_week(scored: Scored) -> pd.DataFrame:
    days = pd.to_datetime(scored.predictions["valid_from"])
    mondays = (days - pd.to_timedelta(days.dt.day_of_week, unit="D")).dt.strftime("%Y-%m-%d")
    weeks = scored.predictions.assign(week=mondays)
    ordinary = weeks[weeks["trigger"] != "rescore"]
    found = positives_by(ordinary, "week").assign(rescored=0)
    assert len(ordinary) < len(weeks)
    found.loc[found.index[-1], "rescored"] = len(weeks) - len(ordinary)
    assert found["week"].tolist()[:2] == ["2026-02-23", "2026-03-02"], "a week begins on Monday"
    return found


def changed_decisions(scored: Scored) -> pd.DataFrame:
    history = scored.predictions
    pairs = history.merge(history, on="Loan_ID", suffixes=("_old", "_new"))
    pairs = pairs[pairs["valid_to_old"] == pairs["valid_from_new"]]
    pairs = pairs[pairs["prediction_old"] != pairs["prediction_new"]].sort_values("Loan_ID")
    assert len(pairs) == 9
    assert set(pairs["prediction_new"]) == {"N"}
    columns = {
        "Loan_ID": "Loan_ID",
        "prediction_old": "was",
        "prediction_new": "became",
        "score_old": "old_score",
        "score_new": "new_score",
        "model_version_old": "old_version",
        "model_version_new": "new_version",
        "valid_from_new": "changed_at",
        "trigger_new": "trigger",
        "reason_new": "reason",
    }
    return pairs[list(columns)].rename(columns=columns)


def freshness(scored: Scored) -> pd.DataFrame:
    last = scored.runs[scored.runs["trigger"] == "cli"].sort_values("run_id").iloc[-1]
    row = {
        "job": "loan_eligibility",
        "predictions_table": "predictions",
        "last_success_at": last["finished_at"],
        "complete_as_of": last["started_at"],
        "last_status": "succeeded",
    }
    return pd.DataFrame([row])


def score_distribution(scored: Scored) -> pd.DataFrame:
    bands = pd.cut(scored.current["score"].astype(float), [i / 20 for i in range(21)], right=False)
    counts = scored.current.groupby(["model_name", "model_version", bands], observed=True).size()
    found = counts.reset_index(name="prediction_count")
    found.insert(2, "score_from", [band.left for band in found["score"]])
    found.insert(3, "score_to", [band.right for band in found["score"]])
    found["share"] = found["prediction_count"] / len(scored.current)
    return found.drop(columns="score")


def daily(scored: Scored) -> pd.DataFrame:
    days = scored.predictions.assign(
        day=scored.predictions["valid_from"].str[:10], is_rescore=scored.predictions["trigger"] == "rescore"
    )
    rows = []
    for (day, version), group in days.groupby(["day", "model_version"]):
        scores = group["score"].astype(float)
        deciles = {f"decile_{tenth}": np.quantile(scores, tenth / 10, method="inverted_cdf") for tenth in (1, 5, 9)}
        counts = {"ordinary_count": int((~group["is_rescore"]).sum()), "rescored_count": int(group["is_rescore"].sum())}
        share = {"positive_share": group["positive"].mean(), "mean_score": scores.mean()}
        rows.append({"day": day, "model_version": version, **counts, **share, **deciles})
    return pd.DataFrame(rows)


def current(scored: Scored) -> pd.DataFrame:
    rows = scored.current.sort_values("score", ascending=False).head(10)
    columns = ["Loan_ID", "prediction", "score", "model_version", "valid_from"]
    return rows[columns].rename(columns={"valid_from": "scored_at"})


def outdated(scored: Scored) -> pd.DataFrame:
    still = scored.quarantine[scored.quarantine["valid_to"].str.startswith("9999")]
    found = scored.current.merge(still, on="Loan_ID", suffixes=("", "_of_entry"))
    names = {"valid_from": "scored_at", "valid_from_of_entry": "quarantined_since", "reason_code": "quarantine_reason"}
    found = found.rename(columns=names)
    return found[["Loan_ID", "prediction", "score", "scored_at", "quarantined_since", "quarantine_reason"]]


def gone(scored: Scored) -> pd.DataFrame:
    found = scored.current[scored.current["Loan_ID"] == GONE].rename(columns={"valid_from": "scored_at"})
    return found[["Loan_ID", "prediction", "score", "scored_at"]]


def at_a_time(scored: Scored) -> pd.DataFrame:
    rows = scored.predictions
    held = rows[(rows["valid_from"] <= MOMENT) & (rows["valid_to"] > MOMENT)].sort_values("Loan_ID")
    return held[["Loan_ID", "prediction", "score"]]


def history_of_a_key(scored: Scored) -> pd.DataFrame:
    rows = scored.predictions[scored.predictions["Loan_ID"] == "LP001015"].sort_values("valid_from")
    columns = ["valid_from", "valid_to", "is_current", "prediction", "score", "model_version", "trigger"]
    return rows[[*columns, "requested_by", "reason"]]


def latest_runs(scored: Scored) -> pd.DataFrame:
    runs = slowest_runs(scored)
    columns = ["run_id", "trigger", "status", "started_at", "seconds", "scored_count", "superseded_count"]
    counts = scored.runs[["run_id", "trigger", "superseded_count", "quarantined_count"]]
    return runs.merge(counts, on="run_id").sort_values("run_id", ascending=False)[[*columns, "quarantined_count"]]


def quarantined(scored: Scored) -> pd.DataFrame:
    still = scored.quarantine[scored.quarantine["valid_to"].str.startswith("9999")]
    assert len(still) == 1
    found = still[["reason_code", "column_name", "valid_from"]].assign(job="loan_eligibility", open_count=1)
    found = found.rename(columns={"valid_from": "since"}).assign(latest=still["valid_from"])
    return found[["job", "reason_code", "column_name", "open_count", "since", "latest"]]


def slowest_runs(scored: Scored) -> pd.DataFrame:
    runs = scored.runs
    seconds = (pd.to_datetime(runs["finished_at"]) - pd.to_datetime(runs["started_at"])).dt.total_seconds()
    rates = (runs["scored_count"] + runs["quarantined_count"]) / seconds
    found = runs[["run_id", "job", "status", "started_at"]].assign(
        seconds=seconds, scored_count=runs["scored_count"], rows_per_second=rates
    )
    shown = found.assign(shown=seconds.round(3)).sort_values(["shown", "run_id"], ascending=False)
    return shown.drop(columns="shown")


EXPECTED: dict[str, Callable[[Scored], pd.DataFrame]] = {
    "as_of.postgresql.sql": at_a_time,
    "at_a_time.postgresql.sql": at_a_time,
    "at_a_time.sqlite.sql": at_a_time,
    "changed_decisions.sql": changed_decisions,
    "current.sql": current,
    "daily.sql": daily,
    "freshness.sql": freshness,
    "gone.postgresql.sql": gone,
    "gone.sqlite.sql": gone,
    "history_of_a_key.sql": history_of_a_key,
    "latest_runs.sql": latest_runs,
    "outdated_by_quarantine.sql": outdated,
    "positive_rate_by_model_version.sql": lambda scored: positives_by(scored.current, "model_name", "model_version"),
    "positive_rate_by_week.postgresql.sql": by_week,
    "positive_rate_by_week.sqlite.sql": by_week,
    "quarantined.sql": quarantined,
    "score_distribution.sql": score_distribution,
    "slowest_runs.sql": slowest_runs,
}
TOLERANCES = {
    "positive_rate": {"abs": 0.5e-4},
    "seconds": {"abs": 0.001},
    "rows_per_second": {"rel": 0.05},
    **{f"decile_{tenth}": {"abs": 0.005} for tenth in (1, 5, 9)},
}


OF_DRIFT = ("calibration.sql", "drift.sql", "drift_alerts.sql", "performance.sql", "score_drift.sql")
"""Tried in test_drift_alerts.py, on runs that are evaluated, and in test_outcomes.py, on outcomes that are read."""


@pytest.mark.parametrize("name", EXPECTED)
def test_a_query_of_the_folder_gives_what_pandas_gives(scored: Scored, name: str) -> None:
    templates = scored.workspace.dialect.templates
    if name.count(".") > 1 and f".{templates}." not in name:
        pytest.skip("the other database's")
    statement = (REPOSITORY / "sql" / "bi" / name).read_text(encoding="utf-8")
    assert statement.startswith("-- ")
    expected = EXPECTED[name](scored).reset_index(drop=True)

    found = frame(scored.workspace, statement)

    if name == "freshness.sql":
        assert 0 <= float(found.pop("seconds_since_success").iloc[0]) < 600
    assert list(found.columns) == list(expected.columns)
    assert len(found) == len(expected) > 0
    for column in found:
        tolerance = TOLERANCES.get(str(column), {"abs": 1e-12})
        for value, wanted in zip(found[column], expected[column], strict=True):
            if pd.isna(wanted):
                assert pd.isna(value)
            elif isinstance(wanted, bool):
                assert bool(value) is wanted
            elif isinstance(wanted, int | float):
                assert float(value) == pytest.approx(wanted, **tolerance, nan_ok=True)
            else:
                assert str(value) == str(wanted)


def test_the_folder_holds_the_queries_that_are_tried_here() -> None:
    assert [file.name for file in FILES] == sorted([*EXPECTED, *OF_DRIFT])
