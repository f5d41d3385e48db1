"""From checked rows to scores: label and score from one call, and the poison row found by bisection."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from batch_scoring.errors import EveryRowFailed, GoldenRowsDiffer, UnusableModel, VersionMismatch
from batch_scoring.job import Job, Kind
from batch_scoring.model.inputs import kept
from batch_scoring.model.manifest import Manifest, listed
from batch_scoring.model.signature import ReasonCode, RowFault, check_rows

GOLDEN_TOLERANCE = 1e-9
"""How far a golden row's output may be off: room for another processor, none for another model."""

_PROBES = 64
"""Rows drawn from a failing chunk and tried one by one before it is bisected."""

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredRows:
    """What came of the n rows of a chunk: m were scored, the others have a fault."""

    positions: Sequence[int]
    """m positions among the n rows."""
    scores: Floats
    """Shape (m,)."""
    labels: Sequence[str] | None
    """m labels, None for a regression."""
    faults: Mapping[int, RowFault]
    unseen_category_count: int
    inputs: Mapping[str, pa.Array] | None = None
    """What the model was given for the m rows, by column, where the job keeps it."""


class Scorer:
    """A loaded model with what its job reads from it."""

    def __init__(self, model: Any, manifest: Manifest, job: Job) -> None:
        self.model = model
        self.manifest = manifest
        self.job = job
        self._labels = np.array([str(label) for label in manifest.labels], dtype=object)
        self._positive = manifest.positive_index(job)

    def score(self, columns: Mapping[str, Sequence[Any]]) -> ScoredRows:
        """Score a chunk given by column (Arrow arrays or lists of n values).

        Raises EveryRowFailed where each of two or more rows has the same fault.
        """
        scored = self.score_singly(columns)
        blame_no_row_for_a_common_fault(scored.faults, len(scored.positions) + len(scored.faults))
        return scored

    def score_singly(self, columns: Mapping[str, Sequence[Any]]) -> ScoredRows:
        """The same, where a fault that all rows share is each row's own."""
        checked = check_rows(self.manifest.signature, columns, unseen_categories=self.job.model.unseen_categories)
        faults = dict(checked.faults)
        outputs, broken = _outputs_by_bisection(self.model, self.manifest, checked.frame)
        faults.update((int(checked.positions[row]), fault) for row, fault in broken.items())
        good = np.ones(len(checked.positions), dtype=bool)
        good[list(broken)] = False
        scores, labels = self._read(outputs)
        return ScoredRows(
            positions=checked.positions[good].tolist() if faults else range(len(good)),
            scores=scores,
            labels=labels,
            faults=faults,
            unseen_category_count=int(checked.unseen_category[good].sum()),
            inputs=self._kept(checked.frame, good),
        )

    def _kept(self, frame: pd.DataFrame, good: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, pa.Array] | None:
        if not self.job.predictions.keep_inputs:
            return None
        return kept(self.manifest.signature, frame if good.all() else frame[good])

    def _read(self, outputs: Floats) -> tuple[Floats, list[str] | None]:
        """Scores and labels, both from the same outputs of shape (m, labels)."""
        if self.manifest.kind == "regression":
            return outputs[:, 0], None
        if self.manifest.kind == "binary":
            assert self._positive is not None
            scores = outputs[:, self._positive]
            chosen = np.where(scores >= self.job.predictions.threshold, self._positive, 1 - self._positive)
        else:
            chosen = outputs.argmax(axis=1)
            scores = outputs[np.arange(len(outputs)), chosen]
        return scores, self._labels[chosen].tolist()


def joined(pieces: Sequence[tuple[int, ScoredRows]], faults: Mapping[int, RowFault]) -> ScoredRows:
    """What came of a chunk that was scored in pieces, each given with its first row, and of rows in none of them."""
    ordered = sorted(pieces, key=lambda piece: piece[0])
    labels = [piece.labels for _, piece in ordered]
    return ScoredRows(
        positions=[start + position for start, piece in ordered for position in piece.positions],
        scores=np.concatenate([np.empty(0), *(piece.scores for _, piece in ordered)]),
        labels=None if None in labels else [label for part in labels for label in part or ()],
        faults={
            **faults,
            **{start + position: fault for start, piece in ordered for position, fault in piece.faults.items()},
        },
        unseen_category_count=sum(piece.unseen_category_count for _, piece in ordered),
        inputs=_joined_inputs([piece.inputs for _, piece in ordered if piece.inputs is not None]),
    )


def _joined_inputs(parts: Sequence[Mapping[str, pa.Array]]) -> dict[str, pa.Array] | None:
    if not parts:
        return None
    columns = {name: pa.chunked_array([part[name] for part in parts]) for name in parts[0]}
    return {name: column.unify_dictionaries().combine_chunks() for name, column in columns.items()}


def blame_no_row_for_a_common_fault(faults: Mapping[int, RowFault], total: int) -> None:
    """Raise EveryRowFailed where each of two or more rows has the same fault."""
    if total < 2 or len(faults) < total:
        return
    kinds = {(fault.code, fault.column, fault.message) for fault in faults.values()}
    if len(kinds) == 1:
        code, column, message = kinds.pop()
        raise EveryRowFailed(
            f"all {total} rows of a chunk failed alike ({code}{f', column {column}' if column else ''}: {message}),"
            " so the fault is not the rows': nothing was quarantined. Look at the source or the model, then run again"
        )


def _outputs_by_bisection(model: Any, manifest: Manifest, frame: pd.DataFrame) -> tuple[Floats, dict[int, RowFault]]:
    """The model's outputs for the rows it takes, in order, and the faults of those it does not."""
    found: list[Floats] = [np.empty((0, max(1, len(manifest.labels))))]
    faults: dict[int, RowFault] = {}
    pending = [(0, len(frame))] if len(frame) else []
    while pending:
        start, stop = pending.pop(0)
        try:
            outputs = model_outputs(model, manifest.kind, frame.iloc[start:stop])
        except UnusableModel:
            raise
        except Exception as exc:
            if stop - start == 1:
                # the text of the exception may quote the row, so only its type is kept
                message = f"the model raised {type(exc).__name__} on the row"
                faults[start] = RowFault(code=ReasonCode.MODEL_ERROR, column=None, message=message)
                continue
            if stop - start == len(frame) and len(frame) > 2 * _PROBES:
                _raise_if_every_probe_fails(model, manifest.kind, frame)
            middle = (start + stop) // 2
            pending[:0] = [(start, middle), (middle, stop)]
            continue
        outputs, unsound = _without_unsound(outputs, offset=start)
        found.append(outputs)
        faults.update(unsound)
    return np.concatenate(found), faults


def _raise_if_every_probe_fails(model: Any, kind: Kind, frame: pd.DataFrame) -> None:
    """Spare a chunk on which the model fails everywhere two calls a row."""
    errors = set()
    for row in np.random.default_rng(0).choice(len(frame), _PROBES, replace=False):
        try:
            model_outputs(model, kind, frame.iloc[row : row + 1])
        except Exception as exc:
            errors.add(type(exc).__name__)
        else:
            return
    raise EveryRowFailed(
        f"the model failed with {listed(sorted(errors))} on each of {_PROBES} rows drawn from a chunk of {len(frame)},"
        " so the fault is not the rows': nothing was quarantined. Look at the source or at the model, then run again"
    )


def _without_unsound(outputs: Floats, *, offset: int) -> tuple[Floats, dict[int, RowFault]]:
    finite = np.isfinite(outputs)
    if finite.all():
        return outputs, {}
    sound = finite.all(axis=1)
    fault = RowFault(
        code=ReasonCode.NON_FINITE_SCORE, column=None, message="the model gave no finite score for the row"
    )
    return outputs[sound], {offset + int(row): fault for row in np.flatnonzero(~sound)}


def model_outputs(model: Any, kind: Kind, frame: pd.DataFrame) -> Floats:
    """What the model gives for a frame of n rows: shape (n, labels), or (n, 1) for a regression."""
    if not len(frame):
        return np.empty((0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning may quote the row
        outputs = model.predict(frame) if kind == "regression" else model.predict_proba(frame)
    outputs = np.asarray(outputs, dtype=np.float64)
    if kind == "regression" and outputs.ndim == 1:
        outputs = outputs[:, np.newaxis]
    if outputs.ndim != 2 or len(outputs) != len(frame) or (kind == "regression" and outputs.shape[1] != 1):
        raise UnusableModel(f"the model gave an array of shape {outputs.shape} for {len(frame)} rows")
    return outputs


def check_golden_rows(model: Any, manifest: Manifest) -> None:
    """Raise GoldenRowsDiffer where the model does not reproduce what it was registered with."""
    names = manifest.signature.names
    columns = {name: [row[i] for row in manifest.golden.rows] for i, name in enumerate(names)}
    expected = np.array(manifest.golden.outputs, dtype=np.float64)
    try:
        checked = check_rows(manifest.signature, columns)
        outputs = model_outputs(model, manifest.kind, checked.frame)
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
            f"the model does not reproduce its golden rows (off by {off:.3g}, {GOLDEN_TOLERANCE:g} allowed);"
            " install the libraries its manifest names, or train it again"
        )


def check_library_version(manifest: Manifest, *, allow_mismatch: bool) -> str | None:
    """Compare scikit-learn with the manifest's; returns what differs where that was allowed.

    Raises VersionMismatch.
    """
    from sklearn import __version__ as installed

    if installed == manifest.scikit_learn_version:
        return None
    differs = f"fitted with scikit-learn {manifest.scikit_learn_version}, installed is {installed}"
    if not allow_mismatch:
        raise VersionMismatch(
            f"the model was {differs}; install that version, train the model again,"
            " or accept the difference with --allow-version-mismatch (it is recorded with the run)"
        )
    return differs


def let_idle_threads_sleep() -> None:
    """Have OpenMP's idle threads sleep rather than spin, for the sake of what reads and writes beside the model.

    It is read when the library is loaded, so call this before scikit-learn is imported; who set it otherwise keeps it.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def bound_parallelism(model: Any, threads: int | None = None) -> Any:
    """Give the model one job, and BLAS and OpenMP a bounded number of threads; returns what holds the bound.

    ``threads`` defaults to the processors this process may use.
    """
    from threadpoolctl import threadpool_limits

    for part in _parts(model, set()):
        if getattr(part, "n_jobs", None) not in (None, 1):
            part.n_jobs = 1
    processors = threads or len(os.sched_getaffinity(0))
    # idle threads of BLAS spin, and nothing tells them not to: one processor is left to reading and writing
    return threadpool_limits(limits={"blas": max(1, processors - 1), "openmp": processors})


def _parts(value: Any, seen: set[int]) -> Iterator[Any]:
    """A model and every estimator it holds, fitted ones included."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        for item in value:
            yield from _parts(item, seen)
    elif hasattr(value, "__dict__") and not isinstance(value, type) and not callable(value):
        if hasattr(value, "get_params"):
            yield value
        for held in list(vars(value).values()):
            yield from _parts(held, seen)
