"""Three customers, their job and a model of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from support import Workspace

JOB = """
[source]
table = "customers"
key = ["id"]
where = '''{where}'''
[model]
name = "m"
[predictions]
table = "{table}"
kind = "regression"
{bulk}
"""


def ready_to_register(
    workspace: Workspace, *, where: str = "x > 0", table: str = "predictions", bulk: str = "auto"
) -> Workspace:
    workspace.write_job("j", JOB.format(where=where, table=table, bulk=f'[run]\nbulk = "{bulk}"'))
    workspace.sql("CREATE TABLE customers (id INTEGER PRIMARY KEY, x DOUBLE PRECISION NOT NULL, note TEXT)")
    rows = [{"id": 1, "x": 1.0, "note": "10%:a"}, {"id": 2, "x": 2.0, "note": "b)"}, {"id": 3, "x": 3.0, "note": "c;"}]
    workspace.sql("INSERT INTO customers VALUES (:id, :x, :note)", rows)
    return workspace


def register_model(workspace: Workspace) -> Workspace:
    sample = pd.DataFrame({"x": np.linspace(0, 6, 20)})
    workspace.upgrade()
    workspace.register(LinearRegression().fit(sample, sample.x * 2), sample, name="m")
    return workspace
