"""Predictions in a schema of their own."""

from __future__ import annotations

from dataclasses import replace

from chunk_desk import JOB, prepare_desk
from support import Workspace

from batch_scoring.domain.names import TableName
from batch_scoring.store.bulk.portable import PortableBulk
from batch_scoring.store.bulk.postgresql import CopyBulk
from batch_scoring.store.schema import job_tables


def test_predictions_go_to_the_schema_the_job_names(postgresql_workspace: Workspace) -> None:
    for bulk in (CopyBulk(), PortableBulk()):
        with postgresql_workspace.database() as database:
            with database.write() as connection:
                connection.exec_driver_sql("DROP SCHEMA IF EXISTS public, scores CASCADE; CREATE SCHEMA public")
                connection.exec_driver_sql("CREATE SCHEMA scores")
            desk = prepare_desk(postgresql_workspace, bulk, database)
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
