"""A job with five applicants and an open run, for tests of what a chunk writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from rewriting import rewrite
from support import Workspace, claim_run

from batch_scoring.domain.job import Kind
from batch_scoring.domain.keys import KeyRange
from batch_scoring.domain.runs import ChunkCounts, Run
from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import FOREVER
from batch_scoring.store.outcomes.chunk import Predictions, Quarantined, commit_chunk, prepare_writes
from batch_scoring.store.runs import records
from batch_scoring.store.schema import job_tables
from batch_scoring.store.schema.layout import PredictionsLayout, layout_of
from batch_scoring.store.schema.tables import metadata
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

    def rewrite(self, statement: str) -> None:
        """Execute a statement without the triggers that preserve history."""
        rewrite(self.database, statement)

    def change(self, *ids: int) -> None:
        """Make rows due again."""
        with self.database.write() as connection:
            for id_ in ids:
                connection.execute(
                    sa.text("UPDATE applicants SET updated_at = :moment WHERE id = :id"),
                    {"id": id_, "moment": now(connection).strftime("%Y-%m-%d %H:%M:%S.%f")},
                )

    def predictions(self, *columns: str) -> list[tuple[Any, ...]]:
        return self._rows(self.layout.all_predictions, columns)

    def quarantine(self, *columns: str) -> list[tuple[Any, ...]]:
        return self._rows(self.layout.all_entries, columns)

    def _rows(self, table: sa.Subquery, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        query = sa.select(*(table.c[name] for name in columns)).order_by(table.c.id, table.c.valid_to)
        with self.database.read() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def run(self) -> Run:
        run = records.get_run(self.database, self.run_id)
        assert run is not None
        return run


def prepare_desk(workspace: Workspace, bulk: Bulk, database: Database, kind: Kind = "binary") -> Desk:
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
    run_id = claim(database)
    return Desk(database=database, bulk=bulk, source=source, layout=layout, run_id=run_id)


def claim(database: Database) -> int:
    return claim_run(database, job="loans", job_config={}, environment={}, stalled_after=timedelta(minutes=5)).run_id


def everything(desk: Desk) -> Any:
    """What a chunk may change."""
    run = replace(desk.run(), heartbeat_at=FOREVER)
    return (
        run,
        desk.predictions("id", "score", "valid_from", "valid_to"),
        desk.quarantine("id", "valid_from", "valid_to"),
    )
