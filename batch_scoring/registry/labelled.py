"""Labelled rows for a training: of a file, or of the query of a job."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.counting import counted
from batch_scoring.domain.job import Job
from batch_scoring.errors import ConfigurationError, InputFault, Problem
from batch_scoring.files.format import PLAIN, FileFormat
from batch_scoring.store.engine.database import Database

if TYPE_CHECKING:
    import pandas as pd

    from batch_scoring.domain.manifest import TrainingData

_SELECT = re.compile(r"\s*(?:SELECT|WITH)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """Labelled rows, and where they are from."""

    frame: pd.DataFrame
    label: str
    """The column with the outcome."""
    origin: str
    sha256: str
    """Of the file; of the rows of a query, of these rows written as CSV."""
    as_of: datetime | None = None

    def describe(self, label_counts: dict[str, int]) -> TrainingData:
        """The record of the manifest."""
        from batch_scoring.domain.manifest import TrainingData

        return TrainingData(
            file=self.origin,
            sha256=self.sha256,
            rows=len(self.frame),
            label_column=self.label,
            label_counts=label_counts,
            as_of=None if self.as_of is None else self.as_of.isoformat(),
        )


def of_file(
    job: Job,
    data: Path,
    *,
    label: str | None,
    as_of: datetime | None = None,
    form: FileFormat = PLAIN,
    notify: Callable[[str], None] | None = None,
) -> Labelled:
    """The rows of a CSV or Parquet file. ``label`` None stands for that of the job. Raises InputFault."""
    from batch_scoring.files.content import read_content
    from batch_scoring.files.frame import read_frame
    from batch_scoring.model.artifact import sha256

    wanted = _label(job, label)
    content = read_content(data)
    frame = read_frame(data, content, form, keep=[wanted], parse_dates=True, notify=notify)
    if wanted not in frame.columns and wanted.strip() in frame.columns:
        wanted = wanted.strip()
    return Labelled(
        frame=_known_before(job, frame, as_of), label=wanted, origin=data.name, sha256=sha256(content), as_of=as_of
    )


def of_query(database: Database, job: Job, *, label: str | None, as_of: datetime | None = None) -> Labelled:
    """The rows of ``[training] query``, in the order of their key, so that the same rows give the same model.

    Raises ConfigurationError, InputFault, DatabaseFault.
    """
    import pandas as pd

    from batch_scoring.model.artifact import sha256

    query = job.training.query
    if query is None:
        message = "is missing, and no --data is given: expected a SELECT of labelled rows"
        raise ConfigurationError([Problem(where=f"job {job.name}", key="training.query", message=message)])
    if not _SELECT.match(query):
        message = "expected a SELECT (or WITH … SELECT) of labelled rows"
        raise ConfigurationError([Problem(where=f"job {job.name}", key="training.query", message=message)])
    wanted = _label(job, label)
    with database.read() as connection:
        found = connection.execution_options(no_parameters=True).exec_driver_sql(query)
        names = list(found.keys())
        if len(set(names)) < len(names):
            raise InputFault("[training] query returns columns of the same name; name each column once")
        frame = pd.DataFrame.from_records([tuple(row) for row in found], columns=names).infer_objects()
    frame = _in_order(_known_before(job, frame, as_of), job)
    content = frame.to_csv(index=False).encode()
    return Labelled(frame=frame, label=wanted, origin=f"query of job {job.name}", sha256=sha256(content), as_of=as_of)


def _label(job: Job, given: str | None) -> str:
    wanted = given or job.training.label
    if wanted is None:
        raise InputFault(
            f"which column holds the outcome is not known; give --label, or set [training] label of job {job.name}"
        )
    return wanted


def _known_before(job: Job, frame: pd.DataFrame, as_of: datetime | None) -> pd.DataFrame:
    """The rows whose ``[training] time`` is before a time. Raises InputFault."""
    import pandas as pd

    if as_of is None:
        return frame
    column = job.training.time
    if column is None:
        raise InputFault(f"--as-of compares [training] time, which job {job.name} does not set")
    if column not in frame.columns:
        raise InputFault(f"the labelled rows have no column {column}, the [training] time of job {job.name}")
    times = pd.to_datetime(frame[column], utc=True, errors="coerce")
    if unknown := int(times.isna().sum()):
        raise InputFault(f"column {column} holds no time in {counted(unknown, 'row')}; leave those rows out")
    kept = frame[times < pd.Timestamp(as_of)]
    if kept.empty:
        raise InputFault(f"no labelled row is from before {as_of.isoformat()}")
    return kept.reset_index(drop=True)


def _in_order(frame: pd.DataFrame, job: Job) -> pd.DataFrame:
    key = [name for name in job.source.key if name in frame.columns]
    names = key if len(key) == len(job.source.key) else list(frame.columns)
    return frame.sort_values(names, key=lambda values: values.astype(str), kind="stable", ignore_index=True)
