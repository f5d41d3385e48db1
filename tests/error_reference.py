"""The reference of errors, written from the error classes and from what to do about each, for ``docs/errors.md``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import batch_scoring
from batch_scoring.errors import BatchScoringError, ExitCode

REMEDIES = {
    "BatchScoringError": "Catch it to catch every error. It is not raised itself.",
    "ConfigurationError": "Correct each key or variable that the message names. [Job files](job-files.md) and the"
    " [settings](operations/README.md#the-service) list what is allowed; `batch-scoring check` repeats the validation.",
    "UnknownJob": "Use one of the names in the message, or set `BATCH_SCORING_JOBS_DIR` to the folder of the"
    " job files.",
    "SourceFault": "Correct the source table or the `[source]` section of the job file."
    " `batch-scoring check` lists what is missing; [keys](job-files.md#keys) explains when a key is usable.",
    "InputFault": "Correct the file, the value or the option that the message names. Nothing was changed.",
    "ExtraMissing": "Install the extra that the message names, such as `pip install 'batch-scoring[mlflow]'`.",
    "TrackingServerUnavailable": "Look at the server and its log, then run again; the rows stay due."
    " `[model] cache` lets runs use the last verified version meanwhile, see"
    " [MLflow](mlflow.md#when-the-server-fails).",
    "TrackingServerRefused": "Give the credentials that MLflow's client takes, such as `MLFLOW_TRACKING_USERNAME` and"
    " `MLFLOW_TRACKING_PASSWORD`, and let that user read the model.",
    "SchemaOutOfDate": "Run `batch-scoring db upgrade`, or upgrade the package if the database is newer.",
    "ModelRefused": "The base class of the errors with exit code 3. Raised itself if the model does not fit the job:"
    " change `kind` or `positive_label` in `[predictions]`, or name another model.",
    "NoSuchModel": "`batch-scoring model list` shows what is registered. Register a model, or correct `[model]`"
    " in the job"
    " file.",
    "ArtifactMissing": "Check that the artifacts folder is mounted, or restore the file from the backup."
    " Registering the same file again restores it, too.",
    "ArtifactChanged": "Restore the registered file from the backup, or register the changed file as a new"
    " version if you"
    " trust it. `batch-scoring model verify NAME` checks a version.",
    "VersionMismatch": "Install the scikit-learn version that the model was fitted with, or train again."
    " `--allow-version-mismatch` accepts the difference and records it with the run.",
    "GoldenRowsDiffer": "Install the libraries that the model's manifest names (`batch-scoring model show`), or"
    " train again.",
    "EngineDiffers": 'Set `[run] engine = "python"`, score what the run has written again with'
    " `batch-scoring rescore`, and report the difference with the output of `batch-scoring model sql`.",
    "EngineUnavailable": 'Set `[run] engine = "auto"`. [The database engine](models.md#the-database-engine) lists'
    " what is translated.",
    "SignatureMismatch": "Add or cast the columns that the message names, in the source or in a view."
    " [Source types](source-types.md) lists which types a model accepts.",
    "ManifestNotSigned": "Find out who wrote to the registry. If the model is as it should be, sign it with"
    " `batch-scoring model sign`; [signatures](security.md#signatures) says what they protect against.",
    "PromotionRefused": "The message names each gate that refuses; [promotion](promotion.md#gates) says what it"
    " compares. Train a better version, change the limits in `[promotion]`, overrule the gates with `--force` and a"
    " `--reason`, or let another login approve.",
    "UnusableModel": "Fit the model, or save another object. [Models](models.md) lists what can be registered.",
    "AnotherRunActive": "Nothing, usually: the active run scores the rows. If it happens regularly, runs take"
    " longer than"
    " the schedule allows; lengthen the interval or use more workers.",
    "Fenced": "Nothing: the run that took over scores the rest. Find out why this process stalled.",
    "EveryRowFailed": "Correct the column or the model that the message names, then run again."
    " [A chunk that fails as a whole](models.md#a-chunk-that-fails-as-a-whole) gives the rule.",
    "RunStopped": "Nothing: the remaining rows are due for the next run. If `max_duration` stopped it"
    " regularly, increase it.",
    "WorkerCrashed": "Read the kernel log of the machine for the reason, often memory. Use fewer workers or a smaller"
    " `chunk_rows`. A single row that causes the crash is quarantined by the third run.",
    "DatabaseFault": "Read the message of the driver. It is raised itself only if no more specific class applies.",
    "TransientError": "Nothing, usually: the operation is retried. If the run failed with it, start it again later.",
    "ConnectionLost": "Nothing, usually: the operation is retried. If it persists, check the network and the"
    " server's log.",
    "DatabaseUnreachable": "Check that the server runs and that `BATCH_SCORING_DATABASE_URL` names it.",
    "AccessDenied": "Check user, password and privileges. `batch-scoring db roles` prints the grants that a"
    " role needs.",
    "DatabaseReadOnly": "Set `BATCH_SCORING_DATABASE_URL` to the primary server, or make the file writable.",
    "DatabaseFull": "Free disk space where the database is stored.",
    "ConstraintViolated": "Read which constraint the message names. A trigger or another program may write to"
    " the tables.",
    "TooMuchAtOnce": "Nothing, usually: the chunk is read again with half of the rows. If a single row is too large,"
    " leave its large column out with a view.",
    "WrittenCountDiffers": "Remove the trigger or rule on the predictions table that adds or discards rows.",
    "RunHeld": "Read which columns the message names. Fix the source, or let the rows through with"
    " `batch-scoring runs release RUN --reason TEXT`; `batch-scoring monitor profile RUN` shows what was counted.",
    "UnexpectedFault": "Report it with the traceback on standard error: this is a bug.",
}
"""What to do about each error; a test requires an entry for every class."""


def error_classes() -> list[type[BatchScoringError]]:
    """Every error class of the package, each after its parent."""
    for module in pkgutil.walk_packages(batch_scoring.__path__, "batch_scoring."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return list(_with_children(BatchScoringError))


def _with_children(parent: type[BatchScoringError]) -> Iterator[type[BatchScoringError]]:
    yield parent
    for child in parent.__subclasses__():
        if child.__module__.startswith("batch_scoring."):
            yield from _with_children(child)


def reference() -> str:
    """Markdown: one section for each exit code, one row for each error."""
    classes = error_classes()
    lines: list[str] = []
    for code in ExitCode:
        found = [each for each in classes if each.exit_code is code]
        if not found:
            continue
        lines += [f"## Exit code {int(code)}", "", "| error | kind of | what happened | what to do |"]
        lines += ["| --- | --- | --- | --- |"]
        lines += [
            f"| `{each.__name__}` | {_parent(each)} | {_what_happened(each)} | {REMEDIES[each.__name__]} |"
            for each in found
        ]
        lines += [""]
    return "\n".join(lines).strip()


def _parent(error: type[BatchScoringError]) -> str:
    return "" if error is BatchScoringError else f"`{error.__bases__[0].__name__}`"


def _what_happened(error: type[BatchScoringError]) -> str:
    return " ".join((error.__doc__ or "").split())
