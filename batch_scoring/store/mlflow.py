"""Records of models in MLflow: which version there is which version here, and what a job's URI pointed to in a run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Literal

import sqlalchemy as sa

from batch_scoring.errors import ConstraintViolated
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import database_now
from batch_scoring.store.schema.tables import mlflow_resolutions, mlflow_versions, scoring_runs

TrustedBy = Literal["training", "tag", "first use"]


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownVersion:
    """A version in MLflow whose file is known here."""

    tracking_uri: str
    uri: str
    """The URI of the version, without an alias."""
    name: str
    version: int
    """Its number in the registry of this package."""
    mlflow_run_id: str | None
    mlflow_model_id: str | None
    file: str
    file_bytes: int
    trusted_by: TrustedBy


_KNOWN = [mlflow_versions.c[field.name] for field in fields(KnownVersion)]


def known_version(database: Database, tracking_uri: str, uri: str) -> KnownVersion | None:
    """A version in MLflow by its URI; None where it is not known. Raises DatabaseFault."""
    c = mlflow_versions.c
    with database.read() as connection:
        row = connection.execute(sa.select(*_KNOWN).where(c.tracking_uri == tracking_uri, c.uri == uri)).one_or_none()
    return None if row is None else KnownVersion(**row._asdict())


def known_by_version(database: Database, name: str, version: int) -> list[KnownVersion]:
    """The versions in MLflow that are a version here. Raises DatabaseFault."""
    c = mlflow_versions.c
    query = sa.select(*_KNOWN).where(c.name == name, c.version == version).order_by(c.tracking_uri, c.uri)
    with database.read() as connection:
        return [KnownVersion(**row._asdict()) for row in connection.execute(query)]


def record_version(database: Database, known: KnownVersion) -> KnownVersion:
    """Record a version; returns the record of another process that recorded it meanwhile. Raises DatabaseFault."""
    values = {field.name: getattr(known, field.name) for field in fields(KnownVersion)}
    try:
        with database.write() as connection:
            connection.execute(sa.insert(mlflow_versions).values(**values, created_at=database_now()))
    except ConstraintViolated:
        found = known_version(database, known.tracking_uri, known.uri)
        if found is None:
            raise
        return found
    return known


def record_resolution(
    database: Database, run_id: int, *, tracking_uri: str, uri: str, version_uri: str, is_cached: bool
) -> None:
    """Record what the URI of a run's job pointed to. Raises DatabaseFault."""
    with database.write() as connection:
        connection.execute(
            sa.insert(mlflow_resolutions).values(
                run_id=run_id,
                tracking_uri=tracking_uri,
                uri=uri,
                version_uri=version_uri,
                is_cached=is_cached,
                resolved_at=database_now(),
            )
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LastResolution:
    """What the URI of a job pointed to when the server was last reached."""

    known: KnownVersion
    age: timedelta
    """How long ago that was, by the database's clock."""


def last_resolution(
    database: Database, job: str, uri: str, *, tracking_uri: str | None = None
) -> LastResolution | None:
    """What the URI pointed to at the last run of the job that reached the server; None where none did.

    ``tracking_uri`` None stands for any server. Raises DatabaseFault.
    """
    c, versions, runs = mlflow_resolutions.c, mlflow_versions.c, scoring_runs.c
    query = (
        sa.select(*_KNOWN, c.resolved_at)
        .select_from(mlflow_resolutions)
        .join(mlflow_versions, sa.and_(versions.tracking_uri == c.tracking_uri, versions.uri == c.version_uri))
        .join(scoring_runs, runs.run_id == c.run_id)
        .where(runs.job == job, c.uri == uri, c.is_cached.is_(False))
        .order_by(c.run_id.desc())
        .limit(1)
    )
    if tracking_uri is not None:
        query = query.where(c.tracking_uri == tracking_uri)
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
        time = now(connection)
    if row is None:
        return None
    values = row._asdict()
    return LastResolution(age=time - values.pop("resolved_at"), known=KnownVersion(**values))
