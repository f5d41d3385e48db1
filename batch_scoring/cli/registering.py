"""``train`` and ``model register``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batch_scoring.cli.file_options import Decimal, Encoding, Separator, Thousands
from batch_scoring.cli.observers import event_log
from batch_scoring.cli.output import Json, database, notice, settings, show_json, show_record, show_table
from batch_scoring.cli.promoting import known_jobs
from batch_scoring.counting import counted

if TYPE_CHECKING:
    from batch_scoring.domain.manifest import Metrics
    from batch_scoring.registry.registration import Registered


class AlgorithmChoice(StrEnum):
    """The algorithms of ``train``, repeated here so that ``--help`` imports no scikit-learn. A test compares both."""

    LOGISTIC_REGRESSION = "logistic_regression"
    DECISION_TREE = "decision_tree"
    RANDOM_FOREST = "random_forest"
    HIST_GRADIENT_BOOSTING = "hist_gradient_boosting"


class GoldenChoice(StrEnum):
    """What golden rows are made of."""

    REAL = "real"
    SYNTHETIC = "synthetic"


GoldenRowsOf = Annotated[
    GoldenChoice,
    typer.Option(
        help="Rows that verify the model before each run: real ones of the data, which are stored with the model, or"
        " synthetic ones, each value drawn by itself.",
    ),
]


def train(
    job: Annotated[str, typer.Argument(help="Name of the job.")],
    data: Annotated[
        Path, typer.Option(help="Labelled rows: CSV with a header, or Parquet.", exists=True, dir_okay=False)
    ],
    label: Annotated[str, typer.Option(help="The column with the outcome.")],
    algorithm: Annotated[
        AlgorithmChoice,
        typer.Option(metavar="ALGORITHM", help=f"The algorithm to fit: {', '.join(AlgorithmChoice)}."),
    ] = AlgorithmChoice.LOGISTIC_REGRESSION,
    golden: GoldenRowsOf = GoldenChoice.REAL,
    encoding: Encoding = None,
    separator: Separator = None,
    decimal: Decimal = ".",
    thousands: Thousands = None,
    as_json: Json = False,
) -> None:
    """Fit the job's pipeline, evaluate it, and register it as a new version. The first version becomes champion."""
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.files.format import FileFormat
    from batch_scoring.registry import registration

    form = FileFormat.of(encoding, separator, decimal, thousands)
    chosen = settings()
    registered = registration.train_and_register(
        database(),
        chosen.artifacts_dir,
        load_job(chosen.jobs_dir, job),
        data,
        label=label,
        algorithm=algorithm.value,
        form=form,
        golden=golden.value,
        notify=notice,
        observers=event_log(),
    )
    _show_registered(registered, as_json=as_json, why_new="it was trained again")
    if not as_json:
        show_metrics(registered.version.manifest.metrics)


def register(
    file: Annotated[Path, typer.Argument(help="A fitted pipeline: joblib, or .skops.", exists=True, dir_okay=False)],
    name: Annotated[str, typer.Option(help="Name of the model.")],
    sample: Annotated[
        Path,
        typer.Option(
            help="Sample of the model's input rows: CSV with a header, or Parquet.", exists=True, dir_okay=False
        ),
    ],
    alias: Annotated[str | None, typer.Option(help="Point this alias at the new version.")] = None,
    golden: GoldenRowsOf = GoldenChoice.REAL,
    encoding: Encoding = None,
    separator: Separator = None,
    decimal: Decimal = ".",
    thousands: Thousands = None,
    as_json: Json = False,
) -> None:
    """Register a fitted scikit-learn-compatible model; its signature is derived from the sample.

    The file is unpickled, which executes code in it: register only files you trust. Use the training data as sample:
    a column without missing values in it is required, and text values that it lacks count as unseen categories.
    """
    from batch_scoring.files.format import FileFormat
    from batch_scoring.registry import registration

    registered = registration.register_file(
        database(),
        settings().artifacts_dir,
        file,
        name=name,
        sample=sample,
        alias=alias,
        jobs=known_jobs() if alias else (),
        form=FileFormat.of(encoding, separator, decimal, thousands),
        golden=golden.value,
        notify=notice,
        observers=event_log(),
    )
    _show_registered(registered, as_json=as_json, why_new="its signature or the libraries differ")


def _show_registered(registered: Registered, *, as_json: bool, why_new: str) -> None:
    version = registered.version
    if as_json:
        show_json({**version.as_json(), "is_new": registered.is_new})
        return
    if registered.is_new:
        typer.echo(f"registered {version.name} version {version.version}: {version.artifact_uri}")
    else:
        since = f"{version.created_at:%Y-%m-%d %H:%M:%S} UTC"
        typer.echo(
            f"{version.name} version {version.version} is the same file, registered {since}; nothing was added, and its"
            " golden rows and metrics are unchanged"
        )
    for note in version.manifest.notes:
        notice(f"note: {note}")
    if registered.is_new and registered.same_file:
        others = ", ".join(map(str, registered.same_file))
        notice(f"version {others} is the same file; this is a new version because {why_new}")


def show_metrics(metrics: Metrics | None) -> None:
    """Print what the training measured; nothing where it is unknown."""
    if metrics is None:
        return
    folds, held_out = metrics.cross_validation, metrics.held_out
    show_record(
        [
            (f"{folds.folds}-fold accuracy", f"{folds.accuracy:.4f} ± {folds.accuracy_std:.4f}"),
            ("ROC AUC", f"{folds.roc_auc:.4f}"),
            ("log loss", f"{folds.log_loss:.4f}"),
            ("held-out accuracy", f"{held_out.accuracy:.4f} on {counted(held_out.rows, 'row')}"),
        ]
    )
    show_table(
        ["actual", *(f"predicted {name}" for name in held_out.labels)],
        [[name, *row] for name, row in zip(held_out.labels, held_out.confusion_matrix, strict=True)],
        title="confusion matrix of the held-out rows",
    )
