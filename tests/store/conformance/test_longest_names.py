"""Names as long as the database takes them."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from customers import JOB, ready_to_register, register_model
from facts import command, refused
from support import Workspace

from batch_scoring.store.engine.dialects.dialect import Dialect

LONGEST = "_quarantine_closed"
"""What is added to the name of a predictions table, at most."""


def _room(dialect: Dialect) -> int:
    """How many bytes the name of a predictions table may have."""
    assert dialect.longest_name is not None
    return dialect.longest_name - len(LONGEST)


@pytest.mark.requires(longest_name=True)
@pytest.mark.parametrize("character", ["p", "ä"])
def test_a_predictions_table_whose_names_all_fit_is_written_to(workspace: Workspace, character: str) -> None:
    table = character * (_room(workspace.dialect) // len(character.encode()))
    found = register_model(ready_to_register(workspace, table=table))

    assert found.run("j").scored_count == 3
    assert found.scalar(f'SELECT count(*) FROM "{table}_current"') == 3
    assert found.scalar(f'SELECT count(*) FROM "{table}_distribution"') > 0
    done = command(found, "check")
    assert done.returncode == 0, done.stdout


@pytest.mark.requires(longest_name=True)
@pytest.mark.parametrize("character", ["p", "ä", "数"])
@pytest.mark.parametrize("more", [1, 13, 14])
def test_a_predictions_table_whose_names_would_be_cut_is_refused_before_anything_is_created(
    workspace: Workspace, character: str, more: int
) -> None:
    room = _room(workspace.dialect)
    table = character * ((room + more) // len(character.encode()) + (len(character.encode()) > 1))
    found = ready_to_register(workspace, table=table)

    refused(command(found, "db", "upgrade"), 2, "job j: predictions.table: ", f"expected at most {room}", "shorten it")
    with workspace.database() as database, database.read() as connection:
        assert sa.inspect(connection).get_table_names() == ["customers"]


@pytest.mark.parametrize("name", ["s" * 63, "s" * 56, "ü" * 31])
def test_a_source_with_the_longest_name_is_read(workspace: Workspace, name: str) -> None:
    found = ready_to_register(workspace)
    found.sql(f'ALTER TABLE customers RENAME TO "{name}"')
    found.write_job("j", JOB.replace("customers", name).format(where="x > 0", table="predictions", bulk=""))

    assert register_model(found).run("j").scored_count == 3
