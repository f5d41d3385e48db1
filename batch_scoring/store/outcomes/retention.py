"""Delete history on request, and the legal holds that prevent it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.reflection import has_table
from batch_scoring.store.engine.sql_types import database_now
from batch_scoring.store.outcomes.history import keys_of
from batch_scoring.store.runs import records
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.schema.tables import legal_holds
from batch_scoring.store.source.key_conditions import key_batches, key_in

_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """A legal hold on a key or on all rows that a run wrote."""

    hold_id: int
    job: str
    source_key: dict[str, str] | None
    run_id: int | None
    reason: str
    created_at: datetime
    created_by: str
    removed_at: datetime | None
    removed_by: str | None


_COLUMNS = [legal_holds.c[f.name] for f in fields(Hold)]


def add_hold(
    database: Database,
    *,
    job: str,
    source_key: Mapping[str, str] | None,
    run_id: int | None,
    reason: str,
    created_by: str,
) -> int:
    """Add a legal hold on a key or a run; return its number. Raises DatabaseFault."""
    values = {
        "job": job,
        "source_key": None if source_key is None else dict(source_key),
        "run_id": run_id,
        "reason": reason,
        "created_at": database_now(),
        "created_by": created_by,
    }
    with database.write() as connection:
        result = connection.execute(sa.insert(legal_holds).values(values))
        assert result.inserted_primary_key is not None
        hold_id: int = result.inserted_primary_key[0]
    return hold_id


def remove_hold(database: Database, hold_id: int, *, removed_by: str) -> bool:
    """Remove a hold, whose record remains; return False if no such hold is in force. Raises DatabaseFault."""
    with database.write() as connection:
        result = connection.execute(
            sa.update(legal_holds)
            .where(legal_holds.c.hold_id == hold_id, legal_holds.c.removed_at.is_(None))
            .values(removed_at=database_now(), removed_by=removed_by)
        )
    return bool(result.rowcount)


def list_holds(database: Database, *, job: str | None = None, with_removed: bool = False) -> Sequence[Hold]:
    """Legal holds, ordered by number. Raises DatabaseFault."""
    query = sa.select(*_COLUMNS).order_by(legal_holds.c.hold_id)
    if job is not None:
        query = query.where(legal_holds.c.job == job)
    if not with_removed:
        query = query.where(legal_holds.c.removed_at.is_(None))
    with database.read() as connection:
        return [Hold(**row._asdict()) for row in connection.execute(query)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cutoffs:
    """What may be deleted. None deletes nothing of that kind."""

    superseded_before: datetime | None
    """Predictions that were superseded, and quarantine entries that were closed, before this time."""
    inputs_before: datetime | None
    """Stored inputs of predictions that were written before this time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Purged:
    """The number of rows that retention deleted, or would delete."""

    predictions: int
    quarantine_entries: int
    inputs: int
    held: int
    """Rows that are old enough, but on legal hold."""
    challengers: int = 0
    """What challengers gave for superseded predictions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Target:
    """The old rows of a table, and which of them are on hold."""

    kind: str
    table: sa.Table
    is_old: sa.ColumnElement[bool]
    is_held: sa.ColumnElement[bool]


def count_purgeable(connection: sa.Connection, job: str, layout: PredictionsLayout, cutoffs: Cutoffs) -> Purged:
    """Count the rows that a purge would delete now."""
    counts = dict.fromkeys(("predictions", "quarantine_entries", "challengers", "inputs"), 0)
    held = 0
    for target in _targets(connection, job, layout, cutoffs):
        query = sa.select(sa.func.count()).select_from(target.table)
        counts[target.kind] += connection.execute(query.where(target.is_old, ~target.is_held)).scalar_one()
        held += connection.execute(query.where(target.is_old, target.is_held)).scalar_one()
    return Purged(**counts, held=held)


def purge_some(database: Database, run_id: int, job: str, layout: PredictionsLayout, cutoffs: Cutoffs) -> int:
    """Delete some thousand rows in one transaction, fenced and counted; 0 if nothing is left to delete.

    Legal holds are read in the same transaction. Raises Fenced, DatabaseFault.
    """
    with database.write() as connection:
        for target in _targets(connection, job, layout, cutoffs):
            place = database.dialect.row_place if target.table is layout.challengers_table else None
            key: Sequence[sa.ColumnElement[Any]] = [*target.table.primary_key.columns]
            if place is not None:  # it has no primary key there
                key = [sa.literal_column(place)]
            some = sa.select(*key).where(target.is_old, ~target.is_held).limit(_ROWS_AT_ONCE)
            rows = sa.tuple_(*key) if len(key) > 1 else key[0]
            deleted = connection.execute(sa.delete(target.table).where(rows.in_(some))).rowcount
            if deleted:
                records.record_purged(connection, run_id, deleted)
                return deleted
    return 0


def _targets(connection: sa.Connection, job: str, layout: PredictionsLayout, cutoffs: Cutoffs) -> list[_Target]:
    """The tables in the order in which they are emptied: what belongs to a prediction goes before it."""
    predictions, entries = layout.superseded_table, layout.quarantine_closed_table
    inputs = layout.inputs_table(())
    holds = connection.execute(
        sa.select(legal_holds.c.source_key, legal_holds.c.run_id).where(
            legal_holds.c.job == job, legal_holds.c.removed_at.is_(None)
        )
    ).all()
    # a hold for an earlier key and table of the job does not apply to this one
    of_this = [hold.source_key for hold in holds if hold.source_key and set(hold.source_key) == set(layout.key_names)]
    texts = [tuple(source_key[name] for name in layout.key_names) for source_key in of_this]
    keys = keys_of(connection, layout, texts)
    run_ids = [hold.run_id for hold in holds if hold.run_id is not None]

    def target(kind: str, table: sa.Table, is_old: sa.ColumnElement[bool]) -> _Target:
        is_held: list[sa.ColumnElement[bool]] = [sa.false()]
        if run_ids:
            is_held.append(table.c.run_id.in_(run_ids))
        own = [table.c[name] for name in layout.key_names]
        is_held += [key_in(own, batch) for batch in key_batches(keys)]
        return _Target(kind=kind, table=table, is_old=is_old, is_held=sa.or_(*is_held))

    def ended(table: sa.Table, before: datetime) -> sa.ColumnElement[bool]:
        return table.c.valid_to < sa.literal(before, table.c.valid_to.type)

    has_inputs = has_table(connection, layout.inputs)
    found: list[_Target] = []
    if has_inputs and cutoffs.inputs_before is not None:
        valid_from = inputs.c.valid_from
        found.append(target("inputs", inputs, valid_from < sa.literal(cutoffs.inputs_before, valid_from.type)))
    if cutoffs.superseded_before is not None:
        challengers = layout.challengers_table
        same = [challengers.c[name] == predictions.c[name] for name in layout.key_names]
        same.append(challengers.c.valid_from == predictions.c.valid_from)
        of_gone = sa.exists().where(*same, ended(predictions, cutoffs.superseded_before))
        found.append(target("challengers", challengers, of_gone))
        if has_inputs:
            same = [inputs.c[name] == predictions.c[name] for name in layout.key_names]
            same.append(inputs.c.valid_from == predictions.c.valid_from)
            gone: sa.ColumnElement[bool] = sa.exists().where(*same, ended(predictions, cutoffs.superseded_before))
            if cutoffs.inputs_before is not None:
                valid_from = inputs.c.valid_from
                gone = sa.and_(gone, valid_from >= sa.literal(cutoffs.inputs_before, valid_from.type))  # counted once
            found.append(target("inputs", inputs, gone))
        found.append(target("predictions", predictions, ended(predictions, cutoffs.superseded_before)))
        found.append(target("quarantine_entries", entries, ended(entries, cutoffs.superseded_before)))
    return found
