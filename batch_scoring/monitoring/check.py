"""``check``: everything that would keep a run from succeeding, found at once and without starting one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from batch_scoring.domain.decision import DecisionPolicy, threshold_override
from batch_scoring.domain.job import Job
from batch_scoring.domain.job_files import job_names, load_jobs, read_job
from batch_scoring.domain.manifest import Manifest, listed
from batch_scoring.errors import BatchScoringError, ConfigurationError, ExitCode, Problem, SourceFault, UnknownJob
from batch_scoring.scoring.preparation import artifact_of, check_model
from batch_scoring.store import registry
from batch_scoring.store.engine.database import Database
from batch_scoring.store.schema import job_tables
from batch_scoring.store.schema.layout import layout_of
from batch_scoring.store.schema.revision import check_schema
from batch_scoring.store.source import index_advice
from batch_scoring.store.source.table import SCORED_ONCE, SourceTable


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One result of a check."""

    subject: str
    error: bool
    message: str
    exit_code: ExitCode = ExitCode.DONE


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """All findings; the exit code is that of the first error."""

    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> ExitCode:
        return next((finding.exit_code for finding in self.findings if finding.error), ExitCode.DONE)


def check(database: Database, jobs_dir: Path, artifacts_dir: Path) -> CheckReport:
    """Check jobs, database, schema, sources, models and artifacts."""
    findings: list[Finding] = []
    jobs: list[Job] = []
    try:
        jobs = load_jobs(jobs_dir)
        if not job_names(jobs_dir):
            findings.append(
                _problem(str(jobs_dir), UnknownJob("holds no job files; write one, or set BATCH_SCORING_JOBS_DIR"))
            )
    except ConfigurationError as exc:
        findings += [_problem(_place(problem), exc, problem.message) for problem in exc.problems]
        jobs = list(_sound_jobs(jobs_dir))
    try:
        check_schema(database)
    except BatchScoringError as exc:
        findings.append(_problem("database", exc))
        return CheckReport(findings=tuple(findings))
    findings.append(Finding(subject="database", error=False, message=f"{database.shown}, schema up to date"))
    for job in jobs:
        findings += _check_job(database, artifacts_dir, job)
    return CheckReport(findings=tuple(findings))


def _check_job(database: Database, artifacts_dir: Path, job: Job) -> Iterable[Finding]:
    subject = f"job {job.name}"
    source: SourceTable | None = None
    try:
        with database.read() as connection:
            source = SourceTable.inspect(database, connection, job)
        source.check_where(database)
        with database.read() as connection:
            if database.dialect.hides_rows(connection, source.table):
                raise SourceFault(
                    f"row-level security is active on {source.table} and may hide rows from this user: they would never"
                    " be scored. Give the role BYPASSRLS, or a policy of its own with USING (true)"
                )
            source.check_key(connection)
            job_tables.check_tables(connection, job, layout_of(job, source))
            cheaper = index_advice.advice(connection, job, source)
        yield Finding(subject=subject, error=False, message=f"source {source.table} has its columns and a usable key")
        if source.changed_at is None:
            yield Finding(subject=subject, error=False, message=SCORED_ONCE)
        for message in cheaper:
            yield Finding(subject=subject, error=False, message=message)
        if source.guarantee.doubt:
            message = f"{source.guarantee.doubt}, so every run counts the keys{_remedy(source)}"
            yield Finding(subject=subject, error=False, message=message)
    except BatchScoringError as exc:
        yield _problem(subject, exc)
    try:
        version = registry.resolve_alias(database, job.model.name, job.model.alias)
        manifest = version.manifest
        if source is not None:
            check_model(job, source, version)
        else:
            DecisionPolicy.of(job, manifest)
        from batch_scoring.model.artifact import read_verified

        read_verified(artifact_of(artifacts_dir, version))
        message = f"{job.model.alias} is version {version.version}, its artifact is intact"
        for text in (message, *manifest.notes, *_overruled(job, manifest)):
            yield Finding(subject=f"model {version.name}", error=False, message=text)
    except BatchScoringError as exc:
        yield _problem(f"model {job.model.name}", exc)


def _overruled(job: Job, manifest: Manifest) -> Iterable[str]:
    if overruled := threshold_override(job, manifest):
        yield overruled
    if job.model.unseen_categories == "quarantine" and (columns := manifest.signature.columns_without_categories):
        yield (
            f'unseen_categories = "quarantine" has no effect on {listed(columns)}: the sample had too many texts there'
            " to list them"
        )


def _remedy(source: SourceTable) -> str:
    if not source.guarantee.can_be_enforced:
        return ""
    return "; a primary key, or a unique index with NOT NULL, makes runs faster"


def _sound_jobs(jobs_dir: Path) -> Iterable[Job]:
    for name in job_names(jobs_dir):
        try:
            yield read_job(jobs_dir / f"{name}.toml")
        except ConfigurationError:
            continue


def _problem(subject: str, exc: BatchScoringError, message: str | None = None) -> Finding:
    text = (message or str(exc)).replace(f"{subject}: ", "")  # the subject is shown before the message
    return Finding(subject=subject, error=True, message=text, exit_code=exc.exit_code)


def _place(problem: Problem) -> str:
    return f"{problem.where}: {problem.key}" if problem.key else problem.where
