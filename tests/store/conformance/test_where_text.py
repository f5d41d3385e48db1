"""The text of a condition that a job has on its source: one condition, with what it quotes and comments."""

from __future__ import annotations

import pytest
from customers import JOB, ready_to_register, register_model
from facts import command
from support import Workspace

SOUND = {
    "x < 2 -- those of today": [1],
    "-- first\nx < 2": [1],
    "x < 2 /* the ) others; */": [1],
    "note LIKE '%)'": [2],
    "note = 'c;' -- ;)": [3],
    "note LIKE '10%:a'": [1],
    "(x < 2) OR (x > 2)": [1, 3],
    "x < 2 OR x > 2": [1, 3],
    "id IN (SELECT id FROM customers WHERE x = 2)": [2],
    "note = 'c' || ';'": [3],
    "id % 2 = 0 -- %": [2],
    "\"note\" = 'b)'": [2],
}


@pytest.mark.slow
@pytest.mark.parametrize("bulk", ["auto", "portable"])
@pytest.mark.parametrize("where", SOUND)
def test_the_rows_of_where_are_scored_whatever_it_holds(workspace: Workspace, where: str, bulk: str) -> None:
    found = register_model(ready_to_register(workspace, where=where, bulk=bulk))

    found.run("j")

    assert [key for (key,) in found.query("SELECT id FROM predictions ORDER BY id")] == SOUND[where]


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("x > 1) OR (x < 5", "it closes a parenthesis that it did not open"),
        ("(x > 1", "it opens a parenthesis that it does not close"),
        ("x > 1;", "it holds a semicolon"),
        ("true); DELETE FROM customers; --", "it closes a parenthesis that it did not open"),
        ("note = 'it", "it opens a quote with ' that nothing closes"),
        ('"x > 1', 'it opens a quote with " that nothing closes'),
        ("x > 1 /* but", "it opens a comment with /* that nothing closes"),
        ("-- nothing", "syntax error"),
    ],
)
def test_a_where_that_is_not_one_condition_is_refused_in_one_sentence(
    workspace: Workspace, where: str, reason: str
) -> None:
    found = register_model(ready_to_register(workspace))
    found.write_job("j", JOB.format(where=where, table="predictions", bulk=""))

    for arguments in (["run", "j"], ["check"]):
        done = command(found, *arguments)
        assert done.returncode == 2
        assert "[source] where is not a condition on the rows of customers: " in done.stdout + done.stderr
        assert reason in done.stdout + done.stderr
    assert found.scalar("SELECT count(*) FROM customers") == 3


def test_a_broken_where_keeps_every_command_from_the_source(workspace: Workspace) -> None:
    found = register_model(ready_to_register(workspace))
    found.write_job("j", JOB.format(where="x > 1) OR (x < 5", table="predictions", bulk=""))

    for arguments in (["why", "j", "1"], ["rescore", "j", "--all", "--yes"]):
        assert "[source] where is not a condition" in command(found, *arguments).stderr
