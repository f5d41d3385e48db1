"""Stored scores come out again from the kept inputs, and an input that was altered is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from conftest import prepare_loans
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from support import DATA, LOAN_JOB, Workspace

from batch_scoring.demo.synthetic import applicants
from batch_scoring.errors import ArtifactChanged, ArtifactMissing, InputFault
from batch_scoring.model.training import Algorithm, TrainedModel, train
from batch_scoring.operations.replay import Replay, replay_key, replay_run

KEEPING = LOAN_JOB.replace("[predictions]", "[predictions]\nkeep_inputs = true")


@pytest.fixture
def keeping(workspace: Workspace, loan_model: TrainedModel) -> Workspace:
    """The loan job with its inputs kept, run once."""
    prepare_loans(workspace, loan_model, job=KEEPING)
    assert workspace.run().scored_count == 367
    return workspace


def _replay(workspace: Workspace, run_id: int = 1, sample: int | None = None) -> Replay:
    with workspace.database() as database:
        return replay_run(database, workspace.job(), workspace.artifacts_dir, run_id, sample=sample)


def _replay_key(workspace: Workspace, key: str, as_of: datetime | None = None) -> Replay:
    with workspace.database() as database:
        return replay_key(database, workspace.job(), workspace.artifacts_dir, (key,), as_of=as_of)


def test_what_is_kept_is_what_the_file_has_and_every_score_comes_out_again(keeping: Workspace) -> None:
    file = pd.read_csv(DATA / "loan_test.csv").set_index("Loan_ID")
    names = ", ".join(f'"{name}"' for name in file.columns)
    rows = keeping.query(f'SELECT "Loan_ID", {names} FROM predictions_inputs')
    kept = pd.DataFrame(rows, columns=["Loan_ID", *file.columns]).set_index("Loan_ID").loc[file.index]
    for name in file.columns:
        expected, found = file[name], kept[name].astype(file[name].dtype)
        assert (expected.isna() == kept[name].isna()).all(), name
        assert (expected[expected.notna()] == found[expected.notna()]).all(), name

    done = _replay(keeping)
    assert (done.row_count, done.reproduced_count, done.is_reproduced) == (367, 367, True)
    assert done.largest_difference <= 1e-12
    assert _replay(keeping, sample=20).row_count == 20


ALTERATIONS = {
    "a number": ("LoanAmount", '"LoanAmount" = "LoanAmount" + 1'),
    "a text": ("Education", "\"Education\" = 'Doctor'"),
    "a value taken away": ("Credit_History", '"Credit_History" = NULL'),
    "one the model needs taken away": ("Education", '"Education" = NULL'),
    "one given where there was none": ("Self_Employed", "\"Self_Employed\" = 'Maybe'"),
}


@pytest.mark.parametrize("what", ALTERATIONS)
def test_an_input_that_was_altered_is_named_with_its_row(keeping: Workspace, what: str) -> None:
    column, change = ALTERATIONS[what]
    keeping.sql(f"UPDATE predictions_inputs SET {change} WHERE \"Loan_ID\" = 'LP001022'")
    done = _replay(keeping)
    assert (done.row_count, done.reproduced_count) == (367, 366)
    ((deviation),) = done.deviations
    assert (deviation.key, list(deviation.altered)) == ("LP001022", [column])

    shown = keeping.cli("replay", "loan_eligibility", "LP001022")
    assert shown.returncode == 1
    assert f"the stored input {column} was altered" in shown.stdout
    assert keeping.cli("replay", "loan_eligibility", "LP001015").returncode == 0


def test_a_stored_score_that_was_altered_is_told_from_an_altered_input(keeping: Workspace) -> None:
    keeping.rewrite("UPDATE predictions SET score = score / 2 WHERE \"Loan_ID\" = 'LP001022'")
    ((deviation),) = _replay(keeping).deviations
    assert (deviation.key, list(deviation.altered)) == ("LP001022", [])
    assert deviation.score is not None
    assert deviation.replayed == pytest.approx(2 * deviation.score)


@pytest.mark.slow
def test_each_prediction_is_replayed_with_the_model_and_the_inputs_of_its_time(
    keeping: Workspace, loan_train: pd.DataFrame
) -> None:
    before = datetime.now(UTC) + timedelta(seconds=1)
    keeping.rewrite("UPDATE predictions SET valid_from = '2026-01-01 00:00:00.000000'")
    keeping.sql("UPDATE predictions_inputs SET valid_from = '2026-01-01 00:00:00.000000'")
    old = keeping.scalar("SELECT score FROM predictions WHERE \"Loan_ID\" = 'LP001015'")
    forest = train(keeping.job(), loan_train, "Loan_Status", Algorithm.DECISION_TREE)
    keeping.register(forest.pipeline, forest.features)
    keeping.promote(2)
    keeping.sql("UPDATE applicants SET \"LoanAmount\" = 90, updated_at = '2026-02-01 00:00:00'")
    assert keeping.run().superseded_count == 367

    now, then = _replay_key(keeping, "LP001015"), _replay_key(keeping, "LP001015", as_of=before - timedelta(days=1))
    assert (now.is_reproduced, then.is_reproduced) == (True, True)
    assert then.score == old != now.score
    assert "version 1" in then.models[0]
    assert "version 2" in now.models[0]


@pytest.mark.slow
def test_without_its_artifact_nothing_is_replayed_and_what_is_missing_is_said(keeping: Workspace) -> None:
    (file,) = keeping.artifacts_dir.rglob("*.joblib")
    content = file.read_bytes()
    file.unlink()
    with pytest.raises(ArtifactMissing):
        _replay(keeping)
    assert keeping.cli("replay", "loan_eligibility", "LP001015").returncode == 3
    file.write_bytes(content + b" ")
    with pytest.raises(ArtifactChanged):
        _replay(keeping)


def test_what_was_not_kept_is_said(workspace: Workspace, loan_model: TrainedModel) -> None:
    prepare_loans(workspace, loan_model)
    workspace.run()
    with pytest.raises(InputFault, match="keep_inputs"):
        _replay(workspace)
    with pytest.raises(InputFault, match="keep_inputs"):
        _replay_key(workspace, "LP001015")
    with pytest.raises(InputFault, match="no current prediction"):
        _replay_key(workspace, "nobody")
    with pytest.raises(InputFault, match="no run 99"):
        _replay(workspace, run_id=99)


@pytest.mark.slow
def test_a_run_of_a_hundred_thousand_rows_is_reproduced_and_one_altered_input_found(
    postgresql_workspace: Workspace, loan_model: TrainedModel
) -> None:
    workspace = prepare_loans(postgresql_workspace, loan_model, job=KEEPING)
    sample = applicants(1_000, seed=7)
    sample["Education"] = sample["Education"].fillna("Graduate")
    sample["ApplicantIncome"] = sample["ApplicantIncome"].astype(float)
    workspace.insert_frame("applicants", sample.assign(updated_at="2026-01-01 00:00:00"))
    columns = ", ".join(f'"{name}"' for name in sample.columns if name not in ("Loan_ID", "LoanAmount"))
    workspace.sql(
        f'INSERT INTO applicants ("Loan_ID", "LoanAmount", updated_at, {columns})'
        f' SELECT "Loan_ID" || \'-\' || i, "LoanAmount" + i / 7.0, updated_at, {columns}'
        " FROM applicants, generate_series(1, 100) AS i WHERE \"Loan_ID\" LIKE 'SY%'"
    )
    run = workspace.run()
    assert run.scored_count == 101_367
    done = _replay(workspace)
    assert (done.row_count, done.reproduced_count) == (101_367, 101_367)

    workspace.sql("UPDATE predictions_inputs SET \"Property_Area\" = 'Moon' WHERE \"Loan_ID\" = 'SY0000500-50'")
    ((deviation),) = _replay(workspace).deviations
    assert (deviation.key, list(deviation.altered)) == ("SY0000500-50", ["Property_Area"])


def test_inputs_of_every_type_are_kept_and_replayed_and_a_later_models_are_added(workspace: Workspace) -> None:
    text = (
        LOAN_JOB.partition("[training]")[0]
        .replace('"Loan_ID"', '"id"')
        .replace('positive_label = "Y"', 'positive_label = "1"')
    )
    workspace.write_job("loan_eligibility", text.replace("[predictions]", "[predictions]\nkeep_inputs = true"))
    workspace.sql(
        "CREATE TABLE applicants (id INTEGER PRIMARY KEY, flag BOOLEAN, seen TIMESTAMP, amount NUMERIC, extra INTEGER,"
        " updated_at TIMESTAMP)"
    )
    workspace.upgrade()
    sample = pd.DataFrame(
        {
            "id": range(40),
            "flag": [i % 3 == 0 for i in range(40)],
            "seen": pd.date_range("2026-01-01 00:00:00.123456", periods=40, freq="h"),
            "amount": [None if i % 5 == 0 else i / 3 - 2 for i in range(40)],
            "extra": range(40),
        }
    )
    stored = sample.assign(seen=sample["seen"].astype(str), updated_at="2026-01-01 00:00:00")
    workspace.insert_frame("applicants", stored.astype({"flag": object}))

    def numbers(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame(
            {
                name: frame[name].astype("int64") / 1e9 if name == "seen" else frame[name].astype(float).fillna(-1)
                for name in frame.columns
            }
        )

    def register(columns: list[str]) -> None:
        import __main__

        __main__.numbers = numbers  # pickled by reference
        numbers.__module__, numbers.__qualname__ = "__main__", "numbers"
        model = make_pipeline(FunctionTransformer(numbers), StandardScaler(), LogisticRegression())
        model.fit(sample[columns], [str(i % 2) for i in range(40)])
        workspace.register(model, sample[columns])

    register(["id", "flag", "seen", "amount"])
    workspace.upgrade()
    assert workspace.run().scored_count == 40
    assert _replay(workspace, 1).is_reproduced
    register(["id", "flag", "seen", "amount", "extra"])
    workspace.promote(2)
    workspace.sql("UPDATE applicants SET updated_at = '2026-02-01 00:00:00'")
    assert workspace.run().superseded_count == 40
    assert (_replay(workspace, 2).reproduced_count, _replay(workspace, 1).reproduced_count) == (40, 40)
    for column, change in {
        "flag": "flag = NOT flag",
        "seen": "seen = '2026-03-01 00:00:00'",
        "amount": "amount = 7.25",
        "extra": "extra = extra + 1",
    }.items():
        workspace.sql(f"UPDATE predictions_inputs SET {change} WHERE id = 11 AND run_id = 2")
        ((deviation),) = _replay(workspace, 2).deviations
        assert column in deviation.altered


def test_a_chunk_writes_its_inputs_with_its_predictions_or_neither(
    keeping: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from batch_scoring.errors import WrittenCountDiffers
    from batch_scoring.store.outcomes import chunk as predictions

    compare = predictions._compare

    def fail_at_inputs(actual: int, expected: int, table: object, verb: str) -> None:
        compare(actual - (str(table) == "predictions_inputs"), expected, table, verb)  # type: ignore[arg-type]

    monkeypatch.setattr(predictions, "_compare", fail_at_inputs)
    keeping.sql("UPDATE applicants SET updated_at = '2026-02-01 00:00:00'")
    with pytest.raises(WrittenCountDiffers):
        keeping.run()
    monkeypatch.undo()
    assert keeping.scalar("SELECT count(*) FROM predictions_history") == 367
    keeping.run()
    without = (
        'SELECT count(*) FROM predictions_history p LEFT JOIN predictions_inputs i ON i."Loan_ID" = p."Loan_ID"'
        " AND i.valid_from = p.valid_from WHERE i.run_id IS NULL OR i.run_id <> p.run_id"
    )
    assert keeping.scalar(without) == 0
    assert keeping.scalar("SELECT count(*) FROM predictions_inputs") == 734


@pytest.mark.slow
def test_workers_keep_inputs_too(postgresql_workspace: Workspace, loan_model: TrainedModel) -> None:
    job = KEEPING.replace("# chunk_rows = 50000", "chunk_rows = 100")
    workspace = prepare_loans(postgresql_workspace, loan_model, job=job)
    workspace.run(workers=2)
    assert _replay(workspace).reproduced_count == 367


@pytest.mark.slow
def test_an_altered_label_and_inputs_that_are_gone_are_told(keeping: Workspace) -> None:
    keeping.rewrite("UPDATE predictions SET prediction = 'N' WHERE \"Loan_ID\" = 'LP001022'")
    keeping.sql("DELETE FROM predictions_inputs WHERE \"Loan_ID\" = 'LP001015'")
    done = _replay(keeping)
    ((deviation),) = done.deviations
    assert (deviation.key, list(deviation.altered), deviation.replayed) == ("LP001022", [], deviation.score)
    assert (done.row_count, done.missing_count, done.is_reproduced) == (366, 1, False)
    shown = keeping.cli("replay", "loan_eligibility", "--run", "1")
    assert shown.returncode == 1
    assert "1 prediction of the run has no stored inputs" in shown.stdout
