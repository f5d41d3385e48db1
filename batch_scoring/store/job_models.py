"""The version that scores a job: that of its alias, or the one that its URI in MLflow gave last."""

from __future__ import annotations

from batch_scoring.domain.job import Job
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.errors import NoSuchModel
from batch_scoring.store import registry
from batch_scoring.store.engine.database import Database
from batch_scoring.store.mlflow import last_version


def version_of_job(database: Database, job: Job) -> ModelVersion:
    """The version as far as it is known here: no tracking server is asked. Raises NoSuchModel, DatabaseFault."""
    if job.model.uri is not None:
        return last_version(database, job.name, job.model.uri)
    return registry.resolve_alias(database, job.model.name, job.model.alias)


def number_of_job(database: Database, job: Job) -> int | None:
    """The number of that version; None where there is none. Raises DatabaseFault."""
    try:
        return version_of_job(database, job).version
    except NoSuchModel:
        return None
