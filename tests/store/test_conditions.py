"""Conditions on columns of types that only some databases have."""

from __future__ import annotations

import pytest
from support import Workspace

from batch_scoring.errors import InputFault
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.due.scan import RescoreScan
from batch_scoring.store.schema.layout import layout_of
from batch_scoring.store.source.condition_parser import parse
from batch_scoring.store.source.selection import Selection
from batch_scoring.store.source.table import SourceTable

JOB = """
[source]
table = "facts"
key = ["id"]
[model]
name = "any"
[predictions]
table = "predictions"
kind = "binary"
positive_label = "1"
"""


def test_a_type_that_the_database_does_not_compare_is_refused_and_not_a_failed_run(
    postgresql_workspace: Workspace,
) -> None:
    postgresql_workspace.sql("CREATE TABLE facts (id BIGINT PRIMARY KEY, j JSON, a INT[], m MONEY, e INTERVAL)")
    job = postgresql_workspace.write_job("any", JOB)
    with postgresql_workspace.database() as database:
        with database.read() as connection:
            source = SourceTable.inspect(database, connection, job)

        def check(text: str) -> None:
            scan = RescoreScan(selection=Selection(where=(parse(text),)))
            DueQuery(source=source, layout=layout_of(job, source), scan=scan).check_conditions(database)

        for text in ("j = '{}'", "a = 5", "m > much", "e = 'one day or two'"):
            with pytest.raises(InputFault, match="--where cannot be evaluated on the rows of facts"):
                check(text)
        for text in ("j is null", "a = '{5}'", "m > 5", "e > '1 day' and e like '%day%'"):
            check(text)
