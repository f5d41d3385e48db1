"""The model registry: versions of artifacts, and the promotions by which aliases point to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.errors import ConstraintViolated, NoSuchModel
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import database_now
from batch_scoring.store.lifecycle import NewPromotion, add_promotion, latest_promotions, signatures_of
from batch_scoring.store.schema.tables import model_promotions, model_versions

_ATTEMPTS = 10


_VERSION_COLUMNS = [
    model_versions.c[field.name.removeprefix("stored_")].label(field.name)
    for field in fields(ModelVersion)
    if field.name != "signatures"
]


def register_version(
    database: Database,
    *,
    name: str,
    artifact_uri: str,
    artifact_sha256: str,
    manifest: Mapping[str, Any],
    created_by: str,
    first_alias: str | None = "champion",
    is_same: Callable[[Mapping[str, Any]], bool] = lambda _manifest: False,
) -> ModelVersion:
    """Add the next version of a model; the first one gets ``first_alias``, if any, in the same transaction.

    If a version has the same file and ``is_same`` is true for its manifest, nothing is added and that version is
    returned. Raises DatabaseFault.
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
                known = [number for number, stored in connection.execute(same_file) if is_same(stored)]
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
                if version == 1 and first_alias is not None:
                    add_promotion(
                        connection,
                        NewPromotion(
                            name=name,
                            alias=first_alias,
                            version=version,
                            promoted_by=created_by,
                            reason="first version",
                        ),
                    )
            break
        except ConstraintViolated:  # a concurrent registration took the same number
            if attempt == _ATTEMPTS - 1:
                raise
    return get_version(database, name, version)


def get_version(database: Database, name: str, version: int) -> ModelVersion:
    """A version by number. Raises NoSuchModel, DatabaseFault."""
    with database.read() as connection:
        row = connection.execute(
            sa.select(*_VERSION_COLUMNS).where(model_versions.c.name == name, model_versions.c.version == version)
        ).one_or_none()
        signatures = signatures_of(connection, name, version)
    if row is None:
        known = ", ".join(str(v.version) for v in list_versions(database, name)) or "none"
        raise NoSuchModel(
            f"model {name} has no version {version} (registered: {known}); see `batch-scoring model list`",
            model=name,
            version=version,
        )
    return ModelVersion(**row._asdict(), signatures=signatures)


def resolve_alias(database: Database, name: str, alias: str) -> ModelVersion:
    """The version to which an alias points. Raises NoSuchModel, DatabaseFault."""
    pointed = latest_promotions().subquery()
    query = (
        sa.select(*_VERSION_COLUMNS)
        .join(
            pointed,
            sa.and_(pointed.c.name == model_versions.c.name, pointed.c.version == model_versions.c.version),
        )
        .where(pointed.c.name == name, pointed.c.alias == alias)
    )
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
        signatures = () if row is None else signatures_of(connection, name, row.version)
    if row is None:
        versions = list_versions(database, name)
        if versions:
            what_to_do = (
                f"point it at one with `batch-scoring model promote {name} {versions[-1].version} --alias {alias}`"
            )
        else:
            what_to_do = "train one with `batch-scoring train`, or register one with `batch-scoring model register`"
        raise NoSuchModel(f"model {name} has no {alias}; {what_to_do}", model=name, alias=alias)
    return ModelVersion(**row._asdict(), signatures=signatures)


def version_of_alias(database: Database, name: str, alias: str) -> int | None:
    """The number of the version to which an alias points; None where it points to none. Raises DatabaseFault."""
    try:
        return resolve_alias(database, name, alias).version
    except NoSuchModel:
        return None


def first_with_reference(database: Database, name: str) -> ModelVersion | None:
    """The first version of a model that has a reference; None where none has. Raises DatabaseFault."""
    return next((one for one in list_versions(database, name) if one.manifest.reference is not None), None)


def list_versions(database: Database, name: str | None = None) -> Sequence[ModelVersion]:
    """All versions, ordered by name and number. Raises DatabaseFault."""
    query = sa.select(*_VERSION_COLUMNS).order_by(model_versions.c.name, model_versions.c.version)
    if name is not None:
        query = query.where(model_versions.c.name == name)
    with database.read() as connection:
        return [ModelVersion(**row._asdict()) for row in connection.execute(query)]


def list_aliases(database: Database) -> Mapping[tuple[str, int], list[str]]:
    """The aliases by model name and version. Raises DatabaseFault."""
    aliases: dict[tuple[str, int], list[str]] = {}
    with database.read() as connection:
        for row in connection.execute(latest_promotions().order_by(model_promotions.c.alias)):
            aliases.setdefault((row.name, row.version), []).append(row.alias)
    return aliases


def promote(database: Database, new: NewPromotion) -> int | None:
    """Point an alias to a version; return the version to which it pointed before.

    Promotions are never deleted. Concurrent promotions of an alias are serialized: each records the version that the
    one before it set. Raises NoSuchModel, PromotionRefused, DatabaseFault, and ConstraintViolated after ten concurrent
    promotions.
    """
    get_version(database, new.name, new.version)
    for _ in range(_ATTEMPTS):
        try:
            with database.write() as connection:
                return add_promotion(connection, new)
        except ConstraintViolated:  # another promotion of the alias got the number
            continue
    raise ConstraintViolated(f"alias {new.alias} of {new.name} is being promoted concurrently; try again")
