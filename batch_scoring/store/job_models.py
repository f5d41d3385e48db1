"""The version that scores a job: that of its alias, or the one that its URI in MLflow gave last."""

from __future__ import annotations

from batch_scoring.domain.job import Job
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.errors import NoSuchModel
from batch_scoring.store import registry
from batch_scoring.store.engine.database import Database
from batch_scoring.store.mlflow import last_resolution


def version_of_job(database: Database, job: Job) -> ModelVersion:
    """The version as far as it is known here: no tracking server is asked. Raises NoSuchModel, DatabaseFault."""
    uri = job.model.uri
    if uri is None:
        return registry.resolve_alias(database, job.model.name, job.model.alias)
    last = last_resolution(database, job.name, uri)
    if last is None:
        raise NoSuchModel(
            f"no run of job {job.name} has used {uri} yet, so it is not known here; `batch-scoring run {job.name}`"
            " downloads it"
        )
    return registry.get_version(database, last.known.name, last.known.version)


def number_of_job(database: Database, job: Job) -> int | None:
    """The number of that version; None where there is none. Raises DatabaseFault."""
    try:
        return version_of_job(database, job).version
    except NoSuchModel:
        return None
