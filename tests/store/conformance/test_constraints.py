"""Predictions that mean nothing are refused by the database itself."""

from __future__ import annotations

import pytest
from schemas import (
    insert_prediction,
    ready_job,
)
from support import Workspace

from batch_scoring.domain.job import Kind
from batch_scoring.errors import (
    ConstraintViolated,
)
from batch_scoring.store.engine.sql_types import FOREVER


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_a_score_that_is_no_probability_is_refused(workspace: Workspace, kind: Kind) -> None:
    layout = ready_job(workspace, kind=kind)

    for score in (float("nan"), float("inf"), float("-inf"), -1e-300, 1.0000000000000002, None):
        with pytest.raises(ConstraintViolated):
            insert_prediction(workspace, layout, id=1, score=score)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_a_prediction_without_its_label_is_refused(workspace: Workspace, kind: Kind) -> None:
    layout = ready_job(workspace, kind=kind)

    with pytest.raises(ConstraintViolated):
        insert_prediction(workspace, layout, id=1, prediction=None)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_probabilities_from_zero_to_one_are_taken_exactly(workspace: Workspace, kind: Kind) -> None:
    layout = ready_job(workspace, kind=kind)
    scores = [0.0, 5e-324, 0.1 + 0.2, 0.9999999999999999, 1.0]

    for id_, score in enumerate(scores):
        insert_prediction(workspace, layout, id=id_, score=score)

    assert [score for (score,) in workspace.query("SELECT score FROM predictions ORDER BY id")] == scores


def test_a_regression_that_is_no_number_is_refused(workspace: Workspace) -> None:
    layout = ready_job(workspace, kind="regression")

    for score in (float("nan"), float("inf"), float("-inf"), None):
        with pytest.raises(ConstraintViolated):
            insert_prediction(workspace, layout, id=1, score=score)


def test_a_label_on_a_regression_is_refused(workspace: Workspace) -> None:
    layout = ready_job(workspace, kind="regression")

    with pytest.raises(ConstraintViolated):
        insert_prediction(workspace, layout, id=1, prediction="Y")


def test_every_finite_number_is_a_sound_regression(workspace: Workspace) -> None:
    layout = ready_job(workspace, kind="regression")
    scores = [-1.7976931348623157e308, -1.5, -5e-324, 0.0, 1e300, 1.7976931348623157e308]

    for id_, score in enumerate(scores):
        insert_prediction(workspace, layout, id=id_, score=score)

    assert [score for (score,) in workspace.query("SELECT score FROM predictions ORDER BY id")] == scores


def test_a_second_current_prediction_of_a_key_is_refused(workspace: Workspace) -> None:
    layout = ready_job(workspace)
    insert_prediction(workspace, layout, id=1)
    insert_prediction(workspace, layout, id=2)

    with pytest.raises(ConstraintViolated):
        insert_prediction(workspace, layout, id=1)


def test_a_prediction_that_ends_before_it_begins_is_refused(workspace: Workspace) -> None:
    layout = ready_job(workspace)
    moment = FOREVER.replace(year=2026)

    with pytest.raises(ConstraintViolated):
        insert_prediction(workspace, layout, id=1, valid_from=moment, valid_to=moment)


def test_a_key_that_is_null_is_refused(workspace: Workspace) -> None:
    layout = ready_job(workspace)

    with pytest.raises(ConstraintViolated):
        insert_prediction(workspace, layout, id=None)
