"""Count the current predictions and open quarantine entries of a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from batch_scoring.store.engine.names import NamedTable
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.schema.tables import scoring_runs


def count_quarantined(connection: sa.Connection, layout: PredictionsLayout) -> int:
    """The number of open quarantine entries of a job."""
    table = layout.quarantine_table
    rows = NamedTable(
        table.name, schema=table.schema
    )  # a new Table object would not match SQLAlchemy's statement cache
    return connection.execute(sa.select(sa.func.count()).select_from(rows)).scalar_one()


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionCount:
    """The number of current predictions of a model version."""

    model_name: str | None
    """None where the run that wrote them is not recorded any more."""
    model_version: int
    rows: int


def count_by_version(connection: sa.Connection, layout: PredictionsLayout) -> Sequence[VersionCount]:
    """Current predictions of a job by model version. Reads every current prediction once."""
    table = layout.predictions_table
    columns = [sa.column(name, table.c[name].type) for name in ("run_id", "model_version")]
    run_id, version = columns
    rows = NamedTable(table.name, *columns, schema=table.schema)
    of_run = (
        sa.select(run_id, version, sa.func.count().label("n")).select_from(rows).group_by(run_id, version).subquery()
    )
    query = (
        sa.select(scoring_runs.c.model_name, of_run.c.model_version, sa.func.sum(of_run.c.n))
        .select_from(of_run.outerjoin(scoring_runs, scoring_runs.c.run_id == of_run.c.run_id))
        .group_by(scoring_runs.c.model_name, of_run.c.model_version)
        .order_by(scoring_runs.c.model_name, of_run.c.model_version)
    )
    return [
        VersionCount(model_name=name, model_version=number, rows=int(count))
        for name, number, count in connection.execute(query)
    ]
