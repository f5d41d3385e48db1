"""Quarantined rows: why, how often, until when."""

from __future__ import annotations

from chunk_desk import Desk

from batch_scoring.domain.runs import ChunkCounts
from batch_scoring.store.engine.sql_types import FOREVER
from batch_scoring.store.outcomes.chunk import Predictions, Quarantined, commit_chunk, prepare_writes
from batch_scoring.store.outcomes.counts import count_by_version, count_quarantined


def test_a_row_quarantined_says_why_and_by_which_run(desk: Desk) -> None:
    counts = desk.commit(quarantine=[1])

    assert (counts.scored, counts.quarantined) == (4, 1)
    assert [id_ for (id_,) in desk.predictions("id")] == [1, 3, 4, 5]
    message = "the model needs a value here and the column is NULL"
    assert desk.quarantine("id", "run_id", "reason_code", "column_name", "message", "attempts", "valid_to") == [
        (2, desk.run_id, "missing_value", "income", message, 1, FOREVER)
    ]


def test_a_chunk_may_be_quarantined_as_a_whole(desk: Desk) -> None:
    assert desk.commit(quarantine=range(5)) == ChunkCounts(scored=0, superseded=0, quarantined=5, unseen_category=0)
    assert desk.predictions("id") == []
    assert len(desk.quarantine("id")) == 5


def test_an_entry_without_a_column_is_written(desk: Desk) -> None:
    commit_chunk(
        desk.database,
        desk.bulk,
        desk.run_id,
        prepare_writes(
            desk.bulk,
            desk.layout,
            desk.read(),
            Predictions(positions=[], scores=[], labels=[], model_version=1, unseen_category_count=0),
            Quarantined(
                positions=range(5),
                reason_codes=["model_error"] * 5,
                column_names=[None] * 5,
                messages=['it\nbroke, "so"'] * 5,
            ),
        ),
    )

    assert desk.quarantine("column_name", "message") == [(None, 'it\nbroke, "so"')] * 5


def test_attempts_count_how_often_a_key_failed_in_a_row(desk: Desk) -> None:
    desk.commit(quarantine=[1, 3])
    desk.change(2, 4)
    desk.commit(quarantine=[0, 1])
    desk.change(2)
    desk.commit(quarantine=[0])

    assert [row for row in desk.quarantine("id", "attempts") if row[0] == 2] == [(2, 1), (2, 2), (2, 3)]
    assert [row for row in desk.quarantine("id", "attempts") if row[0] == 4] == [(4, 1), (4, 2)]
    lives = [life for id_, *life in desk.quarantine("id", "valid_from", "valid_to") if id_ == 2]
    assert [ends for _, ends in lives] == [lives[1][0], lives[2][0], FOREVER]


def test_an_entry_is_closed_when_its_row_is_scored_and_its_history_stays(desk: Desk) -> None:
    desk.commit(quarantine=[1])
    desk.change(2)
    counts = desk.commit()

    assert counts == ChunkCounts(scored=1, superseded=0, quarantined=0, unseen_category=1)
    ((begun,),) = {row[1:] for row in desk.predictions("id", "valid_from") if row[0] == 2}
    ((entered, closed),) = desk.quarantine("valid_from", "valid_to")
    assert entered < closed == begun


def test_attempts_start_again_after_a_success(desk: Desk) -> None:
    desk.commit(quarantine=[1])
    for aside in ([], [0]):
        desk.change(2)
        desk.commit(quarantine=aside)

    assert [attempts for (attempts,) in desk.quarantine("attempts")] == [1, 1]


def test_a_key_quarantined_keeps_its_prediction_until_it_is_scored_again(desk: Desk) -> None:
    desk.commit(scores=[0.1] * 5)
    desk.change(2)
    assert desk.commit(quarantine=[0]) == ChunkCounts(scored=0, superseded=0, quarantined=1, unseen_category=0)
    assert [row for row in desk.predictions("id", "score", "valid_to") if row[0] == 2] == [(2, 0.1, FOREVER)]

    desk.change(2)
    assert desk.commit(scores=[0.2]).superseded == 1

    assert [row[:2] for row in desk.predictions("id", "score") if row[0] == 2] == [(2, 0.1), (2, 0.2)]
    with desk.database.read() as connection:
        assert sum(one.rows for one in count_by_version(connection, desk.layout)) == 5
        assert count_quarantined(connection, desk.layout) == 0
