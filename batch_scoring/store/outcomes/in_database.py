"""Score a key range inside the database: its due rows are read, scored and written by the same statement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter
from typing import Any, TypeAlias

import sqlalchemy as sa

from batch_scoring.domain.column_types import ColumnType, Family, InputColumn
from batch_scoring.domain.columns import Column, as_list
from batch_scoring.domain.keys import KeyRange
from batch_scoring.domain.runs import ChunkCounts, StageSeconds
from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.due.comparison import outcome_table
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.engine.clock import after
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.programs import LABEL, SCORE, CompiledProgram
from batch_scoring.store.engine.sql_types import UtcTimestamp
from batch_scoring.store.outcomes.history import move_to_closed
from batch_scoring.store.runs.records import fence, record_chunk
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.source.key_conditions import within

_Columns: TypeAlias = dict[str, sa.ColumnElement[Any]]
_CHANGED = "changed at"
"""Labels of carried columns have a blank, so that they are not those of inputs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredRange:
    """What one transaction wrote; ``valid_from`` of its predictions."""

    counts: ChunkCounts
    seconds: StageSeconds
    valid_from: datetime
    challenged: Mapping[int, int] = field(default_factory=dict)
    """Rows that each challenger scored, by version; none where it scored none."""
    is_without_challengers: bool = False
    """Whether they were left out, because a statement with them failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampledRows:
    """Some of the rows that a transaction scored, as they are now: n rows."""

    features: Mapping[str, Column]
    scores: Sequence[float]
    """Computed again by the database from these features."""
    labels: Sequence[str | None]
    written: Sequence[tuple[float, str | None]]
    """Score and label of their predictions."""
    is_unchanged: Sequence[bool]
    """Whether the row is known to be as it was when it was scored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChallengerProgram:
    """A challenger that the database computes too."""

    alias: str
    version: int
    program: CompiledProgram


@dataclass(frozen=True, kw_only=True, slots=True)
class DatabaseScoring:
    """The scoring of due rows by a program."""

    query: DueQuery
    program: CompiledProgram
    run_id: int
    model_version: int
    stored_inputs: Sequence[InputColumn] = ()
    """Empty if inputs are not stored."""
    challengers: tuple[ChallengerProgram, ...] = ()

    def score(self, database: Database, chunk: KeyRange) -> ScoredRange:
        """Score the due rows of a key range that the database can score, in one transaction after the fence.

        Rows that it cannot score stay due. Raises Fenced, ConstraintViolated and any other DatabaseFault.
        """
        predictions, entries = self.query.layout.predictions_table, self.query.layout.quarantine_table
        with database.write() as connection:
            started = perf_counter()
            now = fence(connection, self.run_id)
            database.dialect.prepare_for_expressions(connection, reads_ranges=self.query.scan.reads_in_key_order)
            since = {table: self._latest(connection, table, chunk) for table in (predictions, entries)}
            time = after(now, since.values())
            scoring = _Scoring(self, chunk, time, since[predictions] is not None, since[entries] is not None)
            superseded = scoring.supersede(connection)
            inserted = scoring.insert(connection)
            scored, challenged = superseded.predictions + inserted.predictions, superseded.challenged
            challenged = challenged + inserted.challenged
            if scored:
                scoring.close_entries(connection)
                challenged += scoring.challenge_afterwards(connection)
            counts = ChunkCounts(scored=scored, superseded=superseded.predictions, quarantined=0, unseen_category=0)
            seconds = StageSeconds(read=0.0, score=0.0, write=perf_counter() - started)
            if scored:
                record_chunk(connection, self.run_id, counts, seconds, time)
        return ScoredRange(counts=counts, seconds=seconds, valid_from=time, challenged=challenged)

    def _latest(self, connection: sa.Connection, table: sa.Table, chunk: KeyRange) -> datetime | None:
        own = [table.c[name] for name in self.query.layout.key_names]
        query = sa.select(sa.func.max(table.c.valid_from)).where(*within(own, chunk))
        latest: datetime | None = connection.execute(query).scalar_one()
        return latest

    @property
    def _features(self) -> list[str]:
        return [wanted.name for wanted in self.program.program.inputs]

    def sample(
        self, connection: sa.Connection, bulk: Bulk, chunk: KeyRange, found: ScoredRange, rows: int
    ) -> SampledRows:
        """Some of the rows that were scored, chosen at random. Raises DatabaseFault."""
        source, layout = self.query.source, self.query.layout
        current = outcome_table(layout.table, layout).alias("written")
        source_rows = source.rows([*self._features])
        keys = source.keys_of(source_rows)
        own = [current.c[name] for name in layout.key_names]
        chance = min(1.0, 3 * rows / max(found.counts.scored, 1))
        of_range = [
            *within(own, chunk),
            current.c.run_id == self.run_id,
            current.c.valid_from == sa.literal(found.valid_from, UtcTimestamp()),
        ]
        syntax = source.dialect.expressions
        assert syntax is not None
        chosen = (
            sa.select(*own, current.c.score, current.c.prediction, current.c.source_changed_at)
            .where(*of_range, sa.literal_column(syntax.random, sa.Double) < chance)
            .limit(rows)
            .subquery("written")
        )
        is_same: sa.ColumnElement[bool] = sa.literal(value=False)
        if source.changed_at is not None:
            is_same = chosen.c.source_changed_at.is_not_distinct_from(source_rows.c[source.changed_at])
        carried = {
            "written score": chosen.c.score,
            "written label": chosen.c.prediction,
            "is same": sa.case((is_same, 1), else_=0),
            **{f"input {i}": source.columns[n].as_read(source_rows.c[n]) for i, n in enumerate(self._features)},
        }
        same_key = [key == chosen.c[name] for key, name in zip(keys, layout.key_names, strict=True)]
        joined = sa.select(*(value.label(label) for label, value in carried.items())).select_from(
            chosen.join(source_rows, sa.and_(*same_key))
        )
        values = {name: source_rows.c[name] for name in self._features}
        scored = self.program.over(joined, values, list(carried))
        return _sampled(connection, bulk, sa.select(*scored.c), self)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scored:
    """Scored rows: their keys, and the other columns of their predictions."""

    keys: _Columns
    values: _Columns
    others: Sequence[sa.Insert]
    """What the statement that writes their predictions inserts into other tables."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Written:
    """The number of predictions that a statement wrote, and of rows that each challenger scored, by version."""

    predictions: int
    challenged: Counter[int]


@dataclass(frozen=True, slots=True)
class _Scoring:
    """The statements of one transaction."""

    scoring: DatabaseScoring
    chunk: KeyRange
    time: datetime
    has_predictions: bool
    has_entries: bool
    """Whether the range has current predictions, and open quarantine entries."""

    @property
    def _layout(self) -> PredictionsLayout:
        return self.scoring.query.layout

    def _scored(self, *, superseding: bool) -> _Scored:
        """The due rows with a current prediction, or those without one, and what is to be written."""
        query, source, program = self.scoring.query, self.scoring.query.source, self.scoring.program
        names = program.columns_used
        challengers = self.scoring.challengers if self._writes_several else ()
        read_too = dict.fromkeys(name for one in challengers for name in one.program.columns_used)
        due = query.joined(
            self.chunk,
            [*dict.fromkeys([*names, *read_too])],
            has_predictions=self.has_predictions,
            has_entries=self.has_entries,
        )
        conditions = list(due.conditions)
        if self.has_predictions:
            start = due.current.c.valid_from
            conditions.append(start.is_not(None) if superseding else start.is_(None))
        labels = [f"key {number}" for number in range(1, len(source.key) + 1)]
        carried = dict(zip(labels, due.keys, strict=True))
        if source.changed_at is not None:
            carried[_CHANGED] = due.rows.c[source.changed_at]
        raw = {name: f"raw {number}" for number, name in enumerate(read_too)}
        carried |= {label: due.rows.c[name] for name, label in raw.items()}
        rows = sa.select(*(value.label(label) for label, value in carried.items()))
        rows = rows.select_from(due.joined).where(*conditions)
        stored = self.scoring.stored_inputs
        read = {name: due.rows.c[name] for name in names}
        scored: sa.Subquery | sa.CTE = program.over(rows, read, list(carried), with_inputs=bool(stored))
        if stored or challengers:
            scored = sa.select(*scored.c).cte("scored")
        values: _Columns = {
            "run_id": sa.literal(self.scoring.run_id, sa.BigInteger),
            "model_version": sa.literal(self.scoring.model_version, sa.Integer),
            SCORE: scored.c[SCORE],
            LABEL: scored.c[LABEL],
            "source_changed_at": scored.c[_CHANGED] if source.changed_at is not None else sa.null(),
            "valid_from": sa.literal(self.time, UtcTimestamp()),
        }
        keys: _Columns = {name: scored.c[label] for name, label in zip(self._layout.key_names, labels, strict=True)}
        others = [self._inputs(scored, keys)] if stored else []
        for one in challengers:
            own = sa.select(*(scored.c[label] for label in (*labels, *raw.values())))
            others.append(self._challenge(one, own, {name: scored.c[label] for name, label in raw.items()}, labels))
        return _Scored(keys=keys, values=values, others=others)

    @property
    def _writes_several(self) -> bool:
        """Whether a statement writes several tables."""
        syntax = self.scoring.program.dialect.expressions
        return syntax is not None and syntax.stores_inputs

    def _challenge(
        self, one: ChallengerProgram, rows: sa.Select[Any], values: _Columns, labels: Sequence[str]
    ) -> sa.Insert:
        """The statement that inserts what a challenger gives for rows whose keys have these labels."""
        inputs = {name: values[name] for name in one.program.columns_used}
        scored = one.program.over(rows, inputs, labels)
        columns: _Columns = {
            **{name: scored.c[label] for name, label in zip(self._layout.key_names, labels, strict=True)},
            "run_id": sa.literal(self.scoring.run_id, sa.BigInteger),
            "model_version": sa.literal(one.version, sa.Integer),
            SCORE: scored.c[SCORE],
            LABEL: scored.c[LABEL],
            "valid_from": sa.literal(self.time, UtcTimestamp()),
        }
        chosen = sa.select(*columns.values()).order_by(*(scored.c[label] for label in labels))
        return sa.insert(self._layout.challengers_table).from_select([*columns], chosen)

    def challenge_afterwards(self, connection: sa.Connection) -> Counter[int]:
        """Let challengers score the rows that the model has scored, where a statement writes one table only.

        Nobody else writes there during the transaction. Returns the number of rows by version.
        """
        if self._writes_several:
            return Counter()
        return Counter({one.version: self._challenge_now(connection, one) for one in self.scoring.challengers})

    def _challenge_now(self, connection: sa.Connection, one: ChallengerProgram) -> int:
        source, predictions = self.scoring.query.source, self._layout.predictions_table
        rows = source.rows(one.program.columns_used)
        keys = source.keys_of(rows)
        same = [predictions.c[name] == key for name, key in zip(self._layout.key_names, keys, strict=True)]
        labels = [f"key {number}" for number in range(1, len(keys) + 1)]
        chosen = (
            sa.select(*(key.label(label) for label, key in zip(labels, keys, strict=True)))
            .select_from(rows.join(predictions, sa.and_(*same)))
            .where(
                *within(keys, self.chunk),
                predictions.c.run_id == self.scoring.run_id,
                predictions.c.valid_from == sa.literal(self.time, UtcTimestamp()),
            )
        )
        values: _Columns = {name: rows.c[name] for name in one.program.columns_used}
        return connection.execute(self._challenge(one, chosen, values, labels)).rowcount

    def _inputs(self, scored: sa.Subquery | sa.CTE, keys: _Columns) -> sa.Insert:
        """The statement that stores the inputs of scored rows."""
        syntax = self.scoring.program.dialect.expressions
        assert syntax is not None
        stored = self.scoring.stored_inputs
        checksum = syntax.checksum([scored.c[column.name] for column in stored])
        values: _Columns = {
            "run_id": sa.literal(self.scoring.run_id, sa.BigInteger),
            "valid_from": sa.literal(self.time, UtcTimestamp()),
            "digest": checksum,
        }
        for column in stored:
            if column.name not in self._layout.key_names:
                value = scored.c[column.name]
                is_boolean = column.type is ColumnType.BOOLEAN
                values[column.name] = value != sa.literal_column("0") if is_boolean else value
        table = self._layout.inputs_table(stored)
        return sa.insert(table).from_select([*keys, *values], sa.select(*keys.values(), *values.values()))

    def insert(self, connection: sa.Connection) -> _Written:
        """Insert the predictions of rows that have none."""
        rows = self._scored(superseding=False)
        chosen = sa.select(*rows.keys.values(), *rows.values.values()).order_by(*rows.keys.values())
        insert = sa.insert(self._layout.predictions_table).from_select([*rows.keys, *rows.values], chosen)
        return self._write(connection, insert, rows)

    def _write(self, connection: sa.Connection, statement: sa.Insert | sa.Update, rows: _Scored) -> _Written:
        """Execute a statement that writes predictions, with what it inserts into other tables."""
        if not rows.others:
            return _Written(predictions=connection.execute(statement).rowcount, challenged=Counter())
        writes = [statement, *rows.others]
        parts = [
            write.returning(sa.literal_column("1").label("one")).cte(f"written {number}")
            for number, write in enumerate(writes)
        ]
        counts = [sa.select(sa.func.count()).select_from(part).scalar_subquery() for part in parts]
        predictions, *others = connection.execute(sa.select(*counts)).one()
        challengers = self.scoring.challengers
        found = zip(challengers, others[len(others) - len(challengers) :], strict=True)
        return _Written(predictions=predictions, challenged=Counter({one.version: count for one, count in found}))

    def supersede(self, connection: sa.Connection) -> _Written:
        """Update the predictions of rows that have one."""
        if not self.has_predictions:
            return _Written(predictions=0, challenged=Counter())
        table = self._layout.predictions_table
        rows = self._scored(superseding=True)
        own = [table.c[name] for name in self._layout.key_names]
        same = [table.c[name] == value for name, value in rows.keys.items()]
        update = sa.update(table).where(*same, *within(own, self.chunk)).values(rows.values)
        return self._write(connection, update, rows)

    def close_entries(self, connection: sa.Connection) -> None:
        """Close the open quarantine entries of the rows that were scored."""
        if not self.has_entries:
            return
        layout = self._layout
        entries, predictions = layout.quarantine_table, layout.predictions_table
        own = [entries.c[name] for name in layout.key_names]
        is_scored = (
            sa.exists()
            .where(
                *(predictions.c[name] == entries.c[name] for name in layout.key_names),
                predictions.c.run_id == self.scoring.run_id,
                predictions.c.valid_from == sa.literal(self.time, UtcTimestamp()),
            )
            .correlate(entries)
        )
        move_to_closed(connection, layout, [*within(own, self.chunk), is_scored], self.time)


def _sampled(connection: sa.Connection, bulk: Bulk, query: sa.Select[Any], scoring: DatabaseScoring) -> SampledRows:
    source, names = scoring.query.source, [wanted.name for wanted in scoring.program.program.inputs]
    families = [source.columns[name].family for name in names]
    result = [Family.NUMBER, Family.TEXT]
    columns = bulk.fetch(connection, query, [*result, Family.INTEGER, *families, *result])
    scores, labels, is_same = (as_list(column) for column in columns[:3])
    *features, computed, computed_labels = columns[3:]
    return SampledRows(
        features=dict(zip(names, features, strict=True)),
        scores=as_list(computed),
        labels=as_list(computed_labels),
        written=list(zip(scores, labels, strict=True)),
        is_unchanged=[bool(same) for same in is_same],
    )
