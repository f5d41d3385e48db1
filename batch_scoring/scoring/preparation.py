"""What must hold before a run's first write: a model, a source that fits it, tables to write to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_scoring.domain.column_types import ColumnType, Family, InputColumn
from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.job import Job
from batch_scoring.domain.manifest import Manifest
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.errors import ModelRefused, SignatureMismatch
from batch_scoring.scoring.plan import ModelPlan
from batch_scoring.store import registry
from batch_scoring.store.engine.database import Database
from batch_scoring.store.schema import job_tables
from batch_scoring.store.source.table import SourceTable

if TYPE_CHECKING:
    from batch_scoring.model.artifact import ArtifactReference
    from batch_scoring.model.scorer import Scorer


def artifact_of(artifacts_dir: Path, version: ModelVersion) -> ArtifactReference:
    """Where the version's artifact is."""
    from batch_scoring.model.artifact import ArtifactReference

    return ArtifactReference(path=artifacts_dir / version.artifact_uri, sha256=version.artifact_sha256)


def check_artifact(plan: ModelPlan) -> None:
    """Raise ModelRefused where the model's file is gone or, as far as can be seen in milliseconds, another one."""
    from batch_scoring.model.artifact import check_in_place

    check_in_place(plan.artifact, plan.manifest.artifact_bytes)


def check_model(job: Job, source: SourceTable, version: ModelVersion) -> DecisionPolicy:
    """Check that a model version fits a job and its source; returns how its outputs are read.

    Raises UnusableModel, ModelRefused where model and job are of different kinds, SignatureMismatch.
    """
    manifest = version.manifest
    policy = DecisionPolicy.of(job, manifest)
    check_signature(manifest, source, version)
    return policy


def model_plan(
    artifacts_dir: Path,
    version: ModelVersion,
    policy: DecisionPolicy,
    *,
    allow_version_mismatch: bool = False,
    returns_inputs: bool = False,
) -> ModelPlan:
    """The model of a run, or of an operation that scores rows."""
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
    """Raise SignatureMismatch naming every column the source lacks or holds in another form."""
    families = {name: column.family for name, column in source.columns.items()}
    types = {name: column.ddl for name, column in source.columns.items() if column.family is Family.OTHER}

    def cast(name: str, kind: ColumnType) -> str:
        return source.columns[name].cast_to(kind.value)

    found = manifest.signature.mismatches(families, types, cast)
    if found:
        raise SignatureMismatch(
            f"{source.table} does not give what {version.name} version {version.version} takes: {'; '.join(found)}."
            " Fix the source (a view may rename and cast), or promote a model trained on these columns"
        )


def stored_inputs(job: Job, manifest: Manifest) -> tuple[InputColumn, ...]:
    """The model's inputs as a job stores them; none where it does not."""
    return inputs_of(manifest) if job.predictions.keep_inputs else ()


def inputs_of(manifest: Manifest) -> tuple[InputColumn, ...]:
    """What a model takes, as it is stored."""
    return tuple(InputColumn(name=column.name, type=column.type) for column in manifest.signature.columns)


def ensure_inputs_tables(database: Database, jobs: Sequence[Job]) -> list[str]:
    """Make the tables of kept inputs for jobs that have tables and a model already; returns those that changed.

    The others' are made by their first runs. Raises ConfigurationError.
    """
    made = []
    for job in jobs:
        with database.read() as connection:
            layout = job_tables.registered_layout(connection, job)
        if layout is None or not job.predictions.keep_inputs:
            continue
        try:
            manifest = registry.resolve_alias(database, job.model.name, job.model.alias).manifest
        except ModelRefused:
            continue
        if job_tables.ensure_inputs(database, layout, stored_inputs(job, manifest)):
            made.append(str(layout.inputs))
    return made


def load_scorer(plan: ModelPlan, *, threads: int | None = None) -> tuple[Scorer, str | None]:
    """Load the artifact and prove it: hash, library version, golden rows, in this order.

    ``threads`` bounds BLAS and OpenMP. Returns the scorer and what differs in the library's version, where that was
    allowed. Raises ModelRefused.
    """
    from batch_scoring.model.scorer import Scorer

    model, differs = load_model(
        plan.artifact, plan.manifest, allow_version_mismatch=plan.allow_version_mismatch, threads=threads
    )
    return Scorer(model, plan.manifest, plan.policy, returns_inputs=plan.returns_inputs), differs


def load_model(
    artifact: ArtifactReference, manifest: Manifest, *, allow_version_mismatch: bool, threads: int | None = None
) -> tuple[Any, str | None]:
    """Load an artifact whose bytes are the registered ones and whose golden rows come out as registered."""
    from batch_scoring.model.artifact import read_verified, unpickle
    from batch_scoring.model.scorer import (
        bound_parallelism,
        check_golden_rows,
        check_library_version,
        let_idle_threads_sleep,
    )

    let_idle_threads_sleep()
    content = read_verified(artifact)
    differs = check_library_version(manifest, allow_mismatch=allow_version_mismatch)
    model = unpickle(content, manifest.format)
    bound_parallelism(model, threads)
    check_golden_rows(model, manifest)
    return model, differs


def environment(overrides: Mapping[str, str]) -> dict[str, Any]:
    """Versions of what scores, and what somebody chose to overlook."""
    from batch_scoring.model.describe import library_versions

    return {**library_versions(), **({"overrides": dict(overrides)} if overrides else {})}
