"""Planning a rescore: which rows are scored again, with which model version, and whether that is possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from batch_scoring.domain.job import Job
from batch_scoring.domain.keys import TextKey, key_text
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.domain.names import MAX_MODEL_VERSION
from batch_scoring.errors import InputFault
from batch_scoring.scoring import preparation
from batch_scoring.scoring.plan import Rescore
from batch_scoring.scoring.runner import RunOptions
from batch_scoring.store import registry
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.due.scan import RescoreScan
from batch_scoring.store.engine.database import Database
from batch_scoring.store.job_models import version_of_job
from batch_scoring.store.runs import records
from batch_scoring.store.runs.requests import get_request
from batch_scoring.store.schema import job_tables
from batch_scoring.store.schema.layout import layout_of
from batch_scoring.store.schema.revision import check_schema
from batch_scoring.store.source.selection import Request, Selection
from batch_scoring.store.source.table import SourceTable

_SHOWN_KEYS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A rescore that was checked and can be executed."""

    rescore: Rescore
    version: ModelVersion
    source: SourceTable
    selection: Selection
    """The selection, with keys in the types of the source."""
    row_count: int
    """The number of rows that would be scored now."""
    unknown: tuple[TextKey, ...] = ()
    """Requested keys that are not in the source, if those are skipped."""
    reason: str | None = None
    """The recorded reason of the rescore that is continued."""

    @property
    def remarks(self) -> Sequence[str]:
        """Messages about requested rows that would not be scored."""
        continued, table = self.rescore.continued_run_id, self.source.table
        found = []
        if self.unknown and continued is None:
            found.append(f"skipped: {_not_in_source(self.source, self.unknown)}")
        if not self.row_count:
            what = (
                "meets the conditions" if continued is None else f"is left of what run {continued} was asked to score"
            )
            found.append(f"no row of {table} {what}; there is nothing to score again")
        return found

    def run_options(
        self, *, reason: str, requested_by: str | None, workers: int | None, allow_version_mismatch: bool
    ) -> RunOptions:
        """The options of the run that executes the rescore."""
        return RunOptions(
            trigger="rescore",
            rescore=self.rescore,
            requested_by=requested_by,
            reason=reason,
            workers=workers,
            allow_version_mismatch=allow_version_mismatch,
        )


def prepare(
    database: Database,
    job: Job,
    request: Request,
    *,
    continued_run_id: int | None = None,
    version: str | None = None,
    skip_unknown: bool = False,
) -> Plan:
    """Plan a rescore, or the continuation of an interrupted one. Raises as ``plan`` and ``continuation``."""
    if continued_run_id is None:
        return plan(database, job, request, version=version, skip_unknown=skip_unknown)
    if version is not None:
        raise InputFault("--continue uses the version that the rescore started with; omit --model-version")
    return continuation(database, job, continued_run_id)


def plan(
    database: Database, job: Job, request: Request, *, version: str | None = None, skip_unknown: bool = False
) -> Plan:
    """Check a rescore before anything is written.

    ``version`` is a number or an alias; the default is the job's alias. ``skip_unknown`` skips keys that are not in the
    source; otherwise they raise InputFault. Also raises InputFault for a job without predictions, SourceFault,
    ConfigurationError, ModelRefused, SchemaOutOfDate, DatabaseFault.
    """
    check_schema(database)
    found = _version(database, job, version)
    if request.selection.scored_by_version is not None:
        registry.get_version(database, job.model.name, request.selection.scored_by_version)
    rescore = Rescore(request=request, model_version=found.version)
    return _plan(database, job, rescore, found, skip_unknown=skip_unknown)


def continuation(database: Database, job: Job, run_id: int) -> Plan:
    """Plan the remaining rows of an interrupted rescore, with the version that it started with.

    Raises InputFault if ``run_id`` is not a rescore of the job, and otherwise as ``plan``.
    """
    check_schema(database)
    run = records.get_run(database, run_id)
    if run is None or run.job != job.name or run.trigger != "rescore":
        raise InputFault(f"run {run_id} is not a rescore of job {job.name}; see `batch-scoring runs --job {job.name}`")
    continued_run_id = run.continues_run_id or run.run_id
    asked = get_request(database, continued_run_id)
    if asked is None:
        raise InputFault(f"run {run_id} ended before its selection was recorded; start the rescore again")
    request, version = asked
    rescore = Rescore(request=request, model_version=version, continued_run_id=continued_run_id)
    found = _plan(database, job, rescore, registry.get_version(database, job.model.name, version), skip_unknown=True)
    return replace(found, reason=run.reason)


def _plan(database: Database, job: Job, rescore: Rescore, version: ModelVersion, *, skip_unknown: bool) -> Plan:
    with database.read() as connection:
        source = SourceTable.inspect(database, connection, job)
    source.check_where(database)
    preparation.check_model(job, source, version)
    layout = layout_of(job, source)
    with database.read() as connection:
        if not job_tables.check_tables(connection, job, layout):
            raise InputFault(f"job {job.name} has scored nothing yet; `batch-scoring run {job.name}` does it")
    since = rescore.continued_run_id if rescore.continued_run_id is not None else rescore.request.selection.since_run
    selection, missing = rescore.selection_in(database, source, since_run=since)
    scan = RescoreScan(selection=selection)
    if selection.where:
        DueQuery(source=source, layout=layout, scan=scan).check_conditions(database)
    if missing and not skip_unknown:
        found = _not_in_source(source, missing)
        raise InputFault(f"{found}; nothing was done. Fix them, or skip them with --skip-unknown")
    with database.read() as connection:
        queries = (DueQuery(source=source, layout=layout, scan=batch) for batch in scan.batches(job.run.chunk_rows))
        row_count = sum(query.count(connection).total for query in queries)
    return Plan(
        rescore=rescore,
        version=version,
        source=source,
        selection=selection,
        row_count=row_count,
        unknown=tuple(missing),
    )


def _not_in_source(source: SourceTable, keys: Sequence[TextKey]) -> str:
    return not_among(f"among the rows of {source.table} that the job covers", source.key, keys)


def not_among(where: str, names: Sequence[str], keys: Sequence[TextKey]) -> str:
    """A message about keys that were not found: their number, the key columns and the first few keys."""
    count = "1 key is" if len(keys) == 1 else f"{len(keys):,} keys are"
    shown = ", ".join(key_text(names, key) for key in keys[:_SHOWN_KEYS])
    more = f" and {len(keys) - _SHOWN_KEYS:,} more" if len(keys) > _SHOWN_KEYS else ""
    return f"{count} not {where} (key {', '.join(names)}): {shown}{more}"


def _version(database: Database, job: Job, wanted: str | None) -> ModelVersion:
    name = job.model.name
    if wanted is not None and wanted.isascii() and wanted.isdigit():
        if int(wanted) > MAX_MODEL_VERSION:
            raise InputFault(f"--model-version {wanted}: expected a version that exists")
        return registry.get_version(database, name, int(wanted))
    return version_of_job(database, job) if wanted is None else registry.resolve_alias(database, name, wanted)
