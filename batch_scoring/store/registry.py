"""The model registry: versions of artifacts, and the aliases that point at them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.errors import ConstraintViolated, NoSuchModel
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import database_now
from batch_scoring.store.schema.tables import model_aliases, model_versions

_ATTEMPTS = 10


_VERSION_COLUMNS = [
    model_versions.c[field.name.removeprefix("stored_")].label(field.name) for field in fields(ModelVersion)
]


def register_version(
    database: Database,
    *,
    name: str,
    artifact_uri: str,
    artifact_sha256: str,
    manifest: Mapping[str, Any],
    created_by: str,
    first_alias: str = "champion",
    is_same: Callable[[Mapping[str, Any]], bool] = lambda _manifest: False,
) -> ModelVersion:
    """Add the next version of a model; the first one gets ``first_alias`` in the same transaction.

    Where a version has the same file and ``is_same`` is true of its manifest, nothing is added and that one returned.
    """
    same_file = (
        sa.select(model_versions.c.version, model_versions.c.manifest)
        .where(model_versions.c.name == name, model_versions.c.artifact_sha256 == artifact_sha256)
        .order_by(model_versions.c.version)
    )
    newest = sa.select(sa.func.coalesce(sa.func.max(model_versions.c.version), 0)).where(model_versions.c.name == name)
    for attempt in range(_ATTEMPTS):
        try:
            with database.write() as connection:
                known = [number for number, kept in connection.execute(same_file) if is_same(kept)]
                if known:
                    version = known[-1]
                    break
                version = connection.execute(newest).scalar_one() + 1
                connection.execute(
                    sa.insert(model_versions).values(
                        name=name,
                        version=version,
                        artifact_uri=artifact_uri,
                        artifact_sha256=artifact_sha256,
                        manifest=dict(manifest),
                        created_at=database_now(),
                        created_by=created_by,
                    )
                )
                if version == 1:
                    _point(connection, name, first_alias, version, created_by)
            break
        except ConstraintViolated:  # somebody registered the same number at the same moment
            if attempt == _ATTEMPTS - 1:
                raise
    return get_version(database, name, version)


def get_version(database: Database, name: str, version: int) -> ModelVersion:
    """A version by number. Raises NoSuchModel."""
    with database.read() as connection:
        row = connection.execute(
            sa.select(*_VERSION_COLUMNS).where(model_versions.c.name == name, model_versions.c.version == version)
        ).one_or_none()
    if row is None:
        known = ", ".join(str(v.version) for v in list_versions(database, name)) or "none"
        raise NoSuchModel(
            f"model {name} has no version {version} (registered: {known}); see `batch-scoring model list`"
        )
    return ModelVersion(**row._asdict())


def resolve_alias(database: Database, name: str, alias: str) -> ModelVersion:
    """The version an alias points at now. Raises NoSuchModel."""
    query = (
        sa.select(*_VERSION_COLUMNS)
        .join(
            model_aliases,
            sa.and_(
                model_aliases.c.name == model_versions.c.name,
                model_aliases.c.version == model_versions.c.version,
            ),
        )
        .where(model_aliases.c.name == name, model_aliases.c.alias == alias)
    )
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        versions = list_versions(database, name)
        if versions:
            what_to_do = (
                f"point it at one with `batch-scoring model promote {name} {versions[-1].version} --alias {alias}`"
            )
        else:
            what_to_do = "train one with `batch-scoring train`, or register one with `batch-scoring model register`"
        raise NoSuchModel(f"model {name} has no {alias}; {what_to_do}")
    return ModelVersion(**row._asdict())


def list_versions(database: Database, name: str | None = None) -> Sequence[ModelVersion]:
    """Every version, by name and number."""
    query = sa.select(*_VERSION_COLUMNS).order_by(model_versions.c.name, model_versions.c.version)
    if name is not None:
        query = query.where(model_versions.c.name == name)
    with database.read() as connection:
        return [ModelVersion(**row._asdict()) for row in connection.execute(query)]


def list_aliases(database: Database) -> Mapping[tuple[str, int], list[str]]:
    """The aliases of every version that has one."""
    aliases: dict[tuple[str, int], list[str]] = {}
    query = sa.select(model_aliases.c.name, model_aliases.c.version, model_aliases.c.alias)
    with database.read() as connection:
        for name, version, alias in connection.execute(query.order_by(model_aliases.c.alias)):
            aliases.setdefault((name, version), []).append(alias)
    return aliases


def point_alias(database: Database, *, name: str, alias: str, version: int, changed_by: str) -> int | None:
    """Move an alias in one transaction; returns the version it pointed at before."""
    get_version(database, name, version)
    for _ in range(_ATTEMPTS):
        try:
            with database.write() as connection:
                return _point(connection, name, alias, version, changed_by)
        except ConstraintViolated:  # somebody made the alias at the same moment
            continue
    raise ConstraintViolated(f"alias {alias} of {name} is being moved by others all the time; try again")


def _point(connection: sa.Connection, name: str, alias: str, version: int, changed_by: str) -> int | None:
    this = sa.and_(model_aliases.c.name == name, model_aliases.c.alias == alias)
    before = connection.execute(sa.select(model_aliases.c.version).where(this).with_for_update()).scalar_one_or_none()
    values = {"version": version, "changed_at": database_now(), "changed_by": changed_by}
    if before is None:
        connection.execute(sa.insert(model_aliases).values(name=name, alias=alias, **values))
    else:
        connection.execute(sa.update(model_aliases).where(this).values(**values))
    return before
