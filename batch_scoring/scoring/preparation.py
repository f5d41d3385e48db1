"""Preconditions of a run's first write: a verified model, a source that fits it, and tables to write to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_scoring.domain.column_types import ColumnType, Family, InputColumn
from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.job import Job
from batch_scoring.domain.manifest import Manifest, listed
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.domain.names import MODEL_NAME
from batch_scoring.errors import ArtifactChanged, ModelRefused, SignatureMismatch
from batch_scoring.scoring.plan import ModelPlan
from batch_scoring.settings import key_text
from batch_scoring.store.engine.database import Database
from batch_scoring.store.job_models import version_of_job
from batch_scoring.store.schema import job_tables
from batch_scoring.store.source.table import SourceTable

if TYPE_CHECKING:
    from batch_scoring.model.artifact import ArtifactReference
    from batch_scoring.model.scorer import Scorer


def artifact_of(artifacts_dir: Path, version: ModelVersion) -> ArtifactReference:
    """The path and SHA-256 of a version's artifact, which its name and its manifest determine.

    Where trusted keys are set, the manifest must be signed by one of them. Raises ManifestNotSigned, and
    ArtifactChanged where the registry names another file or hash.
    """
    from batch_scoring.model.artifact import ArtifactReference, artifact_uri

    if (keys := key_text("TRUSTED_KEYS")) is not None:
        from batch_scoring.model.signing import check_signed

        check_signed(version, keys)

    manifest, what = version.manifest, f"the registry's row of {version.name} version {version.version}"
    if version.artifact_sha256 != manifest.artifact_sha256:
        raise ArtifactChanged(f"{what} has another SHA-256 than its manifest, so one of them was altered; {_AGAIN}")
    uri = artifact_uri(version.name, manifest)
    if version.artifact_uri != uri or not re.match(MODEL_NAME, version.name):
        raise ArtifactChanged(f"{what} names a file that a registration does not create; {_AGAIN}")
    return ArtifactReference(path=artifacts_dir / uri, sha256=version.artifact_sha256, folder=artifacts_dir)


_AGAIN = "find out who wrote to the registry, then register the model again"


def check_artifact(plan: ModelPlan) -> None:
    """Raise ArtifactMissing or ArtifactChanged if the model's file is missing or has another size. Reads no content."""
    from batch_scoring.model.artifact import check_in_place

    check_in_place(plan.artifact, plan.manifest.artifact_bytes)


def check_model(job: Job, source: SourceTable, version: ModelVersion) -> DecisionPolicy:
    """Check that a model version fits a job and its source; returns the policy by which its outputs become labels.

    Raises UnusableModel, SignatureMismatch, and ModelRefused if model and job are of different kinds.
    """
    manifest = version.manifest
    policy = DecisionPolicy.of(job, manifest)
    check_limits(job, version)
    check_signature(manifest, source, version)
    return policy


def check_limits(job: Job, version: ModelVersion) -> None:
    """Raise ModelRefused where the job sets limits for columns that are no features of a version."""
    names = version.manifest.signature.names
    unknown = [name for name in job.monitoring.features if name not in names]
    if unknown:
        raise ModelRefused(
            f"job {job.name} sets limits for {listed(unknown)}, and {version.name} version {version.version} has no"
            f" such feature ({listed(names)}); fix [monitoring.features]"
        )


def model_plan(
    artifacts_dir: Path,
    version: ModelVersion,
    policy: DecisionPolicy,
    *,
    allow_version_mismatch: bool = False,
    returns_inputs: bool = False,
) -> ModelPlan:
    """The model plan of a run, or of an operation that scores rows. Raises UnusableModel."""
    return ModelPlan(
        name=version.name,
        version=version.version,
        artifact=artifact_of(artifacts_dir, version),
        manifest=version.manifest,
        policy=policy,
        allow_version_mismatch=allow_version_mismatch,
        returns_inputs=returns_inputs,
    )


def check_signature(manifest: Manifest, source: SourceTable, version: ModelVersion) -> None:
    """Raise SignatureMismatch with every column that the source lacks or has with an incompatible type."""
    families = {name: column.family for name, column in source.columns.items()}
    types = {name: column.ddl for name, column in source.columns.items() if column.family is Family.OTHER}

    def cast(name: str, kind: ColumnType) -> str:
        return source.columns[name].cast_to(kind.value)

    found = manifest.signature.mismatches(families, types, cast)
    if found:
        raise SignatureMismatch(
            f"{source.table} does not match the signature of {version.name} version {version.version}:"
            f" {'; '.join(found)}."
            " Fix the source (a view may rename and cast), or promote a model trained on these columns"
        )


def stored_inputs(job: Job, manifest: Manifest) -> tuple[InputColumn, ...]:
    """The input columns that a job stores; empty if it stores none."""
    return inputs_of(manifest) if job.predictions.keep_inputs else ()


def why_in_python(job: Job, source: SourceTable, manifest: Manifest) -> str | None:
    """Why the database cannot score the rows of a job, as far as it is known before the model is loaded."""
    from batch_scoring.domain import expressions
    from batch_scoring.store.engine.expressions import NotComputable
    from batch_scoring.store.engine.programs import check_inputs

    if manifest.only_in_python:
        return manifest.only_in_python
    if source.dialect.expressions is None:
        return f"{source.dialect.product} has no engine for models"
    if job.predictions.keep_inputs and not source.dialect.expressions.stores_inputs:
        return f"[predictions] keep_inputs stores checksums, which {source.dialect.product} does not compute"
    try:
        check_inputs(expressions.inputs_of(manifest.signature), source.columns, source.dialect.expressions)
    except NotComputable as exc:
        return str(exc)
    return None


def inputs_of(manifest: Manifest) -> tuple[InputColumn, ...]:
    """The input columns of a model, as they are stored."""
    return tuple(InputColumn(name=column.name, type=column.type) for column in manifest.signature.columns)


def ensure_inputs_tables(database: Database, jobs: Sequence[Job]) -> list[str]:
    """Create or extend the tables of stored inputs, for jobs that have tables and a model; returns those that changed.

    Those of other jobs are created by their first runs. Raises ConfigurationError, DatabaseFault.
    """
    changed = []
    for job in jobs:
        with database.read() as connection:
            layout = job_tables.registered_layout(connection, job)
        if layout is None or not job.predictions.keep_inputs:
            continue
        try:
            manifest = version_of_job(database, job).manifest
        except ModelRefused:
            continue
        if job_tables.ensure_inputs(database, layout, stored_inputs(job, manifest)):
            changed.append(str(layout.inputs))
    return changed


def load_scorer(plan: ModelPlan, *, threads: int | None = None) -> tuple[Scorer, str | None]:
    """Load an artifact and verify it: hash, library version, golden rows, in this order.

    ``threads`` limits BLAS and OpenMP. Returns the scorer, and the library version mismatch if one was allowed, else
    None. Raises ModelRefused.
    """
    from batch_scoring.model.scorer import Scorer

    model, differs = load_model(
        plan.artifact, plan.manifest, allow_version_mismatch=plan.allow_version_mismatch, threads=threads
    )
    return Scorer(model, plan.manifest, plan.policy, returns_inputs=plan.returns_inputs), differs


def load_model(
    artifact: ArtifactReference, manifest: Manifest, *, allow_version_mismatch: bool, threads: int | None = None
) -> tuple[Any, str | None]:
    """Load an artifact whose SHA-256 is the registered one and that reproduces the golden rows.

    Returns the model, and the library version mismatch if one was allowed, else None. Raises ArtifactMissing,
    ArtifactChanged, VersionMismatch, UnusableModel, GoldenRowsDiffer.
    """
    from batch_scoring.model.artifact import read_verified, unpickle
    from batch_scoring.model.scorer import (
        bound_parallelism,
        check_form,
        check_golden_rows,
        check_library_version,
        let_idle_threads_sleep,
    )

    let_idle_threads_sleep()
    content = read_verified(artifact)
    differs = check_library_version(manifest, allow_mismatch=allow_version_mismatch)
    model = unpickle(content, manifest.format)
    bound_parallelism(model, threads)
    check_form(model, manifest)
    check_golden_rows(model, manifest)
    return model, differs


def environment(overrides: Mapping[str, str]) -> dict[str, Any]:
    """The library versions to record with a run, and the overrides by name, such as an allowed version mismatch."""
    from batch_scoring.model.describe import library_versions

    return {**library_versions(), **({"overrides": dict(overrides)} if overrides else {})}
