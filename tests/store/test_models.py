"""The registry: versions count up whoever registers, and an alias points at one version at any time."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa
from support import Workspace

from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.errors import ConstraintViolated, NoSuchModel
from batch_scoring.store import registry
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.lifecycle import NewPromotion, list_promotions
from batch_scoring.store.schema import upgrade


@pytest.fixture
def ready(workspace: Workspace) -> Workspace:
    """A database with our schema and no model."""
    with workspace.database() as database:
        upgrade.upgrade(database, [])
    return workspace


def _register(database: Database, name: str = "loans", **values: Any) -> ModelVersion:
    described = {
        "artifact_uri": f"{name}/x.joblib",
        "artifact_sha256": "a" * 64,
        "manifest": {"metrics": {"auc": 0.75}},
        "created_by": "ada",
    }
    return registry.register_version(database, name=name, **{**described, **values})


def test_a_version_is_registered_with_all_that_is_known_of_it(ready: Workspace) -> None:
    manifest = {"columns": [{"name": "größe", "categories": ["a'b", None]}], "golden": [0.1 + 0.2, 5e-324, 1e308]}
    with ready.database() as database:
        with database.read() as connection:
            before = now(connection)
        registered = _register(database, manifest=manifest, artifact_sha256="f" * 64, created_by="grace")
        with database.read() as connection:
            after = now(connection)

        assert (registered.name, registered.version, registered.artifact_uri) == ("loans", 1, "loans/x.joblib")
        assert (registered.artifact_sha256, registered.created_by) == ("f" * 64, "grace")
        assert registered.stored_manifest == manifest
        assert before <= registered.created_at <= after
        assert registered.created_at.utcoffset() == timedelta(0)
        assert registry.get_version(database, "loans", 1) == registered


def test_versions_count_up_from_one_for_each_model(ready: Workspace) -> None:
    with ready.database() as database:
        found = [_register(database, name).version for name in ("loans", "cards", "loans", "loans", "cards")]

        assert found == [1, 1, 2, 3, 2]
        listed = [(version.name, version.version) for version in registry.list_versions(database)]
        assert listed == [("cards", 1), ("cards", 2), ("loans", 1), ("loans", 2), ("loans", 3)]
        assert [version.version for version in registry.list_versions(database, "cards")] == [1, 2]
        assert registry.list_versions(database, "nobody's") == []


def test_versions_registered_at_once_get_numbers_of_their_own(ready: Workspace) -> None:
    many = 6
    start = Barrier(many)

    def register(index: int) -> int:
        with ready.database() as database:
            start.wait()
            return _register(database, artifact_uri=f"loans/{index}.joblib").version

    with ThreadPoolExecutor(many) as pool:
        versions = list(pool.map(register, range(many)))

    assert sorted(versions) == list(range(1, many + 1))
    with ready.database() as database:
        assert len({version.artifact_uri for version in registry.list_versions(database)}) == many
        assert registry.resolve_alias(database, "loans", "champion").version == 1


def test_the_first_version_becomes_champion_and_later_ones_do_not(ready: Workspace) -> None:
    with ready.database() as database:
        _register(database)
        assert registry.resolve_alias(database, "loans", "champion").version == 1
        _register(database)

        assert registry.resolve_alias(database, "loans", "champion").version == 1
        assert registry.list_aliases(database) == {("loans", 1): ["champion"]}


def test_the_first_version_gets_the_alias_that_was_asked_for(ready: Workspace) -> None:
    with ready.database() as database:
        _register(database, first_alias="challenger")

        assert registry.list_aliases(database) == {("loans", 1): ["challenger"]}


def test_a_version_s_number_is_used_once(ready: Workspace) -> None:
    with ready.database() as database:
        _register(database)
    with pytest.raises(ConstraintViolated):
        ready.sql(
            "INSERT INTO model_versions (name, version, artifact_uri, artifact_sha256, manifest, created_at,"
            " created_by)"
            " SELECT name, version, 'other.joblib', 'b', manifest, created_at, created_by FROM model_versions"
        )


def test_an_alias_moves_and_says_where_it_pointed_before(ready: Workspace) -> None:
    with ready.database() as database:
        for _ in range(3):
            _register(database)

        moves = [
            registry.promote(database, NewPromotion(name="loans", alias=alias, version=version, promoted_by="grace"))
            for alias, version in (("champion", 3), ("champion", 2), ("challenger", 3), ("challenger", 3))
        ]

        assert moves == [1, 3, None, 3]
        assert registry.resolve_alias(database, "loans", "champion").version == 2
        assert registry.list_aliases(database) == {("loans", 2): ["champion"], ("loans", 3): ["challenger"]}
        champions = list_promotions(database, "loans", "champion")
        assert [(one.number, one.previous_version, one.version, one.promoted_by) for one in champions] == [
            (3, 3, 2, "grace"),
            (2, 1, 3, "grace"),
            (1, None, 1, "ada"),
        ]


def test_several_aliases_of_a_version_are_listed_together(ready: Workspace) -> None:
    with ready.database() as database:
        _register(database)
        registry.promote(database, NewPromotion(name="loans", alias="audited", version=1, promoted_by="ada"))

        assert registry.list_aliases(database) == {("loans", 1): ["audited", "champion"]}


def test_an_alias_of_one_model_leaves_those_of_others_alone(ready: Workspace) -> None:
    with ready.database() as database:
        for name in ("loans", "cards", "cards"):
            _register(database, name)
        registry.promote(database, NewPromotion(name="cards", alias="champion", version=2, promoted_by="ada"))

        assert registry.resolve_alias(database, "loans", "champion").version == 1
        assert registry.resolve_alias(database, "cards", "champion").version == 2


def test_aliases_moved_at_once_end_at_one_of_their_targets_and_report_a_chain(ready: Workspace) -> None:
    many = 6
    with ready.database() as database:
        for _ in range(many + 1):
            _register(database)
    start = Barrier(many)

    def move(version: int) -> int | None:
        with ready.database() as database:
            start.wait()
            return registry.promote(
                database, NewPromotion(name="loans", alias="champion", version=version, promoted_by="ada")
            )

    with ThreadPoolExecutor(many) as pool:
        befores = list(pool.map(move, range(2, many + 2)))

    with ready.database() as database:
        last = registry.resolve_alias(database, "loans", "champion").version
    # each move found what another one had left: together they are one line of succession
    assert Counter([*befores, last]) == Counter(range(1, many + 2))


def test_an_alias_that_many_make_at_once_is_made_by_one_and_moved_by_the_others(ready: Workspace) -> None:
    many = 6
    with ready.database() as database:
        for _ in range(many):
            _register(database)
    start = Barrier(many)

    def make(version: int) -> int | None:
        with ready.database() as database:
            start.wait()
            return registry.promote(
                database, NewPromotion(name="loans", alias="challenger", version=version, promoted_by="ada")
            )

    with ThreadPoolExecutor(many) as pool:
        befores = list(pool.map(make, range(1, many + 1)))

    assert befores.count(None) == 1


def test_an_alias_cannot_point_at_a_version_that_is_not_registered(ready: Workspace) -> None:
    with ready.database() as database:
        _register(database)

        with pytest.raises(NoSuchModel):
            registry.promote(database, NewPromotion(name="loans", alias="champion", version=2, promoted_by="ada"))

        assert registry.resolve_alias(database, "loans", "champion").version == 1


@pytest.mark.parametrize("statement", ["DELETE FROM model_versions", "UPDATE model_promotions SET version = 7"])
def test_the_database_keeps_an_alias_from_pointing_nowhere(ready: Workspace, statement: str) -> None:
    with ready.database() as database:
        _register(database)

    with pytest.raises(ConstraintViolated):
        ready.sql(statement)


def test_a_model_that_does_not_exist_is_answered_with_how_to_get_one(ready: Workspace) -> None:
    with ready.database() as database:
        with pytest.raises(NoSuchModel, match=r"model loans has no champion; .*batch-scoring train.*model register"):
            registry.resolve_alias(database, "loans", "champion")
        with pytest.raises(NoSuchModel, match=r"model loans has no version 1 \(registered: none\).*model list"):
            registry.get_version(database, "loans", 1)


def test_an_alias_that_points_nowhere_is_answered_with_the_command_that_sets_it(ready: Workspace) -> None:
    with ready.database() as database:
        for _ in range(2):
            _register(database)

        with pytest.raises(
            NoSuchModel, match=r"has no challenger; .*`batch-scoring model promote loans 2 --alias challenger`"
        ):
            registry.resolve_alias(database, "loans", "challenger")


def test_a_version_that_does_not_exist_is_answered_with_those_that_do(ready: Workspace) -> None:
    with ready.database() as database:
        for _ in range(2):
            _register(database)

        with pytest.raises(NoSuchModel, match=r"no version 7 \(registered: 1, 2\); see `batch-scoring model list`"):
            registry.get_version(database, "loans", 7)


def test_a_name_is_bound_as_a_value_and_never_read_as_sql(ready: Workspace) -> None:
    name = "x'; DROP TABLE model_versions; --"
    with ready.database() as database:
        _register(database, name)

        assert registry.resolve_alias(database, name, "champion").version == 1
        with database.read() as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM model_versions")).scalar_one() == 1
