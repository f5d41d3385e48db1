"""Score a chunk: check its rows, run the model, and derive score and label from the same outputs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from batch_scoring.domain.columns import Column
from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.job import Job
from batch_scoring.domain.manifest import Manifest, ModelForm, listed
from batch_scoring.errors import ArtifactChanged, EveryRowFailed, GoldenRowsDiffer, VersionMismatch
from batch_scoring.model.bisection import outputs_by_bisection
from batch_scoring.model.decision import decide
from batch_scoring.model.faults import ReasonCode, RowFault
from batch_scoring.model.inputs import input_columns
from batch_scoring.model.kinds import form_of, parts
from batch_scoring.model.outputs import Floats, model_outputs
from batch_scoring.model.signature import CheckedRows, check_rows

GOLDEN_TOLERANCE = 1e-9
"""Tolerance for the outputs of golden rows: enough for another processor, too small for another model."""

FEWEST_ROWS_FOR_A_COMMON_FAULT = 64
"""Fewer rows than this that all fail alike are quarantined; if as many do, the model or the source is at fault.

With one bad row in twenty, the most that a job allows by default, 64 rows are all bad once in 10^83.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredRows:
    """The result for the n rows of a chunk: m were scored, the others have a fault."""

    positions: Sequence[int]
    """m positions among the n rows."""
    scores: Floats | None
    """Shape (m,); None where the model returns labels only."""
    labels: list[str] | None
    """m labels, None for a regression."""
    faults: Mapping[int, RowFault]
    unseen_category_count: int
    inputs: Mapping[str, pa.Array] | None = None
    """The model's inputs for the m rows, by column, if the job stores them."""


class Scorer:
    """A loaded model with the policy by which labels are read from its outputs."""

    def __init__(self, model: Any, manifest: Manifest, policy: DecisionPolicy, *, returns_inputs: bool = False) -> None:
        self.model = model
        self.manifest = manifest
        self.policy = policy
        self._returns_inputs = returns_inputs

    @classmethod
    def for_job(cls, model: Any, manifest: Manifest, job: Job) -> Scorer:
        """A scorer with the decision policy of a job. Raises ModelRefused where model and job do not match."""
        return cls(model, manifest, DecisionPolicy.of(job, manifest), returns_inputs=job.predictions.keep_inputs)

    def score(self, columns: Mapping[str, Column]) -> ScoredRows:
        """Score a chunk given by column (Arrow arrays or lists of n values).

        Raises EveryRowFailed where each of 64 or more rows has the same fault, and UnusableModel.
        """
        scored = self.score_singly(columns)
        check_common_fault(scored.faults, len(scored.positions) + len(scored.faults))
        return scored

    def score_singly(self, columns: Mapping[str, Column]) -> ScoredRows:
        """As ``score``, but a fault that all rows share is recorded for each row.

        Raises EveryRowFailed, UnusableModel.
        """
        checked = check_rows(self.manifest.signature, columns, unseen_categories=self.policy.unseen_categories)
        faults = dict(checked.faults)
        outputs, broken = outputs_of_checked(self.model, self.manifest, checked)
        faults.update((int(checked.positions[row]), fault) for row, fault in broken.items())
        good = np.ones(len(checked.positions), dtype=bool)
        good[list(broken)] = False
        scores, labels = decide(self.policy, self.manifest, outputs)
        return ScoredRows(
            positions=checked.positions[good].tolist() if faults else range(len(good)),
            scores=scores,
            labels=labels,
            faults=faults,
            unseen_category_count=int(checked.unseen_category[good].sum()),
            inputs=self._inputs(checked, good),
        )

    def _inputs(self, checked: CheckedRows, good: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, pa.Array] | None:
        if not self._returns_inputs:
            return None
        return input_columns(self.manifest.signature, checked if good.all() else checked.only(good))


def outputs_of_checked(model: Any, manifest: Manifest, checked: CheckedRows) -> tuple[Floats, dict[int, RowFault]]:
    """The outputs for the rows a model can score, in order, and the faults of the others, by position in the frame.

    Raises EveryRowFailed, UnusableModel.

    The form in which a row is passed to the model depends on that row alone. Rows with an unseen category are scored
    separately with their texts as objects; the categoricals of the others have exactly the signature's categories.
    """
    signature = manifest.signature
    if checked.unseen_rows is None or (signature.text_as == "category" and signature.unseen_as == "missing"):
        return outputs_by_bisection(model, manifest, checked.frame)
    unseen = np.flatnonzero(checked.unseen_category)
    seen = np.flatnonzero(~checked.unseen_category)
    outputs, faults = outputs_by_bisection(model, manifest, checked.frame.iloc[seen])
    others, other_faults = outputs_by_bisection(model, manifest, checked.unseen_rows, is_entire_chunk=not len(seen))
    found = {int(seen[row]): fault for row, fault in faults.items()}
    for row, fault in other_faults.items():
        found[int(unseen[row])] = _of_the_category(fault, checked.unseen_columns[row])
    positions = np.concatenate([np.delete(seen, list(faults)), np.delete(unseen, list(other_faults))])
    return np.concatenate([outputs, others])[np.argsort(positions)], found


def _of_the_category(fault: RowFault, column: str) -> RowFault:
    """A model that raises on a row with an unseen category raises for it, as an encoder does that ignores none."""
    if fault.code is not ReasonCode.MODEL_ERROR:
        return fault
    message = f"the model was not trained on this category and {fault.message.removeprefix('the model ')}"
    return RowFault(code=ReasonCode.UNSEEN_CATEGORY, column=column, message=message)


def joined(batches: Sequence[tuple[int, ScoredRows]], faults: Mapping[int, RowFault]) -> ScoredRows:
    """The result of a chunk that was scored in batches, each given with its first row, and the faults of other rows."""
    ordered = sorted(batches, key=lambda batch: batch[0])
    labels = [batch.labels for _, batch in ordered]
    scores = [batch.scores for _, batch in ordered if batch.scores is not None]
    return ScoredRows(
        positions=[start + position for start, batch in ordered for position in batch.positions],
        scores=None if len(scores) < len(ordered) else np.concatenate([np.empty(0), *scores]),
        labels=None if None in labels else [label for part in labels for label in part or ()],
        faults={
            **faults,
            **{start + position: fault for start, batch in ordered for position, fault in batch.faults.items()},
        },
        unseen_category_count=sum(batch.unseen_category_count for _, batch in ordered),
        inputs=_joined_inputs([batch.inputs for _, batch in ordered if batch.inputs is not None]),
    )


def _joined_inputs(parts: Sequence[Mapping[str, pa.Array]]) -> dict[str, pa.Array] | None:
    if not parts:
        return None
    columns = {name: pa.chunked_array([part[name] for part in parts]) for name in parts[0]}
    return {name: column.unify_dictionaries().combine_chunks() for name, column in columns.items()}


def check_common_fault(faults: Mapping[int, RowFault], total: int) -> None:
    """Raise EveryRowFailed where each of 64 or more rows has the same fault."""
    if total < FEWEST_ROWS_FOR_A_COMMON_FAULT or len(faults) < total:
        return
    kinds = {(fault.code, fault.column, fault.message) for fault in faults.values()}
    if len(kinds) == 1:
        code, column, message = kinds.pop()
        raise EveryRowFailed(
            f"all {total} rows of a chunk failed alike ({code}{f', column {column}' if column else ''}: {message}),"
            " so the fault is not the rows': nothing was quarantined. Check the source and the model, then run again"
        )


def check_form(model: Any, manifest: Manifest) -> None:
    """Raise ArtifactChanged where kind, labels or threshold of the model are not those of its manifest.

    Golden rows compare outputs by position and would not notice labels in another order.
    """
    form = form_of(model)
    for what, found, registered in (
        ("kind", form.kind, manifest.kind),
        ("labels", listed(form.labels), listed(manifest.labels)),
        ("margin", form.margin, manifest.margin),
        ("threshold", _decided(form), _decided(manifest)),
    ):
        if found != registered:
            raise ArtifactChanged(
                f"the manifest in the registry says that the {what} of the model is {registered}, and in its artifact"
                f" it is {found}; find out who wrote to the registry, then register the model again"
            )


def _decided(form: ModelForm) -> str | None:
    return None if form.decision is None else f"{form.decision.label} at {form.decision.threshold!r}"


def check_golden_rows(model: Any, manifest: Manifest) -> None:
    """Raise GoldenRowsDiffer where the model does not reproduce what it was registered with."""
    names = manifest.signature.names
    columns = {name: [row[i] for row in manifest.golden.rows] for i, name in enumerate(names)}
    expected = np.array(manifest.golden.outputs, dtype=np.float64)
    try:
        checked = check_rows(manifest.signature, columns)
        outputs = model_outputs(model, manifest, checked.frame)
    except Exception as exc:
        raise GoldenRowsDiffer(
            f"the model fails on its golden rows with {type(exc).__name__};"
            " install the libraries its manifest names, or train it again"
        ) from exc
    if not len(outputs):
        raise GoldenRowsDiffer("the manifest has no golden rows; register the model again")
    if outputs.shape != expected.shape:
        raise GoldenRowsDiffer(f"the model gives outputs of shape {outputs.shape}, its manifest has {expected.shape}")
    scale = np.maximum(1.0, np.abs(expected))
    off = float(np.max(np.abs(outputs - expected) / scale))
    if not off <= GOLDEN_TOLERANCE:
        raise GoldenRowsDiffer(
            f"the model does not reproduce its golden rows (difference {off:.3g}, {GOLDEN_TOLERANCE:g} allowed);"
            " install the libraries its manifest names, or train it again",
            difference=off,
        )


def check_library_version(manifest: Manifest, *, allow_mismatch: bool) -> str | None:
    """Compare scikit-learn with the manifest's version; return the difference if it is allowed, else None.

    Raises VersionMismatch.
    """
    from sklearn import __version__ as installed

    if installed == manifest.scikit_learn_version:
        return None
    differs = f"fitted with scikit-learn {manifest.scikit_learn_version}, installed is {installed}"
    if not allow_mismatch:
        raise VersionMismatch(
            f"the model was {differs}; install that version, train the model again,"
            " or accept the difference with --allow-version-mismatch (it is recorded with the run)",
            fitted=manifest.scikit_learn_version,
            installed=installed,
        )
    return differs


def let_idle_threads_sleep() -> None:
    """Let OpenMP's idle threads sleep rather than spin, so that they do not slow down reading and writing.

    The variable is read when the library is loaded, so call this before scikit-learn is imported. A value that is set
    already is left as it is.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def bound_parallelism(model: Any, threads: int | None = None) -> None:
    """Give the model one job, and BLAS and OpenMP a bounded number of threads until the process ends.

    ``threads`` defaults to the processors this process may use.
    """
    from threadpoolctl import threadpool_limits

    for part in parts(model):
        if getattr(part, "n_jobs", None) not in (None, 1):
            part.n_jobs = 1
    processors = threads or len(os.sched_getaffinity(0))
    # idle threads of BLAS spin, and this cannot be configured: one processor is left to reading and writing
    threadpool_limits(limits={"blas": max(1, processors - 1), "openmp": processors})
