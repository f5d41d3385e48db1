"""One current prediction for each key, and a history without gaps and overlaps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from chunk_desk import Desk

from batch_scoring.store.engine.sql_types import FOREVER

FAR_AHEAD = datetime(2100, 1, 1, tzinfo=UTC)


def test_a_superseded_prediction_ends_at_the_time_the_new_one_begins(desk: Desk) -> None:
    desk.commit(scores=[0.1] * 5)
    for score in (0.2, 0.3):
        desk.change(2, 4)
        assert desk.commit(scores=[score] * 2).superseded == 2

    lives: dict[int, list[tuple[Any, ...]]] = {id_: [] for id_ in range(1, 6)}
    for id_, *life in desk.predictions("id", "score", "valid_from", "valid_to"):
        lives[id_].append(tuple(life))
    assert [len(lives[id_]) for id_ in lives] == [1, 3, 1, 3, 1]
    for id_ in (2, 4):
        (first, first_from, first_to), (second, second_from, second_to), (third, third_from, third_to) = lives[id_]
        assert (first, second, third) == (0.1, 0.2, 0.3)
        assert first_from < first_to == second_from < second_to == third_from < third_to == FOREVER


def test_at_every_time_since_the_first_a_key_has_exactly_one_prediction(desk: Desk) -> None:
    desk.commit()
    for changed in ((1, 2), (2,), (2, 5)):
        desk.change(*changed)
        desk.commit()

    lives = desk.predictions("id", "valid_from", "valid_to")
    moments = {moment for _, begins, _ in lives for moment in (begins, begins + timedelta(microseconds=1))}
    for moment in moments:
        as_of = [id_ for id_, begins, ends in lives if begins <= moment < ends]
        assert as_of == [1, 2, 3, 4, 5]


def test_a_superseded_prediction_keeps_what_it_said(desk: Desk) -> None:
    desk.commit(scores=[0.25] * 5)
    before = desk.predictions("id", "run_id", "model_version", "score", "prediction", "source_changed_at", "valid_from")
    desk.change(1, 2, 3, 4, 5)
    desk.commit(scores=[0.75] * 5)

    query = sa.select(desk.layout.superseded_table).order_by(desk.layout.superseded_table.c.id)
    with desk.database.read() as connection:
        closed = [tuple(row)[:-1] for row in connection.execute(query)]
    assert closed == before


@pytest.mark.parametrize("table", ["predictions", "predictions_quarantine"])
def test_a_clock_that_was_set_back_still_gives_a_life_before_its_end_and_one_current_row(
    desk: Desk, table: str
) -> None:
    desk.commit(quarantine=[3])
    desk.rewrite(f"UPDATE {table} SET valid_from = '2100-01-01 00:00:00.000000'")
    desk.change(2, 4)

    desk.commit()

    lives = desk.predictions("id", "valid_from", "valid_to")
    assert all(begins < ends for _, begins, ends in lives)
    assert [id_ for id_, _, ends in lives if ends == FOREVER] == [1, 2, 3, 4, 5]
    begun = {id_: begins for id_, begins, ends in lives if ends == FOREVER}
    assert begun[2] == begun[4] == FAR_AHEAD + timedelta(microseconds=1)
    (entry,) = desk.quarantine("id", "valid_from", "valid_to")
    assert entry[1] < entry[2] == begun[4]


def test_a_second_supersession_before_the_clock_has_caught_up_gives_lives_without_overlap(desk: Desk) -> None:
    desk.commit()
    desk.rewrite("UPDATE predictions SET valid_from = '2100-01-01 00:00:00.000000'")
    for _ in range(2):
        desk.change(3)
        desk.commit()

    tick = timedelta(microseconds=1)
    assert [life for id_, *life in desk.predictions("id", "valid_from", "valid_to") if id_ == 3] == [
        [FAR_AHEAD, FAR_AHEAD + tick],
        [FAR_AHEAD + tick, FAR_AHEAD + 2 * tick],
        [FAR_AHEAD + 2 * tick, FOREVER],
    ]
