"""Which indexes a source lacks, and that the statement printed for each makes it whole."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from support import Workspace

from batch_scoring.store.engine.names import driver_sql
from batch_scoring.store.source import index_advice
from batch_scoring.store.source.table import SourceTable

KEYED = "CREATE TABLE applicants (id INTEGER NOT NULL PRIMARY KEY, updated_at TIMESTAMP, status TEXT)"
KEYLESS = "CREATE TABLE applicants (id INTEGER NOT NULL, branch INTEGER NOT NULL, updated_at TIMESTAMP, status TEXT)"

AWKWARD_NAMES = [
    "Loan Applicants",
    "UPPER",
    "100% sure",
    "%s",
    "%%",
    "%(name)s",
    'say "hi"',
    "it's",
    "a:b",
    "select",
    "größe",
    "back\\slash",
]


def _execute(workspace: Workspace, *statements: str) -> None:
    """Run statements as they stand."""
    with workspace.database() as database, database.write(create=True) as connection:
        for statement in statements:
            connection.exec_driver_sql(driver_sql(connection.dialect, statement))


def _write_job(
    workspace: Workspace,
    *,
    table: str = "applicants",
    key: Sequence[str] = ("id",),
    changed_at: str = "updated_at",
    lookback: bool = True,
) -> None:
    lines = [
        "[source]",
        f"table = {json.dumps(table)}",
        f"key = {json.dumps(list(key))}",
        f"changed_at = {json.dumps(changed_at)}",
        *(['lookback = "2 days"', 'sweep = "1 day"'] if lookback else []),
        '[model]\nname = "loans"\n[predictions]\npositive_label = "Y"',
    ]
    workspace.write_job("loans", "\n".join(lines))


def _advice(workspace: Workspace) -> list[str]:
    job = workspace.job("loans")
    with workspace.database() as database, database.read() as connection:
        return index_advice.advice(connection, job, SourceTable.inspect(database, connection, job))


def _statement(advice: str) -> str:
    return advice[advice.index("CREATE INDEX") :]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def test_a_keyed_table_without_lookback_lacks_nothing(workspace: Workspace) -> None:
    _execute(workspace, KEYED)
    _write_job(workspace, lookback=False)

    assert _advice(workspace) == []


def test_lookback_without_an_index_on_changed_at_is_one_advice_whose_statement_settles_it(workspace: Workspace) -> None:
    _execute(workspace, KEYED)
    _write_job(workspace)

    (advice,) = _advice(workspace)
    assert "no index of applicants begins with updated_at, so lookback reads the whole table" in advice
    _execute(workspace, _statement(advice))

    assert _advice(workspace) == []


def test_a_table_without_key_and_index_is_two_advices_each_of_which_settles_its_own(workspace: Workspace) -> None:
    _execute(workspace, KEYLESS)
    _write_job(workspace, key=["id", "branch"])

    of_key, of_version = _advice(workspace)
    assert "begins with its key, so every chunk reads the whole table" in of_key
    _execute(workspace, _statement(of_key))
    assert _advice(workspace) == [of_version]
    _execute(workspace, _statement(of_version))

    assert _advice(workspace) == []


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_the_statement_stands_as_it_is_whatever_the_table_and_its_columns_are_called(
    workspace: Workspace, name: str
) -> None:
    key, changed_at = f"{name} k", f"{name} v"
    _execute(
        workspace,
        f"CREATE TABLE {_quoted(name)} ({_quoted(key)} INTEGER NOT NULL, {_quoted(changed_at)} TIMESTAMP)",
    )
    _write_job(workspace, table=name, key=[key], changed_at=changed_at)

    found = _advice(workspace)
    assert len(found) == 2
    _execute(workspace, *map(_statement, found))

    assert _advice(workspace) == []


def test_a_table_of_another_schema_gets_its_index_there(postgresql_workspace: Workspace) -> None:
    workspace = postgresql_workspace
    _execute(
        workspace,
        'CREATE SCHEMA staging; CREATE TABLE staging."Loan Applicants" (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)',
        'CREATE TABLE "Loan Applicants" (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)',
        'CREATE INDEX of_the_namesake ON "Loan Applicants" (updated_at)',
    )
    _write_job(workspace, table="staging.Loan Applicants")

    (advice,) = _advice(workspace)
    assert "no index of staging.Loan Applicants begins" in advice
    _execute(workspace, _statement(advice))

    assert _advice(workspace) == []
    assert workspace.query(
        "SELECT tablename FROM pg_indexes WHERE schemaname = 'staging' AND indexdef LIKE '%(updated_at)'"
    ) == [("Loan Applicants",)]


def test_a_partial_index_does_not_count(workspace: Workspace) -> None:
    _execute(
        workspace,
        KEYLESS,
        "CREATE UNIQUE INDEX open_ids ON applicants (id) WHERE status = 'open'",
        "CREATE INDEX open_versions ON applicants (updated_at) WHERE status = 'open'",
    )
    _write_job(workspace)

    assert len(_advice(workspace)) == 2


def test_an_index_of_an_expression_does_not_count(postgresql_workspace: Workspace) -> None:
    _execute(
        postgresql_workspace,
        KEYED,
        "CREATE INDEX of_days ON applicants (date_trunc('day', updated_at), updated_at)",
    )
    _write_job(postgresql_workspace)

    assert len(_advice(postgresql_workspace)) == 1


@pytest.mark.parametrize(
    ("columns", "suffices"),
    [
        ("updated_at", True),
        ("updated_at, status", True),
        ("status, updated_at", False),
        ("status", False),
    ],
)
def test_an_index_counts_where_it_begins_with_changed_at(workspace: Workspace, columns: str, suffices: bool) -> None:
    _execute(workspace, KEYED, f"CREATE INDEX present ON applicants ({columns})")
    _write_job(workspace)

    assert (_advice(workspace) == []) is suffices


@pytest.mark.parametrize(
    ("present", "suffices"),
    [
        ("CREATE INDEX present ON applicants (branch, id)", True),
        ("CREATE UNIQUE INDEX present ON applicants (branch, id)", True),
        ("CREATE INDEX present ON applicants (branch, id, status)", True),
        ("CREATE INDEX present ON applicants (id, branch)", False),
        ("CREATE INDEX present ON applicants (branch)", False),
        ("CREATE INDEX present ON applicants (branch, status, id)", False),
    ],
)
def test_a_composite_key_wants_an_index_that_begins_with_its_columns_in_their_order(
    workspace: Workspace, present: str, suffices: bool
) -> None:
    _execute(workspace, KEYLESS, present)
    _write_job(workspace, key=["branch", "id"], lookback=False)

    assert (_advice(workspace) == []) is suffices


@pytest.mark.parametrize(("constraint", "suffices"), [("branch, id", True), ("id, branch", False)])
@pytest.mark.parametrize("kind", ["PRIMARY KEY", "UNIQUE"])
def test_a_constraint_counts_as_the_index_it_has(
    workspace: Workspace, kind: str, constraint: str, suffices: bool
) -> None:
    _execute(workspace, f"{KEYLESS[:-1]}, {kind} ({constraint}))")
    _write_job(workspace, key=["branch", "id"], lookback=False)

    found = _advice(workspace)
    assert (found == []) is suffices
    for advice in found:
        _execute(workspace, _statement(advice))
    assert _advice(workspace) == []


@pytest.mark.parametrize(("lookback", "wanted"), [(True, "id, branch, updated_at"), (False, "id, branch")])
def test_of_a_view_it_says_that_it_is_one_and_what_the_tables_under_it_want(
    workspace: Workspace, lookback: bool, wanted: str
) -> None:
    _execute(
        workspace,
        KEYLESS.replace("applicants", "raw_applicants"),
        "CREATE VIEW applicants AS SELECT * FROM raw_applicants",
    )
    _write_job(workspace, key=["id", "branch"], lookback=lookback)

    assert _advice(workspace) == [
        f"applicants is a view: make sure that its underlying tables have indexes on {wanted}",
    ]


def test_a_view_of_another_schema_is_named_with_it(postgresql_workspace: Workspace) -> None:
    _execute(
        postgresql_workspace,
        KEYED,
        "CREATE SCHEMA staging; CREATE VIEW staging.applicants AS SELECT * FROM applicants",
    )
    _write_job(postgresql_workspace, table="staging.applicants")

    (advice,) = _advice(postgresql_workspace)
    assert advice.startswith("staging.applicants is a view: ")


@pytest.mark.slow
def test_db_upgrade_shows_the_advice_until_it_is_followed(workspace: Workspace) -> None:
    _execute(workspace, KEYED)
    _write_job(workspace)

    before = workspace.cli("db", "upgrade")
    assert before.returncode == 0
    (advice,) = [line for line in before.stderr.splitlines() if line.startswith("advice: ")]
    assert "begins with updated_at" in advice
    assert "advice" not in before.stdout
    _execute(workspace, _statement(advice))

    after = workspace.cli("db", "upgrade")
    assert (after.returncode, after.stderr) == (0, "")


def test_check_shows_the_advice_and_takes_it_for_no_error(workspace: Workspace) -> None:
    _execute(workspace, KEYED)
    _write_job(workspace)
    workspace.upgrade()

    before = workspace.cli("check").stdout
    (advice,) = [line for line in before.splitlines() if "CREATE INDEX" in line]
    assert advice.startswith("warning  job loans: no index of applicants begins with updated_at")
    _execute(workspace, _statement(advice))

    assert "CREATE INDEX" not in workspace.cli("check").stdout
