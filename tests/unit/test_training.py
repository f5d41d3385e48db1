"""Training: what is fitted, what is measured, and what is said where the data cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from batch_scoring.cli.registering import AlgorithmChoice
from batch_scoring.demo.synthetic import LABEL, applicants
from batch_scoring.domain.job import Job, Training
from batch_scoring.errors import ExitCode, InputFault
from batch_scoring.model.artifact import dump, unpickle
from batch_scoring.model.features import DerivedFeatures
from batch_scoring.model.training import Algorithm, TrainedModel, build_pipeline, train

TREE = Algorithm.DECISION_TREE


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small models are slower with more."""
    with threadpool_limits(limits=1):
        yield


@pytest.fixture(scope="module")
def history() -> pd.DataFrame:
    return applicants(80, seed=1, labelled=True)


@pytest.fixture(scope="module")
def tree(loan_job: Job, history: pd.DataFrame) -> TrainedModel:
    return train(loan_job, history, LABEL, TREE)


def with_training(job: Job, **training: Any) -> Job:
    """The job with another ``[training]``."""
    return job.model_copy(update={"training": Training(**training)})


def fault(job: Job, data: pd.DataFrame, label: str = LABEL) -> str:
    with pytest.raises(InputFault) as caught:
        train(job, data, label, TREE)
    assert caught.value.exit_code is ExitCode.WRONG_USAGE
    return str(caught.value)


def test_the_command_line_offers_the_algorithms_there_are() -> None:
    assert {choice.name: choice.value for choice in AlgorithmChoice} == {one.name: one.value for one in Algorithm}


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", Algorithm)
def test_every_algorithm_gives_a_pipeline_that_takes_raw_rows(
    algorithm: Algorithm, loan_job: Job, history: pd.DataFrame
) -> None:
    trained = train(loan_job, history, LABEL, algorithm)

    new = applicants(10, seed=2)[list(trained.features.columns)]
    probabilities = trained.pipeline.predict_proba(new)
    assert probabilities.shape == (10, 2)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(10))


def test_key_label_and_change_time_are_no_features(loan_job: Job, history: pd.DataFrame) -> None:
    data = history.assign(updated_at="2026-01-01")

    trained = train(loan_job, data, LABEL, TREE)

    assert trained.features.columns.tolist() == [name for name in history.columns if name not in ("Loan_ID", LABEL)]


def test_columns_to_ignore_are_no_features(loan_job: Job, history: pd.DataFrame) -> None:
    trained = train(with_training(loan_job, ignore=["Gender", "Married"]), history, LABEL, TREE)

    assert not {"Gender", "Married"} & set(trained.features.columns)


def test_numbers_are_features_as_floats_so_that_a_missing_one_fits_later(tree: TrainedModel) -> None:
    assert tree.features["ApplicantIncome"].dtype == np.float64


def test_the_same_data_gives_the_same_model(tree: TrainedModel, loan_job: Job, history: pd.DataFrame) -> None:
    again = train(loan_job, history, LABEL, TREE)

    assert dump(again.pipeline) == dump(tree.pipeline)
    assert again.metrics == tree.metrics


def test_training_leaves_the_data_as_it_was(loan_job: Job, history: pd.DataFrame) -> None:
    data = history.copy()

    train(loan_job, data, LABEL, TREE)

    pd.testing.assert_frame_equal(data, history)


def test_the_labels_are_counted(tree: TrainedModel, history: pd.DataFrame) -> None:
    counts = history[LABEL].value_counts()

    assert tree.label_counts == {"N": int(counts["N"]), "Y": int(counts["Y"])}


def test_the_metrics_are_of_folds_and_of_a_held_out_part(tree: TrainedModel) -> None:
    folds, held_out = tree.metrics.cross_validation, tree.metrics.held_out

    assert folds.folds == 10
    assert 0 < folds.accuracy < 1
    assert 0 < folds.roc_auc <= 1
    assert folds.log_loss > 0
    assert (held_out.rows, held_out.labels) == (16, ("N", "Y"))
    assert sum(map(sum, held_out.confusion_matrix)) == 16
    right = held_out.confusion_matrix[0][0] + held_out.confusion_matrix[1][1]
    assert held_out.accuracy == right / 16


def test_the_pipeline_is_fitted_on_all_rows_and_not_on_a_fold(
    tree: TrainedModel, loan_job: Job, history: pd.DataFrame
) -> None:
    by_hand = build_pipeline(tree.features, loan_job.training, TREE).fit(tree.features, history[LABEL])

    assert by_hand.predict_proba(tree.features).tolist() == tree.pipeline.predict_proba(tree.features).tolist()


def test_the_shipped_history_is_learned_better_than_by_guessing(loan_model: TrainedModel) -> None:
    folds = loan_model.metrics.cross_validation

    assert loan_model.label_counts == {"N": 196, "Y": 418}
    assert folds.accuracy > 418 / 614 + 0.05
    assert folds.roc_auc > 0.7


def test_rare_labels_mean_fewer_folds(loan_job: Job, history: pd.DataFrame) -> None:
    few = pd.concat([history[history[LABEL] == "N"].head(6), history[history[LABEL] == "Y"]])

    assert train(loan_job, few, LABEL, TREE).metrics.cross_validation.folds == 6


def test_a_multiclass_job_trains_on_more_than_two_labels(loan_job: Job, history: pd.DataFrame) -> None:
    predictions = loan_job.predictions.model_copy(update={"kind": "multiclass", "positive_label": None})
    data = history.assign(**{LABEL: np.array(["a", "b", "c"])[np.arange(80) % 3]})

    trained = train(loan_job.model_copy(update={"predictions": predictions}), data, LABEL, TREE)

    assert trained.pipeline.classes_.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("labels", [(0, 1), (False, True)])
def test_labels_may_be_numbers_or_booleans(labels: tuple[Any, Any], loan_job: Job, history: pd.DataFrame) -> None:
    predictions = loan_job.predictions.model_copy(update={"positive_label": str(labels[1])})
    data = history.assign(**{LABEL: np.where(history[LABEL] == "Y", labels[1], labels[0])})

    trained = train(loan_job.model_copy(update={"predictions": predictions}), data, LABEL, TREE)

    assert sorted(trained.label_counts) == sorted(map(str, labels))


@pytest.mark.parametrize("missing", [np.nan, None])
def test_a_column_without_any_value_does_no_harm(missing: Any, loan_job: Job, history: pd.DataFrame) -> None:
    data = history.assign(empty=pd.Series([missing] * 80, dtype=float if missing is not None else object))

    trained = train(loan_job, data, LABEL, TREE)

    assert np.isfinite(trained.pipeline.predict_proba(trained.features)).all()


def test_a_boolean_column_is_a_feature(loan_job: Job, history: pd.DataFrame) -> None:
    trained = train(loan_job, history.assign(vip=np.arange(80) % 2 == 0), LABEL, TREE)

    assert "vip" in trained.features.columns


def test_a_boolean_column_is_a_feature_beside_numbers_only(loan_job: Job, history: pd.DataFrame) -> None:
    data = history[["Loan_ID", "ApplicantIncome", LABEL]].assign(vip=np.arange(80) % 2 == 0)

    trained = train(with_training(loan_job), data, LABEL, TREE)

    assert trained.features.columns.tolist() == ["ApplicantIncome", "vip"]


def test_a_label_that_is_no_column_names_the_columns_there_are(loan_job: Job, history: pd.DataFrame) -> None:
    message = fault(loan_job, history, "Status")

    assert message.startswith("the training data has no column Status; it has Loan_ID, Gender, ")


def test_rows_without_a_label_are_counted(loan_job: Job, history: pd.DataFrame) -> None:
    data = history.assign(**{LABEL: [None] * 3 + history[LABEL].tolist()[3:]})

    assert "is empty in 3 rows; leave those rows out" in fault(loan_job, data)


@pytest.mark.parametrize("labels", [["Y"] * 80, ["Y"] * 76 + ["N"] * 4])
def test_too_few_rows_of_a_label_are_not_enough(labels: list[str], loan_job: Job, history: pd.DataFrame) -> None:
    message = fault(loan_job, history.assign(**{LABEL: labels}))

    assert message == "column Loan_Status needs two or more labels with five or more rows each"


def test_three_labels_are_none_for_a_binary_job(loan_job: Job, history: pd.DataFrame) -> None:
    data = history.assign(**{LABEL: np.array(["N", "Y", "Z"])[np.arange(80) % 3]})

    message = fault(loan_job, data)

    assert "has 3 labels and job loan_eligibility is binary; see [predictions] kind" in message


def test_a_positive_label_that_no_row_has_is_named(loan_job: Job, history: pd.DataFrame) -> None:
    message = fault(loan_job, history.assign(**{LABEL: np.where(history[LABEL] == "Y", "yes", "no")}))

    assert message == "no row of column Loan_Status is 'Y', the job's positive_label"


@pytest.mark.parametrize("columns", [["Loan_ID", LABEL], [LABEL]])
def test_data_without_features_is_refused(columns: list[str], loan_job: Job, history: pd.DataFrame) -> None:
    assert "no rows or no feature columns" in fault(with_training(loan_job), history[columns])


def test_data_without_rows_is_refused(loan_job: Job, history: pd.DataFrame) -> None:
    assert "no rows or no feature columns" in fault(loan_job, history.head(0))


def test_columns_that_training_speaks_of_and_the_data_lacks_are_named_together(
    loan_job: Job, history: pd.DataFrame
) -> None:
    job = with_training(loan_job, sums={"T": ["ApplicantIncome", "Bonus"]}, logs=["LoanAmount", "T", "Debt"])

    message = fault(job, history)

    assert message == "[training] of job loan_eligibility names Bonus, Debt, which the data does not have"


def test_a_regression_is_not_trained_and_says_what_to_do(loan_job: Job, history: pd.DataFrame) -> None:
    predictions = loan_job.predictions.model_copy(update={"kind": "regression", "positive_label": None})

    message = fault(loan_job.model_copy(update={"predictions": predictions}), history)

    assert "job loan_eligibility is a regression" in message
    assert "batch-scoring model register" in message


@pytest.mark.parametrize(
    ("training", "spoil"),
    [
        ({"logs": ["LoanAmount"]}, lambda data: data.assign(LoanAmount=-123456.0)),
        ({"logs": ["Gender"]}, lambda data: data),
        ({"sums": {"T": ["Gender", "LoanAmount"]}}, lambda data: data),
        ({}, lambda data: data.assign(LoanAmount=np.where(data.index == 3, np.inf, 123456.0))),
    ],
    ids=["log-of-negative", "log-of-text", "sum-of-text", "infinite"],
)
def test_data_that_the_pipeline_cannot_take_is_a_fault_of_the_input_and_is_not_quoted(
    training: dict[str, Any], spoil: Callable[[pd.DataFrame], pd.DataFrame], loan_job: Job, history: pd.DataFrame
) -> None:
    message = fault(with_training(loan_job, **training), spoil(history))

    assert "Traceback" not in message
    assert "123456" not in message
    assert "Male" not in message


@pytest.mark.parametrize(
    "training",
    [
        {"logs": ["ApplicantIncome"], "sums": {"T": ["ApplicantIncome", "CoapplicantIncome"]}},
        {"sums": {"T": ["ApplicantIncome", "CoapplicantIncome"], "U": ["T", "LoanAmount"]}},
    ],
    ids=["log-of-a-part", "sum-of-a-sum"],
)
def test_what_training_derives_from_what_it_derives_is_fitted_or_refused_in_words(
    training: dict[str, Any], loan_job: Job, history: pd.DataFrame
) -> None:
    job = with_training(loan_job, **training)
    try:
        trained = train(job, history, LABEL, TREE)
    except InputFault as exc:
        assert "[training] of job loan_eligibility" in str(exc)  # noqa: PT017 - either is right, a KeyError is not
    else:
        assert np.isfinite(trained.pipeline.predict_proba(trained.features)).all()


AMOUNTS = pd.DataFrame({"own": [10.0, 0.0, np.nan], "other": [5.0, 0.0, 1.0], "loan": [0.0, np.e - 1, np.nan]})
DERIVE = DerivedFeatures(sums={"income": ["own", "other"]}, logs=["loan", "income"])


def test_sums_take_the_place_of_their_parts_and_logs_of_their_amounts() -> None:
    derived = DERIVE.fit(AMOUNTS).transform(AMOUNTS)

    assert derived.columns.tolist() == ["loan", "income"]
    assert derived["loan"].tolist()[:2] == pytest.approx([0.0, 1.0])
    assert derived["income"].tolist()[:2] == pytest.approx([np.log(16), 0.0])


def test_an_amount_of_zero_is_not_a_missing_one() -> None:
    derived = DERIVE.fit(AMOUNTS).transform(AMOUNTS)

    assert derived["loan"].isna().tolist() == [False, False, True]


def test_a_sum_with_a_missing_part_is_missing() -> None:
    derived = DERIVE.fit(AMOUNTS).transform(AMOUNTS)

    assert derived["income"].isna().tolist() == [False, False, True]


def test_a_sum_may_have_the_name_of_a_part() -> None:
    derived = DerivedFeatures(sums={"own": ["own", "other"]}).fit(AMOUNTS).transform(AMOUNTS)

    assert derived.columns.tolist() == ["own", "loan"]
    assert derived["own"].tolist()[:2] == [15.0, 0.0]


def test_a_part_may_stand_in_two_sums() -> None:
    derived = DerivedFeatures(sums={"a": ["own", "other"], "b": ["own", "loan"]}).fit(AMOUNTS).transform(AMOUNTS)

    assert derived.columns.tolist() == ["a", "b"]


@pytest.mark.parametrize("amount", [-1.0, -0.5, -1e300, -np.inf])
def test_a_negative_amount_has_no_logarithm_and_is_not_quoted(amount: float) -> None:
    with pytest.raises(ValueError, match="a negative amount in loan has no logarithm"):
        DERIVE.fit(AMOUNTS).transform(AMOUNTS.assign(loan=[0.0, amount, np.nan]))


def test_a_negative_amount_that_no_logarithm_is_taken_of_is_an_amount() -> None:
    derived = DerivedFeatures(sums={"income": ["own", "other"]}).fit(AMOUNTS).transform(AMOUNTS.assign(own=-7.0))

    assert derived["income"].tolist() == [-2.0, -7.0, -6.0]


def test_deriving_leaves_the_rows_as_they_were() -> None:
    rows = AMOUNTS.copy()

    DERIVE.fit(rows).transform(rows)

    pd.testing.assert_frame_equal(rows, AMOUNTS)


def test_a_row_is_derived_alike_alone() -> None:
    together = DERIVE.fit(AMOUNTS).transform(AMOUNTS)

    for row in range(len(AMOUNTS)):
        alone = DERIVE.transform(AMOUNTS.iloc[[row]])
        pd.testing.assert_frame_equal(alone, together.iloc[[row]], check_exact=True)


def test_a_clone_has_the_parameters_and_is_not_fitted() -> None:
    copy = clone(DERIVE.fit(AMOUNTS))

    assert copy is not DERIVE
    assert copy.get_params() == {"sums": {"income": ["own", "other"]}, "logs": ["loan", "income"]}
    with pytest.raises(NotFittedError):
        check_is_fitted(copy)


@pytest.mark.parametrize(
    "derive",
    [DERIVE, DerivedFeatures(), DerivedFeatures(logs=["own"]), DerivedFeatures(sums={"own": ["own", "loan"]})],
    ids=["both", "none", "log", "sum-named-like-a-part"],
)
def test_the_names_that_come_out_are_those_of_the_columns(derive: DerivedFeatures) -> None:
    derived = derive.fit(AMOUNTS).transform(AMOUNTS)

    assert derive.get_feature_names_out().tolist() == derived.columns.tolist()
    assert derive.feature_names_in_.tolist() == AMOUNTS.columns.tolist()


def test_a_pipeline_knows_the_names_that_come_out() -> None:
    pipeline = make_pipeline(DERIVE, LogisticRegression()).fit(AMOUNTS.head(2), [0, 1])

    assert pipeline[:-1].get_feature_names_out().tolist() == ["loan", "income"]
    assert pipeline.feature_names_in_.tolist() == ["own", "other", "loan"]


def test_derived_features_travel_in_an_artifact() -> None:
    fitted = DERIVE.fit(AMOUNTS)

    loaded = unpickle(dump(fitted), "joblib")

    pd.testing.assert_frame_equal(loaded.transform(AMOUNTS), fitted.transform(AMOUNTS))
