"""Scores: the same row always gets the same one, and a row that cannot have one costs itself only."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import __version__ as installed_scikit_learn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from batch_scoring.domain.column_types import ColumnType
from batch_scoring.domain.columns import Column
from batch_scoring.domain.job import Job
from batch_scoring.domain.manifest import GoldenRows, Label, Manifest, Signature, SignatureColumn
from batch_scoring.errors import (
    EveryRowFailed,
    ExitCode,
    GoldenRowsDiffer,
    ModelRefused,
    UnusableModel,
    VersionMismatch,
)
from batch_scoring.model.artifact import dump
from batch_scoring.model.describe import describe
from batch_scoring.model.scorer import (
    ScoredRows,
    Scorer,
    bound_parallelism,
    check_golden_rows,
    check_library_version,
)
from batch_scoring.model.training import TrainedModel

Columns = Mapping[str, Column]
TOLERANCE = 1e-12


def job(**predictions: Any) -> Job:
    """A job whose ``[predictions]`` says this; binary with the positive label 1 where it says nothing."""
    return Job.model_validate(
        {
            "name": "payments",
            "source": {"table": "invoices", "key": ["invoice_id"]},
            "model": {"name": "late_payment"},
            "predictions": predictions or {"positive_label": "1"},
        }
    )


def manifest_of(model: Any, sample: pd.DataFrame) -> Manifest:
    return describe(model, dump(model), sample)


def columns_of(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """A frame as the portable way reads it."""
    plain = frame.astype(object).where(frame.notna(), None)
    return {str(name): plain[name].tolist() for name in plain.columns}


def part(columns: Columns, positions: Sequence[int]) -> dict[str, list[Any]]:
    return {name: [values[position] for position in positions] for name, values in columns.items()}


def score_in_chunks(scorer: Scorer, columns: Columns, order: Sequence[int], chunk_rows: int) -> dict[int, float]:
    """The score of each row by its position, scored in this order and in chunks of this size."""
    scores: dict[int, float] = {}
    for start in range(0, len(order), chunk_rows):
        chunk = order[start : start + chunk_rows]
        scored = scorer.score(part(columns, chunk))
        assert scored.faults == {}
        assert list(scored.positions) == list(range(len(chunk)))
        scores.update(zip(chunk, scores_of(scored).tolist(), strict=True))
    return scores


def assert_same_scores(found: Mapping[int, float], expected: Mapping[int, float]) -> None:
    assert found.keys() == expected.keys()
    assert max(abs(found[row] - expected[row]) for row in expected) <= TOLERANCE


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small models are slower with more."""
    with threadpool_limits(limits=1):
        yield


@pytest.fixture(scope="module")
def loan_manifest(loan_model: TrainedModel) -> Manifest:
    return manifest_of(loan_model.pipeline, loan_model.features)


@pytest.fixture(scope="module")
def loan_scorer(loan_model: TrainedModel, loan_manifest: Manifest, loan_job: Job) -> Scorer:
    return Scorer.for_job(loan_model.pipeline, loan_manifest, loan_job)


@pytest.fixture(scope="module")
def applicants(loan_test: pd.DataFrame, loan_manifest: Manifest) -> dict[str, list[Any]]:
    return columns_of(loan_test[list(loan_manifest.signature.names)])


@pytest.mark.slow
@settings(max_examples=10, derandomize=True, database=None)
@given(data=st.data())
def test_a_score_is_the_same_in_any_chunk_size_and_order(
    data: st.DataObject, loan_scorer: Scorer, applicants: dict[str, list[Any]]
) -> None:
    everyone = range(len(applicants["Gender"]))
    chosen = data.draw(st.lists(st.sampled_from(everyone), min_size=1, max_size=20, unique=True))
    shuffled = data.draw(st.permutations(chosen))
    together = score_in_chunks(loan_scorer, applicants, chosen, len(chosen))

    for order in (chosen, shuffled):
        for chunk_rows in (1, 7, 1000):
            assert_same_scores(score_in_chunks(loan_scorer, applicants, order, chunk_rows), together)


def test_all_applicants_score_as_the_model_scores_them_in_chunks_of_any_size(
    loan_scorer: Scorer, loan_model: TrainedModel, loan_test: pd.DataFrame, applicants: dict[str, list[Any]]
) -> None:
    features = loan_test[list(applicants)]
    by_hand = dict(enumerate(loan_model.pipeline.predict_proba(features)[:, 1].tolist()))
    order = list(range(len(loan_test)))
    backwards = order[::-1]

    for chunk_rows in (7, 100, 1000):
        assert_same_scores(score_in_chunks(loan_scorer, applicants, order, chunk_rows), by_hand)
    assert_same_scores(score_in_chunks(loan_scorer, applicants, backwards, 50), by_hand)


@pytest.mark.parametrize(
    "name", ["Gender", "Married", "Dependents", "Self_Employed", "LoanAmount", "Loan_Amount_Term", "Credit_History"]
)
def test_a_chunk_whose_column_is_all_null_scores_like_any_other(
    name: str, loan_scorer: Scorer, applicants: dict[str, list[Any]]
) -> None:
    rows = part(applicants, range(30))
    rows[name] = [None] * 20 + rows[name][20:]

    mixed = loan_scorer.score(rows)
    all_null = loan_scorer.score(part(rows, range(20)))
    alone = loan_scorer.score(part(rows, [4]))

    assert np.abs(scores_of(all_null) - scores_of(mixed)[:20]).max() <= TOLERANCE
    assert abs(scores_of(alone)[0] - scores_of(mixed)[4]) <= TOLERANCE


def test_a_chunk_in_which_everything_that_may_be_null_is_null_scores_like_any_other(
    loan_scorer: Scorer, loan_manifest: Manifest, applicants: dict[str, list[Any]]
) -> None:
    rows = part(applicants, range(10))
    for column in loan_manifest.signature.columns:
        if column.nullable:
            rows[column.name] = [None] * 5 + rows[column.name][5:]

    mixed, all_null = loan_scorer.score(rows), loan_scorer.score(part(rows, range(5)))

    assert np.abs(scores_of(all_null) - scores_of(mixed)[:5]).max() <= TOLERANCE


def test_arrow_columns_score_as_lists_do(loan_scorer: Scorer, applicants: dict[str, list[Any]]) -> None:
    arrow = {
        name: pa.array(values, pa.dictionary(pa.int32(), pa.string()) if isinstance(values[0], str) else pa.float64())
        for name, values in applicants.items()
    }
    gone = {**arrow, "Gender": pa.array([None] * 367, arrow["Gender"].type)}

    assert scores_of(loan_scorer.score(arrow)).tolist() == scores_of(loan_scorer.score(applicants)).tolist()
    assert (
        scores_of(loan_scorer.score(gone)).tolist()
        == scores_of(loan_scorer.score({**applicants, "Gender": [None] * 367})).tolist()
    )


def test_unseen_categories_change_no_other_row(loan_scorer: Scorer, applicants: dict[str, list[Any]]) -> None:
    rows = part(applicants, range(10))
    before = loan_scorer.score(rows)
    rows["Property_Area"] = ["Moon", *rows["Property_Area"][1:-1], "Aardvark"]

    after = loan_scorer.score(rows)

    assert after.unseen_category_count == 2
    assert np.abs(scores_of(after)[1:-1] - scores_of(before)[1:-1]).max() <= TOLERANCE


def in_one(frame: pd.DataFrame) -> pd.DataFrame:
    """Two texts written together: categoricals cannot be, so this takes text as objects."""
    return pd.DataFrame({"both": frame["first"] + frame["second"]})


def test_a_pipeline_that_takes_text_as_objects_scores_a_chunk_of_nulls_like_any_other() -> None:
    rows = pd.DataFrame({"first": ["a", None, "b", "a", None, "b"] * 5, "second": ["u", "v", "u"] * 10})
    labels = [0, 1, 1] * 10
    model = make_pipeline(FunctionTransformer(in_one), OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    model.fit(rows, labels)
    manifest = manifest_of(model, rows)
    assert manifest.signature.text_as == "object"
    scorer = Scorer.for_job(model, manifest, job())
    columns = columns_of(rows)

    mixed = scorer.score(columns)
    nulls = [row for row, text in enumerate(columns["first"]) if text is None]
    all_null = scorer.score(part(columns, nulls))

    assert mixed.faults == all_null.faults == {}
    assert np.abs(scores_of(all_null) - scores_of(mixed)[nulls]).max() <= TOLERANCE


def test_a_model_that_takes_categoricals_itself_scores_a_row_alike_beside_any_other() -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"area": rng.choice(["x", "y", "z"], 80), "amount": rng.normal(size=80)})
    labels = (rows["area"] == "y") ^ (rows["amount"] > 1)
    typed = rows.astype({"area": "category"})
    model = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=3, categorical_features="from_dtype")
    scorer = Scorer.for_job(model.fit(typed, labels), manifest_of(model, typed), job(positive_label=True))
    columns = columns_of(rows)
    columns["area"][3] = "a"  # unseen, and sorted before those that are known

    together = scorer.score(columns)

    assert together.unseen_category_count == 1
    for row in range(20):
        alone = scorer.score(part(columns, [row]))
        assert abs(scores_of(alone)[0] - scores_of(together)[row]) <= TOLERANCE


X = Signature(columns=(SignatureColumn(name="x", type=ColumnType.NUMBER, nullable=False),))
SPARE_X = Signature(columns=(SignatureColumn(name="x", type=ColumnType.NUMBER, nullable=True),))


class Fragile:
    """A logistic curve over x that raises on some rows, gives NaN on others, and counts what it is asked."""

    def __init__(
        self,
        poison: Callable[[float], bool] = lambda _: False,
        *,
        unsound: Callable[[float], bool] = lambda _: False,
        error: Callable[[float], Exception] = lambda x: ValueError(f"cannot take x = {x}"),
    ) -> None:
        self.poison, self.unsound, self.error = poison, unsound, error
        self.calls = 0
        self.rows = 0

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        self.calls += 1
        self.rows += len(frame)
        for x in frame["x"]:
            if self.poison(x):
                raise self.error(x)
        probability = 1 / (1 + np.exp(-frame["x"].to_numpy(dtype=np.float64)))
        probability[[self.unsound(x) for x in frame["x"]]] = np.nan
        return np.column_stack([1 - probability, probability])


class FailsEverywhere(Fragile):
    """Fails on whatever it is given."""

    def __init__(self) -> None:
        super().__init__(lambda _: True, error=lambda x: RuntimeError(f"no memory for {x}"))


def plain_manifest(
    signature: Signature = X,
    *,
    labels: tuple[Label, ...] = (0, 1),
    golden: GoldenRows = GoldenRows(rows=(), outputs=()),  # noqa: B008 - frozen
    scikit_learn_version: str = installed_scikit_learn,
) -> Manifest:
    return Manifest(
        kind="binary" if len(labels) == 2 else "multiclass",
        algorithm="Fragile",
        artifact_sha256="0" * 64,
        labels=labels,
        signature=signature,
        scikit_learn_version=scikit_learn_version,
        libraries={},
        golden=golden,
        created_at="2026-01-01T00:00:00+00:00",
    )


def curve(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def score(model: Any, values: Column, *, signature: Signature = X, positive_label: str = "1") -> ScoredRows:
    return Scorer.for_job(model, plain_manifest(signature), job(positive_label=positive_label)).score({"x": values})


def scores_of(scored: ScoredRows) -> Any:
    """The scores of rows that have some."""
    assert scored.scores is not None
    return scored.scores


def codes(scored: ScoredRows) -> dict[int, str]:
    return {position: fault.code.value for position, fault in scored.faults.items()}


def test_sound_rows_cost_one_call_of_the_model() -> None:
    model = Fragile()

    scored = score(model, [0.0, 1.0, -1.0])

    assert (model.calls, model.rows) == (1, 3)
    assert scored.faults == {}
    assert scores_of(scored) == pytest.approx([curve(0), curve(1), curve(-1)], abs=TOLERANCE)


@pytest.mark.parametrize("rows", [2, 3, 64, 65, 1000])
@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_a_poison_row_is_found_and_only_it(rows: int, where: str) -> None:
    position = {"first": 0, "middle": rows // 2, "last": rows - 1}[where]
    values = [float(i) / rows for i in range(rows)]

    scored = score(Fragile(lambda x: x == values[position]), values)

    assert codes(scored) == {position: "model_error"}
    assert list(scored.positions) == [i for i in range(rows) if i != position]
    expected = [curve(x) for i, x in enumerate(values) if i != position]
    assert scores_of(scored) == pytest.approx(expected, abs=TOLERANCE)
    assert scored.labels is not None
    assert len(scored.labels) == rows - 1


def test_one_poison_row_in_a_large_chunk_costs_few_calls() -> None:
    model = Fragile(lambda x: x == 3333)

    scored = score(model, [float(i) for i in range(10_000)])

    assert list(scored.faults) == [3333]
    assert model.calls < 100


@settings(max_examples=40, derandomize=True, database=None)
@given(rows=st.integers(2, 60), data=st.data())
def test_several_poison_rows_are_found_and_only_they(rows: int, data: st.DataObject) -> None:
    poison = data.draw(st.sets(st.integers(0, rows - 1), max_size=rows - 1))
    values = [float(i) for i in range(rows)]

    scored = score(Fragile(lambda x: int(x) in poison), values)

    assert codes(scored) == dict.fromkeys(poison, "model_error")
    sound = [i for i in range(rows) if i not in poison]
    assert list(scored.positions) == sound
    assert scores_of(scored) == pytest.approx([curve(i) for i in sound], abs=TOLERANCE)


def test_poison_missing_and_unsound_rows_are_told_apart_in_one_chunk() -> None:
    model = Fragile(lambda x: x == 2, unsound=lambda x: x == 4)

    scored = score(model, [0.0, None, 2.0, "text", 4.0, 5.0])

    assert codes(scored) == {1: "missing_value", 2: "model_error", 3: "wrong_type", 4: "non_finite_score"}
    assert list(scored.positions) == [0, 5]
    assert scores_of(scored) == pytest.approx([curve(0), curve(5)], abs=TOLERANCE)


def test_the_fault_of_a_poison_row_does_not_quote_it() -> None:
    (fault,) = score(Fragile(lambda x: x == 123456.0), [123456.0, 1.0]).faults.values()

    assert fault.message == "the model raised ValueError on the row"
    assert fault.column is None


def test_sound_rows_between_evenly_spread_poison_rows_are_scored() -> None:
    rows = 200
    poison = set(np.linspace(0, rows - 1, 32, dtype=int).tolist())

    scored = score(Fragile(lambda x: int(x) in poison), [float(i) for i in range(rows)])

    assert sorted(scored.faults) == sorted(poison)
    assert len(scored.positions) == rows - len(poison)


def test_a_negative_amount_costs_its_own_applicant_only(loan_scorer: Scorer, applicants: dict[str, list[Any]]) -> None:
    before = loan_scorer.score(applicants)
    amounts = list(applicants["LoanAmount"])
    amounts[100] = -5.0

    scored = loan_scorer.score({**applicants, "LoanAmount": amounts})

    assert codes(scored) == {100: "model_error"}
    others = [row for row in range(len(amounts)) if row != 100]
    assert list(scored.positions) == others
    assert np.abs(scores_of(scored) - scores_of(before)[others]).max() <= TOLERANCE


@pytest.mark.parametrize("positive_label", ["0", "1"])
@pytest.mark.parametrize("value", [None, "text", float("inf"), 1.0, 2.0])
def test_a_single_failing_row_is_quarantined(value: Any, positive_label: str) -> None:
    model = Fragile(lambda x: x == 1, unsound=lambda x: x == 2)

    scored = score(model, [value], positive_label=positive_label)

    assert list(scored.faults) == [0]
    assert (list(scored.positions), scores_of(scored).tolist(), scored.labels) == ([], [], [])


@pytest.mark.parametrize("positive_label", ["0", "1"])
@pytest.mark.parametrize(
    "expected",
    [
        {None: "missing_value", "text": "wrong_type"},
        {None: "missing_value", 3.0: "model_error"},
        {"text": "wrong_type", float("inf"): "non_finite_value", 3.0: "model_error", 4.0: "non_finite_score"},
    ],
)
def test_rows_that_all_fail_differently_are_quarantined(expected: dict[Any, str], positive_label: str) -> None:
    model = Fragile(lambda x: x == 3, unsound=lambda x: x == 4)

    scored = score(model, list(expected), positive_label=positive_label)

    assert codes(scored) == dict(enumerate(expected.values()))
    assert (list(scored.positions), scores_of(scored).tolist(), scored.labels) == ([], [], [])


def test_a_chunk_without_rows_has_no_scores() -> None:
    scored = score(Fragile(), [])

    assert (list(scored.positions), scores_of(scored).tolist(), scored.labels, scored.faults) == ([], [], [], {})


def test_a_multiclass_chunk_of_which_no_row_is_left_has_no_scores() -> None:
    scorer = Scorer.for_job(Fragile(), plain_manifest(labels=("a", "b", "c")), job(kind="multiclass"))

    scored = scorer.score({"x": [None]})

    assert (list(scored.positions), scores_of(scored).tolist(), scored.labels) == ([], [], [])


@pytest.mark.parametrize("rows", [64, 65, 500])
def test_a_model_that_fails_on_every_row_alike_blames_no_row(rows: int) -> None:
    with pytest.raises(EveryRowFailed, match="RuntimeError") as caught:
        score(FailsEverywhere(), [float(i) + 0.125 for i in range(rows)])

    assert str(rows) in str(caught.value)
    assert "nothing was quarantined" in str(caught.value)
    assert "0.125" not in str(caught.value)
    assert caught.value.exit_code is ExitCode.RUN_FAILED


@pytest.mark.parametrize(
    ("value", "named"),
    [(None, "missing_value, column x"), ("Zyx", "wrong_type, column x"), (float("nan"), "non_finite")],
)
def test_a_column_that_is_wrong_in_every_row_is_named(value: Any, named: str) -> None:
    with pytest.raises(EveryRowFailed, match=f"all 64 rows of a chunk failed alike .*{named}") as caught:
        score(Fragile(), [value] * 64)
    assert "Zyx" not in str(caught.value)


def test_a_model_without_a_finite_score_for_any_row_blames_no_row() -> None:
    with pytest.raises(EveryRowFailed, match="non_finite_score"):
        score(Fragile(unsound=lambda _: True), [1.0, 2.0] * 32)


@pytest.mark.parametrize("rows", [1, 3, 63])
@pytest.mark.parametrize(
    ("model", "value", "code"),
    [
        (FailsEverywhere(), 1.0, "model_error"),
        (Fragile(), None, "missing_value"),
        (Fragile(unsound=lambda _: True), 1.0, "non_finite_score"),
    ],
)
def test_fewer_than_64_rows_that_all_fail_alike_are_quarantined(rows: int, model: Any, value: Any, code: str) -> None:
    assert codes(score(model, [value] * rows)) == dict.fromkeys(range(rows), code)


class Blend:
    """Weights that add up to a little more than one; in single precision where asked."""

    def __init__(self, excess: float, dtype: Any = np.float64) -> None:
        self.excess, self.dtype = excess, dtype

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        sure = np.where(frame["x"].to_numpy() > 0, 1 + self.excess, 0.25)
        return np.column_stack([1 - sure, sure]).astype(self.dtype)


@pytest.mark.parametrize(
    ("excess", "dtype"), [(2**-52, np.float64), (9e-10, np.float64), (2**-23, np.float32), (8e-7, np.float32)]
)
def test_a_probability_a_hair_outside_0_and_1_is_clipped(excess: float, dtype: Any) -> None:
    scored = score(Blend(excess, dtype), [1.0, -1.0])

    assert (scores_of(scored).tolist(), scored.labels, scored.faults) == ([1.0, 0.25], ["1", "0"], {})
    assert scores_of(score(Blend(excess, dtype), [1.0], positive_label="0")).tolist() == [0.0]


@pytest.mark.parametrize(("excess", "dtype"), [(2e-9, np.float64), (0.5, np.float64), (2e-6, np.float32)])
def test_a_probability_further_outside_costs_its_row(excess: float, dtype: Any) -> None:
    scored = score(Blend(excess, dtype), [1.0, -1.0])

    assert codes(scored) == {0: "score_out_of_range"}
    assert scores_of(scored).tolist() == [0.25]


@pytest.mark.parametrize("rows", [500, 20_000])
def test_a_model_that_fails_everywhere_costs_a_bounded_number_of_calls(rows: int) -> None:
    model = FailsEverywhere()

    with pytest.raises(EveryRowFailed):
        score(model, [float(i) for i in range(rows)])
    assert model.calls <= 100


def test_a_model_that_fails_on_large_chunks_only_still_scores_every_row() -> None:
    class Narrow(Fragile):
        """Takes ten rows at once and no more."""

        def predict_proba(self, frame: pd.DataFrame) -> Any:
            if len(frame) > 10:
                raise MemoryError
            return super().predict_proba(frame)

    values = [float(i) / 100 for i in range(300)]

    scored = score(Narrow(), values)

    assert scored.faults == {}
    assert scores_of(scored) == pytest.approx([curve(x) for x in values], abs=TOLERANCE)


def test_a_model_that_gives_nan_for_a_row_costs_that_row_only() -> None:
    scored = score(Fragile(unsound=lambda x: x in (1, 3)), [0.0, 1.0, 2.0, 3.0])

    assert codes(scored) == {1: "non_finite_score", 3: "non_finite_score"}
    assert list(scored.positions) == [0, 2]
    assert scores_of(scored) == pytest.approx([curve(0), curve(2)], abs=TOLERANCE)


def test_a_model_may_take_missing_values() -> None:
    scored = score(Fragile(unsound=np.isnan), [1.0, None], signature=SPARE_X)

    assert codes(scored) == {1: "non_finite_score"}


def test_outputs_of_another_length_than_the_chunk_are_never_written() -> None:
    class Short(Fragile):
        """Loses the last row."""

        def predict_proba(self, frame: pd.DataFrame) -> Any:
            return super().predict_proba(frame)[:-1]

    with pytest.raises(UnusableModel):
        score(Short(), [1.0, 2.0, 3.0])


@pytest.mark.parametrize(("positive_label", "index"), [("N", 0), ("Y", 1)])
def test_the_score_is_the_probability_of_the_positive_label(
    positive_label: str,
    index: int,
    loan_model: TrainedModel,
    loan_manifest: Manifest,
    loan_test: pd.DataFrame,
    applicants: dict[str, list[Any]],
) -> None:
    probabilities = loan_model.pipeline.predict_proba(loan_test[list(applicants)])

    scored = Scorer.for_job(loan_model.pipeline, loan_manifest, job(positive_label=positive_label)).score(applicants)

    assert np.abs(scores_of(scored) - probabilities[:, index]).max() <= TOLERANCE
    other = "N" if positive_label == "Y" else "Y"
    assert scored.labels == [positive_label if value >= 0.5 else other for value in scores_of(scored)]


@pytest.mark.parametrize("positive_label", ["0", "1"])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_a_score_at_the_threshold_or_above_is_the_positive_label(positive_label: str, threshold: float) -> None:
    class Told(Fragile):
        """The probability of 1 is x itself."""

        def predict_proba(self, frame: pd.DataFrame) -> Any:
            return np.column_stack([1 - frame["x"], frame["x"]])

    given_probabilities = [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]
    chosen = job(positive_label=positive_label, threshold=threshold)

    scored = Scorer.for_job(Told(), plain_manifest(), chosen).score({"x": given_probabilities})

    negative = "1" if positive_label == "0" else "0"
    assert scored.labels == [positive_label if value >= threshold else negative for value in scores_of(scored)]
    expected = given_probabilities if positive_label == "1" else [1 - value for value in given_probabilities]
    assert scores_of(scored) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("labels", [(False, True), (0, 1), ("0", "1"), (0.0, 1.0)])
def test_labels_of_any_type_are_stored_as_text(labels: tuple[Label, ...]) -> None:
    scorer = Scorer.for_job(Fragile(), plain_manifest(labels=labels), job(positive_label=str(labels[1])))

    assert scorer.score({"x": [-1.0, 1.0]}).labels == [str(label) for label in labels]


def test_a_multiclass_score_is_the_probability_of_the_label_chosen() -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"a": rng.normal(size=90), "b": rng.normal(size=90)})
    labels = np.array(["low", "mid", "top"])[np.digitize(rows["a"] + rows["b"], [-0.5, 0.5])]
    model = LogisticRegression().fit(rows, labels)
    scorer = Scorer.for_job(model, manifest_of(model, rows), job(kind="multiclass"))

    scored = scorer.score(columns_of(rows))

    assert scored.labels == model.predict(rows).tolist()
    assert np.abs(scores_of(scored) - model.predict_proba(rows).max(axis=1)).max() <= TOLERANCE
    assert set(scored.labels or ()) == {"low", "mid", "top"}


def test_a_regression_has_scores_and_no_labels() -> None:
    rows = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]})
    model = LinearRegression().fit(rows, [1.0, 3.0, 5.0, 7.5])
    scorer = Scorer.for_job(model, manifest_of(model, rows), job(kind="regression"))

    scored = scorer.score({"a": [10.0, None, -1.0]})

    assert scored.labels is None
    assert scores_of(scored) == pytest.approx(model.predict(pd.DataFrame({"a": [10.0, -1.0]})), abs=TOLERANCE)
    assert codes(scored) == {1: "missing_value"}


def test_a_regression_of_which_no_row_is_left_has_no_scores() -> None:
    rows = pd.DataFrame({"a": [0.0, 1.0]})
    model = LinearRegression().fit(rows, [1.0, 3.0])

    scored = Scorer.for_job(model, manifest_of(model, rows), job(kind="regression")).score({"a": [None]})

    assert (scores_of(scored).tolist(), scored.labels, codes(scored)) == ([], None, {0: "missing_value"})


def test_unseen_categories_are_quarantined_where_the_job_says_so(
    loan_model: TrainedModel, loan_manifest: Manifest, loan_job: Job, applicants: dict[str, list[Any]]
) -> None:
    strict = loan_job.model_copy(
        update={"model": loan_job.model.model_copy(update={"unseen_categories": "quarantine"})}
    )
    rows = part(applicants, range(3))
    rows["Property_Area"] = ["Moon", *rows["Property_Area"][1:]]

    scored = Scorer.for_job(loan_model.pipeline, loan_manifest, strict).score(rows)

    assert codes(scored) == {0: "unseen_category"}
    assert scored.faults[0].column == "Property_Area"
    assert scored.unseen_category_count == 0


@pytest.mark.parametrize(
    ("labels", "chosen", "message"),
    [
        ((0, 1), {"kind": "regression"}, "needs a regression model and late_payment is binary"),
        ((0, 1, 2), {"positive_label": "1"}, "needs a binary model and late_payment is multiclass"),
        (("N", "Y"), {"positive_label": "yes"}, r"positive_label 'yes' is none of the model's labels \(N, Y\)"),
    ],
)
def test_a_model_that_does_not_fit_its_job_is_refused(
    labels: tuple[Label, ...], chosen: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelRefused, match=message) as caught:
        Scorer.for_job(Fragile(), plain_manifest(labels=labels), job(**chosen))
    assert caught.value.exit_code is ExitCode.MODEL_REFUSED


def test_golden_rows_are_reproduced_by_the_model_they_came_from(
    loan_model: TrainedModel, loan_manifest: Manifest
) -> None:
    assert len(loan_manifest.golden.rows) >= 10
    assert any(None in row for row in loan_manifest.golden.rows)
    assert any(None not in row for row in loan_manifest.golden.rows)

    check_golden_rows(loan_model.pipeline, loan_manifest)


def test_golden_rows_survive_the_registry(loan_model: TrainedModel, loan_manifest: Manifest) -> None:
    stored = json.loads(json.dumps(loan_manifest.model_dump(mode="json")))

    read = Manifest.model_validate(stored)

    assert read == loan_manifest
    check_golden_rows(loan_model.pipeline, read)


def test_another_model_does_not_reproduce_them(loan_model: TrainedModel, loan_manifest: Manifest) -> None:
    sample = loan_model.features.iloc[:300]
    labels = np.where(sample["Credit_History"].fillna(0) > 0, "Y", "N")
    other = clone(loan_model.pipeline).fit(sample, labels)

    with pytest.raises(GoldenRowsDiffer, match=r"does not reproduce its golden rows \(difference") as caught:
        check_golden_rows(other, loan_manifest)
    assert caught.value.exit_code is ExitCode.MODEL_REFUSED


GOLDEN = GoldenRows(rows=((0.0,), (1.0,)), outputs=((0.5, 0.5), (1 - curve(1), curve(1))))


@pytest.mark.parametrize(("shift", "reproduced"), [(0.0, True), (1e-10, True), (1e-8, False), (0.01, False)])
def test_golden_rows_leave_room_for_another_processor_and_none_for_another_model(
    shift: float, reproduced: bool
) -> None:
    class Shifted(Fragile):
        """A little off."""

        def predict_proba(self, frame: pd.DataFrame) -> Any:
            return super().predict_proba(frame) + shift

    if reproduced:
        check_golden_rows(Shifted(), plain_manifest(golden=GOLDEN))
        return
    with pytest.raises(GoldenRowsDiffer):
        check_golden_rows(Shifted(), plain_manifest(golden=GOLDEN))


@pytest.mark.parametrize(
    ("model", "golden", "message"),
    [
        (FailsEverywhere(), GOLDEN, "fails on its golden rows with RuntimeError"),
        (Fragile(unsound=lambda x: x == 1), GOLDEN, "does not reproduce"),
        (Fragile(), GoldenRows(rows=(), outputs=()), "the manifest has no golden rows"),
        (Fragile(), GoldenRows(rows=((None,), (1.0,)), outputs=GOLDEN.outputs), "shape"),
        (Fragile(), GoldenRows(rows=((0.0,),), outputs=((0.5, 0.25, 0.25),)), "shape"),
        (Fragile(), GoldenRows(rows=((0.0, 1.0),), outputs=((0.5, float("nan")),)), "does not reproduce"),
    ],
    ids=["fails", "gives-nan", "none", "do-not-fit", "other-shape", "stored-nan"],
)
def test_golden_rows_that_prove_nothing_refuse_the_model(model: Fragile, golden: GoldenRows, message: str) -> None:
    with pytest.raises(GoldenRowsDiffer, match=message) as caught:
        check_golden_rows(model, plain_manifest(golden=golden))
    assert "x = " not in str(caught.value)


def test_the_version_the_model_was_fitted_with_is_taken() -> None:
    assert check_library_version(plain_manifest(), allow_mismatch=False) is None


def test_another_version_of_scikit_learn_is_refused() -> None:
    with pytest.raises(VersionMismatch, match=r"fitted with scikit-learn 0\.24\.2, installed is") as caught:
        check_library_version(plain_manifest(scikit_learn_version="0.24.2"), allow_mismatch=False)
    assert "--allow-version-mismatch" in str(caught.value)
    assert caught.value.exit_code is ExitCode.MODEL_REFUSED


def test_another_version_that_is_allowed_is_said() -> None:
    differs = check_library_version(plain_manifest(scikit_learn_version="0.24.2"), allow_mismatch=True)

    assert differs == f"fitted with scikit-learn 0.24.2, installed is {installed_scikit_learn}"


def forest() -> RandomForestClassifier:
    return RandomForestClassifier(n_estimators=2, max_depth=2, random_state=0, n_jobs=2)


ROWS = pd.DataFrame({"a": np.arange(40) % 7 / 7, "b": np.arange(40) % 5 / 5})
LABELS = np.arange(40) % 2


def n_jobs_of(estimator: Any) -> list[int | None]:
    """Every n_jobs of an estimator and of the estimators it holds, fitted ones included."""
    found: list[int | None] = [estimator.n_jobs] if hasattr(estimator, "n_jobs") else []
    for value in vars(estimator).values() if hasattr(estimator, "__dict__") else []:
        parts = list(value.values()) if isinstance(value, dict) else value
        for held in parts if isinstance(parts, list | tuple) else [parts]:
            for inner in held if isinstance(held, tuple) else [held]:
                if type(inner).__module__.startswith("sklearn.") and not callable(inner):
                    found += n_jobs_of(inner)
    return found


@pytest.mark.parametrize(
    "model",
    [
        forest(),
        make_pipeline(StandardScaler(), forest()),
        make_pipeline(ColumnTransformer([("a", StandardScaler(), ["a"])]), forest()),
        CalibratedClassifierCV(forest(), cv=2),
        VotingClassifier([("forest", forest())], voting="soft"),
        StackingClassifier([("forest", forest())], cv=2),
        GridSearchCV(forest(), {"max_depth": [1]}, cv=2),
    ],
    ids=["forest", "pipeline", "columns", "calibrated", "voting", "stacking", "search"],
)
def test_a_model_gets_one_job_wherever_it_holds_one(model: Any) -> None:
    before = model.fit(ROWS, LABELS).predict_proba(ROWS)
    # not while fitting: workers take seconds to start
    model.set_params(**{name: 2 for name in model.get_params() if name.endswith("n_jobs")})

    with threadpool_limits():
        bound_parallelism(model)
        assert set(n_jobs_of(model)) <= {1, None}
        assert model.predict_proba(ROWS).tolist() == before.tolist()


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_blas_threads_are_bounded_and_released() -> None:
    with threadpool_limits(limits=2):
        with threadpool_limits():
            bound_parallelism(LinearRegression(), threads=1)
            assert blas_threads() == {1}
        assert blas_threads() == {2}


def test_blas_gets_the_processors_of_this_process_and_no_more() -> None:
    with threadpool_limits():
        bound_parallelism(LinearRegression())
        assert max(blas_threads()) <= len(os.sched_getaffinity(0))


def test_a_model_that_knows_no_parameters_is_left_as_it_is() -> None:
    class Bare(Fragile):
        """No scikit-learn estimator."""

        n_jobs = 4

    model = Bare()
    with threadpool_limits():
        bound_parallelism(model, threads=1)
        assert model.n_jobs == 4
