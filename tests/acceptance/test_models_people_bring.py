"""Models of every kind from registration to the predictions table, on each database."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import IsolationForest, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from support import Workspace

from batch_scoring.errors import EveryRowFailed, ExitCode
from batch_scoring.model import proof
from batch_scoring.operations.replay import replay_key, replay_run
from batch_scoring.scoring.runner import exit_code

RNG = np.random.default_rng(0)
HISTORY = pd.DataFrame(
    {"plan": RNG.choice(["basic", "plus", "pro", "team"], 300), "x": RNG.normal(size=300), "z": RNG.normal(size=300)}
)
NUMBERS = HISTORY[["x", "z"]]
LABELS = np.where(NUMBERS["x"] + RNG.normal(size=300) > 1.5, "late", "paid")


def customers(workspace: Workspace, rows: pd.DataFrame, **predictions: str) -> Workspace:
    """A source of these rows and its job; ``predictions`` are lines of its section."""
    workspace.sql("CREATE TABLE customers (id INTEGER PRIMARY KEY, plan TEXT, x DOUBLE PRECISION, z DOUBLE PRECISION)")
    workspace.insert_frame("customers", rows.assign(id=range(1, len(rows) + 1)))
    write_job(workspace, **predictions)
    workspace.upgrade()
    return workspace


def write_job(workspace: Workspace, *, run: str = "", **predictions: str) -> None:
    lines = "\n".join(f"{key} = {value}" for key, value in predictions.items())
    workspace.write_job(
        "j",
        f'[source]\ntable = "customers"\nkey = ["id"]\n[model]\nname = "m"\n[predictions]\n{lines}\n[run]\n{run}\n',
    )


def register(workspace: Workspace, model: Any, sample: pd.DataFrame) -> Any:
    """Register as people do, by a command; returns what it printed."""
    joblib.dump(model, workspace.folder / "m.joblib")
    sample.to_csv(workspace.folder / "sample.csv", index=False)
    done = workspace.cli("model", "register", "m.joblib", "--name", "m", "--sample", "sample.csv")
    assert done.returncode == 0, done.stderr
    return done


def predictions(workspace: Workspace) -> dict[int, tuple[str | None, float | None]]:
    rows = workspace.query("SELECT id, prediction, score FROM predictions_current ORDER BY id")
    return {key: (label, score) for key, label, score in rows}


@pytest.mark.parametrize("positive", ["late", "paid", None])
def test_a_classifier_without_probabilities_writes_its_label_and_the_margin(
    workspace: Workspace, positive: str | None
) -> None:
    model = LinearSVC().fit(NUMBERS, LABELS)
    wanted = {"positive_label": f'"{positive}"'} if positive else {}
    customers(workspace, HISTORY.head(50), kind='"label"', **wanted)
    register(workspace, model, NUMBERS)

    assert workspace.run("j").scored_count == 50

    margins = model.decision_function(NUMBERS.head(50)) * (-1 if positive == "late" else 1)
    expected = dict(enumerate(zip(model.predict(NUMBERS.head(50)).tolist(), margins.tolist(), strict=True), start=1))
    found = predictions(workspace)
    assert {key: label for key, (label, _) in found.items()} == {key: label for key, (label, _) in expected.items()}
    assert all(abs((found[key][1] or 0) - score) <= 1e-12 for key, (_, score) in expected.items())


@pytest.mark.slow
def test_a_model_that_gives_labels_only_writes_no_score_and_everything_else_works(workspace: Workspace) -> None:
    voters = [("a", LogisticRegression()), ("b", LinearSVC()), ("c", DecisionTreeClassifier(max_depth=2))]
    model = VotingClassifier(voters).fit(NUMBERS, LABELS)
    customers(workspace, HISTORY.head(30), kind='"label"', positive_label='"late"', keep_inputs="true")
    register(workspace, model, NUMBERS)

    run = workspace.run("j")

    assert {key: label for key, (label, _) in predictions(workspace).items()} == dict(
        enumerate(model.predict(NUMBERS.head(30)).tolist(), start=1)
    )
    assert {score for _, score in predictions(workspace).values()} == {None}
    assert workspace.scalar("SELECT sum(prediction_count) FROM predictions_daily") == 30
    assert workspace.query("SELECT * FROM predictions_distribution") == []
    preview = workspace.cli_json("rescore", "j", "--all", "--dry-run")
    assert (preview["row_count"], preview["scored_count"], preview["superseded_count"]) == (30, 30, 30)
    assert preview["flipped_count"] == 0
    assert workspace.cli("replay", "j", "--run", str(run.run_id)).returncode == 0
    assert workspace.cli("why", "j", "7").returncode == 0
    rescored = workspace.cli("rescore", "j", "--all", "--reason", "a test", "--yes")
    assert rescored.returncode == 0, rescored.stderr
    assert workspace.scalar("SELECT count(*) FROM predictions_history") == 60
    workspace.rewrite("UPDATE predictions SET prediction = 'other' WHERE id = 7")
    assert workspace.cli("replay", "j", "7").returncode == 1


def test_an_outlier_detector_writes_how_normal_a_row_is_and_its_verdict(workspace: Workspace) -> None:
    model = IsolationForest(n_estimators=20, random_state=0).fit(NUMBERS)
    customers(workspace, HISTORY.head(40), kind='"label"')
    register(workspace, model, NUMBERS)

    workspace.run("j")

    scores, verdicts = model.score_samples(NUMBERS.head(40)), model.predict(NUMBERS.head(40))
    for key, (label, score) in predictions(workspace).items():
        assert label == str(verdicts[key - 1])
        assert score == pytest.approx(scores[key - 1], abs=1e-12)


@pytest.mark.parametrize("positive", ["late", "paid"])
def test_a_threshold_that_comes_with_the_model_decides(workspace: Workspace, positive: str) -> None:
    model = FixedThresholdClassifier(LogisticRegression(), threshold=0.2, pos_label="late").fit(NUMBERS, LABELS)
    customers(workspace, HISTORY, positive_label=f'"{positive}"')

    registered = register(workspace, model, NUMBERS)
    workspace.run("j")

    assert "decides late where its probability is 0.2 or more" in registered.stderr
    assert "decides late where its probability is 0.2 or more" in workspace.cli("check").stdout
    assert "late at a probability of 0.2 or more" in workspace.cli("model", "show", "m", "1").stdout
    found = predictions(workspace)
    assert [found[key][0] for key in sorted(found)] == model.predict(NUMBERS).tolist()
    place = ["late", "paid"].index(positive)
    assert [score for _, (_, score) in sorted(found.items())] == pytest.approx(
        model.predict_proba(NUMBERS)[:, place].tolist(), abs=1e-12
    )


def test_a_job_that_overrides_the_models_threshold_says_so_and_records_it(workspace: Workspace) -> None:
    model = FixedThresholdClassifier(LogisticRegression(), threshold=0.2, pos_label="late").fit(NUMBERS, LABELS)
    customers(workspace, HISTORY, positive_label='"late"', threshold="0.5")
    register(workspace, model, NUMBERS)

    done = workspace.cli("run", "j")

    words = "the job's threshold overrides the model's: late at 0.5, where the model decides late at 0.2"
    assert done.returncode == 0
    assert words in done.stdout
    assert "threshold_overruled" in done.stderr
    assert words in workspace.cli("check").stdout
    assert workspace.cli_json("runs", "show", "1")["environment"]["overrides"] == {"threshold": words}
    sure = model.predict_proba(NUMBERS)[:, 0] >= 0.5
    assert [label == "late" for _, (label, _) in sorted(predictions(workspace).items())] == sure.tolist()


class Blend(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Weights that add up to a little more than one."""

    def __init__(self, excess: float = 2**-52) -> None:
        self.excess = excess

    def fit(self, frame: pd.DataFrame, labels: Any) -> Blend:
        self.classes_ = np.unique(labels)
        self.feature_names_in_ = np.array(frame.columns, dtype=object)
        return self

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        sure = np.where(frame["x"] > 3, 1.5, np.where(frame["x"] > 0, 1 + self.excess, 0.25))
        return np.column_stack([sure, 1 - sure])

    def predict(self, frame: pd.DataFrame) -> Any:
        return self.classes_[self.predict_proba(frame).argmax(axis=1)]


def test_a_probability_a_hair_above_one_is_one_and_one_far_above_costs_its_row(workspace: Workspace) -> None:
    customers(workspace, HISTORY.head(20).assign(x=[4.0, *[1.0] * 9, *[-1.0] * 10]), positive_label='"late"')
    workspace.register(Blend().fit(NUMBERS, LABELS), NUMBERS, name="m")

    run = workspace.run("j")

    assert (run.scored_count, run.quarantined_count) == (19, 1)
    assert workspace.query("SELECT id, reason_code FROM predictions_quarantine") == [(1, "score_out_of_range")]
    assert {score for _, score in predictions(workspace).values()} == {1.0, 0.25}


def dummies(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.get_dummies(frame)


def test_a_row_of_a_new_category_changes_no_other_row_of_a_model_that_looks_at_dtypes(workspace: Workspace) -> None:
    model = make_pipeline(FunctionTransformer(dummies), LogisticRegression()).fit(HISTORY, LABELS)
    customers(workspace, HISTORY, positive_label='"late"')
    workspace.register(model, HISTORY, name="m")
    workspace.run("j")
    before = predictions(workspace)
    workspace.rewrite("DELETE FROM predictions WHERE id > 100")
    workspace.sql("INSERT INTO customers VALUES (1000, 'enterprise', 0.5, 0)")

    run = workspace.run("j")

    after = predictions(workspace)
    assert (run.scored_count, run.quarantined_count, run.unseen_category_count) == (201, 0, 1)
    assert all(after[key][0] == label for key, (label, _) in before.items())
    assert max(abs((after[key][1] or 0) - (score or 0)) for key, (_, score) in before.items()) <= 1e-12


def test_the_same_unseen_category_is_replayed_from_the_inputs_that_were_kept(workspace: Workspace) -> None:
    model = make_pipeline(FunctionTransformer(dummies), LogisticRegression()).fit(HISTORY, LABELS)
    customers(workspace, HISTORY.head(20), positive_label='"late"', keep_inputs="true")
    workspace.register(model, HISTORY, name="m")
    workspace.sql("INSERT INTO customers VALUES (1000, 'enterprise', 0.5, 0)")
    run = workspace.run("j")

    assert workspace.scalar("SELECT plan FROM predictions_inputs WHERE id = 1000") == "enterprise"
    with workspace.database() as database:
        done = replay_run(database, workspace.job("j"), workspace.artifacts_dir, run.run_id)
    assert (done.row_count, done.reproduced_count) == (21, 21)


@pytest.mark.parametrize("rows", [1, 3, 63])
def test_a_small_batch_that_fails_alike_is_quarantined_and_the_exit_code_warns(workspace: Workspace, rows: int) -> None:
    customers(workspace, HISTORY.head(rows).assign(x=np.nan), positive_label='"late"')
    workspace.register(LogisticRegression().fit(NUMBERS, LABELS), NUMBERS, name="m")

    run = workspace.run("j")

    assert (run.scored_count, run.quarantined_count) == (0, rows)
    assert exit_code(run, workspace.job("j")) is ExitCode.TOO_MANY_QUARANTINED
    assert workspace.run("j").read_count == 0


def test_64_rows_that_fail_alike_fail_the_run_and_none_is_quarantined(workspace: Workspace) -> None:
    customers(workspace, HISTORY.head(64).assign(x=np.nan), positive_label='"late"')
    workspace.register(LogisticRegression().fit(NUMBERS, LABELS), NUMBERS, name="m")

    with pytest.raises(EveryRowFailed, match="all 64 rows of a chunk failed alike"):
        workspace.run("j")

    assert workspace.scalar("SELECT count(*) FROM predictions_quarantine") == 0


def test_small_chunks_that_all_fail_alike_end_the_run_once_they_are_64_rows(workspace: Workspace) -> None:
    customers(workspace, HISTORY.assign(x=np.nan), positive_label='"late"')
    write_job(workspace, positive_label='"late"', run="chunk_rows = 10")
    workspace.register(LogisticRegression().fit(NUMBERS, LABELS), NUMBERS, name="m")

    with pytest.raises(EveryRowFailed, match=r"consecutive rows failed with the same error"):
        workspace.run("j")

    assert 64 <= workspace.scalar("SELECT count(*) FROM predictions_quarantine") <= 100


def scaled(frame: pd.DataFrame) -> pd.DataFrame:
    return (frame - frame.min()) / (frame.max() - frame.min() + 1)


def test_replay_does_not_blame_the_data_for_a_model_that_depends_on_its_batch(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_pipeline(FunctionTransformer(scaled), LogisticRegression(C=100)).fit(NUMBERS, LABELS)
    customers(workspace, HISTORY.head(30), positive_label='"late"', keep_inputs="true")
    # as a version registered before registration proved anything: on golden rows alone such a model reproduces itself
    monkeypatch.setattr(proof, "dependence_on_others", lambda *_: None)
    workspace.register(model, NUMBERS, name="m")
    run = workspace.run("j")

    with workspace.database() as database:
        done = replay_key(database, workspace.job("j"), workspace.artifacts_dir, ("5",))

    assert not done.is_reproduced
    (deviation,) = done.deviations
    assert (deviation.run_id, list(deviation.altered), deviation.depends_on_others) == (run.run_id, [], True)


@pytest.mark.slow
def test_a_model_of_a_notebook_says_where_its_class_belongs(sqlite_workspace: Workspace) -> None:
    notebook = """
import joblib, pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

class AddRatio(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X.assign(ratio=X["a"])

X = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]})
joblib.dump(make_pipeline(AddRatio(), LogisticRegression()).fit(X, [0, 0, 1, 1]), "m.joblib")
X.to_csv("s.csv", index=False)
"""
    subprocess.run([sys.executable, "-c", notebook], cwd=sqlite_workspace.folder, check=True)
    sqlite_workspace.upgrade()

    done = sqlite_workspace.cli_anew("model", "register", "m.joblib", "--name", "m", "--sample", "s.csv")

    assert done.returncode == 3
    assert "AddRatio" in done.stderr
    assert "move it to a module" in done.stderr
    assert "Traceback" not in done.stderr
