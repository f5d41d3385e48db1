"""How many rows the next chunk has."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batch_scoring.domain.runs import StageSeconds
from batch_scoring.scoring.pipeline import ChunkSize

NARROW = 100
"""Bytes of a row so narrow that memory sets no bound."""

BOUNDED = settings(deadline=None, max_examples=200, derandomize=True)

Measure = tuple[int, StageSeconds, int]
"""A chunk as ``learn`` takes it: its rows, its stages and its bytes."""

measures = st.tuples(
    st.integers(1, ChunkSize.MOST),
    st.builds(StageSeconds, read=st.floats(0, 1e4), score=st.floats(0, 1e4), write=st.floats(0, 1e4)),
    st.integers(0, 2**40),
)


def _seconds(slowest: float, *, stage: str = "score") -> StageSeconds:
    return StageSeconds(**{"read": 0.0, "score": 0.0, "write": 0.0, stage: slowest})


def _settled(*, seconds_per_row: float, bytes_per_row: int = NARROW, chunks: int = 30) -> list[int]:
    """The sizes of chunks whose rows all cost the same."""
    size = ChunkSize(None)
    sizes = [size.rows]
    for _ in range(chunks):
        size.adapt(size.rows, _seconds(size.rows * seconds_per_row), size.rows * bytes_per_row)
        sizes.append(size.rows)
    return sizes


def test_the_first_chunk_has_a_size_of_its_own_where_the_job_names_none() -> None:
    assert ChunkSize(None).rows == ChunkSize.FIRST


@BOUNDED
@given(fixed=st.integers(1, 10_000_000), learned=st.lists(measures, max_size=5))
def test_the_rows_a_job_names_stay_whatever_its_chunks_take(fixed: int, learned: Sequence[Measure]) -> None:
    size = ChunkSize(fixed)
    for rows, seconds, bytes_ in learned:
        size.adapt(rows, seconds, bytes_)
        assert size.rows == fixed


@BOUNDED
@given(st.lists(measures, max_size=40))
@example([(1, _seconds(1e4), 2**40)] * 40)
@example([(ChunkSize.MOST, _seconds(0.0), 0)] * 40)
def test_a_step_at_most_halves_or_doubles_and_stays_within_the_bounds(learned: Sequence[Measure]) -> None:
    size = ChunkSize(None)
    for rows, seconds, bytes_ in learned:
        before = size.rows
        size.adapt(rows, seconds, bytes_)
        assert before // 2 <= size.rows <= 2 * before
        assert ChunkSize.LEAST <= size.rows <= ChunkSize.MOST


@BOUNDED
@given(st.lists(measures, max_size=20))
def test_the_same_measures_give_the_same_sizes(learned: Sequence[Measure]) -> None:
    one, other = ChunkSize(None), ChunkSize(None)
    for rows, seconds, bytes_ in learned:
        one.adapt(rows, seconds, bytes_)
        other.adapt(rows, seconds, bytes_)
        assert one.rows == other.rows


def test_fast_narrow_rows_double_the_chunk_until_it_has_the_most_rows() -> None:
    sizes = _settled(seconds_per_row=1e-9)

    assert sizes[:3] == [20_000, 40_000, 80_000]
    assert set(sizes[2:]) == {ChunkSize.MOST}


def test_slow_rows_halve_the_chunk_until_it_has_the_least_rows() -> None:
    sizes = _settled(seconds_per_row=10)

    assert sizes[:6] == [20_000, 10_000, 5_000, 2_500, 1_250, 1_000]
    assert set(sizes[5:]) == {ChunkSize.LEAST}


@pytest.mark.parametrize("stage", ["read", "score", "write"])
def test_whichever_stage_is_the_slowest_shrinks_the_chunk(stage: str) -> None:
    size = ChunkSize(None)

    size.adapt(20_000, _seconds(1.6, stage=stage), 20_000 * NARROW)

    assert size.rows == 12_500


def test_the_slowest_stage_counts_and_not_the_sum_of_all() -> None:
    size = ChunkSize(None)

    size.adapt(20_000, StageSeconds(read=0.8, score=0.8, write=0.8), 20_000 * NARROW)

    assert size.rows == 25_000


@pytest.mark.parametrize(("rows_per_second", "settled"), [(5_000, 5_000), (33_333, 33_333), (55_000, 55_000)])
def test_a_steady_pace_settles_at_the_rows_of_one_second(rows_per_second: int, settled: int) -> None:
    sizes = _settled(seconds_per_row=1 / rows_per_second)

    assert sizes[-1] == pytest.approx(settled, abs=1)
    assert sizes[-1] == sizes[-5], "the size swings"


@pytest.mark.parametrize(("bytes_per_row", "settled"), [(2_048, 16_384), (8_192, 4_096), (1_000_000, ChunkSize.LEAST)])
def test_wide_rows_shrink_the_chunk_to_the_memory_it_may_take_however_fast_they_are(
    bytes_per_row: int, settled: int
) -> None:
    sizes = _settled(seconds_per_row=1e-9, bytes_per_row=bytes_per_row)

    assert sizes[-1] == settled
    if settled > ChunkSize.LEAST:
        assert sizes[-1] * bytes_per_row <= ChunkSize.MEMORY


def test_a_chunk_grows_again_when_its_rows_become_fast_and_narrow() -> None:
    size = ChunkSize(None)
    for _ in range(10):
        size.adapt(size.rows, _seconds(60), 2**30)
    assert size.rows == ChunkSize.LEAST

    size.adapt(size.rows, _seconds(0.001), size.rows * NARROW)

    assert size.rows == 2 * ChunkSize.LEAST


def test_a_chunk_too_fast_to_measure_and_without_bytes_is_no_fault() -> None:
    size = ChunkSize(None)

    size.adapt(20_000, _seconds(0.0), 0)

    assert size.rows == 40_000


@BOUNDED
@given(measure=measures, slower=st.floats(1, 100), wider=st.integers(1, 100))
def test_slower_or_wider_rows_never_give_a_larger_chunk(measure: Measure, slower: float, wider: int) -> None:
    rows, seconds, bytes_ = measure
    light, heavy = ChunkSize(None), ChunkSize(None)
    light.adapt(rows, seconds, bytes_)
    dragged = StageSeconds(read=seconds.read * slower, score=seconds.score * slower, write=seconds.write * slower)
    heavy.adapt(rows, dragged, bytes_ * wider)

    assert heavy.rows <= light.rows
