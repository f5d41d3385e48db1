"""What tests of runs do to them: start one, make it silent, count a chunk."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from support import claim_run

from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.runs import ChunkCounts, Run, StageSeconds, StartedRun
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs import records
from batch_scoring.store.schema.tables import scoring_runs

STALLED_AFTER = timedelta(minutes=5)
ONE_CHUNK = ChunkCounts(scored=7, superseded=3, quarantined=2, unseen_category=1)

POLICY = DecisionPolicy(kind="binary", positive_label="Y", decided_label="Y", threshold=0.5)


def open_run(database: Database, job: str = "loans", **values: Any) -> StartedRun:
    return claim_run(
        database,
        job=job,
        **{"job_config": {"chunk_rows": 5}, "environment": {"python": "3"}, "stalled_after": STALLED_AFTER, **values},
    )


def get_run(database: Database, run_id: int) -> Run:
    run = records.get_run(database, run_id)
    assert run is not None
    return run


def set_heartbeat_back(database: Database, run_id: int, by: timedelta) -> None:
    """As if the run had been silent for so long, by the database's clock."""
    with database.write() as connection:
        moment = now(connection) - by
        connection.execute(sa.update(scoring_runs).where(scoring_runs.c.run_id == run_id).values(heartbeat_at=moment))


def count_chunk(database: Database, run_id: int, counts: ChunkCounts = ONE_CHUNK) -> datetime:
    with database.write() as connection:
        return write_chunk(connection, run_id, counts)


def write_chunk(connection: sa.Connection, run_id: int, counts: ChunkCounts = ONE_CHUNK) -> datetime:
    """What a chunk's transaction writes besides its rows."""
    time = records.fence(connection, run_id)
    records.record_chunk(connection, run_id, counts, StageSeconds(read=0.1, score=0.2, write=0.3), time)
    return time
