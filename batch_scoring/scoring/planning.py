"""Planning a run: resolve the model, check that it fits the source, count the due rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.domain.column_types import InputColumn
from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.job import Job
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.errors import AccessDenied, DatabaseReadOnly, ModelRefused
from batch_scoring.scoring import preparation
from batch_scoring.scoring.plan import Challenger, Rescore, RunPlan
from batch_scoring.scoring.scan import choose_scan, with_due_policy
from batch_scoring.scoring.transient import retry_transient
from batch_scoring.store import registry
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.due.scan import FullScan, RescoreScan
from batch_scoring.store.engine.database import Database
from batch_scoring.store.job_models import version_of_job
from batch_scoring.store.runs import records
from batch_scoring.store.runs.requests import record_request
from batch_scoring.store.schema import job_tables
from batch_scoring.store.schema.layout import PredictionsLayout, layout_of
from batch_scoring.store.source.rows import DueCount
from batch_scoring.store.source.table import SourceTable

if TYPE_CHECKING:
    from batch_scoring.mlflow.resolution import Resolved


@dataclass(frozen=True, kw_only=True, slots=True)
class Planner:
    """Creates the plan of a run that owns its job. Each result is recorded with the run as soon as it is known."""

    database: Database
    job: Job
    artifacts_dir: Path
    run_id: int
    workers: int
    allow_version_mismatch: bool
    rescore: Rescore | None
    """The rows to score again; None to score the due rows."""
    slot: datetime | None = None
    """The slot that the run fills; None where it fills none."""

    def plan(self) -> tuple[RunPlan, DueCount]:
        """The plan, and the number of due rows.

        A run of a model in MLflow counts the due rows first, by the version that the last run used, and asks the server
        only if there are any. Where predictions of another version are due, it asks first. Raises ModelRefused,
        TrackingServerUnavailable, ExtraMissing, SourceFault, ConfigurationError, Fenced, DatabaseFault.
        """
        if self.job.model.uri is None or self.rescore is not None:
            return self._plan(retry_transient(self._version))
        provisional = self._provisional() if self.job.model.on_new_version == "keep" else None
        if provisional is not None and not provisional[1].total:
            return provisional
        resolved = self._resolve()
        if provisional is None or not provisional[0].model.is_of(resolved.version):
            plan, due = self._plan(resolved.version)
        else:
            plan, due = provisional
            retry_transient(
                lambda: records.record_model(self.database, self.run_id, resolved.version, plan.model.policy)
            )
        return replace(plan, resolved=resolved), due

    def _provisional(self) -> tuple[RunPlan, DueCount] | None:
        """The plan for the version that the URI gave last; None if it gave none, or one that no longer fits."""
        try:
            return self._plan(retry_transient(self._version), is_provisional=True)
        except ModelRefused:
            return None

    def _plan(self, version: ModelVersion, *, is_provisional: bool = False) -> tuple[RunPlan, DueCount]:
        """The plan for a version, which is recorded with the run unless it is provisional."""
        manifest = version.manifest
        policy = DecisionPolicy.of(self.job, manifest)
        if not is_provisional:
            retry_transient(lambda: records.record_model(self.database, self.run_id, version, policy))
        scan = FullScan()
        if self.rescore is None:
            scan = retry_transient(lambda: choose_scan(self.database, self.job, version=version.version))
        source = retry_transient(self._source)
        layout = layout_of(self.job, source)
        retry_transient(lambda: self._check_key(DueQuery(source=source, layout=layout, scan=scan)))
        preparation.check_limits(self.job, version)
        preparation.check_signature(manifest, source, version)
        stored_inputs = preparation.stored_inputs(self.job, manifest)
        self._ensure_tables(layout, stored_inputs)
        plan = RunPlan(
            job=self.job,
            run_id=self.run_id,
            model=preparation.model_plan(
                self.artifacts_dir,
                version,
                policy,
                allow_version_mismatch=self.allow_version_mismatch,
                returns_inputs=self.job.predictions.keep_inputs,
            ),
            queries=retry_transient(lambda: self._queries(source, layout, scan, version)),
            stored_inputs=stored_inputs,
            challengers=() if self.rescore is not None else self._challengers(source, version),
            workers=self.workers,
        )
        return plan, retry_transient(lambda: self._count_due(plan))

    def _version(self) -> ModelVersion:
        if self.rescore is not None:
            return registry.get_version(self.database, self.job.model.name, self.rescore.model_version)
        return version_of_job(self.database, self.job)

    def _resolve(self) -> Resolved:
        """What the job's URI points to, recorded with the run."""
        from batch_scoring.mlflow.resolution import record, resolve

        resolved = resolve(
            self.database,
            self.job,
            retry_transient(self._source),
            self.artifacts_dir,
            allow_version_mismatch=self.allow_version_mismatch,
        )
        retry_transient(lambda: record(self.database, self.job, self.run_id, resolved))
        return resolved

    def _challengers(self, source: SourceTable, version: ModelVersion) -> tuple[Challenger, ...]:
        return tuple(
            retry_transient(partial(self._challenger, alias, source, version)) for alias in self.job.model.challengers
        )

    def _challenger(self, alias: str, source: SourceTable, champion: ModelVersion) -> Challenger:
        """A challenger, or the reason why it cannot score. Raises DatabaseFault."""
        number = None
        try:
            found = registry.resolve_alias(self.database, self.job.model.name, alias)
            number = found.version
            if number == champion.version:
                failure = f"it is version {number}, which scores the job"
                return Challenger(alias=alias, version=number, model=None, failure=failure)
            policy = preparation.check_model(self.job, source, found)
            plan = preparation.model_plan(
                self.artifacts_dir, found, policy, allow_version_mismatch=self.allow_version_mismatch
            )
            preparation.check_artifact(plan)
        except ModelRefused as exc:
            return Challenger(alias=alias, version=number, model=None, failure=str(exc))
        return Challenger(alias=alias, version=number, model=plan)

    def _source(self) -> SourceTable:
        with self.database.read() as connection:
            source = SourceTable.inspect(self.database, connection, self.job)
        source.check_where(self.database)
        return source

    def _check_key(self, query: DueQuery) -> None:
        with self.database.read() as connection:
            query.check_key(connection)

    def _queries(
        self, source: SourceTable, layout: PredictionsLayout, scan: FullScan, version: ModelVersion
    ) -> tuple[DueQuery, ...]:
        """One query, or one for each batch of keys of a rescore. A rescore is recorded so that it can be continued."""
        if self.rescore is None:
            query = DueQuery(source=source, layout=layout, scan=scan)
            with self.database.read() as connection:
                return (with_due_policy(connection, self.job, query, version=version.version, slot=self.slot),)
        continued = self.rescore.continued_run_id
        since = self.run_id if continued is None else continued
        selection, _ = self.rescore.selection_in(self.database, source, since_run=since)
        if continued is None:
            record_request(self.database, self.run_id, selection, model_version=self.rescore.model_version)
        batches = RescoreScan(selection=selection).batches(self.job.run.chunk_rows)
        return tuple(DueQuery(source=source, layout=layout, scan=batch) for batch in batches)

    def _ensure_tables(self, layout: PredictionsLayout, stored_inputs: Sequence[InputColumn]) -> None:
        try:
            retry_transient(lambda: job_tables.ensure_tables(self.database, self.job, layout))
            if stored_inputs:
                retry_transient(lambda: job_tables.ensure_inputs(self.database, layout, stored_inputs))
        except (AccessDenied, DatabaseReadOnly) as exc:
            raise type(exc)(
                f"the tables of job {self.job.name} are missing and could not be created ({exc});"
                " run `batch-scoring db upgrade` as a user who may create tables"
            ) from exc

    def _count_due(self, plan: RunPlan) -> DueCount:
        due = count_due(self.database, plan)
        records.record_plan(self.database, self.run_id, mode=plan.mode, counts=due.record())
        return due


def count_due(database: Database, plan: RunPlan) -> DueCount:
    """Count the rows of a plan that are due now. Raises DatabaseFault."""
    with database.read() as connection:
        return sum((query.count(connection) for query in plan.queries), start=DueCount(total=0))
