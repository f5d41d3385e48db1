"""Reproducing stored scores from the same artifact and the stored inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

from batch_scoring.domain.columns import as_list
from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.job import Job
from batch_scoring.domain.keys import TextKey, key_text
from batch_scoring.domain.manifest import Manifest
from batch_scoring.domain.runs import Run
from batch_scoring.errors import ArtifactChanged, InputFault
from batch_scoring.model.inputs import differing, input_columns
from batch_scoring.model.scorer import Scorer, outputs_of_checked
from batch_scoring.model.signature import check_rows
from batch_scoring.scoring import preparation
from batch_scoring.store import registry
from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.engine.database import Database
from batch_scoring.store.outcomes import history
from batch_scoring.store.outcomes import inputs as stored_inputs
from batch_scoring.store.outcomes.inputs import InputsSelection, StoredInputs
from batch_scoring.store.runs import records
from batch_scoring.store.schema.job_tables import existing_layout

TOLERANCE = 1e-12
"""The tolerance within which a score counts as reproduced: absolute, or relative for scores greater than 1."""

_SHOWN = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Deviation:
    """A row whose stored prediction was not reproduced."""

    key: str
    run_id: int
    score: float | None
    """The stored score; None if the model returns labels only."""
    replayed: float | None
    """The replayed score; None if the model refuses the stored inputs, or returns labels only."""
    altered: Sequence[str]
    """Inputs changed since they were stored, or ``ANY_COLUMN``; empty if only the score or the label differs."""
    depends_on_others: bool = False
    """Whether the score of the row depends on the other rows of its batch, so that it cannot be reproduced."""


@dataclass(kw_only=True, slots=True)
class Replay:
    """The result of replaying predictions."""

    job: str
    row_count: int = 0
    reproduced_count: int = 0
    largest_difference: float = 0.0
    """The largest absolute difference of rows with both scores."""
    models: list[str] = field(default_factory=list)
    missing_count: int = 0
    """Predictions of the run that have no stored inputs. Counted only if all of a run is replayed."""
    deviations: list[Deviation] = field(default_factory=list)
    """The first deviations, at most 20."""
    score: float | None = None
    """The stored score, if a single row was replayed."""

    @property
    def is_reproduced(self) -> bool:
        """Whether every prediction was reproduced and none lacks its inputs."""
        return self.reproduced_count == self.row_count and not self.missing_count


def replay_key(
    database: Database,
    job: Job,
    artifacts_dir: Path,
    key: TextKey,
    *,
    as_of: datetime | None = None,
    allow_version_mismatch: bool = False,
) -> Replay:
    """Replay the current prediction of a key, or the one that was current at the time ``as_of``.

    Raises InputFault if there is no such prediction or its inputs are not stored, ModelRefused, DatabaseFault.
    """
    layout = existing_layout(database, job)
    with database.read() as connection:
        keys = history.keys_of(connection, layout, [key])
        found = history.predictions_of(connection, layout, keys)
    if as_of is None:
        found = [record for record in found if record.is_current]
    else:
        found = [record for record in found if record.valid_from <= as_of < record.valid_to]
    shown = key_text(layout.key_names, key)
    if not found:
        when = (
            "no current prediction"
            if as_of is None
            else f"no prediction that was current at {as_of:%Y-%m-%d %H:%M:%S} UTC"
        )
        raise InputFault(f"{shown} has {when}; `batch-scoring why {job.name} {shown}` shows its history")
    which = InputsSelection(run_id=found[0].run_id, keys=keys, valid_from=found[0].valid_from)
    done = _replay(database, job, artifacts_dir, which, allow_version_mismatch=allow_version_mismatch)
    if not done.row_count:
        raise InputFault(
            f"the inputs of {shown} were not stored when run {found[0].run_id} scored it;"
            " [predictions] keep_inputs = true stores them from the next run on"
        )
    done.score = found[0].score
    return done


def replay_run(
    database: Database,
    job: Job,
    artifacts_dir: Path,
    run_id: int,
    *,
    sample: int | None = None,
    allow_version_mismatch: bool = False,
) -> Replay:
    """Replay all predictions of a run, or a random sample of ``sample`` rows.

    Raises InputFault if the job has no such run or its inputs are not stored, ModelRefused, DatabaseFault.
    """
    records.get_run_of(database, job.name, run_id)
    which = InputsSelection(run_id=run_id, sample=sample)
    done = _replay(database, job, artifacts_dir, which, allow_version_mismatch=allow_version_mismatch)
    if not done.row_count:
        raise InputFault(
            f"no inputs of run {run_id} are stored; [predictions] keep_inputs = true stores them from the next run on"
        )
    if sample is None:
        with database.read() as connection:
            written = history.count_of_run(connection, existing_layout(database, job), run_id)
        done.missing_count = written - done.row_count
    return done


def _replay(
    database: Database, job: Job, artifacts_dir: Path, which: InputsSelection, *, allow_version_mismatch: bool
) -> Replay:
    run = records.get_run(database, which.run_id)
    done = Replay(job=job.name)
    layout = existing_layout(database, job)
    if run is None or run.model_name is None or not stored_inputs.has_inputs(database, layout):
        return done
    scorer = _scorer(database, artifacts_dir, run, allow_version_mismatch=allow_version_mismatch)
    done.models.append(f"{run.model_name} version {run.model_version} ({run.artifact_sha256})")
    columns = preparation.inputs_of(scorer.manifest)
    pages = stored_inputs.pages(database, bulk_for(database, job.run.bulk), layout, columns, which)
    for rows in pages:
        done.row_count += len(rows.scores)
        for deviation, difference in _compared(rows, scorer, layout.key_names, which.run_id):
            if difference is not None:
                done.largest_difference = max(done.largest_difference, difference)
            if deviation is None:
                done.reproduced_count += 1
            elif len(done.deviations) < _SHOWN:
                done.deviations.append(deviation)
    return done


def _scorer(database: Database, artifacts_dir: Path, run: Run, *, allow_version_mismatch: bool) -> Scorer:
    """The artifact that a run used, with the decision policy that the run recorded."""
    assert run.model_name is not None
    assert run.model_version is not None
    assert run.decision_policy is not None
    version = registry.get_version(database, run.model_name, run.model_version)
    if version.artifact_sha256 != run.artifact_sha256:
        raise ArtifactChanged(
            f"{version.name} version {version.version} is registered with another artifact than run {run.run_id} used"
        )
    policy = DecisionPolicy.from_record(run.decision_policy)
    plan = preparation.model_plan(artifacts_dir, version, policy, allow_version_mismatch=allow_version_mismatch)
    return preparation.load_scorer(plan)[0]


def _compared(
    rows: StoredInputs, scorer: Scorer, names: tuple[str, ...], run_id: int
) -> Iterator[tuple[Deviation | None, float | None]]:
    scored = scorer.score_singly(rows.inputs)
    labels = scored.labels if scored.labels is not None else [None] * len(scored.positions)
    scores = scored.scores.tolist() if scored.scores is not None else [None] * len(scored.positions)
    outputs = zip(scores, labels, strict=True)
    replayed = dict(zip(scored.positions, outputs, strict=True))
    altered = _altered(rows, scorer.manifest)
    for i, (key, score, label) in enumerate(zip(rows.keys, rows.scores, rows.labels, strict=True)):
        again, label_again = replayed.get(i, (None, None))
        difference = None if again is None or score is None else abs(again - score)
        is_same = i in replayed and label == label_again and not altered[i]
        if score is not None:
            is_same = is_same and difference is not None and difference <= TOLERANCE * max(1.0, abs(score))
        deviation = None
        if not is_same:
            columns = altered[i] or [f.column for f in [scored.faults.get(i)] if f is not None and f.column]
            deviation = Deviation(
                key=key_text(names, key),
                run_id=run_id,
                score=score,
                replayed=again,
                altered=columns,
                depends_on_others=not columns and i in replayed and _depends_on_others(scorer, rows, i),
            )
        yield deviation, difference


def _depends_on_others(scorer: Scorer, rows: StoredInputs, position: int) -> bool:
    """Whether the score of a row differs between a batch with the golden rows and a batch of its own."""
    signature, golden = scorer.manifest.signature, scorer.manifest.golden
    alone = {name: [as_list(rows.inputs[name][position : position + 1])[0]] for name in signature.names}
    together = {name: [*alone[name], *(row[i] for row in golden.rows)] for i, name in enumerate(signature.names)}
    outputs = [
        outputs_of_checked(scorer.model, scorer.manifest, check_rows(signature, columns))[0][:1]
        for columns in (alone, together)
    ]
    return bool(np.any(np.abs(outputs[0] - outputs[1]) > TOLERANCE * np.maximum(1.0, np.abs(outputs[0]))))


def _altered(rows: StoredInputs, manifest: Manifest) -> list[list[str]]:
    """For each row, the inputs whose digest differs from the stored one."""
    checked = check_rows(manifest.signature, rows.inputs)
    found: list[list[str]] = [[] for _ in rows.digests]
    columns = input_columns(manifest.signature, checked)
    digests = [rows.digests[position] for position in checked.positions]
    for position, names in zip(checked.positions, differing(columns, digests), strict=True):
        found[position] = names
    for position, fault in checked.faults.items():
        found[position] = [fault.column] if fault.column else []
    return found
