"""``check``: reports every problem that would make a run fail, without starting one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from batch_scoring.domain.decision import DecisionPolicy, threshold_override
from batch_scoring.domain.job import Job
from batch_scoring.domain.job_files import job_names, load_jobs, read_job
from batch_scoring.domain.manifest import Manifest, listed
from batch_scoring.errors import (
    BatchScoringError,
    ConfigurationError,
    EngineUnavailable,
    ExitCode,
    ModelRefused,
    Problem,
    UnknownJob,
)
from batch_scoring.scoring.preparation import artifact_of, check_model, why_in_python
from batch_scoring.store import registry
from batch_scoring.store.engine.database import Database
from batch_scoring.store.feedback import groups, outcomes
from batch_scoring.store.job_models import version_of_job
from batch_scoring.store.schema import job_tables
from batch_scoring.store.schema.layout import layout_of
from batch_scoring.store.schema.revision import check_schema
from batch_scoring.store.source import index_advice
from batch_scoring.store.source.table import SCORED_ONCE, SourceTable


class Severity(StrEnum):
    """How a finding affects a run."""

    OK = "ok"
    """Checked, and as it should be."""
    WARNING = "warning"
    """Runs succeed; the message says what to consider."""
    ERROR = "error"
    """A run would fail."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One result of a check."""

    subject: str
    severity: Severity
    message: str
    exit_code: ExitCode = ExitCode.DONE

    def as_json(self) -> dict[str, Any]:
        """The finding as ``check --json`` prints it."""
        return {
            "subject": self.subject,
            "error": self.severity is Severity.ERROR,
            "message": self.message,
            "exit_code": self.exit_code,
            "warning": self.severity is Severity.WARNING,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """All findings of a check."""

    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the first error; 0 if there is none."""
        errors = (finding for finding in self.findings if finding.severity is Severity.ERROR)
        return next((finding.exit_code for finding in errors), ExitCode.DONE)


def check(database: Database, jobs_dir: Path, artifacts_dir: Path) -> CheckReport:
    """Check jobs, database, schema, sources, models and artifacts. Errors become findings; nothing is raised."""
    findings: list[Finding] = []
    jobs: list[Job] = []
    try:
        jobs = load_jobs(jobs_dir)
        if not job_names(jobs_dir):
            findings.append(
                _problem(str(jobs_dir), UnknownJob("contains no job files; write one, or set BATCH_SCORING_JOBS_DIR"))
            )
    except ConfigurationError as exc:
        findings += [_problem(_place(problem), exc, problem.message) for problem in exc.problems]
        jobs = list(_valid_jobs(jobs_dir))
    try:
        check_schema(database)
    except BatchScoringError as exc:
        findings.append(_problem("database", exc))
        return CheckReport(findings=tuple(findings))
    findings.append(_ok("database", f"{database.shown}, schema up to date"))
    findings += [_warning("database", message) for message in _privileges(database)]
    for job in jobs:
        findings += _check_job(database, artifacts_dir, job)
    return CheckReport(findings=tuple(findings))


def _privileges(database: Database) -> list[str]:
    """What is wrong with roles and schemas, as far as every user can see it."""
    if not database.dialect.has_roles:
        return []
    from batch_scoring.store.schema import grants

    with database.read() as connection:
        return [
            *(
                f"others than its owner may create objects in schema {schema}, so its operators and functions are not"
                f" used: REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC"
                for schema in grants.open_schemas(connection)
            ),
            *grants.role_problems(connection),
        ]


def _check_job(database: Database, artifacts_dir: Path, job: Job) -> Iterable[Finding]:
    subject = f"job {job.name}"
    source: SourceTable | None = None
    try:
        with database.read() as connection:
            source = SourceTable.inspect(database, connection, job)
        source.check_where(database)
        with database.read() as connection:
            source.check_visible(connection, "they would never be scored")
            source.check_key(connection)
            job_tables.check_tables(connection, job, layout_of(job, source))
            cheaper = index_advice.advice(connection, job, source)
        yield _ok(subject, f"source {source.table} has the required columns and a usable key")
        if job.source.scores_once:
            yield _warning(subject, SCORED_ONCE)
        for message in cheaper:
            yield _warning(subject, message)
        if source.guarantee.doubt:
            yield _warning(subject, f"{source.guarantee.doubt}, so every run counts the keys{_remedy(source)}")
    except BatchScoringError as exc:
        yield _problem(subject, exc)
    yield from _check_model(database, artifacts_dir, job, source)
    if source is not None:
        yield from _check_feedback(database, job, source)


def _check_feedback(database: Database, job: Job, source: SourceTable) -> Iterator[Finding]:
    """Whether outcomes and groups can be read and joined to predictions, once there are tables of these.

    Runs do not need them, so a problem is a warning.
    """
    subject = f"job {job.name}"
    try:
        layout = layout_of(job, source)
        with database.read() as connection:
            if not job_tables.check_tables(connection, job, layout):
                return
    except BatchScoringError:
        return  # a finding of its own
    for what in ("outcomes", "fairness"):
        if getattr(job, what) is None:
            continue
        try:
            if what == "outcomes" and job.outcomes is not None:
                outcomes.check(database, job, job.outcomes, layout)
            elif job.fairness is not None:
                groups.check(database, job, job.fairness, layout)
        except BatchScoringError as exc:
            yield _warning(subject, f"`batch-scoring {what} {job.name}` would fail: {_message(subject, exc)}")
        else:
            yield _ok(subject, f"what [{what}] names can be joined to predictions")


def _check_model(database: Database, artifacts_dir: Path, job: Job, source: SourceTable | None) -> Iterator[Finding]:
    try:
        if job.model.uri is not None:
            from batch_scoring.mlflow.resolution import look_up

            found, known = look_up(database, job)
            if known is None:
                yield _ok(f"job {job.name}", f"the model is {found.uri} in MLflow, which the next run downloads")
                return
            version = registry.get_version(database, known.name, known.version)
        else:
            version = version_of_job(database, job)
        if source is not None:
            check_model(job, source, version)
        else:
            DecisionPolicy.of(job, version.manifest)
        from batch_scoring.model.artifact import read_verified

        read_verified(artifact_of(artifacts_dir, version))
        named = job.model.uri or job.model.alias
        yield _ok(f"model {version.name}", f"{named} is version {version.version}, its artifact is intact")
        if source is not None:
            yield _engine(job, source, version.manifest)
            yield from _challengers(database, artifacts_dir, job, source)
        for text in (*version.manifest.notes, *_overrides(job, version.manifest)):
            yield _warning(f"model {version.name}", text)
    except BatchScoringError as exc:
        yield _problem(f"model {job.model.name}", exc)


def _engine(job: Job, source: SourceTable, manifest: Manifest) -> Finding:
    subject, chosen = f"job {job.name}", job.run.engine
    if chosen == "python":
        return _ok(subject, "rows are scored in Python, as [run] engine says")
    reason = why_in_python(job, source, manifest)
    if reason is None:
        return _ok(subject, "rows are scored in the database; those that it cannot score in Python")
    if chosen == "database":
        raise EngineUnavailable(f'[run] engine = "database": {reason}; set it to "auto", or "python"')
    return _ok(subject, f"rows are scored in Python: {reason}")


def _challengers(database: Database, artifacts_dir: Path, job: Job, source: SourceTable) -> Iterator[Finding]:
    """Challengers, as warnings where they cannot score: runs go on without them."""
    from batch_scoring.model.artifact import read_verified

    for alias in job.model.challengers:
        subject = f"challenger {alias}"
        try:
            version = registry.resolve_alias(database, job.model.name, alias)
            check_model(job, source, version)
            read_verified(artifact_of(artifacts_dir, version))
        except ModelRefused as exc:
            yield _warning(subject, f"it does not score job {job.name}: {exc}")
        else:
            yield _ok(subject, f"version {version.version} scores the rows of job {job.name} for comparison")


def _overrides(job: Job, manifest: Manifest) -> Iterable[str]:
    if override := threshold_override(job, manifest):
        yield override
    if job.model.unseen_categories == "quarantine" and (columns := manifest.signature.columns_without_categories):
        yield (
            f'unseen_categories = "quarantine" has no effect on {listed(columns)}: the sample had too many'
            " distinct values to list"
        )


def _remedy(source: SourceTable) -> str:
    if not source.guarantee.can_be_enforced:
        return ""
    return "; a primary key, or a unique index with NOT NULL, makes runs faster"


def _valid_jobs(jobs_dir: Path) -> Iterable[Job]:
    for name in job_names(jobs_dir):
        try:
            yield read_job(jobs_dir / f"{name}.toml")
        except ConfigurationError:
            continue


def _problem(subject: str, exc: BatchScoringError, message: str | None = None) -> Finding:
    text = message or _message(subject, exc)
    return Finding(subject=subject, severity=Severity.ERROR, message=text, exit_code=exc.exit_code)


def _message(subject: str, exc: BatchScoringError) -> str:
    return str(exc).replace(f"{subject}: ", "")  # the subject is printed before the message


def _ok(subject: str, message: str) -> Finding:
    return Finding(subject=subject, severity=Severity.OK, message=message)


def _warning(subject: str, message: str) -> Finding:
    return Finding(subject=subject, severity=Severity.WARNING, message=message)


def _place(problem: Problem) -> str:
    return f"{problem.where}: {problem.key}" if problem.key else problem.where
