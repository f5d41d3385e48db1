"""Profiles: the counts of chunks add up to those of the whole, however it is cut."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_scoring.domain.columns import Column
from batch_scoring.domain.manifest import ModelForm, Signature
from batch_scoring.domain.profile import Profile, Reference, total
from batch_scoring.model.faults import ReasonCode, RowFault
from batch_scoring.model.profiling import build_reference, profile
from batch_scoring.model.scorer import ScoredRows
from batch_scoring.model.signature import derive_signature
from batch_scoring.model.values import plain_columns

SAMPLE = pd.DataFrame(
    {
        "number": [1.0, 2.0, 3.0, 4.0, 5.0, np.nan, 7.0, 8.0, 9.0, 10.0],
        "integer": list(range(10)),
        "word": ["a", "b", "a", "c", "a", "b", None, "a", "a", "b"],
        "flag": [True, False] * 5,
        "time": pd.to_datetime(["2026-01-01", "2026-02-01"] * 5),
    }
)
FORM = ModelForm(kind="binary", labels=("N", "Y"))
SIGNATURE: Signature = derive_signature(SAMPLE)


def reference_of(sample: pd.DataFrame, *, signature: Signature | None = None) -> Reference:
    outputs = np.linspace(0, 1, len(sample))
    return build_reference(
        FORM,
        signature or derive_signature(sample),
        plain_columns(sample),
        np.column_stack([1 - outputs, outputs]),
        origin="training",
        is_out_of_fold=True,
    )


REFERENCE = reference_of(SAMPLE, signature=SIGNATURE)


def scored(count: int, faults: Mapping[int, RowFault] | None = None) -> ScoredRows:
    faults = faults or {}
    positions = [position for position in range(count) if position not in faults]
    scores = np.array([position % 7 / 7 for position in positions], dtype=float)
    return ScoredRows(
        positions=positions,
        scores=scores,
        labels=["Y" if score >= 0.5 else "N" for score in scores],
        faults=faults,
        unseen_category_count=0,
    )


def counts_of(columns: Mapping[str, Column]) -> Profile:
    return profile(REFERENCE, SIGNATURE, columns, scored(len(next(iter(columns.values())))))


def test_the_reference_counts_its_own_rows() -> None:
    by_name = {bins.name: dict(zip(bins.labels, bins.counts, strict=True)) for bins in REFERENCE.features}
    assert {name: sum(counts.values()) for name, counts in by_name.items()} == dict.fromkeys(SAMPLE.columns, 10)
    assert by_name["word"] == {"a": 5, "b": 3, "c": 1, "other": 0, "unseen": 0, "missing": 1, "invalid": 0}
    assert by_name["flag"] == {"false": 5, "true": 5, "other": 0, "unseen": 0, "missing": 0, "invalid": 0}
    assert by_name["number"]["missing"] == 1
    ranges = {bins.name: [bins.low, bins.high] for bins in REFERENCE.features}
    assert ranges["number"] == [1, 10]
    first, second = (datetime(2026, month, 1, tzinfo=UTC).timestamp() for month in (1, 2))
    assert ranges["time"] == [first, second]
    assert REFERENCE.scores is not None
    assert sum(REFERENCE.scores.counts.values()) == 10
    assert REFERENCE.labels == {"N": 5, "Y": 5}


def test_values_of_all_kinds_are_counted_as_they_were_read() -> None:
    columns: dict[str, Column] = {
        "number": [0.5, 11.0, None, float("inf"), "text", 5.0],
        "integer": [0, 9, 12, None, "text", 3],
        "word": ["a", "z", None, "c", 1.5, "a"],
        "flag": [True, 0, None, "text", 2, False],
        "time": [datetime(2026, 1, 15, tzinfo=UTC), None, "text", datetime(2027, 1, 1, tzinfo=UTC), 5, "2026-01-01"],
    }
    found = counts_of(columns).features
    number = dict(zip(REFERENCE.features[0].labels, found["number"].counts, strict=True))
    assert (number["missing"], number["invalid"], sum(number.values())) == (1, 2, 6)
    assert (found["number"].below, found["number"].above) == (1, 1)
    assert (found["number"].low, found["number"].high) == (0.5, 11)
    word = dict(zip(REFERENCE.features[2].labels, found["word"].counts, strict=True))
    assert word == {"a": 2, "b": 0, "c": 1, "other": 0, "unseen": 1, "missing": 1, "invalid": 1}
    assert all(sum(feature.counts) == 6 for feature in found.values())
    assert (found["time"].below, found["time"].above) == (0, 1)


def test_arrow_arrays_and_lists_of_the_same_values_are_counted_alike() -> None:
    rows: dict[str, Column] = {
        "number": [0.5, None, 3.0],
        "integer": [1, 2, None],
        "word": ["a", None, "q"],
        "flag": [True, None, False],
        "time": [datetime(2026, 1, 15, tzinfo=UTC), None, datetime(2026, 1, 20, tzinfo=UTC)],
    }
    arrays: dict[str, Column] = {name: pa.array(values) for name, values in rows.items()}
    arrays["word"] = pa.array(rows["word"]).dictionary_encode()
    assert counts_of(arrays) == counts_of(rows)


def test_quarantined_rows_are_counted_by_reason_and_their_values_too() -> None:
    fault = RowFault(code=ReasonCode.MISSING_VALUE, column="number", message="")
    other = RowFault(code=ReasonCode.MODEL_ERROR, column=None, message="")
    columns = {name: [None] * 4 for name in SAMPLE.columns}
    found = profile(REFERENCE, SIGNATURE, columns, scored(4, {0: fault, 1: fault, 3: other}))
    assert [(one.code, one.column, one.rows) for one in found.quarantined] == [
        ("missing_value", "number", 2),
        ("model_error", None, 1),
    ]
    assert (found.rows, found.scored_count) == (4, 1)
    assert found.features["number"].counts[-2] == 4


_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "number": st.none() | st.floats(-5, 15) | st.just(float("inf")) | st.text(max_size=2),
    "integer": st.none() | st.integers(-3, 12),
    "word": st.none() | st.sampled_from(["a", "b", "c", "new", ""]),
    "flag": st.none() | st.booleans(),
    "time": st.none() | st.integers(-30, 60).map(lambda days: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days)),
}


@given(
    rows=st.lists(st.fixed_dictionaries(_VALUES), min_size=1, max_size=40),
    cuts=st.lists(st.integers(1, 39), max_size=5),
    seed=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_the_profiles_of_chunks_add_up_to_the_whole_in_any_order(
    rows: list[dict[str, Any]], cuts: list[int], seed: random.Random
) -> None:
    results = scored(len(rows))
    assert results.scores is not None
    assert results.labels is not None

    def part(start: int, end: int) -> Profile:
        own = rows[start:end]
        assert results.scores is not None
        assert results.labels is not None
        return profile(
            REFERENCE,
            SIGNATURE,
            {name: [row[name] for row in own] for name in SAMPLE.columns},
            ScoredRows(
                positions=range(len(own)),
                scores=results.scores[start:end],
                labels=results.labels[start:end],
                faults={},
                unseen_category_count=0,
            ),
        )

    bounds = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    parts = [part(start, end) for start, end in itertools.pairwise(bounds)]
    seed.shuffle(parts)

    assert total(parts) == part(0, len(rows))


def test_a_profile_is_the_same_after_it_was_stored() -> None:
    found = counts_of({name: values[:5] for name, values in plain_columns(SAMPLE).items()})
    stored = found.model_dump_json(exclude_defaults=True)
    assert Profile.model_validate_json(stored) == found
    assert Reference.model_validate_json(REFERENCE.model_dump_json()) == REFERENCE


@pytest.mark.parametrize("rows", [1, 10])
def test_a_reference_of_constant_empty_and_many_valued_columns_is_small(rows: int) -> None:
    sample = pd.DataFrame(
        {
            "constant": [5.0] * rows,
            "empty": pd.Series([None] * rows, dtype=float),
            "many": [f"level {n}" for n in range(rows)],
        }
    )
    found = reference_of(sample)
    bins = {one.name: one for one in found.features}
    assert sum(bins["constant"].counts) == sum(bins["empty"].counts) == rows
    assert (bins["empty"].low, bins["empty"].edges) == (None, ())
    assert len(bins["many"].levels or ()) == rows


def test_a_label_that_is_never_decided_is_in_the_reference_with_zero() -> None:
    outputs = np.tile([0.1, 0.9], (len(SAMPLE), 1))
    found = build_reference(FORM, SIGNATURE, plain_columns(SAMPLE), outputs, origin="training", is_out_of_fold=True)
    assert found.labels == {"N": 0, "Y": 10}
    assert total([]) is None


def test_a_frequent_value_has_a_bin_of_its_own() -> None:
    sample = pd.DataFrame({"most": [0.0, 0.5] + [1.0] * 98, "least": [0.0] * 98 + [0.5, 1.0], "both": [0.0, 1.0] * 50})
    bins = {one.name: one.counts[:-2] for one in reference_of(sample).features}
    assert bins == {"most": (2, 98), "least": (98, 2), "both": (50, 0, 50)}


def test_the_thirty_most_frequent_of_ten_thousand_levels_are_counted_by_themselves() -> None:
    texts = [f"rare {n}" for n in range(10_000)] + [f"often {n}" for n in range(40) for _ in range(n + 2)]
    sample = pd.DataFrame({"many": texts})
    (bins,) = reference_of(sample).features
    assert len(bins.levels or ()) == 30
    assert set(bins.levels or ()) == {f"often {n}" for n in range(10, 40)}
    assert sum(bins.counts) == len(texts)


def test_the_reference_of_the_first_label_is_that_of_the_second_reversed() -> None:
    mirrored = REFERENCE.mirrored(1.0)
    assert mirrored.scores is not None
    assert REFERENCE.scores is not None
    assert (mirrored.scores.low, mirrored.scores.high) == (0, 1)
    assert mirrored.mirrored(1.0) == REFERENCE
    margin = REFERENCE.model_copy(update={"scores": REFERENCE.scores.model_copy(update={"low": -3.0, "high": 1.0})})
    assert (margin.mirrored(0.0).scores or REFERENCE.scores).low == -1.0
