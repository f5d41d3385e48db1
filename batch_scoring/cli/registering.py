"""``train`` and ``model register``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batch_scoring.cli.file_options import Decimal, Encoding, Separator, Thousands
from batch_scoring.cli.observers import event_log
from batch_scoring.cli.output import (
    Json,
    console,
    database,
    migrated_database,
    notice,
    settings,
    show_json,
    show_record,
    show_table,
)
from batch_scoring.cli.promoting import known_jobs
from batch_scoring.cli.times import time_option
from batch_scoring.counting import counted
from batch_scoring.errors import InputFault

if TYPE_CHECKING:
    from batch_scoring.domain.job import Job
    from batch_scoring.domain.manifest import Metrics
    from batch_scoring.registry.registration import Registered
    from batch_scoring.registry.training import LogTo


class AlgorithmChoice(StrEnum):
    """The algorithms of ``train``, repeated here so that ``--help`` imports no scikit-learn. A test compares both."""

    LOGISTIC_REGRESSION = "logistic_regression"
    DECISION_TREE = "decision_tree"
    RANDOM_FOREST = "random_forest"
    HIST_GRADIENT_BOOSTING = "hist_gradient_boosting"
    SCORECARD = "scorecard"


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
        Path | None,
        typer.Option(
            help="Labelled rows: CSV with a header, or Parquet; without it, those of [training] query.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="The column with the outcome; without it, that of [training] label.")
    ] = None,
    algorithm: Annotated[
        AlgorithmChoice | None,
        typer.Option(
            metavar="ALGORITHM",
            help=f"The algorithm to fit: {', '.join(AlgorithmChoice)}. Without it, logistic_regression.",
            show_default=False,
        ),
    ] = None,
    search: Annotated[
        bool, typer.Option("--search", help="Compare all algorithms by cross-validation and take the best by log loss.")
    ] = False,
    as_of: Annotated[
        datetime | None, time_option(help="Leave out rows from this time on, by the column of [training] time.")
    ] = None,
    golden: GoldenRowsOf = GoldenChoice.REAL,
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Log the training to MLflow too, and register the model there.")
    ] = False,
    mlflow_alias: Annotated[
        str | None, typer.Option(help="Point this alias of the model in MLflow at the version.", show_default=False)
    ] = None,
    encoding: Encoding = None,
    separator: Separator = None,
    decimal: Decimal = ".",
    thousands: Thousands = None,
    as_json: Json = False,
) -> None:
    """Fit the job's pipeline, evaluate it, and register it as a new version. The first version becomes champion.

    A model card with plots is written beside the artifact. The same rows give the same file.
    """
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.files.format import FileFormat
    from batch_scoring.registry import labelled, training

    if search and algorithm is not None:
        raise InputFault("--search chooses the algorithm; leave out --algorithm")
    form = FileFormat.of(encoding, separator, decimal, thousands)
    chosen = settings()
    found = load_job(chosen.jobs_dir, job)
    log_to = _log_to(found, mlflow=mlflow, alias=mlflow_alias)
    if data is not None:
        rows = labelled.of_file(found, data, label=label, as_of=as_of, form=form, notify=notice)
    else:
        rows = labelled.of_query(migrated_database(), found, label=label, as_of=as_of)
    with _search_bar(len(AlgorithmChoice), is_shown=search) as tried:
        trained = training.train(
            database(),
            chosen.artifacts_dir,
            found,
            rows,
            algorithm=None if search else (algorithm or AlgorithmChoice.LOGISTIC_REGRESSION).value,
            golden=golden.value,
            log_to=log_to,
            tried=tried,
            notify=notice,
            observers=event_log(),
        )
    in_mlflow = None if trained.logged is None else trained.logged.uri
    registered = trained.registered
    if as_json:
        show_json({**registered.version.as_json(), "is_new": registered.is_new, "mlflow_uri": in_mlflow})
    else:
        _show_registered(registered, as_json=False, why_new="it was trained again")
        show_metrics(registered.version.manifest.metrics)
        if trained.card is not None:
            typer.echo(f"model card: {trained.card}")
        if in_mlflow is not None:
            typer.echo(f"in MLflow: {in_mlflow}")
    if trained.not_logged is not None:
        notice(f"error: the version is registered here, but not in MLflow: {trained.not_logged}")
        raise typer.Exit(trained.not_logged.exit_code)


def _log_to(job: Job, *, mlflow: bool, alias: str | None) -> LogTo | None:
    """Where to log the training; that it can be is checked before the training."""
    if alias is not None and not mlflow:
        raise InputFault("--mlflow-alias belongs to --mlflow; give both")
    if not mlflow:
        return None
    from batch_scoring.domain.names import ALIAS, check_name
    from batch_scoring.mlflow.server import server_of
    from batch_scoring.registry.training import LogTo

    if alias is not None:
        check_name("--mlflow-alias", alias, ALIAS)
    return LogTo(server=server_of(job), alias=alias)


@contextmanager
def _search_bar(total: int, *, is_shown: bool) -> Iterator[Callable[[str], None]]:
    """A progress bar of a search, on a terminal; yields what is called after each algorithm."""
    if not is_shown or not sys.stderr.isatty():
        yield lambda _algorithm: None
        return
    from rich.progress import Progress

    with Progress(console=console(), transient=True) as progress:
        task = progress.add_task("comparing algorithms", total=total)
        yield lambda algorithm: progress.update(task, advance=1, description=f"compared {algorithm}")


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
    labels: Annotated[
        str | None,
        typer.Option(
            help="The column of the sample with the outcomes, by which the importance of each feature is measured.",
            show_default=False,
        ),
    ] = None,
    held_out: Annotated[
        bool,
        typer.Option(
            "--held-out", help="The model was not fitted on the sample: a drift of its score may be an alert."
        ),
    ] = False,
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
        labels=labels,
        is_held_out=held_out,
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
    if metrics.candidates:
        show_table(
            ["algorithm", "log loss", "ROC AUC", "accuracy"],
            [[one.algorithm, *_rounded(one.log_loss, one.roc_auc, one.accuracy)] for one in metrics.candidates],
            title="compared on the same folds",
        )
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


def _rounded(*values: float) -> list[str]:
    return [f"{value:.4f}" for value in values]
