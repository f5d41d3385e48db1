"""Names of tables and columns, however they are written."""

from __future__ import annotations

import pytest
from source_desk import (
    APPLICANTS,
    THREE,
    Prepare,
    execute,
    inspect_source,
    job_text,
    keys_of,
    plain,
    quoted,
)
from support import Workspace

from batch_scoring.errors import DatabaseFault, SourceFault
from batch_scoring.store.engine.database import Database
from batch_scoring.store.schema import upgrade


def test_a_missing_table_is_named_with_the_job_and_the_database_but_no_password(workspace: Workspace) -> None:
    job = workspace.write_job("loans", job_text(table="nowhere"))
    with workspace.database() as database:
        upgrade.upgrade(database, [])

        with pytest.raises(
            SourceFault, match=r"job loans: there is no table or view nowhere in .*fix \[source\] table"
        ):
            inspect_source(database, job)


def test_every_missing_column_is_named_at_once(workspace: Workspace) -> None:
    job = workspace.write_job("loans", job_text(key=["id", "branch"], changed_at="moment"))
    with workspace.database() as database:
        execute(database, APPLICANTS)

        with pytest.raises(SourceFault, match=r"no column branch, moment \(it has id, income, updated_at\)"):
            inspect_source(database, job)


AWKWARD_NAMES = [
    "Loan ID",
    'say "hi"',
    "100% sure",
    "a:b",
    ":param",
    "%(k0)s",
    "select",
    "k0",
    "v0",
    "f0",
    "current_prediction",
    "source",
    "größe",
    "back\\slash",
    "it's",
    "[brackets]",
    "$dollar",
]


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_any_name_the_database_takes_serves_as_key_version_and_feature(prepare: Prepare, name: str) -> None:
    changed_at, feature = f"{name} 2", f"{name} 3"
    desk = prepare(
        f"CREATE TABLE applicants ({quoted(name)} INTEGER, {quoted(changed_at)} TIMESTAMP, {quoted(feature)} TEXT)",
        "INSERT INTO applicants VALUES (1, '2026-01-01 00:00:00', 'x'), (2, NULL, NULL)",
        key=[name],
        changed_at=changed_at,
    )
    with desk.database.read() as connection:
        desk.source.check_key(connection)
    for way in range(len(desk.ways)):
        desk.execute(f"UPDATE applicants SET {quoted(changed_at)} = '2026-02-0{way + 1} 00:00:00'")
        assert desk.count() == 2
        for chunk, (key, text) in zip(desk.walk(1, way=way), [(1, "x"), (2, None)], strict=True):
            rows = desk.read(chunk, features=[name, feature], way=way)
            assert keys_of(rows) == [(str(key),)]
            assert [plain(value) for value in rows.features[name]] == [key]
            assert [plain(value) for value in rows.features[feature]] == [text]
            assert desk.settle(rows, way=way).superseded == min(1, way)
        desk.execute(f"UPDATE applicants SET {quoted(changed_at)} = NULL")
        assert desk.settle(way=way).superseded == 2
        assert desk.due() == []


@pytest.mark.parametrize("table", ["Loan Applicants", "100% applicants", 'say "hi"', "select", "a:b"])
def test_a_source_may_have_any_name(prepare: Prepare, table: str) -> None:
    desk = prepare(
        f"CREATE TABLE {quoted(table)} (id INTEGER NOT NULL PRIMARY KEY, updated_at TIMESTAMP)",
        f"INSERT INTO {quoted(table)} VALUES (1, NULL)",
        table=table,
    )
    assert desk.due() == ["1"]
    desk.settle()
    assert desk.due() == []


def test_the_key_and_the_version_may_be_features_too(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, THREE)

    for way in range(len(desk.ways)):
        rows = desk.read(features=["id", "updated_at", "income"], way=way)

        assert [plain(value) for value in rows.features["id"]] == [1, 2, 3]
        assert [plain(value) for value in rows.features["income"]] == [100, 200, 300]
        assert [plain(value) is None for value in rows.features["updated_at"]] == [False, False, True]


def test_features_named_like_outcome_columns_are_the_source_s(prepare: Prepare) -> None:
    names = ["run_id", "score", "valid_from", "valid_to", "attempts", "source_changed_at", "current_since"]
    desk = prepare(
        f"CREATE TABLE applicants (id INTEGER NOT NULL PRIMARY KEY, {', '.join(f'{name} INTEGER' for name in names)})",
        f"INSERT INTO applicants VALUES (1, {', '.join(str(i) for i in range(len(names)))})",
        changed_at=None,
    )

    for way in range(len(desk.ways)):
        rows = desk.read(features=names, way=way)

        assert {name: plain(rows.features[name][0]) for name in names} == {name: i for i, name in enumerate(names)}
        assert list(rows.current_since) == [None]


@pytest.mark.requires(folds_names=False)
def test_columns_that_differ_in_case_only_are_two_columns(prepare: Prepare) -> None:
    desk = prepare(
        'CREATE TABLE applicants (id INTEGER NOT NULL PRIMARY KEY, "Income" INTEGER, income INTEGER)',
        "INSERT INTO applicants VALUES (1, 10, 20)",
        changed_at=None,
    )

    for way in range(len(desk.ways)):
        features = desk.read(features=["Income", "income"], way=way).features
        assert {name: plain(features[name][0]) for name in features} == {"Income": 10, "income": 20}


@pytest.mark.requires(folds_names=True)
def test_columns_that_differ_in_case_only_cannot_be_declared(database: Database) -> None:
    with pytest.raises(DatabaseFault), database.write(create=True) as connection:
        connection.exec_driver_sql('CREATE TABLE applicants (id INTEGER, "Income" INTEGER, income INTEGER)')
