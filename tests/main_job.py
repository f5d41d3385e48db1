"""The first day of the main job by commands alone, and what must then be stored."""

from __future__ import annotations

from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from support import LOAN_JOB, Workspace


def first_day(workspace: Workspace, loans: Path) -> Workspace:
    """Upgrade the database, load the new applications of a folder and train on its labelled ones."""
    workspace.write_job("loan_eligibility", LOAN_JOB)
    for arguments in (
        ("db", "upgrade"),
        ("load", "applicants", str(loans / "loan_test.csv"), "--key", "Loan_ID"),
        ("train", "loan_eligibility", "--data", str(loans / "loan_train.csv"), "--label", "Loan_Status"),
    ):
        done = workspace.cli(*arguments)
        assert done.returncode == 0, done.stderr
    return workspace


def assert_scored_once_and_as_by_hand(workspace: Workspace, loans: Path) -> None:
    """Every new application has one current prediction: what the one artifact gives where pandas reads the file."""
    (artifact,) = (workspace.artifacts_dir / "loan_eligibility").glob("*.joblib")
    model = joblib.load(artifact)
    applicants = pd.read_csv(loans / "loan_test.csv").set_index("Loan_ID")
    by_hand = pd.Series(model.predict_proba(applicants)[:, list(model.classes_).index("Y")], index=applicants.index)
    stored = pd.DataFrame(
        workspace.query('SELECT "Loan_ID", score, prediction FROM predictions_current'),
        columns=["key", "score", "label"],
    ).set_index("key")
    assert len(stored) == 367
    assert np.abs(stored["score"] - by_hand).max() <= 1e-12
    assert (stored["label"] == np.where(by_hand.reindex(stored.index) >= 0.5, "Y", "N")).all()
