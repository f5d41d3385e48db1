"""Job: the validated content of ``jobs/<name>.toml``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from batch_scoring.errors import ConfigurationError, Problem, UnknownJob

Kind = Literal["binary", "multiclass", "regression", "label"]
UnseenCategories = Literal["score", "quarantine"]

JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")

MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
ALIAS = r"^[A-Za-z][A-Za-z0-9_-]{0,62}$"

OWN_COLUMNS = frozenset(
    {"run_id", "model_version", "score", "prediction", "source_changed_at", "valid_from", "valid_to"}
    | {"reason_code", "column_name", "message", "attempts", "model_name", "scored_at", "digest"}
    | {"trigger", "requested_by", "reason", "is_current", "quarantined_since", "quarantine_reason"}
)
"""Columns of a predictions table, quarantine, inputs and views; a key column may not carry such a name."""

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.IGNORECASE)
_UNITS = {
    form: unit
    for unit, forms in {
        "seconds": ("s", "second", "seconds"),
        "minutes": ("m", "min", "mins", "minute", "minutes"),
        "hours": ("h", "hour", "hours"),
        "days": ("d", "day", "days"),
        "weeks": ("w", "week", "weeks"),
    }.items()
    for form in forms
}


def parse_duration(text: object) -> timedelta:
    """Read a duration such as ``5 minutes``, ``90s`` or ``1.5 hours``. Raises ValueError where it is none."""
    if isinstance(text, timedelta):
        return text
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError('expected a duration such as "30 seconds", "5 minutes" or "2 days"')
    try:
        duration = timedelta(**{unit: float(match[1])})
    except OverflowError:
        raise ValueError("expected a duration within a calendar's reach") from None
    if duration <= timedelta(0):
        raise ValueError("expected a duration longer than zero")
    return duration


class TableName(NamedTuple):
    """A table or view, with its schema where the job names one (``schema.table``)."""

    schema: str | None
    name: str

    @classmethod
    def parse(cls, text: str) -> TableName:
        """Split ``schema.table`` at its first dot; a name without a dot has no schema. Raises ValueError."""
        schema, dot, name = text.partition(".")
        if not text or "\0" in text or (dot and not (schema and name)):
            raise ValueError('expected "table" or "schema.table"')
        return cls(schema, name) if dot else cls(None, text)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


def _table_name(text: str) -> str:
    return str(TableName.parse(text))


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError('expected an IANA time zone such as "UTC" or "Europe/Berlin"') from None
    return name


def _cron(expression: str) -> str:
    from batch_scoring.slots import CronTrigger  # the reader of the expression is also its judge

    try:
        CronTrigger(expression, "UTC")
    except ValueError as exc:
        raise ValueError(f'expected the five fields of cron, such as "*/15 * * * *" ({exc})') from None
    return expression


def _label(label: object) -> object:
    return str(label) if isinstance(label, bool | int | float) else label


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Table = Annotated[str, AfterValidator(_table_name)]
Column = Annotated[str, Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, ser_json_timedelta="float")


class Source(_Section):
    """``[source]``: where the rows come from."""

    table: Table
    key: Annotated[list[Column], Field(min_length=1)]
    changed_at: Column | None = None
    where: Annotated[str, Field(min_length=1)] | None = None
    lookback: Duration | None = None
    sweep: Duration | None = None

    @property
    def table_name(self) -> TableName:
        return TableName.parse(self.table)


class Model(_Section):
    """``[model]``: which model scores, and what to do with a category it never saw."""

    name: Annotated[str, Field(pattern=MODEL_NAME)]
    alias: Annotated[str, Field(pattern=ALIAS)] = "champion"
    unseen_categories: UnseenCategories = "score"


class Predictions(_Section):
    """``[predictions]``: where predictions go and how they are read from the model."""

    table: Table = "predictions"
    kind: Kind = "binary"
    positive_label: Annotated[str | None, BeforeValidator(_label)] = None
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """None leaves the decision to the model's own threshold, or to 0.5 where it has none."""
    max_quarantined: Annotated[float, Field(ge=0, le=1)] = 0.05
    keep_inputs: bool = False

    @property
    def table_name(self) -> TableName:
        return TableName.parse(self.table)


class Run(_Section):
    """``[run]``: how a run moves its rows."""

    chunk_rows: Annotated[int | None, Field(ge=1, le=10_000_000)] = None
    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    stalled_after: Duration = timedelta(minutes=5)
    bulk: Literal["auto", "portable"] = "auto"
    max_duration: Duration | None = None


class Schedule(_Section):
    """``[schedule]``: when the scheduler service starts a run."""

    cron: Annotated[str, AfterValidator(_cron)] | None = None
    every: Duration | None = None
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    jitter: Duration | None = None
    stale_after: Duration | None = None


class Training(_Section):
    """``[training]``: the features that ``train`` derives inside the pipeline."""

    ignore: list[Column] = []
    sums: dict[str, Annotated[list[Column], Field(min_length=2)]] = {}
    logs: list[Column] = []


class Job(_Section):
    """What to score, with which model, into which table."""

    name: str
    source: Source
    model: Model
    predictions: Predictions
    run: Run = Run()
    schedule: Schedule | None = None
    training: Training = Training()

    @classmethod
    def from_file(cls, path: Path) -> Job:
        """Read and validate a job file.

        Raises ConfigurationError with every problem of the file: its place, its key and what was expected.
        """
        where = str(path)
        if not JOB_NAME.fullmatch(path.stem):
            message = "a job's name takes letters, digits, _ and -, and starts with a letter or digit; rename the file"
            raise ConfigurationError([Problem(where=where, key="", message=message)])
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise ConfigurationError([Problem(where=where, key="", message=f"is not valid TOML: {exc}")]) from exc
        except OSError as exc:
            message = f"cannot be read: {exc.strerror}"
            raise ConfigurationError([Problem(where=where, key="", message=message)]) from exc
        problems = [Problem(where=where, key=key, message=message) for key, message in _broken_rules(content)]
        job = None
        try:
            job = cls.model_validate({**content, "name": path.stem})
        except ValidationError as exc:
            problems = [*_problems(where, exc), *problems]
        if job is None or problems:
            raise ConfigurationError(problems)
        return job


def _broken_rules(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Rules between keys, asked of the file as it is, so that no other problem hides them."""
    source, predictions, schedule = (
        section if isinstance(section, dict) else {}
        for section in (content.get(name, {}) for name in ("source", "predictions", "schedule"))
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
        yield "source.lookback", "looks at when rows were last changed: name that column in changed_at"


def _problems(where: str, exc: ValidationError) -> Iterator[Problem]:
    for error in exc.errors(include_url=False):
        key = ".".join(str(part) for part in error["loc"])
        message = {
            "missing": "is missing",
            "extra_forbidden": "is not a known key; remove it or mend its spelling",
        }.get(error["type"], error["msg"].removeprefix("Value error, ").replace("Input should be", "expected"))
        if error["type"] not in ("missing", "extra_forbidden", "value_error"):
            message += f", found {_shown(error['input'])}"
        yield Problem(where=where, key=key, message=message)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


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
            f" name one of them, write {jobs_dir}/<name>.toml, or set BATCH_SCORING_JOBS_DIR"
        )
    return Job.from_file(path)


def load_jobs(jobs_dir: Path) -> list[Job]:
    """Read every job of a folder. Raises ConfigurationError with the problems of all files together."""
    jobs: list[Job] = []
    problems: list[Problem] = []
    for name in job_names(jobs_dir):
        try:
            jobs.append(Job.from_file(jobs_dir / f"{name}.toml"))
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
