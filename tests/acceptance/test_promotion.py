"""Replacing a model: gates, two logins, rollbacks, archivals, and what is recorded of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import facts
import numpy as np
import pandas as pd
import pytest
from facts import COUNT, command, command_json, fitted, refused, sample
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder
from support import Workspace

from batch_scoring.domain.manifest import CrossValidation, HeldOut, Metrics
from batch_scoring.model.features import DerivedFeatures
from batch_scoring.registry.gates import Gates, Outcome
from batch_scoring.store import lifecycle, registry
from batch_scoring.store.lifecycle import PromotionRecord, version_to_return_to

LIMITS = "[promotion]\nmax_flips = 0.1\nmax_accuracy_drop = 0.01\nmax_roc_auc_drop = 0.01\n"
APPROVAL = "[promotion]\nrequire_approval = true\n"


def other(number: int = 1) -> Pipeline:
    """A model much like the one in use, in another file."""
    return times(1 + number * 1e-6)


def times(weight: float) -> Pipeline:
    """The model in use with its coefficients multiplied."""
    model = fitted()
    model[-1].coef_ = model[-1].coef_ * weight
    return model


def promote(workspace: Workspace, version: int, *options: str) -> facts.Done:
    return command(workspace, "model", "promote", "facts", str(version), *options)


def champion(workspace: Workspace) -> int:
    with workspace.database() as database:
        return registry.resolve_alias(database, "facts", "champion").version


def promotions(workspace: Workspace) -> list[PromotionRecord]:
    with workspace.database() as database:
        return list(lifecycle.list_promotions(database, "facts"))


def gate_outcomes(record: PromotionRecord) -> dict[str, str]:
    assert record.gates is not None
    return {gate["gate"]: gate["outcome"] for gate in record.gates}


# --- gates


def test_a_version_that_passes_is_promoted_with_the_results_of_its_gates(workspace: Workspace) -> None:
    facts.prepare(workspace, after=LIMITS)
    workspace.register(other(), sample(), name="facts")

    done = promote(workspace, 2, "--reason", "fitted again")

    assert done.returncode == 0, done.stderr
    assert "champion of facts: version 1 -> version 2" in done.stdout
    assert f"0 of {COUNT} live rows change their label (0.00%, 10.00% allowed)" in done.stdout
    latest = promotions(workspace)[0]
    assert (latest.version, latest.previous_version, latest.reason) == (2, 1, "fitted again")
    assert (latest.is_forced, latest.is_rollback, latest.proposal_id) == (False, False, None)
    passed = ("artifact", "labels", "categories", "signature", "rows", "flips")
    assert gate_outcomes(latest) == {**dict.fromkeys(passed, "passed"), "metrics": "skipped"}
    assert latest.gates is not None
    assert {gate["job"] for gate in latest.gates} == {None, "facts"}


def inverted() -> Pipeline:
    """It decides the other way round."""
    return times(-1.0)


def swapped() -> Pipeline:
    """Fitted with two of its columns exchanged."""
    data = sample().rename(columns={"x": "z", "z": "x"})[["x", "y", "z"]]
    data["x"] = data["x"].fillna(50)
    model = make_pipeline(DerivedFeatures(logs=["y"]), LogisticRegression(max_iter=5_000))
    return model.fit(data, fitted().predict(sample()))


def reordered() -> Pipeline:
    """Its labels are in another order."""
    model = other()
    model[-1].classes_ = model[-1].classes_[::-1].copy()
    model[-1].coef_, model[-1].intercept_ = -model[-1].coef_, -model[-1].intercept_
    return model


def renamed() -> Pipeline:
    """It has other labels."""
    data = sample()
    return fitted().fit(data, np.where(data["x"] > 0, "yes", "maybe"))


def regression() -> Any:
    """It predicts a number."""
    return LinearRegression().fit(sample().fillna(0), np.arange(COUNT))


WORSE: Mapping[str, tuple[Callable[[], Any], str]] = {
    "too many flips": (inverted, "flips of job facts"),
    "swapped columns": (swapped, "change their label"),
    "labels in another order": (reordered, "in another order"),
    "other labels": (renamed, "other ones"),
    "another kind": (regression, "it is a regression model"),
}


@pytest.mark.parametrize("what", WORSE)
def test_a_worse_version_is_refused_with_its_reason_unless_forced(workspace: Workspace, what: str) -> None:
    make, reason = WORSE[what]
    facts.prepare(workspace, after=LIMITS)
    data = sample().fillna({"x": 0, "z": 50}) if make in (regression, swapped) else sample()
    workspace.register(make(), data, name="facts")

    refused(promote(workspace, 2), 3, reason, "--force")
    refused(promote(workspace, 2, "--force"), 2, "--reason")
    assert champion(workspace) == 1
    assert len(promotions(workspace)) == 1

    done = promote(workspace, 2, "--force", "--reason", "accepted by risk")
    assert done.returncode == 0, done.stderr
    latest = promotions(workspace)[0]
    assert (latest.version, latest.is_forced, latest.reason) == (2, True, "accepted by risk")
    assert "refused" in gate_outcomes(latest).values()


def test_a_version_that_passes_is_not_recorded_as_forced(workspace: Workspace) -> None:
    facts.prepare(workspace, after=LIMITS)
    workspace.register(other(), sample(), name="facts")
    assert promote(workspace, 2, "--force", "--reason", "to be sure").returncode == 0
    assert not promotions(workspace)[0].is_forced


def test_a_corrupt_file_is_refused(workspace: Workspace) -> None:
    facts.prepare(workspace)
    version = workspace.register(other(), sample(), name="facts")
    file = workspace.artifacts_dir / version.artifact_uri
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    refused(promote(workspace, 2), 3, "artifact: ", "is not the registered one")
    assert champion(workspace) == 1

    assert promote(workspace, 2, "--force", "--reason", "restored soon").returncode == 0
    assert command(workspace, "run", "facts").returncode == 3, "a run refuses it still"


def test_a_source_without_an_input_is_refused(workspace: Workspace) -> None:
    facts.prepare(workspace)
    data = sample().fillna(1).assign(elsewhere=2.0)
    workspace.register(LogisticRegression().fit(data, fitted().predict(sample())), data, name="facts")
    refused(promote(workspace, 2), 3, "signature of job facts", "elsewhere is missing")


def test_a_row_that_only_the_version_in_use_scores_is_refused(workspace: Workspace) -> None:
    facts.prepare(workspace)
    facts.change(workspace, "z = NULL", 5)
    data = sample().fillna(50)
    workspace.register(fitted().fit(data, fitted().predict(data)), data, name="facts")
    refused(
        promote(workspace, 2), 3, "rows of job facts", "it cannot score 7 that the one in use scores (missing_value 7)"
    )


def _with_words(words: list[str]) -> tuple[Pipeline, pd.DataFrame]:
    data = sample().assign(word=[words[i % len(words)] for i in range(COUNT)]).fillna(50)
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["word"]), remainder="passthrough")
    return make_pipeline(encoder, LogisticRegression(max_iter=5_000)).fit(data, fitted().predict(sample())), data


def test_a_category_that_the_version_in_use_knows_is_missing(workspace: Workspace) -> None:
    facts.prepare(workspace)
    workspace.sql("ALTER TABLE facts ADD COLUMN word TEXT")
    workspace.sql("UPDATE facts SET word = 'red', z = 50")
    workspace.register(*_with_words(["red", "green", "blue"]), name="facts")
    assert promote(workspace, 2).returncode == 0
    workspace.register(*_with_words(["red", "green"]), name="facts")

    refused(promote(workspace, 3), 3, "categories", "word: 1 category")
    workspace.sql("UPDATE facts SET word = 'blue'")
    refused(promote(workspace, 3), 3, f"{COUNT} have a category that it was not trained on, 0 of the one in use")


def test_worse_metrics_are_refused(workspace: Workspace) -> None:
    facts.prepare(workspace, after=LIMITS)
    for number, accuracy in enumerate((0.9, 0.85, 0.895)):
        folds = CrossValidation(folds=5, accuracy=accuracy, accuracy_std=0.01, roc_auc=0.9, log_loss=0.3)
        held_out = HeldOut(rows=8, accuracy=0.9, labels=("no", "yes"), confusion_matrix=((4, 0), (1, 3)))
        workspace.register(
            other(number), sample(), name="facts", metrics=Metrics(cross_validation=folds, held_out=held_out)
        )
    assert promote(workspace, 2).returncode == 0
    refused(promote(workspace, 3), 3, "metrics of job facts", "accuracy 0.8500 against 0.9000, and may be 0.01 lower")
    assert promote(workspace, 4).returncode == 0
    figures = {gate["gate"]: gate["figures"] for gate in promotions(workspace)[0].gates or ()}
    assert figures["metrics"]["accuracy"] == {"before": 0.9, "now": 0.895, "allowed_drop": 0.01}


def test_without_limits_the_figures_are_recorded_and_refuse_nothing(workspace: Workspace) -> None:
    facts.prepare(workspace)
    workspace.register(inverted(), sample(), name="facts")
    done = promote(workspace, 2)
    assert done.returncode == 0, done.stderr
    assert "no limit is set" in done.stdout
    figures = {gate["gate"]: gate["figures"] for gate in promotions(workspace)[0].gates or ()}
    assert figures["flips"]["flipped"] > COUNT / 4
    assert figures["flips"]["correlation"] < 0


def test_every_job_that_uses_the_alias_has_gates(workspace: Workspace) -> None:
    facts.prepare(workspace, after=LIMITS)
    workspace.write_job("more", facts.job_text(predictions="").replace('"predictions"', '"more"'))
    workspace.write_job("else", facts.job_text(model='alias = "challenger"').replace('"predictions"', '"else"'))
    (workspace.jobs_dir / "broken.toml").write_text("[", encoding="utf-8")
    workspace.register(other(), sample(), name="facts")
    done = promote(workspace, 2)
    assert done.returncode == 0, done.stderr
    assert "job broken cannot be read" in done.stderr
    jobs = [gate["job"] for gate in promotions(workspace)[0].gates or () if gate["gate"] == "flips"]
    assert sorted(jobs) == ["facts", "more"]


def test_an_empty_source_refuses_nothing(workspace: Workspace) -> None:
    facts.prepare(workspace, after=LIMITS)
    workspace.sql("DELETE FROM facts")
    workspace.register(other(), sample(), name="facts")
    assert promote(workspace, 2).returncode == 0
    assert gate_outcomes(promotions(workspace)[0])["flips"] == "skipped"


def test_a_source_that_is_gone_is_refused(workspace: Workspace) -> None:
    facts.prepare(workspace)
    workspace.register(other(), sample(), name="facts")
    workspace.sql("ALTER TABLE facts RENAME TO elsewhere")
    refused(promote(workspace, 2), 3, "signature of job facts", "there is no table or view facts")


def test_registering_with_an_alias_runs_the_gates(workspace: Workspace) -> None:
    import joblib

    facts.prepare(workspace, after=LIMITS)
    sample().to_csv(workspace.folder / "sample.csv", index=False)
    for model, code, version in ((inverted(), 3, 1), (other(), 0, 3)):
        joblib.dump(model, workspace.folder / "model.joblib")
        done = command(
            workspace,
            *("model", "register", str(workspace.folder / "model.joblib"), "--name", "facts"),
            *("--sample", str(workspace.folder / "sample.csv"), "--alias", "champion"),
        )
        assert done.returncode == code, done.stderr
        assert ("version 2 of facts is registered, but 1 gate refused" in done.stderr) is (code == 3)
        assert champion(workspace) == version


def test_the_alias_moves_while_gates_run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    facts.prepare(workspace)
    for number in (1, 2):
        workspace.register(other(number), sample(), name="facts")
    run = Gates.run

    def slow(self: Gates, *jobs: Any) -> Any:
        monkeypatch.setattr(Gates, "run", run)
        assert promote(workspace, 3).returncode == 0
        return run(self, *jobs)

    monkeypatch.setattr(Gates, "run", slow)
    refused(promote(workspace, 2), 3, "was moved to version 3 while the gates of version 2 ran", "try again")
    assert champion(workspace) == 3


def test_a_promotion_during_a_run_leaves_the_run_on_its_version(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from batch_scoring.scoring.progress import Progress

    facts.prepare(workspace, run="chunk_rows = 10")
    workspace.register(other(), sample(), name="facts")
    committed = Progress.committed

    def promoting(self: Progress, *args: Any, **kwargs: Any) -> None:
        committed(self, *args, **kwargs)
        if champion(workspace) == 1:
            assert promote(workspace, 2).returncode == 0

    monkeypatch.setattr(Progress, "committed", promoting)
    first = workspace.run("facts")
    assert first.chunk_count > 1
    assert champion(workspace) == 2
    assert workspace.query("SELECT DISTINCT model_version FROM predictions") == [(1,)]
    facts.change(workspace, "y = y + 1", 3, at="2031-01-01")
    assert workspace.run("facts").model_version == 2
    versions = "SELECT model_version, count(*) FROM predictions GROUP BY model_version ORDER BY 1"
    assert workspace.query(versions) == [(1, COUNT - 1), (2, 1)]


# --- two logins


def as_login(workspace: Workspace, login: str, *arguments: str) -> facts.Done:
    """A command of another user of the operating system."""
    workspace.environ["LOGNAME"] = login
    try:
        return command(workspace, *arguments)
    finally:
        del workspace.environ["LOGNAME"]


def test_one_login_proposes_and_another_approves(sqlite_workspace: Workspace) -> None:
    workspace = facts.prepare(sqlite_workspace, after=APPROVAL)
    workspace.register(other(), sample(), name="facts")
    version = ("facts", "2")
    refused(promote(workspace, 2), 3, "requires the approval of another login", "model propose facts 2")
    refused(promote(workspace, 2, "--force", "--reason", "urgent"), 3, "requires the approval")
    refused(as_login(workspace, "bob", "model", "approve", *version), 2, "no open proposal")
    refused(as_login(workspace, "ann", "model", "propose", *version), 2, "--reason is missing")

    proposed = as_login(workspace, "ann", "model", "propose", *version, "--reason", "better")
    assert proposed.returncode == 0, proposed.stderr
    assert "another login approves it with `batch-scoring model approve facts 2 --alias champion`" in proposed.stdout
    assert champion(workspace) == 1
    refused(as_login(workspace, "ann", "model", "approve", *version), 3, "was made by this login (ann)")
    assert "open proposals" in command(workspace, "model", "history", "facts").stdout

    approved = as_login(workspace, "bob", "model", "approve", *version)
    assert approved.returncode == 0, approved.stderr
    latest = promotions(workspace)[0]
    assert (latest.version, latest.promoted_by, latest.reason, latest.proposal_id) == (2, "bob", "better", 1)
    refused(as_login(workspace, "bob", "model", "approve", *version), 2, "no open proposal")
    refused(promote(workspace, 1), 3, "requires the approval")


def test_the_database_refuses_an_approval_by_the_login_that_proposed(postgresql_workspace: Workspace) -> None:
    workspace = facts.prepare(postgresql_workspace, after=APPROVAL)
    workspace.register(other(), sample(), name="facts")
    assert as_login(workspace, "ann", "model", "propose", "facts", "2", "--reason", "better").returncode == 0
    refused(as_login(workspace, "bob", "model", "approve", "facts", "2"), 3, "was made by this login (postgres)")

    forged = """INSERT INTO model_promotions (name, alias, number, version, promoted_at, promoted_by, is_rollback,
      is_forced, proposal_id) VALUES ('facts', 'champion', 2, 2, now(), 'bob', false, false, 1)"""
    with pytest.raises(Exception, match="is not one that this login may approve"):
        workspace.sql(forged)
    workspace.sql("CREATE ROLE bob LOGIN SUPERUSER")
    try:
        with workspace.database() as database, database.write() as connection:
            connection.exec_driver_sql("SET SESSION AUTHORIZATION bob")
            connection.exec_driver_sql(forged)
            connection.exec_driver_sql("RESET SESSION AUTHORIZATION")
    finally:
        workspace.sql("DROP ROLE bob")
    latest = promotions(workspace)[0]
    assert (latest.database_user, latest.proposal_id) == ("bob", 1)


def test_gates_run_again_when_a_proposal_is_approved(sqlite_workspace: Workspace) -> None:
    workspace = facts.prepare(sqlite_workspace, after=f"{APPROVAL}max_flips = 0.1")
    workspace.register(other(), sample(), name="facts")
    assert as_login(workspace, "ann", "model", "propose", "facts", "2", "--reason", "better").returncode == 0
    workspace.sql("ALTER TABLE facts RENAME TO elsewhere")
    refused(as_login(workspace, "bob", "model", "approve", "facts", "2"), 3, "signature of job facts")
    assert champion(workspace) == 1


def test_a_proposal_ends_with_the_next_promotion(sqlite_workspace: Workspace) -> None:
    workspace = facts.prepare(sqlite_workspace, after=APPROVAL)
    for number in (1, 2):
        workspace.register(other(number), sample(), name="facts")
    for version in ("2", "3"):
        proposed = as_login(workspace, "ann", "model", "propose", "facts", version, "--reason", "better")
        assert proposed.returncode == 0
    assert as_login(workspace, "bob", "model", "approve", "facts", "3").returncode == 0
    refused(as_login(workspace, "bob", "model", "approve", "facts", "2"), 2, "no open proposal")


# --- rollback, archive, history


def test_a_rollback_returns_and_a_second_goes_further_back(workspace: Workspace) -> None:
    facts.prepare(workspace, after=APPROVAL.replace("true", "false"))
    for number in (1, 2):
        workspace.register(other(number), sample(), name="facts")
    assert [promote(workspace, version).returncode for version in (2, 3)] == [0, 0]
    rollback = ("model", "rollback", "facts", "--reason", "wrong")
    refused(command(workspace, "model", "rollback", "facts"), 2, "--reason is missing")

    found = []
    for _ in range(2):
        assert command(workspace, *rollback).returncode == 0
        found.append(champion(workspace))
    assert found == [2, 1]
    refused(command(workspace, *rollback), 2, "there is nothing to return to")
    assert promote(workspace, 3).returncode == 0
    assert command(workspace, *rollback).returncode == 0
    assert champion(workspace) == 1
    assert [one.is_rollback for one in promotions(workspace)][:2] == [True, False]


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ("1", None),
        ("12", 1),
        ("121", 2),
        ("12r", None),
        ("123r", 1),
        ("123rr", None),
        ("123r4", 2),
        ("123r4r", 1),
        ("1213", 1),
        ("1123", 2),
        ("12r2", 1),
    ],
)
def test_where_a_rollback_leads(moves: str, expected: int | None) -> None:
    done: list[PromotionRecord] = []
    for move in moves:
        version = version_to_return_to(done[::-1]) if move == "r" else int(move)
        assert version is not None
        record: dict[str, Any] = dict.fromkeys(("promoted_at", "promoted_by", "database_user", "reason", "gates"))
        record |= {"name": "facts", "alias": "champion", "number": len(done) + 1, "previous_version": None}
        record |= {"is_forced": False, "proposal_id": None, "is_rollback": move == "r", "version": version}
        done.append(PromotionRecord(**record))
    assert version_to_return_to(done[::-1]) == expected


def test_a_rollback_needs_no_approval_and_no_limits(sqlite_workspace: Workspace) -> None:
    workspace = facts.prepare(sqlite_workspace)
    workspace.register(inverted(), sample(), name="facts")
    assert promote(workspace, 2).returncode == 0
    workspace.write_job("facts", facts.job_text(after=f"{APPROVAL}max_flips = 0.0"))
    assert command(workspace, "model", "rollback", "facts", "--reason", "wrong").returncode == 0
    assert gate_outcomes(promotions(workspace)[0]) == {"artifact": "passed", "signature": "passed"}


def test_a_rollback_to_a_file_that_is_gone_is_refused(workspace: Workspace) -> None:
    facts.prepare(workspace)
    workspace.register(other(), sample(), name="facts")
    assert promote(workspace, 2).returncode == 0
    with workspace.database() as database:
        (workspace.artifacts_dir / registry.get_version(database, "facts", 1).artifact_uri).unlink()
    refused(command(workspace, "model", "rollback", "facts", "--reason", "wrong"), 3, "artifact: ")
    assert champion(workspace) == 2


def test_an_archived_version_is_not_promoted_until_that_is_undone(workspace: Workspace) -> None:
    facts.prepare(workspace)
    workspace.register(other(), sample(), name="facts")
    archive = ("model", "archive", "facts")
    refused(command(workspace, *archive, "1", "--reason", "old"), 2, "champion of facts points at version 1")
    refused(command(workspace, *archive, "2"), 2, "--reason is missing")
    refused(command(workspace, *archive, "2", "--undo", "--reason", "x"), 2, "is not archived")
    assert command(workspace, *archive, "2", "--reason", "a mistake").returncode == 0
    refused(command(workspace, *archive, "2", "--reason", "again"), 2, "already archived")
    refused(promote(workspace, 2), 3, "was archived on", "a mistake", "--undo")
    listed = [row["version"] for row in command_json(workspace, "model", "list")]
    everything = [row["version"] for row in command_json(workspace, "model", "list", "--all")]
    assert (listed, everything) == ([1], [1, 2])

    assert command(workspace, *archive, "2", "--undo", "--reason", "it was none").returncode == 0
    assert promote(workspace, 2).returncode == 0
    history = command_json(workspace, "model", "history", "facts")
    assert [(one["is_archived"], one["reason"]) for one in history["archivals"]] == [
        (False, "it was none"),
        (True, "a mistake"),
    ]
    assert [one["version"] for one in history["promotions"]] == [2, 1]


def test_the_history_of_no_model(workspace: Workspace) -> None:
    workspace.upgrade()
    done = command(workspace, "model", "history", "nothing")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no model nothing is registered" in done.stderr


def test_an_altered_result_of_a_gate_is_found(workspace: Workspace) -> None:
    facts.prepare(workspace)
    workspace.register(inverted(), sample(), name="facts")
    assert promote(workspace, 2).returncode == 0
    workspace.rewrite("UPDATE model_promotions SET gates = '[]' WHERE version = 2")
    done = command(workspace, "runs", "verify")
    assert done.returncode == 1
    assert "promotion champion 2 of model facts was altered" in done.stdout + done.stderr


# --- compare and dossier


def test_two_versions_are_compared_on_rows_of_the_source(workspace: Workspace) -> None:
    facts.prepare(workspace)
    workspace.register(inverted(), sample(), name="facts")
    with facts.unchanged(workspace):
        found = command_json(workspace, "model", "compare", "facts", "1", "2", "--rows", "1000")

    one, two = (_scores(fitted()), _scores(inverted()))
    live = found["live"]
    assert live["row_count"] == live["compared_count"] == COUNT
    assert live["flipped_count"] == int(((one >= 0.5) != (two >= 0.5)).sum())
    assert live["correlation"] == pytest.approx(np.corrcoef(one, two)[0, 1])
    assert live["mean_absolute_difference"] == pytest.approx(np.abs(one - two).mean())
    largest = live["largest"][0]
    assert int(largest["key"]) == int(np.abs(one - two).argmax()) + 1
    assert sum(count for _, _, count in live["flips"]) == live["flipped_count"]
    few = command_json(workspace, "model", "compare", "facts", "1", "2", "--rows", "7")
    assert few["live"]["row_count"] == 7
    shown = command(workspace, "model", "compare", "facts", "1", "2")
    assert shown.returncode == 0
    assert "labels that differ" in shown.stdout
    same = command_json(workspace, "model", "compare", "facts", "1", "1")["live"]
    assert (same["flipped_count"], same["mean_absolute_difference"]) == (0, 0.0)


def _scores(model: Pipeline) -> Any:
    return model.predict_proba(sample())[:, 1]


def test_versions_that_no_job_uses_are_compared_by_their_manifests(workspace: Workspace) -> None:
    workspace.upgrade()
    for number in range(2):
        workspace.register(other(number), sample(), name="facts")
    done = command(workspace, "model", "compare", "facts", "1", "2")
    assert done.returncode == 0
    assert "no job uses model facts" in done.stderr
    refused(command(workspace, "model", "compare", "facts", "1", "9"), 3, "no version 9")


def test_the_dossier_holds_the_card_the_gates_and_the_runs(workspace: Workspace) -> None:
    facts.prepare(workspace, after=LIMITS)
    workspace.register(inverted(), sample(), name="facts")
    hostile = "<script>alert(1)</script> | **bold** \x1b[31m\nnext"
    assert promote(workspace, 2, "--force", "--reason", hostile).returncode == 0
    workspace.run("facts")
    text = command(workspace, "model", "dossier", "facts", "2").stdout
    for expected in ("# facts version 2", "forced", "change their label", "## Inputs", "SHA-256", "| facts | 1 |"):
        assert expected in text
    assert "\x1b" not in text
    out = workspace.folder / "dossier.html"
    assert command(workspace, "model", "dossier", "facts", "2", "--out", str(out)).returncode == 0
    page = out.read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; | **bold** \\x1b" in page
    assert page.count("<table>") >= 5
    refused(command(workspace, "model", "dossier", "facts", "2", "--out", "x.pdf"), 2, "neither .md nor .html")
    refused(command(workspace, "model", "dossier", "facts", "2", "--out", "/no/such/x.md"), 2, "cannot be written")
    refused(command(workspace, "model", "dossier", "facts", "9"), 3, "no version 9")


def test_gates_hold_no_values_of_rows(workspace: Workspace) -> None:
    facts.prepare(workspace)
    workspace.sql("UPDATE facts SET x = 123456.789 WHERE id = 7")
    workspace.register(DummyClassifier().fit(sample(), fitted().predict(sample())), sample(), name="facts")
    promote(workspace, 2)
    recorded = json.dumps([one.gates for one in promotions(workspace)])
    assert "123456" not in recorded
    assert Outcome.PASSED in recorded
