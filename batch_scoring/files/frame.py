"""A CSV or Parquet file as a pandas frame, with the types that a table loaded from it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from batch_scoring.errors import InputFault
from batch_scoring.files.buffers import arrow_buffer
from batch_scoring.files.columns import Kind, guess
from batch_scoring.files.content import is_parquet
from batch_scoring.files.csv_table import read_csv_table
from batch_scoring.files.format import PLAIN, FileFormat


def read_frame(
    file: Path,
    content: bytes,
    form: FileFormat = PLAIN,
    *,
    keep: Sequence[str] = (),
    parse_dates: bool = False,
    notify: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """The rows of a file whose bytes are ``content``.

    Of a CSV file, numbers are int64 or, with decimals or missing values, float64; booleans are bool or, with missing
    values, object; the rest is text. Dates and timestamps are text too, or datetime64 in UTC with ``parse_dates``.
    A Parquet file declares its types. ``notify`` is called with a sentence for each inference that may be unexpected.
    Raises InputFault.
    """
    if is_parquet(file, content):
        return _parquet(file, content)
    table = read_csv_table(file, content, form, keep=keep)
    notes = list(table.notes)
    columns = {}
    for name in table.columns:
        column = guess(table, name)
        notes += column.notes
        columns[name] = _series(column.values, column.kind, parse_dates=parse_dates)
    for note in notes:
        if notify:
            notify(f"{file.name}: {note}")
    return pd.DataFrame(columns)


def _series(values: pa.Array, kind: Kind, *, parse_dates: bool) -> pd.Series[Any]:
    if kind is Kind.EMPTY:
        return pd.Series(pa.nulls(len(values), pa.float64()).to_pandas())
    if kind is Kind.NUMBER:
        return _numbers(values)
    if kind is Kind.BOOLEAN:
        booleans: pd.Series[Any] = values.cast(pa.bool_()).to_pandas()
        return booleans.where(booleans.notna(), float("nan")) if values.null_count else booleans
    if parse_dates and kind is Kind.DATE:
        return pd.Series(values.cast(pa.date32()).cast(pa.timestamp("us")).to_pandas())
    if parse_dates and kind is Kind.TIMESTAMP:
        return _timestamps(values)
    return pd.Series(values.to_pandas(), dtype="str")


def _numbers(values: pa.Array) -> pd.Series[Any]:
    if not values.null_count:
        try:
            return pd.Series(values.cast(pa.int64()).to_pandas())
        except pa.ArrowInvalid:
            pass
    return pd.Series(values.cast(pa.float64()).to_pandas())


def _timestamps(values: pa.Array) -> pd.Series[Any]:
    texts = values.to_pandas()
    parsed = pd.to_datetime(texts, utc=True, errors="coerce", format="ISO8601")
    return pd.Series(parsed.dt.tz_localize(None))


def _parquet(file: Path, content: bytes) -> pd.DataFrame:
    try:
        buffer = arrow_buffer(content)
        _check_names(file, pq.read_schema(pa.BufferReader(buffer)).names)
        frame: pd.DataFrame = pq.read_table(pa.BufferReader(buffer)).to_pandas()
    except InputFault:
        raise
    except MemoryError as exc:
        raise InputFault(f"{file} does not fit into memory; write fewer rows or columns") from exc
    except Exception as exc:  # a damaged file raises many types of errors
        raise InputFault(
            f"{file} cannot be read as Parquet ({type(exc).__name__}): it is damaged, truncated, encrypted, or of a"
            " kind that this version of pyarrow does not read; write it again"
        ) from exc
    if not len(frame):
        raise InputFault(f"{file} has no rows")
    levels = frame.index.names
    is_named = all(isinstance(name, str) and name not in frame.columns for name in levels)
    return frame.reset_index(drop=not is_named)


def _check_names(file: Path, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputFault(f"{file} has several columns named {', '.join(twice)}; give each a name of its own")
    if unnamed := [str(at) for at, name in enumerate(names, 1) if not name.strip()]:
        raise InputFault(f"{file}: column {', '.join(unnamed)} has no name; name each column, or remove it")
