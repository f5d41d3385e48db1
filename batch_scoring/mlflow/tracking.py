"""Logging trainings and scoring runs to MLflow's tracking server."""

from __future__ import annotations

import hashlib
import json
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_scoring.domain.job import Job
from batch_scoring.domain.manifest import Manifest
from batch_scoring.domain.mlflow_uri import name_of
from batch_scoring.domain.runs import Run, Status
from batch_scoring.mlflow.client import Client
from batch_scoring.mlflow.mlmodel import MLMODEL, read
from batch_scoring.mlflow.protocol import MANIFEST_FILE
from batch_scoring.mlflow.server import Server

if TYPE_CHECKING:
    import pandas as pd

_UPLOAD_PATIENCE = 60.0
"""Seconds that an upload may take."""

_LONGEST = 500
"""Characters of a parameter, a tag or the source of a data set."""

_PINNED = ("scikit-learn", "numpy", "scipy", "pandas", "pyarrow", "cloudpickle", "batch-scoring")


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedModel:
    """A model as MLflow stores it: a folder, and the bytes of the model file in it."""

    folder: Path
    file: str
    content: bytes


def save_model(model: Any, features: pd.DataFrame, example: pd.DataFrame, folder: Path) -> SavedModel:
    """Write a fitted classifier as MLflow does, served by ``predict_proba``.

    ``features`` are rows of its input, shape (n, columns), ``example`` those that are stored with it. The format is
    cloudpickle: skops writes addresses of objects into its files, so that the same data would give another hash.
    """
    import logging

    import mlflow.sklearn
    from mlflow.models import infer_signature

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            model,
            str(folder),
            signature=infer_signature(features, model.predict_proba(features)),
            input_example=example,
            pip_requirements=[f"{name}=={installed(name)}" for name in _PINNED],
            pyfunc_predict_fn="predict_proba",
            serialization_format="cloudpickle",
        )
    file = read((folder / MLMODEL).read_bytes(), "the model").file
    return SavedModel(folder=folder, file=file, content=(folder / file).read_bytes())


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedTraining:
    """Where a training is in MLflow."""

    uri: str
    """``models:/NAME/VERSION``."""
    run_id: str
    model_id: str


def log_training(
    server: Server,
    job: Job,
    saved: SavedModel,
    manifest: Manifest,
    *,
    card: str,
    files: Mapping[str, str],
    alias: str | None,
) -> LoggedTraining:
    """Log a training as a run, with its model; register the model, and point an alias to it.

    ``files`` are the artifacts of the run by file name, ``card`` becomes the description of the version. Raises
    TrackingServerUnavailable, TrackingServerRefused, NoSuchModel, ExtraMissing.
    """
    (saved.folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    data, metrics = manifest.training_data, manifest.metrics
    assert data is not None
    assert metrics is not None
    folds = metrics.cross_validation
    with tempfile.TemporaryDirectory() as temporary:
        for name, text in files.items():
            (Path(temporary) / name).write_text(text, encoding="utf-8")
        with Client(server, patience=_UPLOAD_PATIENCE) as client:
            answer = client.ask(
                "log_training",
                about=f"experiment {_experiment(job)}",
                experiment=_experiment(job),
                run_name=f"train {job.name}",
                params=_short(
                    {
                        "algorithm": manifest.algorithm,
                        "label": data.label_column,
                        "rows": data.rows,
                        "as_of": data.as_of,
                        "folds": folds.folds,
                        "sums": json.dumps(job.training.sums, sort_keys=True),
                        "logs": json.dumps(job.training.logs),
                    }
                ),
                metrics={
                    "cv_accuracy": folds.accuracy,
                    "cv_accuracy_std": folds.accuracy_std,
                    "cv_roc_auc": folds.roc_auc,
                    "cv_log_loss": folds.log_loss,
                    "held_out_accuracy": metrics.held_out.accuracy,
                },
                tags={"batch_scoring.job": job.name, "batch_scoring.version": installed("batch-scoring")},
                dataset={
                    "name": data.file[:_LONGEST],
                    "digest": data.sha256[:32],
                    "source_type": "sql" if job.training.query is not None else "local",
                    "source": json.dumps({"name": data.file[:_LONGEST], "sha256": data.sha256}),
                },
                files=temporary,
                model=str(saved.folder),
                name=registered_name(job),
                sha256=manifest.artifact_sha256,
                card=card,
                alias=alias,
            )
    return LoggedTraining(**answer)


def registered_name(job: Job) -> str:
    """The name of a job's model in MLflow."""
    return name_of(job.model.uri) or job.model.name


def log_run(server: Server, job: Job, run: Run, model_id: str | None) -> str:
    """Log a scoring run that has ended; returns the id of MLflow's run.

    Raises TrackingServerUnavailable, TrackingServerRefused, NoSuchModel, ExtraMissing.
    """
    source = {"table": job.source.table, "key": job.source.key, "where": job.source.where}
    digest = hashlib.sha256(json.dumps([source, run.run_id]).encode()).hexdigest()
    with Client(server) as client:
        answer = client.ask(
            "log_run",
            about=f"experiment {_experiment(job)}",
            experiment=_experiment(job),
            run_name=f"score {job.name} {run.run_id}",
            start=_milliseconds(run.started_at),
            end=_milliseconds(run.finished_at or run.heartbeat_at),
            status="FINISHED" if run.status is Status.SUCCEEDED else "FAILED",
            params=_short(
                {
                    "model": run.model_name,
                    "model_version": run.model_version,
                    "artifact_sha256": run.artifact_sha256,
                    "engine": run.engine,
                    "mode": run.mode,
                    "trigger": run.trigger,
                }
            ),
            metrics={
                "due": run.due_count,
                "scored": run.scored_count,
                "superseded": run.superseded_count,
                "quarantined": run.quarantined_count,
                "unseen_category": run.unseen_category_count,
                "seconds": run.seconds or 0.0,
            },
            tags={"batch_scoring.job": job.name, "batch_scoring.run_id": str(run.run_id)},
            dataset={
                "name": job.source.table[:_LONGEST],
                "digest": digest[:32],
                "source_type": "sql",
                "source": json.dumps(source)[:_LONGEST],
            },
            model_id=model_id,
        )
    return str(answer["run_id"])


def _experiment(job: Job) -> str:
    return job.mlflow.experiment or job.name


def _short(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value)[:_LONGEST] for name, value in values.items() if value is not None}


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
