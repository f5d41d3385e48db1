"""Requested rescores, from which an interrupted rescore is continued."""

from __future__ import annotations

from contextlib import suppress

import sqlalchemy as sa

from batch_scoring.errors import ConstraintViolated
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import database_now
from batch_scoring.store.schema.tables import rescore_requests
from batch_scoring.store.source.selection import Request, Selection


def record_request(database: Database, run_id: int, selection: Selection, *, model_version: int) -> None:
    """Store the selection that a run is to score again. The write is idempotent. Raises DatabaseFault."""
    values = {
        "run_id": run_id,
        "selection": selection.record(),
        "model_version": model_version,
        "created_at": database_now(),
    }
    with suppress(ConstraintViolated), database.write() as connection:
        connection.execute(sa.insert(rescore_requests).values(values))


def get_request(database: Database, run_id: int) -> tuple[Request, int] | None:
    """The rescore that a run was started for, and its model version; None for other runs. Raises DatabaseFault."""
    query = sa.select(rescore_requests.c.selection, rescore_requests.c.model_version)
    with database.read() as connection:
        found = connection.execute(query.where(rescore_requests.c.run_id == run_id)).one_or_none()
    return None if found is None else (Request.from_record(found.selection), found.model_version)
