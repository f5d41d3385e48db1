"""A model as SQL: the query by which the database engine computes its scores, for people to read and check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.expressions import inputs_of
from batch_scoring.domain.job import Job
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.errors import EngineUnavailable, InputFault
from batch_scoring.model.scorer import Scorer
from batch_scoring.scoring import preparation
from batch_scoring.scoring.engines.database import NotInDatabase, compiled
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.dialects.dialect import Dialect
from batch_scoring.store.engine.programs import CompiledProgram, plain_columns
from batch_scoring.store.source.table import SourceTable


def job_of(jobs: Sequence[Job], model: str) -> Job:
    """The only job that uses a model. Raises InputFault where there is none, or more than one."""
    found = [job for job in jobs if job.model.name == model]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputFault(f"no job uses model {model}, so that its labels and its table are not known; write one")
    names = ", ".join(job.name for job in found)
    raise InputFault(f"jobs {names} use model {model}; name one of them with --job")


def model_sql(
    database: Database,
    job: Job,
    artifacts_dir: Path,
    version: ModelVersion,
    *,
    dialect: Dialect | None = None,
    view: str | None = None,
    allow_version_mismatch: bool = False,
) -> str:
    """The query that scores the rows of a job by a model version, with a comment on its origin.

    For another dialect than that of the database, columns are taken as numbers of double precision and texts. With
    ``view``, a statement that creates a view of this name. Raises EngineUnavailable, ModelRefused, SourceFault,
    DatabaseFault.
    """
    policy = DecisionPolicy.of(job, version.manifest)
    plan = preparation.model_plan(artifacts_dir, version, policy, allow_version_mismatch=allow_version_mismatch)
    scorer, _ = preparation.load_scorer(plan)
    target = dialect or database.dialect
    try:
        if target.name == database.dialect.name:
            with database.read() as connection:
                source = SourceTable.inspect(database, connection, job)
            preparation.check_signature(version.manifest, source, version)
            program = compiled(scorer, source.columns, target)
        else:
            program = compiled(scorer, plain_columns(inputs_of(version.manifest.signature)), target)
    except NotInDatabase as exc:
        raise EngineUnavailable(f"{version.name} version {version.version} is scored in Python only: {exc}") from None
    return _text(program, job, version, scorer, view)


def _text(program: CompiledProgram, job: Job, version: ModelVersion, scorer: Scorer, view: str | None) -> str:
    dialect, policy, manifest = program.dialect, scorer.policy, version.manifest
    decision = f"; {policy.decided_label} at {policy.threshold:g} or more" if policy.threshold is not None else ""
    comments = [
        f"{version.name} version {version.version}: {manifest.algorithm}, scikit-learn {manifest.scikit_learn_version}",
        f"artifact SHA-256 {version.artifact_sha256}",
        f"score: {manifest.score_description}{decision}",
        "Rows that are not in the result are scored in Python: values that the model refuses or was not trained on,",
        "numbers beyond 1e15, and scores whose last bits decide the label.",
    ]
    table = dialect.quoted(*job.source.table_name)
    keys = [dialect.quoted(name) for name in job.source.key]
    query = program.text(table, keys, job.source.where)
    head = f"CREATE VIEW {dialect.quoted(view)} AS\n" if view else ""
    return "\n".join([*(f"-- {comment}" for comment in comments), f"{head}{query};"])
