"""Training: fit the pipeline of a job, register it with its card, and log it to MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.domain.job import Job
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.errors import BatchScoringError, ExtraMissing
from batch_scoring.files.written import written
from batch_scoring.mlflow.server import Server
from batch_scoring.registry.labelled import Labelled
from batch_scoring.registry.registration import Registered, emit_registered, register_content
from batch_scoring.scoring.events import Observer
from batch_scoring.store import registry
from batch_scoring.store.engine.database import Database
from batch_scoring.store.mlflow import KnownVersion, record_version
from batch_scoring.store.schema.revision import check_schema

if TYPE_CHECKING:
    from batch_scoring.domain.manifest import Candidate, Golden, Manifest
    from batch_scoring.mlflow.tracking import LoggedTraining, SavedModel
    from batch_scoring.model.training import TrainedModel


_EXAMPLE_ROWS = 5
"""Rows of the input example in MLflow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogTo:
    """Where a training is logged."""

    server: Server
    alias: str | None = None
    """The alias of the registered model in MLflow that is pointed to the version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """The result of a training."""

    registered: Registered
    card: Path | None
    """The model card, an HTML document beside the artifact; None if it could not be written."""
    logged: LoggedTraining | None
    """Where it is in MLflow; None if it was not logged."""
    not_logged: BatchScoringError | None = None
    """Why it could not be logged, although it was to be."""


def train(
    database: Database,
    artifacts_dir: Path,
    job: Job,
    labelled: Labelled,
    *,
    algorithm: str | None,
    golden: Golden = "real",
    log_to: LogTo | None = None,
    tried: Callable[[str], None] = lambda _algorithm: None,
    notify: Callable[[str], None] = lambda _text: None,
    observers: Sequence[Observer] = (),
) -> Trained:
    """Fit the job's pipeline on labelled rows, register it, write its card, and log it.

    ``algorithm`` None compares all of them by cross-validation and takes the best; ``tried`` is called after each. The
    job's alias points to the first version. ``notify`` is called with what was decided about the data. A training that
    cannot be logged is registered all the same. Raises InputFault, UnusableModel, SchemaOutOfDate, ExtraMissing,
    DatabaseFault.
    """
    from batch_scoring.model import training
    from batch_scoring.model.artifact import dump
    from batch_scoring.model.describe import describe

    check_schema(database)
    frame, label = labelled.frame, labelled.label
    candidates: Sequence[Candidate] = ()
    if algorithm is None:
        candidates = training.search(job, frame, label, tried=tried)
        algorithm = candidates[0].algorithm
    trained = training.train(job, frame, label, training.Algorithm(algorithm))
    for note in trained.notes:
        notify(f"{labelled.origin}: {note}")
    with tempfile.TemporaryDirectory() as temporary:
        saved = None if log_to is None else _saved(trained, Path(temporary) / "model", golden)
        content = dump(trained.pipeline) if saved is None else saved.content
        manifest = describe(
            trained.pipeline,
            content,
            trained.features,
            training_data=labelled.describe(trained.label_counts),
            metrics=trained.metrics.model_copy(update={"candidates": tuple(candidates)}),
            golden=golden,
            out_of_fold=trained.out_of_fold.probabilities,
            importances=trained.importances,
            first=registry.first_with_reference(database, job.model.name),
        ).model_copy(update={"purpose": job.training.purpose, "limits": tuple(job.training.limits)})
        registered = register_content(
            database, artifacts_dir, job.model.name, content, manifest, first_alias=job.model.alias
        )
        emit_registered(observers, registered, first_alias=job.model.alias)
        figures = _figures(trained, notify)
        card = _write_card(artifacts_dir, registered.version, figures, notify)
        if log_to is None or saved is None:
            return Trained(registered=registered, card=card, logged=None)
        try:
            logged = _log(log_to, job, saved, registered.version.manifest, figures)
        except BatchScoringError as exc:
            return Trained(registered=registered, card=card, logged=None, not_logged=exc)
        _record(database, log_to, registered, saved, logged)
        return Trained(registered=registered, card=card, logged=logged)


def _saved(trained: TrainedModel, folder: Path, golden: Golden) -> SavedModel:
    from batch_scoring.mlflow.tracking import save_model
    from batch_scoring.model.synthetic import synthetic_rows

    features = trained.features
    example = features if golden == "real" else synthetic_rows(features, seed=b"input example")
    return save_model(trained.pipeline, features, example.head(_EXAMPLE_ROWS), folder)


def _figures(trained: TrainedModel, notify: Callable[[str], None]) -> dict[str, str]:
    from batch_scoring.model.plots import plots

    try:
        return plots(trained.metrics.held_out, trained.out_of_fold)
    except ExtraMissing as exc:
        notify(f"the model card has no plots: {exc}")
        return {}


def _write_card(
    artifacts_dir: Path, version: ModelVersion, figures: dict[str, str], notify: Callable[[str], None]
) -> Path | None:
    from batch_scoring.registry.card import card_html

    path = (artifacts_dir / version.artifact_uri).with_suffix(".card.html")
    try:
        with written(path) as file:
            file.write(card_html(version.name, version.manifest, figures))
    except OSError as exc:
        notify(
            f"the model card {path} could not be written ({exc.strerror}); `batch-scoring model dossier` has its text"
        )
        return None
    return path


def _log(log_to: LogTo, job: Job, saved: SavedModel, manifest: Manifest, figures: dict[str, str]) -> LoggedTraining:
    from batch_scoring.mlflow.tracking import log_training
    from batch_scoring.registry.card import card, card_html

    files = {f"{name.replace(' ', '_')}.svg": svg for name, svg in figures.items()}
    files["model_card.html"] = card_html(job.model.name, manifest, figures)
    return log_training(
        log_to.server, job, saved, manifest, card=card(job.model.name, manifest), files=files, alias=log_to.alias
    )


def _record(
    database: Database, log_to: LogTo, registered: Registered, saved: SavedModel, logged: LoggedTraining
) -> None:
    """Record that the version in MLflow is the one registered here, so that nothing is trusted on first use."""
    version = registered.version
    record_version(
        database,
        KnownVersion(
            tracking_uri=log_to.server.shown,
            uri=logged.uri,
            name=version.name,
            version=version.version,
            mlflow_run_id=logged.run_id,
            mlflow_model_id=logged.model_id,
            file=saved.file,
            file_bytes=len(saved.content),
            trusted_by="training",
        ),
    )
