"""One bad row costs one row: it is quarantined with a coded reason and without its data, and the others are scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import prepare_loans
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from support import DATA, LOAN_JOB, Workspace

from batch_scoring.domain.runs import Run
from batch_scoring.errors import EveryRowFailed, SourceFault
from batch_scoring.model.training import TrainedModel
from batch_scoring.scoring.runner import exit_code
from batch_scoring.store.engine.dialects.dialect import Dialect

POISONED = "LP001015"
MARKER = 7_654_321.125
"""An amount that no other applicant has: found anywhere it should not be, it came from the poisoned row."""


@dataclass(frozen=True)
class Poison:
    """What is written into one applicant's row, and how the row is to be quarantined."""

    assignment: str
    code: str
    column: str | None
    where_types_are_enforced: bool | None = None
    """Whether only a database that enforces the types of columns lets it in, or only one that does not."""

    def is_let_in(self, dialect: Dialect) -> bool:
        """Whether a database takes such a value."""
        return self.where_types_are_enforced in (None, dialect.enforces_types)


POISONS = {
    "infinite": Poison(
        "\"ApplicantIncome\" = 'Infinity'", "non_finite_value", "ApplicantIncome", where_types_are_enforced=True
    ),
    "infinite in SQLite": Poison(
        '"ApplicantIncome" = 9e999', "non_finite_value", "ApplicantIncome", where_types_are_enforced=False
    ),
    "beyond a float": Poison('"ApplicantIncome" = 1e400', "non_finite_value", "ApplicantIncome"),
    "not a number": Poison(
        "\"ApplicantIncome\" = 'NaN'", "non_finite_value", "ApplicantIncome", where_types_are_enforced=True
    ),
    "text in a number": Poison(
        "\"ApplicantIncome\" = 'about forty-two'", "wrong_type", "ApplicantIncome", where_types_are_enforced=False
    ),
    "undecodable text in a number": Poison(
        "\"ApplicantIncome\" = CAST(x'ff666f727479' AS TEXT)",
        "wrong_type",
        "ApplicantIncome",
        where_types_are_enforced=False,
    ),
    "bytes in a number": Poison(
        "\"ApplicantIncome\" = x'666f727479'", "wrong_type", "ApplicantIncome", where_types_are_enforced=False
    ),
    "bytes in a text": Poison("\"Gender\" = x'666f727479'", "wrong_type", "Gender", where_types_are_enforced=False),
    "missing": Poison('"Education" = NULL', "missing_value", "Education"),
    "missing number": Poison('"CoapplicantIncome" = NULL', "missing_value", "CoapplicantIncome"),
    "undecodable": Poison(
        "\"Gender\" = CAST(x'ff666f727479' AS TEXT)", "undecodable_text", "Gender", where_types_are_enforced=False
    ),
    "the model raises": Poison('"ApplicantIncome" = -7654321', "model_error", None),
}


def poison(workspace: Workspace, poison: Poison, key: str = POISONED) -> None:
    """Spoil one applicant, and mark the row."""
    if not poison.is_let_in(workspace.dialect):
        pytest.skip(f"{workspace.dialect.product} does not let such a value in")
    if not workspace.dialect.enforces_types:  # a column of type NUMERIC takes text that looks like a number as a number
        workspace.sql(f'UPDATE applicants SET "LoanAmount" = {MARKER} WHERE "Loan_ID" = \'{key}\'')
    workspace.sql(
        f'UPDATE applicants SET "LoanAmount" = {MARKER}, {poison.assignment} WHERE "Loan_ID" = :key', {"key": key}
    )


def by_hand(model: TrainedModel, left_out: set[str]) -> pd.Series:
    """What the artifact gives for the applicants as the file has them."""
    applicants = pd.read_csv(DATA / "loan_test.csv").set_index("Loan_ID").drop(index=list(left_out))
    column = list(model.pipeline.classes_).index("Y")
    return pd.Series(model.pipeline.predict_proba(applicants)[:, column], index=applicants.index)


def stored(workspace: Workspace) -> pd.Series:
    """Current scores by key."""
    rows = workspace.query('SELECT "Loan_ID", score FROM predictions_current')
    return pd.Series(dict(map(tuple, rows)), dtype=float)


def assert_others_are_scored(workspace: Workspace, model: TrainedModel, left_out: set[str]) -> None:
    """Every applicant but these has the score it has by hand."""
    expected, found = by_hand(model, left_out), stored(workspace)
    assert sorted(found.index) == sorted(expected.index)
    assert np.abs(found - expected[found.index]).max() <= 1e-12


def everything_stored(workspace: Workspace) -> str:
    """All that a run writes, as text."""
    tables = ("predictions", "predictions_quarantine", "scoring_runs")
    return "\n".join(str(row) for table in tables for row in workspace.query(f"SELECT * FROM {table}"))


def open_entries(workspace: Workspace) -> list[tuple[Any, ...]]:
    """Open quarantine entries: key, code and column."""
    return workspace.query('SELECT "Loan_ID", reason_code, column_name FROM predictions_quarantine ORDER BY "Loan_ID"')


def counts(run: Run) -> tuple[int, int, int]:
    """Due, scored, quarantined."""
    return run.due_count, run.scored_count, run.quarantined_count


def poison_many(workspace: Workspace) -> dict[str, Poison]:
    """One applicant for each poison that this database lets in."""
    keys = [key for (key,) in workspace.query('SELECT "Loan_ID" FROM applicants ORDER BY "Loan_ID"')]
    chosen = dict(
        zip(keys[::5], [each for each in POISONS.values() if each.is_let_in(workspace.dialect)], strict=False)
    )
    for key, each in chosen.items():
        poison(workspace, each, key)
    return chosen


def test_each_poison_row_is_quarantined_with_its_reason_and_the_others_are_scored(
    loan_workspace: Workspace, loan_model: TrainedModel
) -> None:
    poisons = poison_many(loan_workspace)

    run = loan_workspace.run()

    assert counts(run) == (367, 367 - len(poisons), len(poisons))
    assert open_entries(loan_workspace) == [(key, each.code, each.column) for key, each in poisons.items()]
    assert loan_workspace.query("SELECT DISTINCT run_id, attempts FROM predictions_quarantine") == [(run.run_id, 1)]
    assert loan_workspace.scalar("SELECT min(length(message)) FROM predictions_quarantine") > 20
    assert_others_are_scored(loan_workspace, loan_model, set(poisons))


def test_the_data_of_poison_rows_are_printed_and_stored_nowhere(loan_workspace: Workspace) -> None:
    poisons = poison_many(loan_workspace)

    done = loan_workspace.cli("run", "loan_eligibility")

    assert done.returncode == 0, done.stderr
    assert f"{len(poisons)} quarantined" in done.stdout
    for text in (done.stdout, done.stderr, everything_stored(loan_workspace)):
        for secret in ("7654321", "forty", "Infinity", "x'ff"):
            assert secret not in text


def poison_first(workspace: Workspace, count: int) -> None:
    """Take from the first applicants what the model needs."""
    workspace.sql(
        'UPDATE applicants SET "Education" = NULL WHERE "Loan_ID" IN'
        f' (SELECT "Loan_ID" FROM applicants ORDER BY "Loan_ID" LIMIT {count})'
    )


def test_up_to_the_share_that_the_job_allows_the_exit_code_is_0(loan_workspace: Workspace) -> None:
    poison_first(loan_workspace, 18)
    run = loan_workspace.run()
    assert counts(run) == (367, 349, 18)
    assert exit_code(run, loan_workspace.job()) == 0


def test_above_the_share_that_the_job_allows_the_exit_code_is_4_and_the_rest_is_scored(
    loan_workspace: Workspace,
) -> None:
    poison_first(loan_workspace, 19)
    done = loan_workspace.cli("run", "loan_eligibility")
    assert done.returncode == 4, done.stderr
    assert "348 scored" in done.stdout
    assert "19 of 367 rows were quarantined, more than the share of 0.05 that job loan_eligibility" in done.stderr
    assert loan_workspace.query("SELECT status, scored_count, quarantined_count FROM run_history") == [
        ("succeeded", 348, 19)
    ]


def touch(workspace: Workspace, key: str, assignment: str) -> None:
    """Change a row, and say so."""
    workspace.sql(
        f"UPDATE applicants SET {assignment}, updated_at = '2031-01-01 00:00:00' WHERE \"Loan_ID\" = :key",
        {"key": key},
    )


def test_a_quarantined_row_is_not_due_until_it_changes_and_then_its_entry_is_closed(loan_workspace: Workspace) -> None:
    poison(loan_workspace, POISONS["missing"])
    loan_workspace.run()
    assert counts(loan_workspace.run()) == (0, 0, 0)

    touch(loan_workspace, POISONED, "\"Education\" = 'Graduate'")
    mended = loan_workspace.run()

    assert counts(mended) == (1, 1, 0)
    assert open_entries(loan_workspace) == []
    ((valid_from, valid_to),) = loan_workspace.query(
        "SELECT p.valid_from, q.valid_to FROM predictions AS p"
        ' JOIN predictions_quarantine_closed AS q USING ("Loan_ID")'
    )
    assert valid_from == valid_to, "the entry ends where the prediction begins"
    assert len(stored(loan_workspace)) == 367


def test_a_quarantined_row_that_changes_and_stays_bad_is_tried_and_counted_again(loan_workspace: Workspace) -> None:
    poison(loan_workspace, POISONS["missing"])
    loan_workspace.run()
    touch(loan_workspace, POISONED, '"ApplicantIncome" = -1')

    assert counts(loan_workspace.run()) == (1, 0, 1)

    assert open_entries(loan_workspace) == [(POISONED, "missing_value", "Education")]
    entries = loan_workspace.with_past("predictions_quarantine")
    history = loan_workspace.query(f"SELECT run_id, attempts FROM {entries} q ORDER BY run_id")
    assert history == [(1, 1), (2, 2)]
    assert counts(loan_workspace.run()) == (0, 0, 0)


@pytest.mark.slow
def test_a_scored_row_that_turns_bad_keeps_its_last_prediction_until_it_is_mended(loan_workspace: Workspace) -> None:
    loan_workspace.run()
    before = stored(loan_workspace)
    touch(loan_workspace, POISONED, '"Education" = NULL')

    assert counts(loan_workspace.run()) == (1, 0, 1)
    assert open_entries(loan_workspace) == [(POISONED, "missing_value", "Education")]
    assert stored(loan_workspace).equals(before)
    assert counts(loan_workspace.run()) == (0, 0, 0)

    loan_workspace.sql(
        "UPDATE applicants SET \"Education\" = 'Graduate', updated_at = '2032-01-01 00:00:00' WHERE \"Loan_ID\" = :key",
        {"key": POISONED},
    )
    mended = loan_workspace.run()
    assert (mended.scored_count, mended.superseded_count) == (1, 1)
    assert open_entries(loan_workspace) == []
    assert len(stored(loan_workspace)) == 367


def test_unseen_categories_are_scored_and_counted_in_the_run(loan_workspace: Workspace) -> None:
    loan_workspace.sql(
        "UPDATE applicants SET \"Property_Area\" = 'Offshore' WHERE \"Loan_ID\" IN ('LP001015', 'LP001022', 'LP001031')"
    )
    run = loan_workspace.run()
    assert counts(run) == (367, 367, 0)
    assert run.unseen_category_count == 3
    assert loan_workspace.scalar("SELECT unseen_category_count FROM scoring_runs") == 3
    assert "Offshore" not in everything_stored(loan_workspace)


def test_unseen_categories_are_quarantined_where_the_job_says_so(
    loan_workspace: Workspace, loan_model: TrainedModel
) -> None:
    loan_workspace.write_job(
        "loan_eligibility", LOAN_JOB.replace('unseen_categories = "score"', 'unseen_categories = "quarantine"')
    )
    loan_workspace.sql("UPDATE applicants SET \"Property_Area\" = 'Offshore' WHERE \"Loan_ID\" = 'LP001015'")
    loan_workspace.sql("UPDATE applicants SET \"Gender\" = '' WHERE \"Loan_ID\" = 'LP001022'")

    run = loan_workspace.run()

    assert counts(run) == (367, 365, 2)
    assert run.unseen_category_count == 0
    assert open_entries(loan_workspace) == [
        ("LP001015", "unseen_category", "Property_Area"),
        ("LP001022", "unseen_category", "Gender"),
    ]
    assert_others_are_scored(loan_workspace, loan_model, {"LP001015", "LP001022"})
    assert "Offshore" not in everything_stored(loan_workspace)


def assert_nothing_written(workspace: Workspace, words: str) -> None:
    """The one run failed for a reason that is no row's."""
    assert workspace.scalar("SELECT count(*) FROM predictions") == 0
    assert workspace.scalar("SELECT count(*) FROM predictions_quarantine") == 0
    ((status, error_type, message),) = workspace.query("SELECT status, error_type, error_message FROM scoring_runs")
    assert (status, error_type) == ("failed", "EveryRowFailed")
    assert words in message
    assert "7654321" not in message


def test_a_column_that_is_gone_from_every_row_fails_the_run_and_sets_no_row_aside(loan_workspace: Workspace) -> None:
    loan_workspace.sql('UPDATE applicants SET "Education" = NULL')
    words = "all 367 rows of a chunk failed alike (missing_value, column Education"
    with pytest.raises(EveryRowFailed) as raised:
        loan_workspace.run()
    assert words in str(raised.value)
    assert_nothing_written(loan_workspace, words)


def test_a_model_that_fails_on_every_row_fails_the_run_and_sets_no_row_aside(loan_workspace: Workspace) -> None:
    loan_workspace.sql('UPDATE applicants SET "ApplicantIncome" = -7654321')

    done = loan_workspace.cli("run", "loan_eligibility")

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for words in ("the fault is not the rows'", "nothing was quarantined", "then run again"):
        assert words in done.stderr
    assert "7654321" not in done.stderr
    assert_nothing_written(loan_workspace, "the model failed with ValueError")


def test_64_rows_that_fail_alike_fail_the_run_and_are_quarantined_once_a_sound_row_is_beside_them(
    loan_workspace: Workspace,
) -> None:
    keys = [key for (key,) in loan_workspace.query('SELECT "Loan_ID" FROM applicants ORDER BY "Loan_ID" LIMIT 65')]
    loan_workspace.sql(f"CREATE TABLE kept AS SELECT * FROM applicants WHERE \"Loan_ID\" = '{keys[64]}'")
    loan_workspace.sql(f"DELETE FROM applicants WHERE \"Loan_ID\" >= '{keys[64]}'")
    loan_workspace.sql('UPDATE applicants SET "Education" = NULL')
    with pytest.raises(EveryRowFailed, match="all 64 rows of a chunk failed alike"):
        loan_workspace.run()
    assert open_entries(loan_workspace) == []

    loan_workspace.sql("INSERT INTO applicants SELECT * FROM kept")
    assert counts(loan_workspace.run()) == (65, 1, 64)


def test_a_single_poison_row_that_alone_is_due_is_quarantined(loan_workspace: Workspace) -> None:
    loan_workspace.run()
    touch(loan_workspace, POISONED, '"ApplicantIncome" = -7654321')
    run = loan_workspace.run()
    assert counts(run) == (1, 0, 1)
    assert exit_code(run, loan_workspace.job()).name == "TOO_MANY_QUARANTINED"
    assert open_entries(loan_workspace) == [(POISONED, "model_error", None)]


def test_rows_that_fail_in_different_ways_are_all_quarantined(loan_workspace: Workspace) -> None:
    loan_workspace.sql("DELETE FROM applicants WHERE \"Loan_ID\" NOT IN ('LP001015', 'LP001022')")
    poison(loan_workspace, POISONS["missing"], "LP001015")
    poison(loan_workspace, POISONS["the model raises"], "LP001022")
    assert counts(loan_workspace.run()) == (2, 0, 2)


@pytest.mark.slow
@pytest.mark.parametrize("chunk_rows", [1, 7])
def test_poison_costs_one_row_each_whatever_the_chunk(
    loan_workspace: Workspace, loan_model: TrainedModel, chunk_rows: int
) -> None:
    loan_workspace.write_job("loan_eligibility", LOAN_JOB.replace("# chunk_rows = 50000", f"chunk_rows = {chunk_rows}"))
    loan_workspace.sql("DELETE FROM applicants WHERE \"Loan_ID\" > 'LP001150'")
    keys = [key for (key,) in loan_workspace.query('SELECT "Loan_ID" FROM applicants ORDER BY "Loan_ID"')]
    spoiled = keys[3::7]
    for key in spoiled:
        poison(loan_workspace, POISONS["the model raises"], key)

    run = loan_workspace.run()

    assert counts(run) == (len(keys), len(keys) - len(spoiled), len(spoiled))
    assert [key for key, _, _ in open_entries(loan_workspace)] == spoiled
    everyone = set(pd.read_csv(DATA / "loan_test.csv")["Loan_ID"])
    assert_others_are_scored(loan_workspace, loan_model, everyone - set(keys) | set(spoiled))


@pytest.mark.slow
def test_sound_rows_are_scored_however_the_bad_ones_are_spread(
    sqlite_workspace: Workspace, loan_model: TrainedModel
) -> None:
    workspace = prepare_loans(sqlite_workspace, loan_model)
    keys = [key for (key,) in workspace.query('SELECT "Loan_ID" FROM applicants ORDER BY "Loan_ID"')]
    spread = [keys[position] for position in np.linspace(0, len(keys) - 1, 32, dtype=int)]
    for key in spread:
        workspace.sql('UPDATE applicants SET "ApplicantIncome" = -7654321 WHERE "Loan_ID" = :key', {"key": key})
    assert counts(workspace.run()) == (367, 335, 32)


NUMBERS_JOB = """
[source]
table = "facts"
key = ["id"]
[model]
name = "facts"
[predictions]
table = "predictions"
"""
REGRESSION = NUMBERS_JOB + 'kind = "regression"\n'
BINARY = NUMBERS_JOB + 'positive_label = "yes"\n'


def prepare(
    workspace: Workspace, columns: str, rows: list[str], model: Any, sample: pd.DataFrame, job: str
) -> Callable[[], Run]:
    """A table of facts, its job and its champion; returns what starts a run."""
    workspace.sql(f"CREATE TABLE facts (id INTEGER PRIMARY KEY, {columns})")
    for number, row in enumerate(rows, start=1):
        workspace.sql(f"INSERT INTO facts VALUES ({number}, {row})")
    workspace.write_job("facts", job)
    workspace.upgrade()
    workspace.register(model, sample, name="facts")
    return lambda: workspace.run("facts")


def quarantined(workspace: Workspace) -> list[tuple[Any, ...]]:
    """Open entries of the facts."""
    return workspace.query("SELECT id, reason_code, column_name FROM predictions_quarantine ORDER BY id")


def scored(workspace: Workspace) -> dict[int, float]:
    """Scores of the facts by key."""
    return dict(map(tuple, workspace.query("SELECT id, score FROM predictions")))


def test_a_row_whose_score_is_not_finite_is_quarantined(workspace: Workspace) -> None:
    sample = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    model = TransformedTargetRegressor(LinearRegression(), func=np.log, inverse_func=np.exp)
    model.fit(sample, np.exp(sample["x"]))
    run = prepare(workspace, "x DOUBLE PRECISION", ["1.5", "100000", "2.5"], model, sample, REGRESSION)
    assert counts(run()) == (3, 2, 1)
    assert quarantined(workspace) == [(2, "non_finite_score", None)]
    assert scored(workspace) == pytest.approx({1: np.exp(1.5), 3: np.exp(2.5)}, abs=1e-9)


def whole_numbers_model() -> tuple[Any, pd.DataFrame]:
    sample = pd.DataFrame({"n": [1, 2, 3, 4], "flag": [True, False, True, False]})
    return LogisticRegression().fit(sample, ["no", "no", "yes", "yes"]), sample


def test_a_fraction_where_the_model_takes_whole_numbers_is_of_the_wrong_type(workspace: Workspace) -> None:
    model, sample = whole_numbers_model()
    run = prepare(workspace, "n NUMERIC, flag BOOLEAN", ["2, TRUE", "2.5, TRUE", "3, FALSE"], model, sample, BINARY)
    assert counts(run()) == (3, 2, 1)
    assert quarantined(workspace) == [(2, "wrong_type", "n")]


def test_neither_true_nor_false_is_of_the_wrong_type(sqlite_workspace: Workspace) -> None:
    model, sample = whole_numbers_model()
    rows = ["2, TRUE", "2, 2", "3, 'maybe'", "3, 0.5", "3, 0"]
    run = prepare(sqlite_workspace, "n INTEGER, flag BOOLEAN", rows, model, sample, BINARY)
    assert counts(run()) == (5, 2, 3)
    assert quarantined(sqlite_workspace) == [(key, "wrong_type", "flag") for key in (2, 3, 4)]


def dated_model() -> tuple[Any, pd.DataFrame]:
    """A model of a date and a number; days since 1970 come from the timestamp's microseconds."""
    sample = pd.DataFrame(
        {
            "since": pd.to_datetime(["2020-01-01", "2021-06-01", "2022-01-01", "2023-01-01"]).astype("datetime64[us]"),
            "x": [1.0, 2.0, 3.0, 4.0],
        }
    )
    days = FunctionTransformer(pd.DataFrame.astype, kw_args={"dtype": "int64"})
    model = make_pipeline(days, StandardScaler(), LogisticRegression())
    return model.fit(sample, ["no", "no", "yes", "yes"]), sample


@pytest.mark.parametrize("bulk", ["auto", "portable"])
@pytest.mark.parametrize("type_", ["DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"])
def test_a_date_beyond_the_calendar_costs_its_row_only(postgresql_workspace: Workspace, bulk: str, type_: str) -> None:
    model, sample = dated_model()
    dates = ["2020-03-01", "infinity", "-infinity", "2022-12-24", "0044-03-15 BC", "20000-01-01"]
    rows = [f"'{date}', {number}" for number, date in enumerate(dates)]
    job = f'{BINARY}[run]\nbulk = "{bulk}"\n'
    run = prepare(postgresql_workspace, f"since {type_}, x DOUBLE PRECISION", rows, model, sample, job)
    assert counts(run()) == (6, 2, 4)
    assert quarantined(postgresql_workspace) == [(key, "wrong_type", "since") for key in (2, 3, 5, 6)]


def test_a_date_that_is_none_costs_its_row_only(sqlite_workspace: Workspace) -> None:
    model, sample = dated_model()
    rows = ["'2020-03-01', 1.5", "'Ides of March', 2.5", "'2022-12-24 12:00:00', 3.5", "20220101, 1.0"]
    run = prepare(sqlite_workspace, "since DATE, x DOUBLE PRECISION", rows, model, sample, BINARY)
    assert counts(run()) == (4, 2, 2)
    assert quarantined(sqlite_workspace) == [(2, "wrong_type", "since"), (4, "wrong_type", "since")]


@pytest.mark.parametrize("column", ["id", "changed"])
def test_a_key_or_version_that_cannot_be_decoded_is_a_fault_of_the_source(
    sqlite_workspace: Workspace, column: str
) -> None:
    sample = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0]})
    model = LogisticRegression().fit(sample, ["no", "no", "yes", "yes"])
    sqlite_workspace.sql("CREATE TABLE facts (id TEXT NOT NULL PRIMARY KEY, changed TEXT, x DOUBLE PRECISION)")
    for key in ("a", "b", "c"):
        sqlite_workspace.sql("INSERT INTO facts VALUES (:key, '1', 2.5)", {"key": key})
    sqlite_workspace.sql(f"UPDATE facts SET {column} = CAST(x'62ff' AS TEXT) WHERE id = 'b'")
    job = BINARY.replace('key = ["id"]', 'key = ["id"]\nchanged_at = "changed"')
    sqlite_workspace.write_job("facts", job)
    sqlite_workspace.upgrade()
    sqlite_workspace.register(model, sample, name="facts")

    with pytest.raises(SourceFault, match=column):
        sqlite_workspace.run("facts")

    assert sqlite_workspace.scalar("SELECT count(*) FROM predictions") == 0
    assert sqlite_workspace.query("SELECT status, error_type FROM scoring_runs") == [("failed", "SourceFault")]


def test_text_that_only_looks_missing_or_odd_is_text(workspace: Workspace) -> None:
    words = [
        "NULL",
        "null",
        "nan",
        "NaN",
        "",
        " ",
        "\\N",
        "\\.",
        'a"b',
        "a,b",
        "line\nbreak",
        "cr\r\nlf",
        "ünï",
        "%s",
        "'",
    ]
    sample = pd.DataFrame({"word": [*words, None]})
    labels = np.where(np.arange(len(sample)) % 2 == 0, "yes", "no")
    model = make_pipeline(OneHotEncoder(), LogisticRegression())
    model.fit(sample, labels, logisticregression__sample_weight=np.arange(1, len(sample) + 1))
    run = prepare(workspace, "word TEXT", [], model, sample, BINARY)
    values = [{"id": number, "word": word} for number, word in enumerate([*words, None], start=1)]
    workspace.sql("INSERT INTO facts VALUES (:id, :word)", values)

    finished = run()

    assert (finished.scored_count, finished.unseen_category_count) == (len(sample), 0)
    expected = model.predict_proba(sample)[:, 1]
    assert scored(workspace) == pytest.approx(dict(enumerate(expected, start=1)), abs=1e-12)
    assert len(set(np.round(expected, 6))) == len(sample), "each word has a score of its own"
