"""Gates: what a version must satisfy before an alias points to it.

Gates run for each job that uses the alias. A gate that cannot be computed, because there is no version to compare with
or an earlier gate refuses, is skipped with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from batch_scoring.counting import counted
from batch_scoring.domain.job import Job
from batch_scoring.domain.manifest import Manifest, listed
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.errors import BatchScoringError, ModelRefused, SourceFault
from batch_scoring.model.scorer import Scorer
from batch_scoring.registry.comparison import Comparison, compare, sample_of
from batch_scoring.scoring.preparation import artifact_of, check_model, load_model
from batch_scoring.store.engine.database import Database
from batch_scoring.store.source.table import SourceTable


class Outcome(StrEnum):
    """The outcome of a gate."""

    PASSED = "passed"
    REFUSED = "refused"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True, slots=True)
class GateResult:
    """The result of one gate."""

    gate: str
    """artifact, labels, signature, metrics, categories, rows or flips."""
    job: str | None
    """None for a gate that is the same for every job."""
    outcome: Outcome
    message: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """The result as JSON, as it is stored with a promotion."""
        return asdict(self)


@dataclass(slots=True)
class Gates:
    """The gates of one promotion: of a version, which is to replace another one or none."""

    database: Database
    artifacts_dir: Path
    version: ModelVersion
    current: ModelVersion | None
    """The version to which the alias points; None where it points to none, or to the same version."""
    allow_version_mismatch: bool = False
    _model: Any = field(default=None, init=False)
    """The loaded version; None until its artifact has passed."""
    _current_model: Any = field(default=None, init=False)

    def run(self, jobs: Sequence[Job], challenged: Sequence[Job] = ()) -> list[GateResult]:
        """The results of all gates.

        ``challenged`` are jobs that the version would score as a challenger only: their source must fit. Raises
        NoSuchModel, UnusableModel, DatabaseFault.
        """
        results = [self._artifact()]
        if self.current is not None:
            results += [self._labels(self.current.manifest), self._categories(self.current.manifest)]
        for job in jobs:
            results += self._of_job(job)
        return results + [self._signature(job)[0] for job in challenged]

    def run_quickly(self, jobs: Sequence[Job]) -> list[GateResult]:
        """Those that say whether runs can use the version: artifact and signature. For a rollback, which is urgent."""
        return [self._artifact(), *(self._signature(job)[0] for job in jobs)]

    # --- gates of the version

    def _artifact(self) -> GateResult:
        try:
            self._model, differs = self._load(self.version)
        except ModelRefused as exc:
            return GateResult(gate="artifact", job=None, outcome=Outcome.REFUSED, message=str(exc))
        rows = counted(len(self.version.manifest.golden.rows), "golden row")
        message = f"SHA-256 matches, {rows} reproduced" + (f"; accepted: {differs}" if differs else "")
        return GateResult(gate="artifact", job=None, outcome=Outcome.PASSED, message=message)

    def _labels(self, before: Manifest) -> GateResult:
        now = self.version.manifest
        figures = {"before": [str(label) for label in before.labels], "now": [str(label) for label in now.labels]}
        outcome, message = Outcome.PASSED, f"the same {now.kind} outputs"
        if now.kind != before.kind:
            outcome, message = Outcome.REFUSED, f"it is a {now.kind} model, and the one in use is {before.kind}"
        elif figures["now"] != figures["before"]:
            how = "in another order" if sorted(figures["now"]) == sorted(figures["before"]) else "other ones"
            message = f"its labels are {listed(now.labels)}, {how} than {listed(before.labels)} of the one in use"
            outcome = Outcome.REFUSED
        return GateResult(gate="labels", job=None, outcome=outcome, message=message, figures=figures)

    def _categories(self, before: Manifest) -> GateResult:
        """That no category is unseen which the version in use knows."""
        known = {column.name: column.categories for column in before.signature.columns}
        lacking = {
            column.name: missing
            for column in self.version.manifest.signature.columns
            if column.categories is not None
            and (missing := sorted(set(known.get(column.name) or ()) - set(column.categories)))
        }
        if not lacking:
            return GateResult(
                gate="categories", job=None, outcome=Outcome.PASSED, message="every category of the one in use is known"
            )
        named = "; ".join(
            f"{name}: {counted(len(missing), 'category', 'categories')}" for name, missing in lacking.items()
        )
        message = f"it was not trained on categories that the one in use knows ({named})"
        return GateResult(gate="categories", job=None, outcome=Outcome.REFUSED, message=message, figures=lacking)

    # --- gates of a job

    def _of_job(self, job: Job) -> Iterator[GateResult]:
        signature, source = self._signature(job)
        yield signature
        yield self._metrics(job)
        if self._model is None or source is None:
            for gate in ("rows", "flips"):
                yield _skipped(gate, job, "an earlier gate refuses")
            return
        yield from self._on_live_rows(job, source)

    def _signature(self, job: Job) -> tuple[GateResult, SourceTable | None]:
        def result(outcome: Outcome, message: str) -> GateResult:
            return GateResult(gate="signature", job=job.name, outcome=outcome, message=message)

        try:
            with self.database.read() as connection:
                source = SourceTable.inspect(self.database, connection, job)
            source.check_where(self.database)
            check_model(job, source, self.version)
        except (ModelRefused, SourceFault) as exc:
            return result(Outcome.REFUSED, str(exc)), None
        return result(
            Outcome.PASSED, f"{source.table} has its {len(self.version.manifest.signature.columns)} inputs"
        ), source

    def _metrics(self, job: Job) -> GateResult:
        before = None if self.current is None else self.current.manifest.metrics
        now = self.version.manifest.metrics
        if before is None or now is None:
            which = "no version is in use" if self.current is None else "not both versions have metrics of a training"
            return _skipped("metrics", job, which)
        figures: dict[str, Any] = {}
        worse, found = [], []
        for name, shown, limit in (
            ("accuracy", "accuracy", job.promotion.max_accuracy_drop),
            ("roc_auc", "ROC AUC", job.promotion.max_roc_auc_drop),
        ):
            pair = (getattr(before.cross_validation, name), getattr(now.cross_validation, name))
            figures[name] = {"before": pair[0], "now": pair[1], "allowed_drop": limit}
            described = f"{shown} {pair[1]:.4f} against {pair[0]:.4f}"
            if limit is not None and not pair[0] - pair[1] <= limit:
                worse.append(f"{described}, and may be {limit:g} lower")
            found.append(described + ("" if limit is not None else " (no limit is set)"))
        outcome = Outcome.REFUSED if worse else Outcome.PASSED
        message = "; ".join(worse or found)
        return GateResult(gate="metrics", job=job.name, outcome=outcome, message=message, figures=figures)

    def _on_live_rows(self, job: Job, source: SourceTable) -> Iterator[GateResult]:
        scorer = Scorer.for_job(self._model, self.version.manifest, job)
        try:
            before = self._scorer_in_use(job, source)
        except ModelRefused as exc:
            before, why_none = None, f"the version in use cannot be loaded: {exc}"
        else:
            why_none = "no version is in use"
        try:
            sample = sample_of(self.database, job, source, [one for one in (scorer, before) if one], job.promotion.rows)
            found = compare(job, sample, before or scorer, scorer)
        except BatchScoringError as exc:
            yield GateResult(gate="rows", job=job.name, outcome=Outcome.REFUSED, message=str(exc))
            yield _skipped("flips", job, "an earlier gate refuses")
            return
        yield _rows(job, found, is_compared=before is not None)
        yield _flips(job, found) if before is not None else _skipped("flips", job, why_none)

    def _scorer_in_use(self, job: Job, source: SourceTable) -> Scorer | None:
        if self.current is None:
            return None
        check_model(job, source, self.current)
        if self._current_model is None:
            self._current_model, _ = self._load(self.current)
        return Scorer.for_job(self._current_model, self.current.manifest, job)

    def _load(self, version: ModelVersion) -> tuple[Any, str | None]:
        artifact = artifact_of(self.artifacts_dir, version)
        return load_model(artifact, version.manifest, allow_version_mismatch=self.allow_version_mismatch)


def _rows(job: Job, found: Comparison, *, is_compared: bool) -> GateResult:
    """That the version scores live rows: each that the one in use scores, or as many as the job allows."""
    figures: dict[str, Any] = {"rows": found.row_count, "scored": found.second_scored_count}
    failed = found.row_count - found.second_scored_count
    problems = []
    if is_compared:
        figures |= {"scored_before": found.first_scored_count, "lost": dict(found.lost)}
        figures |= {"unseen_before": found.first_unseen_count, "unseen": found.second_unseen_count}
        if found.lost:
            codes = ", ".join(f"{code} {count}" for code, count in found.lost.items())
            problems.append(f"it cannot score {sum(found.lost.values())} that the one in use scores ({codes})")
        if (found.second_unseen_count or 0) > (found.first_unseen_count or 0):
            problems.append(
                f"{found.second_unseen_count} have a category that it was not trained on,"
                f" {found.first_unseen_count} of the one in use"
            )
    elif not job.predictions.allows(quarantined=failed, read=found.row_count):
        problems.append(f"it cannot score {failed}, and max_quarantined is {job.predictions.max_quarantined:g}")
    live = counted(found.row_count, "live row")
    message = f"of {live} {'; '.join(problems)}" if problems else f"{found.second_scored_count:,} of {live} scored"
    outcome = Outcome.REFUSED if problems else Outcome.PASSED
    return GateResult(gate="rows", job=job.name, outcome=outcome, message=message, figures=figures)


def _flips(job: Job, found: Comparison) -> GateResult:
    if not found.compared_count:
        return _skipped("flips", job, "no live row is scored by both versions")
    if job.predictions.kind == "regression":
        return _skipped("flips", job, "a regression decides no labels")
    limit, share = job.promotion.max_flips, found.flipped_share
    figures = {
        "rows": found.compared_count,
        "flipped": found.flipped_count,
        "allowed_share": limit,
        "flips": [list(flip) for flip in found.flips],
        "correlation": found.correlation,
        "mean_absolute_difference": found.mean_absolute_difference,
    }
    allowed = "no limit is set" if limit is None else f"{limit:.2%} allowed"
    message = (
        f"{found.flipped_count:,} of {counted(found.compared_count, 'live row')} change their label ({share:.2%},"
        f" {allowed})"
    )
    outcome = Outcome.PASSED if limit is None or share <= limit else Outcome.REFUSED
    return GateResult(gate="flips", job=job.name, outcome=outcome, message=message, figures=figures)


def _skipped(gate: str, job: Job, why: str) -> GateResult:
    return GateResult(gate=gate, job=job.name, outcome=Outcome.SKIPPED, message=why)
