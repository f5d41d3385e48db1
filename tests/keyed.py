"""A table of customers whose key is declared in many ways."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from support import Workspace

from batch_scoring.store.engine.names import driver_sql
from batch_scoring.store.source.table import SourceTable

JOB = """
[source]
table = "customers"
key = {key}
{changed_at}
[model]
name = "m"
[predictions]
kind = "regression"
"""


def execute(workspace: Workspace, *statements: str) -> None:
    with workspace.database() as database, database.write(create=True) as connection:
        for statement in statements:
            connection.exec_driver_sql(driver_sql(connection.dialect, statement))


def inspected(workspace: Workspace, key: Sequence[str] = ("id",), *, changed_at: str | None = None) -> SourceTable:
    named = f'changed_at = "{changed_at}"' if changed_at else ""
    text = JOB.format(key=str(list(key)).replace("'", '"'), changed_at=named)
    job = workspace.write_job("j", text)
    with workspace.database() as database, database.read() as connection:
        return SourceTable.inspect(database, connection, job)


def check_key(workspace: Workspace, source: SourceTable) -> None:
    with workspace.database() as database, database.read() as connection:
        source.check_key(connection)


def with_a_model(workspace: Workspace) -> Workspace:
    """A model of x, and the job's tables."""
    sample = pd.DataFrame({"x": np.linspace(0, 6, 20)})
    workspace.upgrade()
    workspace.register(LinearRegression().fit(sample, sample.x * 2), sample, name="m")
    return workspace
