"""The history of a key: its predictions and quarantine entries, past and current."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.keys import Key, TextKey
from batch_scoring.store.engine.clock import after
from batch_scoring.store.engine.columns import SourceColumn
from batch_scoring.store.engine.reflection import source_columns
from batch_scoring.store.engine.sql_types import FOREVER
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.schema.tables import scoring_runs
from batch_scoring.store.source.selection import Selection
from batch_scoring.store.source.values import candidates


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionRecord:
    """A prediction of a key, its validity period, and the run that wrote it."""

    run_id: int
    trigger: str
    requested_by: str
    reason: str | None
    model_name: str | None
    model_version: int
    artifact_sha256: str | None
    score: float
    prediction: str | None
    source_changed_at: Any
    valid_from: datetime
    valid_to: datetime

    @property
    def is_current(self) -> bool:
        return self.valid_to == FOREVER


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A quarantine entry: a row that could not be scored."""

    key: Key
    run_id: int
    reason_code: str
    column_name: str | None
    message: str
    attempts: int
    source_changed_at: Any
    valid_from: datetime
    valid_to: datetime

    @property
    def is_open(self) -> bool:
        return self.valid_to == FOREVER


@dataclass(frozen=True, kw_only=True, slots=True)
class EntryFilter:
    """A filter for open quarantine entries. All given criteria must hold."""

    keys: tuple[Key, ...] | None = None
    reason_code: str | None = None
    column_name: str | None = None
    before: datetime | None = None
    """Quarantined before this time."""


def key_columns(connection: sa.Connection, layout: PredictionsLayout) -> list[SourceColumn]:
    """The key's columns as the predictions table has them."""
    found = source_columns(connection, layout.table)
    return [found[name] for name in layout.key_names]


def keys_of(connection: sa.Connection, layout: PredictionsLayout, texts: Sequence[TextKey]) -> tuple[Key, ...]:
    """Keys as the database takes them. Raises InputFault where a text is not a value of its column."""
    columns = key_columns(connection, layout)
    return tuple(key for text in texts for key in candidates(text, columns))


def stored_text(connection: sa.Connection, layout: PredictionsLayout, keys: tuple[Key, ...]) -> TextKey | None:
    """A key in the database's text form, where it was scored or quarantined; None where it never was.

    ``keys`` are the possible forms of the key.
    """
    for table in (
        layout.predictions_table,
        layout.quarantine_table,
        layout.superseded_table,
        layout.quarantine_closed_table,
    ):
        texts = [sa.cast(table.c[name], sa.Text) for name in layout.key_names]
        row = connection.execute(sa.select(*texts).where(*_of_keys(table, layout, keys)).limit(1)).one_or_none()
        if row is not None:
            return tuple(row)
    return None


def predictions_of(
    connection: sa.Connection, layout: PredictionsLayout, keys: tuple[Key, ...]
) -> Sequence[PredictionRecord]:
    """The prediction history of a key, the latest first. ``keys`` are the possible forms of the key."""
    table, run = layout.all_predictions, scoring_runs
    columns = [run.c[f.name] if f.name in _OF_RUN else table.c[f.name] for f in fields(PredictionRecord)]
    query = (
        sa.select(*columns)
        .select_from(table.outerjoin(run, run.c.run_id == table.c.run_id))
        .where(*_of_keys(table, layout, keys))
        .order_by(table.c.valid_from.desc(), table.c.valid_to.desc())
    )
    return [PredictionRecord(**row._asdict()) for row in connection.execute(query)]


def count_of_run(connection: sa.Connection, layout: PredictionsLayout, run_id: int) -> int:
    """The number of predictions of a run that still exist."""
    table = layout.all_predictions
    return connection.execute(
        sa.select(sa.func.count()).select_from(table).where(table.c.run_id == run_id)
    ).scalar_one()


_ENTRIES_AT_ONCE = 5_000

_OF_RUN = {"trigger", "requested_by", "reason", "model_name", "artifact_sha256"}


def entries(
    connection: sa.Connection,
    layout: PredictionsLayout,
    chosen: EntryFilter,
    *,
    limit: int | None = None,
    is_open: bool = True,
) -> Sequence[Entry]:
    """Quarantine entries, the latest first; only open ones unless ``is_open`` is False."""
    found = stream_entries(connection, layout, chosen, limit=limit, is_open=is_open)
    return sorted(found, key=lambda entry: entry.valid_from, reverse=True)[:limit]


def stream_entries(
    connection: sa.Connection,
    layout: PredictionsLayout,
    chosen: EntryFilter,
    *,
    limit: int | None = None,
    is_open: bool = True,
) -> Iterator[Entry]:
    """Quarantine entries as the database returns them: the latest first, for each batch of keys if keys are given."""
    table = layout.open_entries if is_open else layout.all_entries
    names = [f.name for f in fields(Entry) if f.name != "key"]
    query: sa.Select[Any] = (
        sa.select(*(table.c[name] for name in layout.key_names), *(table.c[name] for name in names))
        .order_by(table.c.valid_from.desc(), *(table.c[name] for name in layout.key_names))
        .limit(limit)
        .execution_options(yield_per=_ENTRIES_AT_ONCE)
    )
    key_length = len(layout.key)
    for batch in _batches(chosen):
        for row in connection.execute(query.where(*_chosen(table, layout, batch))):
            yield Entry(key=tuple(row[:key_length]), **dict(zip(names, row[key_length:], strict=True)))


def close_entries(
    connection: sa.Connection, layout: PredictionsLayout, chosen: EntryFilter, *, valid_to: datetime
) -> int:
    """Close open entries, so that their rows are due again; return their number. They remain as history."""
    table = layout.quarantine_table
    closed = 0
    for batch in _batches(chosen):
        conditions = _chosen(table, layout, batch)
        latest = connection.execute(sa.select(sa.func.max(table.c.valid_from)).where(*conditions)).scalar_one()
        if latest is not None:
            closed += move_to_closed(connection, layout, conditions, after(valid_to, [latest]))
    return closed


def move_to_closed(
    connection: sa.Connection,
    layout: PredictionsLayout,
    conditions: Sequence[sa.ColumnElement[bool]],
    valid_to: datetime,
) -> int:
    """Move the open entries that meet conditions to the closed ones; returns their number."""
    current, past = layout.quarantine_table, layout.quarantine_closed_table
    ends = sa.literal(valid_to, past.c.valid_to.type)
    names = [*(column.name for column in current.c), "valid_to"]
    connection.execute(sa.insert(past).from_select(names, sa.select(*current.c, ends).where(*conditions)))
    return connection.execute(sa.delete(current).where(*conditions)).rowcount


def _batches(chosen: EntryFilter) -> Iterator[EntryFilter]:
    """The filter in batches of keys that fit into one statement."""
    return (replace(chosen, keys=batch.keys) for batch in Selection(keys=chosen.keys).batches())


def _chosen(table: sa.FromClause, layout: PredictionsLayout, chosen: EntryFilter) -> list[sa.ColumnElement[bool]]:
    conditions = _of_keys(table, layout, chosen.keys)
    if chosen.reason_code is not None:
        conditions.append(table.c.reason_code == chosen.reason_code)
    if chosen.column_name is not None:
        conditions.append(table.c.column_name == chosen.column_name)
    if chosen.before is not None:
        conditions.append(table.c.valid_from < sa.literal(chosen.before, table.c.valid_from.type))
    return conditions


def _of_keys(
    table: sa.FromClause, layout: PredictionsLayout, keys: tuple[Key, ...] | None
) -> list[sa.ColumnElement[bool]]:
    return Selection(keys=keys).of_keys([table.c[name] for name in layout.key_names])
