"""Outcomes: joined to the prediction that a decision was based on, counted, and compared with what was predicted."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import assert_refused
from conftest import prepare_loans
from outcome_rows import OUTCOMES, keys, morning, moved_to, outcome, write
from sklearn.linear_model import LinearRegression, LogisticRegression
from support import DATA, LOAN_JOB, REPOSITORY, Workspace

from batch_scoring.model.training import TrainedModel

NAME = "loan_eligibility"


def declare(workspace: Workspace, outcomes: str = OUTCOMES, job: str = LOAN_JOB) -> None:
    workspace.write_job(NAME, job + outcomes)


def figures(found: Any, month: str, population: str = "all", version: int = 1) -> dict[str, Any]:
    """The figures of a cohort in the result of ``outcomes --json``, with its counts."""
    (cohort,) = [
        one["last"]["cohort"]
        for one in found["cohorts"]
        if one["last"]["cohort"]["month"] == f"{month}-01"
        and one["last"]["cohort"]["population"] == population
        and one["last"]["cohort"]["model_version"] == version
    ]
    performance = cohort["performance"]
    values = {figure["metric"]: figure["value"] for figure in performance["figures"]}
    return {**values, "predicted": cohort["predicted_count"], "outcomes": performance["rows"]}


@pytest.fixture
def scored(loan_workspace: Workspace) -> Workspace:
    """367 predictions, made in February 2026."""
    declare(loan_workspace)
    loan_workspace.run()
    moved_to(loan_workspace, "2026-02")
    return loan_workspace


@pytest.mark.slow
def test_each_outcome_joins_the_prediction_of_its_decision_also_after_a_rescore_and_a_promotion(
    loan_workspace: Workspace, loan_train: pd.DataFrame, loan_model: TrainedModel
) -> None:
    workspace = loan_workspace
    declare(workspace)
    workspace.run()
    features = loan_model.features
    other = type(loan_model.pipeline)([*loan_model.pipeline.steps[:-1], ("classify", LogisticRegression(C=1e-3))])
    other.fit(features, loan_train["Loan_Status"])
    workspace.register(other, features)
    workspace.promote(2)
    assert workspace.cli("rescore", NAME, "--all", "--reason", "version 2", "--yes").returncode == 0
    moved_to(workspace, "2026-03", before="2026-01")
    random = np.random.default_rng(3)
    labels = random.choice(["Y", "N"], size=367, p=[0.7, 0.3])
    days = [f"2026-0{random.integers(1, 4)}-{random.integers(2, 28):02} 12:00:00" for _ in labels]
    rows = [
        outcome(key, label, day, "2026-04-20 12:00:00")
        for key, label, day in zip(keys(workspace), labels, days, strict=True)
    ]
    write(workspace, rows[::2])  # the others are late
    found = workspace.cli_json("outcomes", NAME)
    assert found["counts"]["used_count"] == 184

    write(workspace, rows[1::2])
    found = workspace.cli_json("outcomes", NAME)
    assert found["counts"] == {
        **dict.fromkeys(found["counts"], 0),
        "read_count": 367,
        "used_count": 367,
    }
    history = workspace.frame("SELECT * FROM predictions_history")
    decided = pd.DataFrame(rows).merge(history, left_on="key", right_on="Loan_ID")
    time = pd.to_datetime(decided["decided_at"], utc=True)
    starts, ends = (pd.to_datetime(decided[name].astype(str), utc=True) for name in ("valid_from", "valid_to"))
    joined = decided[(starts <= time) & (time < ends)]
    assert len(joined) == 367
    for month, version in (("2026-01", 1), ("2026-02", 1), ("2026-03", 2)):
        chosen = joined[joined["decided_at"].str.startswith(month)]
        assert set(chosen["model_version"]) == {version}
        expected = (chosen["became"] == chosen["prediction"]).mean()
        own = figures(found, month, version=version)
        assert (own["outcomes"], own["predicted"]) == (len(chosen), len(chosen))
        assert own["accuracy"] == pytest.approx(expected, abs=1e-12)

    (latest,) = workspace.query(
        "SELECT value, first_value, outcome_count, first_outcome_count, report_count FROM performance"
        " WHERE metric = 'accuracy' AND model_version = 2"
    )
    assert latest[0] == pytest.approx(expected)
    assert latest[2] > latest[3] > 0
    assert latest[4] == 2
    first = workspace.scalar(
        "SELECT value FROM performance_history WHERE metric = 'accuracy' AND model_version = 2 AND number = 1"
    )
    assert latest[1] == first != latest[0], "the first report stays"
    for name, columns in (("performance", "first_value"), ("calibration", "observed_high")):
        answer = workspace.frame((REPOSITORY / "sql" / "bi" / f"{name}.sql").read_text(encoding="utf-8"))
        assert len(answer) > 3
        assert answer[columns].notna().all()


def test_without_a_time_of_the_decision_the_prediction_counts_that_was_current_at_the_outcome(
    scored: Workspace,
) -> None:
    declare(scored, OUTCOMES.replace('decided_at = "decided_at"\n', ""))
    write(scored, [outcome(key, "Y", None, "2026-03-05 12:00:00") for key in keys(scored)[:100]])
    found = scored.cli_json("outcomes", NAME)
    own = figures(found, "2026-02")
    assert (own["outcomes"], own["predicted"]) == (100, 367), "a month is that of the predictions"


def test_what_is_not_used_is_counted_by_reason(scored: Workspace) -> None:
    some = keys(scored)
    decided, observed = "2026-02-10 12:00:00", "2026-04-01 12:00:00"
    later = "2026-05-01 12:00:00"
    write(scored, [outcome(key, "Y", decided, observed) for key in some[:50]])
    write(scored, [outcome(key, "Y", decided, later) for key in some[:4]])  # the same again
    write(scored, [outcome(key, "N", decided, later) for key in some[4:10]])  # changed
    write(scored, [outcome(key, None, decided, None) for key in some[50:70]])
    write(scored, [outcome("nobody", "Y", decided, observed)])
    write(scored, [outcome(key, "Y", "2025-12-31 23:59:59", observed) for key in some[70:72]])
    write(scored, [outcome(key, "Y", None, observed) for key in some[72:75]])
    write(scored, [outcome(key, "perhaps", decided, observed) for key in some[75:77]])
    write(scored, [outcome(key, "Y", "2126-01-01 12:00:00", observed) for key in some[77:78]])
    found = scored.cli_json("outcomes", NAME)
    assert found["counts"] == {
        "read_count": 50 + 4 + 6 + 20 + 1 + 2 + 3 + 2 + 1,
        "used_count": 50,
        "duplicate_count": 4,
        "reversal_count": 6,
        "unknown_count": 20,
        "unknown_key_count": 1,
        "unpredicted_count": 2,
        "undated_count": 3,
        "invalid_count": 2,
        "immature_count": 1,
    }
    assert figures(found, "2026-02")["predicted"] == 72, "decisions, with an outcome or without"
    decided_rows = found["cohorts"][0]["last"]["cohort"]["performance"]["sums"]["decided"]
    assert sum(by_outcome.get("N", 0) for by_outcome in decided_rows.values()) == 6, "the latest outcome counts"
    told = scored.cli("outcomes", NAME)
    assert "4 repeated; 6 superseded by a later outcome" in told.stdout
    assert "nothing has changed since the last report" in told.stderr
    (coverage,) = scored.query("SELECT read_count, used_count, unknown_key_count FROM outcome_coverage")
    assert coverage == (89, 50, 1)


def test_a_month_counts_once_its_performance_window_has_closed(scored: Workspace) -> None:
    write(scored, [outcome(key, "Y", "2026-02-10 12:00:00", "2026-03-01 12:00:00") for key in keys(scored)])
    declare(scored, OUTCOMES.replace("30 days", "20000 days"))
    found = scored.cli_json("outcomes", NAME)
    assert (found["cohorts"], found["counts"]["immature_count"]) == ([], 367)
    told = scored.cli("outcomes", NAME)
    assert "the next month of decisions is final on 2080-12-02" in told.stderr
    declare(scored)
    assert figures(scored.cli_json("outcomes", NAME), "2026-02")["outcomes"] == 367


def test_rows_accepted_at_random_have_figures_of_their_own_with_recall(scored: Workspace) -> None:
    declare(scored, OUTCOMES + 'exploration = "at_random"\n')
    labels = dict(scored.query('SELECT "Loan_ID", prediction FROM predictions'))
    accepted = [key for key in sorted(labels) if labels[key] == "Y"][:150]
    explored = [key for key in sorted(labels) if labels[key] == "N"][:40] + accepted[:10]
    day, seen = "2026-02-03 12:00:00", "2026-04-01 12:00:00"
    write(scored, [outcome(key, "Y", day, seen) for key in accepted if key not in explored])
    write(scored, [outcome(key, "YN"[i % 2], day, seen, at_random=1) for i, key in enumerate(explored)])
    found = scored.cli_json("outcomes", NAME)
    own = figures(found, "2026-02", "exploration")
    assert (own["outcomes"], own["predicted"]) == (50, 50)
    assert own["recall"] == pytest.approx(5 / 25)
    everybody = figures(found, "2026-02")
    assert everybody["recall"] is None
    told = scored.cli("outcomes", NAME, "--month", "2026-02")
    refused = sum(label == "N" for label in labels.values())
    assert f"outcomes are known of 40 of the {refused} predictions that are not Y" in told.stdout
    assert "50 matured outcomes of 50 predictions of rows accepted at random" in told.stdout


@pytest.mark.parametrize(
    ("column", "good", "labels"),
    [
        ("BOOLEAN", ("TRUE", "FALSE"), '{ "True" = "Y", "False" = "N" }'),
        ("INTEGER", ("1", "0"), '{ "1" = "Y", "0" = "N" }'),
        ("VARCHAR(9)", ("'repaid'", "'default'"), '{ "repaid" = "Y", "default" = "N" }'),
    ],
    ids=["boolean", "integer", "text"],
)
def test_values_are_named_by_labels_of_the_model(
    scored: Workspace, column: str, good: tuple[str, str], labels: str
) -> None:
    time = scored.words.timestamp
    scored.sql(f"CREATE TABLE repaid (loan VARCHAR(40), became {column}, seen {time})")
    scored.sql(
        f'INSERT INTO repaid SELECT "Loan_ID", CASE WHEN "ApplicantIncome" > 3000 THEN {good[0]} ELSE {good[1]} END,'
        " '2026-02-20 12:00:00' FROM applicants"
    )
    declare(
        scored,
        '\n[outcomes]\nquery = "SELECT loan AS \\"Loan_ID\\", became, seen FROM repaid -- all of them"\n'
        f'outcome = "became"\nobserved_at = "seen"\nlabels = {labels}\n',
    )
    found = scored.cli_json("outcomes", NAME)
    assert found["counts"]["used_count"] == 367
    ids = scored.frame(
        'SELECT a."ApplicantIncome" AS income, p.prediction FROM applicants a JOIN predictions p'
        ' ON a."Loan_ID" = p."Loan_ID"'
    )
    expected = (np.where(ids["income"].astype(float) > 3000, "Y", "N") == ids["prediction"]).mean()
    assert figures(found, "2026-02")["accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({'table = "loan_outcomes"': 'table = "nothing"'}, "outcomes.table: cannot be read"),
        ({'table = "loan_outcomes"': 'query = "SELECT no such thing"'}, "outcomes.query: cannot be read"),
        ({'table = "loan_outcomes"': 'query = "SELECT 1) AS x; DROP TABLE applicants; --"'}, "is not one SELECT"),
        ({'outcome = "became"': 'outcome = "result"'}, "outcomes.table: has no column result; it has Loan_ID, became"),
        ({"[outcomes]": '[outcomes]\nkey = ["nr"]'}, "has no column nr"),
        ({"[outcomes]": '[outcomes]\nkey = ["Loan_ID", "became"]'}, "outcomes.key: expected the columns with the key"),
        ({'table = "loan_outcomes"\n': ""}, "expected either table or query"),
        ({OUTCOMES: ""}, "outcomes: is missing"),
    ],
    ids=["no table", "no query", "two statements", "no column", "no key", "long key", "no source", "none"],
)
def test_outcomes_that_cannot_be_read_say_why(scored: Workspace, change: dict[str, str], said: str) -> None:
    write(scored, [outcome(key, "Y", "2026-02-10 12:00:00", "2026-04-01 12:00:00") for key in keys(scored)])
    text = OUTCOMES
    for old, new in change.items():
        text = text.replace(old, new)
    (scored.jobs_dir / f"{NAME}.toml").write_text(LOAN_JOB + text, encoding="utf-8")
    assert_refused(scored.cli("outcomes", NAME), 2, said)
    assert scored.scalar("SELECT count(*) FROM outcome_readings") == 0
    if "is missing" not in said and "either" not in said:
        warned = scored.cli("check")
        assert warned.returncode == 0
        assert f"`batch-scoring outcomes {NAME}` would fail: outcomes." in warned.stdout
        assert said in warned.stdout
    assert scored.scalar("SELECT count(*) FROM applicants") == 367


def test_labels_of_another_kind_are_refused_with_those_that_are_expected(scored: Workspace) -> None:
    write(scored, [outcome(key, "1", "2026-02-10 12:00:00", "2026-04-01 12:00:00") for key in keys(scored)])
    said = "none of 367 outcomes of job loan_eligibility in column became"
    assert_refused(scored.cli("outcomes", NAME), 2, said)
    assert (
        "expected the labels N, Y; name the label of each value in [outcomes] labels"
        in scored.cli("outcomes", NAME).stderr
    )


def test_a_key_of_another_type_is_refused(postgresql_workspace: Workspace, loan_model: TrainedModel) -> None:
    workspace = prepare_loans(postgresql_workspace, loan_model)
    declare(workspace)
    workspace.run()
    workspace.sql(
        'CREATE TABLE loan_outcomes ("Loan_ID" INTEGER, became TEXT, decided_at TIMESTAMPTZ, observed_at TIMESTAMPTZ)'
    )
    assert_refused(workspace.cli("outcomes", NAME), 2, "outcomes.table: cannot be joined to predictions")


def test_numbers_are_compared_with_numbers(workspace: Workspace) -> None:
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"id": range(200), "size": random.uniform(0, 10, 200)})
    prices = 3 * rows["size"] + random.normal(0, 1, 200)
    workspace.sql("CREATE TABLE houses (id INTEGER PRIMARY KEY, size DOUBLE PRECISION)")
    workspace.insert_frame("houses", rows)
    workspace.write_job(
        "houses",
        '[source]\ntable = "houses"\nkey = ["id"]\n[model]\nname = "houses"\n[predictions]\ntable = "prices"\n'
        'kind = "regression"\n[outcomes]\ntable = "sales"\noutcome = "price"\nobserved_at = "sold_at"\n',
    )
    workspace.upgrade()
    workspace.register(LinearRegression().fit(rows[["size"]], prices), rows[["size"]], name="houses")
    workspace.run("houses")
    workspace.rewrite(f"UPDATE prices SET valid_from = '{morning(workspace, '2026-01')}'")
    workspace.sql(f"CREATE TABLE sales (id INTEGER, price VARCHAR(30), sold_at {workspace.words.timestamp})")
    workspace.insert_frame(
        "sales",
        pd.DataFrame({"id": rows["id"], "price": [*map(str, prices[:-1]), "a lot"], "sold_at": "2026-01-20 12:00:00"}),
    )
    found = workspace.cli_json("outcomes", "houses")
    assert (found["counts"]["used_count"], found["counts"]["invalid_count"]) == (199, 1)
    scores = workspace.frame("SELECT id, score FROM prices ORDER BY id")["score"].astype(float)
    errors = scores[:-1] - prices[:-1]
    own = figures(found, "2026-01")
    assert own["bias"] == pytest.approx(errors.mean())
    assert own["root_mean_squared_error"] == pytest.approx(np.sqrt((errors**2).mean()))
    assert "bias" in workspace.cli("outcomes", "houses").stdout


def test_too_few_outcomes_and_a_wrong_month_say_so(scored: Workspace) -> None:
    write(scored, [outcome(key, "Y", "2026-02-10 12:00:00", "2026-04-01 12:00:00") for key in keys(scored)[:12]])
    told = scored.cli("outcomes", NAME)
    assert told.returncode == 0
    said = "2026-02: not computed: accuracy, base rate, roc auc, calibration slope: 12 outcomes, and 30 are the fewest"
    assert said in told.stderr
    assert json.loads(scored.cli("outcomes", NAME, "--json").stdout)["changed"] == 0
    assert_refused(
        scored.cli("outcomes", NAME, "--month", "May"), 2, "'May' is not a month; expected one such as 2026-05"
    )
    assert "2025-01 is not reported" in scored.cli("outcomes", NAME, "--month", "2025-01").stderr


def test_a_verdict_follows_from_the_outcomes_and_names_its_cause(scored: Workspace) -> None:
    declare(scored, OUTCOMES + "\n[retraining]\naccuracy = 0.68\nmonths = 1\n")
    labels = scored.query('SELECT "Loan_ID", prediction FROM predictions ORDER BY "Loan_ID"')
    wrong = {"Y": "N", "N": "Y"}
    write(
        scored,
        [
            outcome(key, wrong[label] if number % 2 else label, "2026-02-10 12:00:00", "2026-04-01 12:00:00")
            for number, (key, label) in enumerate(labels)
        ],
    )
    told = scored.cli("outcomes", NAME)
    assert "verdict: train a new model" in told.stdout
    assert "the accuracy of 2026-02 is 0.501, at most 0.552, and the limit is 0.68" in told.stdout
    scored.sql(
        "INSERT INTO drift_alerts (job, subject, name, measure, raised_run_id, raised_at, message)"
        f" VALUES ('{NAME}', 'feature', 'LoanAmount', 'missing', 1, {scored.words.now}, 'LoanAmount: 40% missing')"
    )
    found = scored.cli_json("outcomes", NAME)["verdict"]
    assert found["advice"] == "fix_data"
    assert "an alert is open: LoanAmount: 40% missing" in found["reasons"]


def test_a_month_whose_predictions_were_purged_keeps_its_figures(scored: Workspace) -> None:
    declare(scored, OUTCOMES.replace('decided_at = "decided_at"\n', ""))
    write(scored, [outcome(key, "Y", None, "2026-03-05 12:00:00") for key in keys(scored)])
    before = figures(scored.cli_json("outcomes", NAME), "2026-02")
    scored.rewrite("DELETE FROM predictions WHERE \"Loan_ID\" < 'LP001500'")
    found = scored.cli_json("outcomes", NAME)
    assert found["changed"] == 0
    assert figures(found, "2026-02") == before
    assert found["counts"]["unknown_key_count"] > 0


def test_decisions_other_than_predicted_are_counted_by_direction_reason_and_user(scored: Workspace) -> None:
    labels = dict(scored.query('SELECT "Loan_ID", prediction FROM predictions'))
    refused = sorted(key for key, label in labels.items() if label == "N")
    accepted = sorted(key for key, label in labels.items() if label == "Y")
    write(scored, [outcome(key, None, "2026-02-10 12:00:00", None) for key in (*refused[:20], *accepted[:80])])
    for column in ("decided", "code", "clerk"):
        scored.sql(f"ALTER TABLE loan_outcomes ADD COLUMN {column} VARCHAR(20)")
    decisions: list[tuple[str, str, str | None, str]]
    decisions = [(key, labels[key], None, "ann") for key in (*refused[:10], *accepted[:75])]
    decisions += [(key, "Y", "collateral", "ann") for key in refused[10:14]]
    decisions += [(key, "Y", "known to me", "bob") for key in refused[14:20]]
    decisions += [(key, "N", "collateral", "bob") for key in accepted[75:78]]  # the last two are not decided
    change = 'UPDATE loan_outcomes SET decided = :label, code = :code, clerk = :clerk WHERE "Loan_ID" = :key'
    scored.sql(change, [{"key": key, "label": label, "code": code, "clerk": by} for key, label, code, by in decisions])
    declare(scored, OUTCOMES + 'decision = "decided"\ndecision_reason = "code"\ndecided_by = "clerk"\n')
    (month,) = scored.cli_json("outcomes", NAME)["overrides"]
    assert (month["decisions"], month["overridden"]) == (98, 13)
    assert month["rate"] == pytest.approx(13 / 98)
    assert month["directions"] == [["N", "Y", 10], ["Y", "N", 3]]
    found = scored.cli_json("outcomes", NAME, "--month", "2026-02")["overrides"]
    assert [(one["reason"], one["decided_by"], one["overridden"], one["decisions"]) for one in found] == [
        ("known to me", "bob", 6, 9),
        ("collateral", "ann", 4, 89),
        ("collateral", "bob", 3, 9),
    ]
    told = scored.cli("outcomes", NAME)
    assert "N to Y: 10, Y to N: 3" in told.stdout
    assert "13.3%" in told.stdout
    view = "SELECT sum(decision_count) FROM decision_overrides WHERE is_override AND reason = 'collateral'"
    assert int(scored.scalar(view)) == 7
    assert scored.scalar("SELECT count(DISTINCT reading_id) FROM decision_counts") == 1, "recorded once"
    (scored.jobs_dir / f"{NAME}.toml").write_text(LOAN_JOB + OUTCOMES + 'decided_by = "clerk"\n', encoding="utf-8")
    assert_refused(scored.cli("outcomes", NAME), 2, "decision_reason and decided_by need decision")


def test_a_query_may_hold_whatever_sql_holds(scored: Workspace) -> None:
    write(scored, [outcome(key, "Y", "2026-02-10 12:00:00", "2026-04-01 12:00:00") for key in keys(scored)])
    cast = "CAST(became AS VARCHAR(9))" if scored.dialect.name == "sqlite" else "became::text"
    query = f"""
        WITH chosen AS (SELECT * FROM loan_outcomes WHERE became LIKE '%Y%' AND '12:00:00' <> ':x')
        SELECT "Loan_ID", {cast} AS "what became", decided_at, observed_at FROM chosen -- 100 % of them: all
    """
    text = OUTCOMES.replace('table = "loan_outcomes"', f'query = """{query};"""').replace('"became"', '"what became"')
    declare(scored, text.replace('"Loan_ID"', '\\"Loan_ID\\"').replace('AS "what became"', 'AS \\"what became\\"'))
    assert scored.cli_json("outcomes", NAME)["counts"]["used_count"] == 367


def test_the_roles_that_run_it_may_read_the_table_of_outcomes(postgresql_workspace: Workspace) -> None:
    workspace = postgresql_workspace
    load = ("load", "applicants", str(DATA / "loan_test.csv"), "--key", "Loan_ID")
    assert workspace.cli(*load).returncode == 0
    declare(workspace)
    workspace.upgrade()
    script = workspace.cli("db", "roles").stdout
    granted = [line.rpartition(" TO ")[2] for line in script.splitlines() if "SELECT ON loan_outcomes TO" in line]
    granted += [line.rpartition(" TO ")[2] for line in script.splitlines() if 'SELECT ON "loan_outcomes" TO' in line]
    assert sorted(granted) == ["operator;", "scorer;"]
    declare(workspace, "")
    assert "loan_outcomes" not in workspace.cli("db", "roles").stdout
