"""Committing a chunk: all of it or nothing, one current prediction per key, and a history without holes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from support import PostgresServer, Workspace, claim_run

from batch_scoring.domain.job import Kind
from batch_scoring.domain.keys import KeyRange
from batch_scoring.domain.names import TableName
from batch_scoring.domain.runs import ChunkCounts, Run, Status
from batch_scoring.errors import ConstraintViolated, DatabaseFault, Fenced, WrittenCountDiffers
from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.bulk.portable import PortableBulk
from batch_scoring.store.bulk.postgresql import CopyBulk
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import FOREVER
from batch_scoring.store.outcomes.chunk import Predictions, Quarantined, commit_chunk, prepare_writes
from batch_scoring.store.outcomes.counts import count_by_version, count_quarantined
from batch_scoring.store.runs import records
from batch_scoring.store.schema import job_tables
from batch_scoring.store.schema.layout import PredictionsLayout, layout_of
from batch_scoring.store.schema.tables import metadata, scoring_runs
from batch_scoring.store.source.rows import SourceRows
from batch_scoring.store.source.table import SourceTable

JOB = """
[source]
table = "applicants"
key = ["id"]
changed_at = "updated_at"
[model]
name = "loans"
[predictions]
{predictions}
"""
PREDICTIONS: dict[Kind, str] = {
    "binary": 'positive_label = "Y"',
    "multiclass": 'kind = "multiclass"',
    "regression": 'kind = "regression"',
}
FAR_AHEAD = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """A job with five applicants, an open run, and one way of writing."""

    database: Database
    bulk: Bulk
    source: SourceTable
    layout: PredictionsLayout
    run_id: int

    def read(self) -> SourceRows:
        """What is due, in the order of the key."""
        with self.database.read() as connection:
            rows = DueQuery(source=self.source, layout=self.layout).read(connection, self.bulk, KeyRange(), [], 1000)
        order = sorted(range(len(rows)), key=lambda position: int(str(rows.keys[0][position])))
        assert order == list(range(len(rows))), "the tests name rows by position"
        return rows

    def commit(
        self,
        rows: SourceRows | None = None,
        *,
        quarantine: Sequence[int] = (),
        scores: Sequence[float] | None = None,
        run_id: int | None = None,
    ) -> ChunkCounts:
        """Score the rows, but set those aside whose position is named."""
        rows = self.read() if rows is None else rows
        scored = [position for position in range(len(rows)) if position not in quarantine]
        labels = None if self.layout.kind == "regression" else ["Y"] * len(scored)
        return commit_chunk(
            self.database,
            self.bulk,
            self.run_id if run_id is None else run_id,
            prepare_writes(
                self.bulk,
                self.layout,
                rows,
                Predictions(
                    positions=scored,
                    scores=list(scores) if scores is not None else [0.5] * len(scored),
                    labels=labels,
                    model_version=3,
                    unseen_category_count=1 if scored else 0,
                ),
                Quarantined(
                    positions=list(quarantine),
                    reason_codes=["missing_value"] * len(quarantine),
                    column_names=["income"] * len(quarantine),
                    messages=["the model needs a value here and the column is NULL"] * len(quarantine),
                ),
            ),
        )

    def execute(self, statement: str) -> None:
        with self.database.write() as connection:
            connection.exec_driver_sql(statement)

    def change(self, *ids: int) -> None:
        """Make rows due again."""
        with self.database.write() as connection:
            for id_ in ids:
                connection.execute(
                    sa.text("UPDATE applicants SET updated_at = :moment WHERE id = :id"),
                    {"id": id_, "moment": now(connection).strftime("%Y-%m-%d %H:%M:%S.%f")},
                )

    def predictions(self, *columns: str) -> list[tuple[Any, ...]]:
        return self._rows(self.layout.predictions_table, columns)

    def quarantine(self, *columns: str) -> list[tuple[Any, ...]]:
        return self._rows(self.layout.quarantine_table, columns)

    def _rows(self, table: sa.Table, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        query = sa.select(*(table.c[name] for name in columns)).order_by(table.c.id, table.c.valid_to)
        with self.database.read() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def run(self) -> Run:
        run = records.get_run(self.database, self.run_id)
        assert run is not None
        return run


@pytest.fixture(scope="module")
def one_postgresql_url(postgres: PostgresServer) -> str:
    return postgres.create_database()


@pytest.fixture
def postgresql_url(one_postgresql_url: str) -> str:
    """One database for the tests of this file, wiped before each: to make one takes longer than most of them."""
    database = Database(one_postgresql_url)
    with database.write() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    database.dispose()
    return one_postgresql_url


@pytest.fixture(params=["sqlite portable", "postgresql portable", "postgresql copy"])
def prepared(request: pytest.FixtureRequest) -> tuple[Workspace, Bulk]:
    """A workspace, and one way of writing to its database."""
    kind, _, bulk = request.param.partition(" ")
    return request.getfixturevalue(f"{kind}_workspace"), CopyBulk() if bulk == "copy" else PortableBulk()


@pytest.fixture
def desk(prepared: tuple[Workspace, Bulk]) -> Iterator[Desk]:
    with prepared[0].database() as database:
        yield _desk(*prepared, database)


def _desk(workspace: Workspace, bulk: Bulk, database: Database, kind: Kind = "binary") -> Desk:
    job = workspace.write_job("loans", JOB.format(predictions=PREDICTIONS[kind]))
    with database.write(create=True) as connection:
        metadata.create_all(connection)
        connection.exec_driver_sql("CREATE TABLE applicants (id BIGINT NOT NULL PRIMARY KEY, updated_at TIMESTAMP)")
        connection.exec_driver_sql(
            "INSERT INTO applicants VALUES (1, NULL), (2, '2026-01-01 00:00:00'), (3, '2026-01-01 00:00:00.5'),"
            " (4, '2026-01-02 00:00:00'), (5, NULL)"
        )
    with database.read() as connection:
        source = SourceTable.inspect(database, connection, job)
    layout = layout_of(job, source)
    job_tables.ensure_tables(database, job, layout)
    run_id = _open(database)
    return Desk(database=database, bulk=bulk, source=source, layout=layout, run_id=run_id)


def _open(database: Database) -> int:
    return claim_run(database, job="loans", job_config={}, environment={}, stalled_after=timedelta(minutes=5)).run_id


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
def test_each_kind_of_prediction_is_written(prepared: tuple[Workspace, Bulk], kind: Kind) -> None:
    scores = [0.25] * 5 if kind == "multiclass" else [-1e300, -0.5, 0.0, 2.5, 1e300]
    with prepared[0].database() as database:
        desk = _desk(*prepared, database, kind)
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


def _everything(desk: Desk) -> Any:
    """What a chunk may change."""
    run = replace(desk.run(), heartbeat_at=FOREVER)
    return (
        run,
        desk.predictions("id", "score", "valid_from", "valid_to"),
        desk.quarantine("id", "valid_from", "valid_to"),
    )


def test_a_chunk_with_one_unsound_score_writes_nothing_at_all(desk: Desk) -> None:
    desk.commit(quarantine=[4])
    desk.change(1, 2, 3, 4, 5)
    before = _everything(desk)

    with pytest.raises(ConstraintViolated):
        desk.commit(scores=[0.5, 0.5, float("nan"), 0.5], quarantine=[0])

    assert _everything(desk) == before
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
        "INSERT INTO predictions (id, run_id, model_version, score, prediction, valid_from, valid_to)"
        " VALUES (3, 99, 1, 0.9, 'N', '2026-01-01 00:00:00.000000', '9999-12-31 00:00:00.000000')"
    )

    with pytest.raises(ConstraintViolated):
        desk.commit(rows)

    assert desk.predictions("id", "run_id") == [(3, 99)]
    assert desk.run().chunk_count == 0
    assert desk.commit().scored == 5


def test_a_chunk_committed_twice_is_written_once(desk: Desk) -> None:
    rows = desk.read()
    desk.commit(rows)
    before = _everything(desk)

    with pytest.raises(ConstraintViolated):
        desk.commit(rows)

    assert _everything(desk) == before


def _swallow(desk: Desk, table: str, event: str) -> None:
    """A trigger that makes the statement leave out the rows of applicant 3, without an error."""
    if desk.database.dialect.is_file:
        desk.execute(
            f"CREATE TRIGGER swallow BEFORE {event} ON {table} WHEN NEW.id = 3 BEGIN SELECT RAISE(IGNORE); END"
        )
        return
    desk.execute(
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.id = 3 THEN RETURN NULL; END IF; RETURN NEW; END $$"
    )
    desk.execute(f"CREATE TRIGGER swallow BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION swallow()")


def test_a_trigger_that_swallows_predictions_is_found_by_the_count(desk: Desk) -> None:
    _swallow(desk, "predictions", "INSERT")

    with pytest.raises(WrittenCountDiffers, match=r"5 rows were sent to predictions and 4 written.*trigger"):
        desk.commit()

    assert desk.predictions("id") == []
    assert desk.run().chunk_count == 0


def test_a_trigger_that_swallows_quarantine_entries_is_found_by_the_count(desk: Desk) -> None:
    _swallow(desk, "predictions_quarantine", "INSERT")

    with pytest.raises(WrittenCountDiffers, match="2 rows were sent to predictions_quarantine and 1 written"):
        desk.commit(quarantine=[2, 3])

    assert desk.predictions("id") == []
    assert desk.quarantine("id") == []


def test_a_trigger_that_swallows_supersessions_is_found_by_the_count(desk: Desk) -> None:
    desk.commit()
    _swallow(desk, "predictions", "UPDATE")
    desk.change(2, 3)
    before = _everything(desk)

    with pytest.raises(WrittenCountDiffers, match="2 rows were sent to predictions and 1 closed"):
        desk.commit()

    assert _everything(desk) == before


def test_a_prediction_that_somebody_else_closed_meanwhile_is_found_by_the_count(desk: Desk) -> None:
    desk.commit()
    desk.change(2, 3)
    rows = desk.read()
    desk.execute("UPDATE predictions SET valid_to = '2999-01-01 00:00:00.000000' WHERE id = 2")
    before = _everything(desk)

    with pytest.raises(WrittenCountDiffers, match="2 rows were sent to predictions and 1 closed"):
        desk.commit(rows)

    assert _everything(desk) == before


def test_a_superseded_prediction_ends_at_the_moment_the_new_one_begins(desk: Desk) -> None:
    desk.commit(scores=[0.1] * 5)
    for score in (0.2, 0.3):
        desk.change(2, 4)
        assert desk.commit(scores=[score] * 2).superseded == 2

    lives = {id_: [] for id_ in range(1, 6)}  # type: dict[int, list[tuple[Any, ...]]]
    for id_, *life in desk.predictions("id", "score", "valid_from", "valid_to"):
        lives[id_].append(tuple(life))
    assert [len(lives[id_]) for id_ in lives] == [1, 3, 1, 3, 1]
    for id_ in (2, 4):
        (first, first_from, first_to), (second, second_from, second_to), (third, third_from, third_to) = lives[id_]
        assert (first, second, third) == (0.1, 0.2, 0.3)
        assert first_from < first_to == second_from < second_to == third_from < third_to == FOREVER


def test_at_every_moment_since_the_first_a_key_has_exactly_one_prediction(desk: Desk) -> None:
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

    table = desk.layout.predictions_table
    query = sa.select(table).where(table.c.valid_to < FOREVER).order_by(table.c.id)
    with desk.database.read() as connection:
        closed = [tuple(row)[:-1] for row in connection.execute(query)]
    assert closed == before


@pytest.mark.parametrize("table", ["predictions", "predictions_quarantine"])
def test_a_clock_that_was_set_back_still_gives_a_life_before_its_end_and_one_current_row(
    desk: Desk, table: str
) -> None:
    desk.commit(quarantine=[3])
    desk.execute(f"UPDATE {table} SET valid_from = '2100-01-01 00:00:00.000000'")
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
    desk.execute("UPDATE predictions SET valid_from = '2100-01-01 00:00:00.000000'")
    for _ in range(2):
        desk.change(3)
        desk.commit()

    tick = timedelta(microseconds=1)
    assert [life for id_, *life in desk.predictions("id", "valid_from", "valid_to") if id_ == 3] == [
        [FAR_AHEAD, FAR_AHEAD + tick],
        [FAR_AHEAD + tick, FAR_AHEAD + 2 * tick],
        [FAR_AHEAD + 2 * tick, FOREVER],
    ]


def test_a_row_set_aside_says_why_and_by_which_run(desk: Desk) -> None:
    counts = desk.commit(quarantine=[1])

    assert (counts.scored, counts.quarantined) == (4, 1)
    assert [id_ for (id_,) in desk.predictions("id")] == [1, 3, 4, 5]
    message = "the model needs a value here and the column is NULL"
    assert desk.quarantine("id", "run_id", "reason_code", "column_name", "message", "attempts", "valid_to") == [
        (2, desk.run_id, "missing_value", "income", message, 1, FOREVER)
    ]


def test_a_chunk_may_be_set_aside_as_a_whole(desk: Desk) -> None:
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


def test_a_key_set_aside_keeps_its_prediction_until_it_is_scored_again(desk: Desk) -> None:
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


def test_a_run_that_was_taken_over_commits_nothing(desk: Desk) -> None:
    desk.commit(quarantine=[4])
    desk.change(1, 5)
    rows = desk.read()
    with desk.database.write() as connection:
        moment = now(connection) - timedelta(minutes=6)
        connection.execute(sa.update(scoring_runs).values(heartbeat_at=moment))
    owner = _open(desk.database)
    before = _everything(desk)
    assert before[0].status is Status.ABANDONED

    with pytest.raises(Fenced):
        desk.commit(rows)

    assert _everything(desk) == before
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


def test_predictions_go_to_the_schema_the_job_names(postgresql_workspace: Workspace) -> None:
    for bulk in (CopyBulk(), PortableBulk()):
        with postgresql_workspace.database() as database:
            with database.write() as connection:
                connection.exec_driver_sql("DROP SCHEMA IF EXISTS public, scores CASCADE; CREATE SCHEMA public")
                connection.exec_driver_sql("CREATE SCHEMA scores")
            desk = _desk(postgresql_workspace, bulk, database)
            moved = replace(desk.layout, table=TableName("scores", "Predictions %"))
            job = postgresql_workspace.write_job(
                "moved", JOB.format(predictions='positive_label = "Y"\ntable = "scores.Predictions %"')
            )
            job_tables.ensure_tables(database, job, moved)
            elsewhere = replace(desk, layout=moved)
            elsewhere.commit(quarantine=[0])
            elsewhere.change(1, 2)
            elsewhere.commit()

            assert desk.predictions("id") == []
            assert len(elsewhere.predictions("id")) == 6
            with database.read() as connection:
                view = 'SELECT count(*) FROM scores."Predictions %%_current"'
                assert connection.exec_driver_sql(view).scalar_one() == 5
