"""Read and validate job files, ``jobs/<name>.toml``. All problems of a file or folder are reported together."""

from __future__ import annotations

import errno
import os
import stat
import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from batch_scoring.domain.job import Job
from batch_scoring.domain.names import JOB_NAME, OWN_COLUMNS
from batch_scoring.errors import ConfigurationError, Problem, UnknownJob
from batch_scoring.printable import printable

LARGEST = 2**20
"""The largest job file, in bytes."""


def job_names(jobs_dir: Path) -> list[str]:
    """Names of the job files in a folder, sorted; empty where there is no folder."""
    return sorted(path.stem for path in jobs_dir.glob("*.toml"))


def load_job(jobs_dir: Path, name: str) -> Job:
    """Read one job by name. Raises UnknownJob, or ConfigurationError."""
    path = jobs_dir / f"{name}.toml"
    if not JOB_NAME.fullmatch(name) or not path.is_file():
        known = ", ".join(job_names(jobs_dir)) or "none"
        raise UnknownJob(
            f"there is no job {name!r} in {jobs_dir}/ (jobs there: {known});"
            f" name one of them, write {jobs_dir}/<name>.toml, or set BATCH_SCORING_JOBS_DIR",
            job=name,
        )
    return read_job(path)


def load_jobs(jobs_dir: Path) -> list[Job]:
    """Read every job of a folder. Raises ConfigurationError with the problems of all files together."""
    jobs: list[Job] = []
    problems: list[Problem] = []
    for name in job_names(jobs_dir):
        try:
            jobs.append(read_job(jobs_dir / f"{name}.toml"))
        except ConfigurationError as exc:
            problems.extend(exc.problems)
    claimed: dict[str, str] = {}
    for job in jobs:
        other = claimed.setdefault(job.predictions.table, job.name)
        if other != job.name:
            message = f"{job.predictions.table} is the predictions table of job {other} too; give each job its own"
            problems.append(Problem(where=str(jobs_dir / f"{job.name}.toml"), key="predictions.table", message=message))
    if problems:
        raise ConfigurationError(problems)
    return jobs


def read_job(path: Path) -> Job:
    """Read and validate a job file.

    Raises ConfigurationError with every problem of the file: its path, its key and what was expected.
    """
    where = str(path)
    if not JOB_NAME.fullmatch(path.stem):
        message = "a job's name takes letters, digits, _ and -, and starts with a letter or digit; rename the file"
        raise ConfigurationError([Problem(where=where, key="", message=message)])
    try:
        return _job_of(path, where)
    except RecursionError:
        message = "is nested too deeply; write each section and each list once"
        raise ConfigurationError([Problem(where=where, key="", message=message)]) from None


def _job_of(path: Path, where: str) -> Job:
    try:
        content = tomllib.loads(_text_of(path))
    except ValueError as exc:  # TOMLDecodeError, UnicodeDecodeError, or a number of thousands of digits
        message = f"is not valid TOML: {printable(str(exc))}"
        raise ConfigurationError([Problem(where=where, key="", message=message)]) from exc
    except OSError as exc:
        message = f"cannot be read: {exc.strerror}"
        raise ConfigurationError([Problem(where=where, key="", message=message)]) from exc
    problems = [Problem(where=where, key=key, message=message) for key, message in _broken_rules(content)]
    job = None
    try:
        job = Job.model_validate({**content, "name": path.stem})
    except ValidationError as exc:
        problems = [*_problems(where, exc), *problems]
    if job is None or problems:
        raise ConfigurationError(problems)
    return job


def _text_of(path: Path) -> str:
    """The text of a regular file of limited size; a pipe would block, and a device has no end. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise OSError(errno.EFBIG, f"it is larger than {LARGEST:,} bytes, and a job file is a page of text")
    return content.decode("utf-8")


def _broken_rules(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Rules that involve several keys. They are checked on the raw file, so that no other problem hides them."""
    source, model, predictions, schedule = (
        section if isinstance(section, dict) else {}
        for section in (content.get(name, {}) for name in ("source", "model", "predictions", "schedule"))
    )
    if "name" in content:
        yield "name", "a job is named after its file; remove this key"
    named = source.get("key")
    keys = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    if len(set(keys)) != len(keys):
        yield "source.key", "expected each column once"
    if taken := sorted({name.lower() for name in keys} & OWN_COLUMNS):
        message = f"{', '.join(taken)} is a column of every predictions table"
        yield "source.key", f"{message}; give the key another name in a view and use the view as source"
    yield from _broken_lookback(source)
    yield from _broken_policies(source, model)
    yield from _broken_challengers(model)
    yield from _broken_uri(model)
    yield from _broken_monitoring(content.get("monitoring"))
    kind = predictions.get("kind", "binary")
    if kind == "binary" and "predictions" in content and "positive_label" not in predictions:
        yield "predictions.positive_label", "expected the label whose probability is the score (kind is binary)"
    for name, kinds in (("positive_label", ("binary", "label")), ("threshold", ("binary",))):
        if name in predictions and kind in ("multiclass", "regression", "label") and kind not in kinds:
            yield f"predictions.{name}", f"belongs to kind {' and '.join(kinds)} only, kind is {kind}"
    if "schedule" in content and ("cron" in schedule) == ("every" in schedule):
        yield "schedule", "cron and every: expected exactly one of them"


def _broken_lookback(source: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if ("lookback" in source) != ("sweep" in source):
        yield "source", "lookback and sweep: expected both or neither"
    if "lookback" in source and "changed_at" not in source:
        yield "source.lookback", "needs the time at which rows were last changed: name that column in changed_at"


def _broken_policies(source: dict[str, Any], model: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "max_deleted" in source and source.get("deleted") != "close":
        yield "source.max_deleted", 'belongs to deleted = "close"; set it, or remove this key'
    if "per_run" in model and model.get("on_new_version") != "rescore":
        yield "model.per_run", 'belongs to on_new_version = "rescore"; set it, or remove this key'


def _broken_challengers(model: dict[str, Any]) -> Iterator[tuple[str, str]]:
    listed = model.get("challengers")
    named = [alias for alias in listed if isinstance(alias, str)] if isinstance(listed, list) else []
    if len(set(named)) != len(named):
        yield "model.challengers", "expected each alias once"
    if "uri" not in model and model.get("alias", "champion") in named:
        yield "model.challengers", f"{model.get('alias', 'champion')} is the alias that scores the job; remove it here"


def _broken_uri(model: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "uri" in model and "alias" in model:
        yield "model.alias", "belongs to the registry of this package, and uri names a model in MLflow; remove one"
    if "cache" in model and "uri" not in model:
        yield "model.cache", "belongs to uri; set it, or remove this key"


def _broken_monitoring(monitoring: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(monitoring, dict):
        return
    reference = monitoring.get("reference", "model")
    first, last = (monitoring.get(name) for name in ("reference_from", "reference_to"))
    if reference == "runs" and (first is None or last is None):
        yield "monitoring.reference", 'expected reference_from and reference_to with reference = "runs"'
    if reference != "runs" and not (first is None and last is None):
        yield "monitoring.reference_from", 'belongs to reference = "runs"; set it, or remove this key'
    if isinstance(first, date) and isinstance(last, date) and type(first) is type(last) and first > last:
        yield "monitoring.reference_from", f"expected a day not after reference_to, {last}"


def _problems(where: str, exc: ValidationError) -> Iterator[Problem]:
    for error in exc.errors(include_url=False):
        key = ".".join(str(part) for part in error["loc"])
        message = {
            "missing": "is missing",
            "extra_forbidden": "is not a known key; remove it or correct its spelling",
        }.get(error["type"], error["msg"].removeprefix("Value error, ").replace("Input should be", "expected"))
        if error["type"] not in ("missing", "extra_forbidden", "value_error"):
            message += f", found {_shown(error['input'])}"
        yield Problem(where=where, key=key, message=message)


def _shown(value: Any) -> str:
    text = printable(repr(value))
    return text if len(text) <= 60 else text[:57] + "..."
