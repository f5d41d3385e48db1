"""Committing a chunk: all of it or nothing, counted, by the run that owns the job."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from chunk_desk import Desk, claim, everything, prepare_desk
from sql_words import words_of
from support import Workspace

from batch_scoring.domain.job import Kind
from batch_scoring.domain.runs import ChunkCounts, Status
from batch_scoring.errors import ConstraintViolated, DatabaseFault, Fenced, WrittenCountDiffers
from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import FOREVER
from batch_scoring.store.outcomes.chunk import Predictions, Quarantined, commit_chunk, prepare_writes
from batch_scoring.store.outcomes.counts import count_by_version, count_quarantined
from batch_scoring.store.runs import records
from batch_scoring.store.schema.tables import scoring_runs
from batch_scoring.store.source.rows import SourceRows


def test_a_chunk_s_predictions_say_by_which_run_and_model_from_which_version_and_since_when(desk: Desk) -> None:
    with desk.database.read() as connection:
        before = now(connection)
    counts = desk.commit(scores=[0.0, 0.1 + 0.2, 1 / 3, 5e-324, 1.0])
    with desk.database.read() as connection:
        after = now(connection)

    assert counts == ChunkCounts(scored=5, superseded=0, quarantined=0, unseen_category=1)
    written = desk.predictions("id", "run_id", "model_version", "score", "prediction")
    assert written == [
        (id_, desk.run_id, 3, score, "Y")
        for id_, score in zip(range(1, 6), [0.0, 0.1 + 0.2, 1 / 3, 5e-324, 1.0], strict=True)
    ]
    ((moment,),) = set(desk.predictions("valid_from"))
    assert before <= moment <= after
    assert set(desk.predictions("valid_to")) == {(FOREVER,)}
    with desk.database.read() as connection:
        differing = connection.exec_driver_sql(
            "SELECT count(*) FROM applicants a JOIN predictions p ON p.id = a.id"
            " WHERE p.source_changed_at IS DISTINCT FROM a.updated_at"
        ).scalar_one()
    assert differing == 0


def test_a_chunk_is_counted_on_its_run_with_its_rows(desk: Desk) -> None:
    desk.commit(quarantine=[0])
    desk.change(2, 3)
    desk.commit()

    run = desk.run()
    assert (run.scored_count, run.superseded_count, run.quarantined_count) == (6, 2, 1)
    assert (run.unseen_category_count, run.chunk_count) == (2, 2)


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_each_kind_of_prediction_is_written(workspace: Workspace, database: Database, bulk: Bulk, kind: Kind) -> None:
    scores = [0.25] * 5 if kind == "multiclass" else [-1e300, -0.5, 0.0, 2.5, 1e300]
    desk = prepare_desk(workspace, bulk, database, kind)
    desk.commit(scores=scores)

    label = None if kind == "regression" else "Y"
    assert desk.predictions("score", "prediction") == [(score, label) for score in scores]


def test_labels_of_any_text_are_written_as_they_are(desk: Desk) -> None:
    labels = ["", "it's", "\\.", 'a,b\n"c"', "größe"]
    commit_chunk(
        desk.database,
        desk.bulk,
        desk.run_id,
        prepare_writes(
            desk.bulk,
            desk.layout,
            desk.read(),
            Predictions(positions=range(5), scores=[0.5] * 5, labels=labels, model_version=1, unseen_category_count=0),
            Quarantined(positions=[], reason_codes=[], column_names=[], messages=[]),
        ),
    )

    assert [label for (label,) in desk.predictions("prediction")] == labels


def test_current_predictions_and_open_entries_are_counted(desk: Desk) -> None:
    desk.commit(quarantine=[0, 1])
    desk.change(1, 3)
    desk.commit()

    with desk.database.read() as connection:
        assert sum(one.rows for one in count_by_version(connection, desk.layout)) == 4
        assert count_quarantined(connection, desk.layout) == 1


def test_a_chunk_with_one_unsound_score_writes_nothing_at_all(desk: Desk) -> None:
    desk.commit(quarantine=[4])
    desk.change(1, 2, 3, 4, 5)
    before = everything(desk)

    with pytest.raises(ConstraintViolated):
        desk.commit(scores=[0.5, 0.5, float("nan"), 0.5], quarantine=[0])

    assert everything(desk) == before
    assert desk.commit().scored == 5


def test_a_chunk_whose_quarantine_cannot_be_written_writes_no_prediction_either(desk: Desk) -> None:
    desk.execute("ALTER TABLE predictions_quarantine RENAME TO elsewhere")
    desk.execute("CREATE TABLE predictions_quarantine (id BIGINT)")
    rows = SourceRows(
        keys=([1, 2],),
        changed_at=[None, None],
        features={},
        current_since=[None, None],
        quarantined_since=[None, None],
        attempts=[None, None],
    )

    with pytest.raises(DatabaseFault):
        desk.commit(rows, quarantine=[1])

    assert desk.predictions("id") == []
    assert desk.run().chunk_count == 0


def test_a_key_that_somebody_else_predicted_meanwhile_rolls_the_chunk_back(desk: Desk) -> None:
    rows = desk.read()
    desk.execute(
        "INSERT INTO predictions (id, run_id, model_version, score, prediction, valid_from)"
        " VALUES (3, 99, 1, 0.9, 'N', '2026-01-01 00:00:00.000000')"
    )

    with pytest.raises(ConstraintViolated):
        desk.commit(rows)

    assert desk.predictions("id", "run_id") == [(3, 99)]
    assert desk.run().chunk_count == 0
    assert desk.commit().scored == 5


def test_a_chunk_committed_twice_is_written_once(desk: Desk) -> None:
    rows = desk.read()
    desk.commit(rows)
    before = everything(desk)

    with pytest.raises(ConstraintViolated):
        desk.commit(rows)

    assert everything(desk) == before


def swallow_row_3(desk: Desk, table: str, event: str) -> None:
    """Have a trigger leave out the rows of applicant 3 without an error."""
    for statement in words_of(desk.database.dialect).swallow_row:
        desk.execute(statement.format(table=table, event=event, id=3))


def test_a_trigger_that_swallows_predictions_is_found_by_the_count(desk: Desk) -> None:
    swallow_row_3(desk, "predictions", "INSERT")

    with pytest.raises(WrittenCountDiffers, match=r"5 rows were sent to predictions and 4 written.*trigger"):
        desk.commit()

    assert desk.predictions("id") == []
    assert desk.run().chunk_count == 0


def test_a_trigger_that_swallows_quarantine_entries_is_found_by_the_count(desk: Desk) -> None:
    swallow_row_3(desk, "predictions_quarantine", "INSERT")

    with pytest.raises(WrittenCountDiffers, match="2 rows were sent to predictions_quarantine and 1 written"):
        desk.commit(quarantine=[2, 3])

    assert desk.predictions("id") == []
    assert desk.quarantine("id") == []


def test_a_trigger_that_swallows_supersessions_is_found_by_the_count(desk: Desk) -> None:
    desk.commit()
    swallow_row_3(desk, "predictions", "UPDATE")
    desk.change(2, 3)
    before = everything(desk)

    with pytest.raises(WrittenCountDiffers, match="2 rows were sent to predictions and 1 superseded"):
        desk.commit()

    assert everything(desk) == before


def test_a_chunk_of_superseding_predictions_committed_twice_is_written_once(desk: Desk) -> None:
    desk.commit(quarantine=[0, 1])
    desk.change(1, 2, 3)
    rows = desk.read()
    desk.commit(rows, quarantine=[0])
    before = everything(desk)

    with pytest.raises(WrittenCountDiffers):
        desk.commit(rows, quarantine=[0])

    assert everything(desk) == before


def test_a_prediction_that_somebody_else_superseded_meanwhile_is_found_by_the_count(desk: Desk) -> None:
    desk.commit()
    desk.change(2, 3)
    rows = desk.read()
    desk.execute("UPDATE predictions SET valid_from = '2999-01-01 00:00:00.000000' WHERE id = 2")
    before = everything(desk)

    with pytest.raises(WrittenCountDiffers, match="2 rows were sent to predictions and 1 superseded"):
        desk.commit(rows)

    assert everything(desk) == before


def test_a_run_that_was_taken_over_commits_nothing(desk: Desk) -> None:
    desk.commit(quarantine=[4])
    desk.change(1, 5)
    rows = desk.read()
    with desk.database.write() as connection:
        moment = now(connection) - timedelta(minutes=6)
        connection.execute(sa.update(scoring_runs).values(heartbeat_at=moment))
    owner = claim(desk.database)
    before = everything(desk)
    assert before[0].status is Status.ABANDONED

    with pytest.raises(Fenced):
        desk.commit(rows)

    assert everything(desk) == before
    assert desk.commit(rows, run_id=owner).scored == 2
    assert {run_id for id_, run_id, ends in desk.predictions("id", "run_id", "valid_to") if ends == FOREVER} == {
        desk.run_id,
        owner,
    }


def test_a_run_that_was_closed_commits_nothing(desk: Desk) -> None:
    rows = desk.read()
    records.close_run(desk.database, desk.run_id)

    with pytest.raises(Fenced):
        desk.commit(rows)

    assert desk.predictions("id") == []
