"""Score a key range inside the database: its due rows are read, scored and written by the same statement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter
from typing import Any, TypeAlias

import sqlalchemy as sa

from batch_scoring.counting import counted, were
from batch_scoring.domain.column_types import ColumnType, InputColumn
from batch_scoring.domain.keys import KeyRange
from batch_scoring.domain.runs import ChunkCounts, StageSeconds
from batch_scoring.errors import WrittenCountDiffers
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.engine.clock import after
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.expressions import ExpressionSyntax
from batch_scoring.store.engine.programs import LABEL, SCORE, CompiledProgram
from batch_scoring.store.engine.sql_types import UtcTimestamp
from batch_scoring.store.outcomes.counted import Counted, Counting, drop_kept, keep, kept
from batch_scoring.store.outcomes.history import move_to_closed
from batch_scoring.store.runs.profiles import record_profile
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
    counting: Counting | None = None
    """None where the model has no reference."""

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
            profiles = _sum(superseded.counted, inserted.counted)
            if scored:
                scoring.close_entries(connection)
                challenged += scoring.challenge_afterwards(connection)
            counts = ChunkCounts(scored=scored, superseded=superseded.predictions, quarantined=0, unseen_category=0)
            seconds = StageSeconds(read=0.0, score=0.0, write=perf_counter() - started)
            if profiles is not None:
                _compare(profiles.rows.rows, scored, predictions)
            if profiles is not None and scored:
                record_profile(connection, self.run_id, profiles.profile)
            if scored:
                record_chunk(connection, self.run_id, counts, seconds, time)
        return ScoredRange(counts=counts, seconds=seconds, valid_from=time, challenged=challenged)

    def _latest(self, connection: sa.Connection, table: sa.Table, chunk: KeyRange) -> datetime | None:
        own = [table.c[name] for name in self.query.layout.key_names]
        query = sa.select(sa.func.max(table.c.valid_from)).where(*within(own, chunk))
        latest: datetime | None = connection.execute(query).scalar_one()
        return latest


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scored:
    """Scored rows: their keys, and the other columns of their predictions."""

    keys: _Columns
    values: _Columns
    others: Sequence[sa.Insert]
    """What the statement that writes their predictions inserts into other tables."""
    rows: sa.FromClause
    """The query that reads and scores them."""
    is_ordered: bool
    """Whether it has the order of their keys."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Written:
    """The number of predictions that a statement wrote, and of rows that each challenger scored, by version."""

    predictions: int
    challenged: Counter[int]
    counted: Counted | None = None


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
        stored, counting = self.scoring.stored_inputs, self.scoring.counting
        returned = names if stored else []
        if counting is not None:
            carried |= counting.carried(due)
            program, returned = counting.extended(program), [*returned, *counting.returned]
        rows = sa.select(*(value.label(label) for label, value in carried.items()))
        rows = rows.select_from(due.joined).where(*conditions)
        if is_ordered := self._writes_several and due.joined is due.rows:
            rows = rows.order_by(*due.keys)  # an index has them in this order
        read = {name: due.rows.c[name] for name in names}
        scored: sa.FromClause = program.over(rows, read, list(carried), returned=returned)
        if stored or challengers or (counting is not None and self._writes_several):
            # the columns that are counted first: those before them would have to be read, too
            is_counted = {SCORE, *(() if counting is None else counting.returned)}
            scored = sa.select(*sorted(scored.c, key=lambda column: column.name not in is_counted)).cte("scored")
        query_of_rows = scored
        if counting is not None and not self._writes_several:
            scored = kept(scored)
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
        return _Scored(keys=keys, values=values, others=others, rows=query_of_rows, is_ordered=is_ordered)

    @property
    def _writes_several(self) -> bool:
        """Whether a statement writes several tables."""
        return self._syntax.stores_inputs

    @property
    def _syntax(self) -> ExpressionSyntax:
        syntax = self.scoring.program.dialect.expressions
        assert syntax is not None
        return syntax

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

    def _inputs(self, scored: sa.FromClause, keys: _Columns) -> sa.Insert:
        """The statement that stores the inputs of scored rows."""
        stored = self.scoring.stored_inputs
        checksum = self._syntax.checksum([scored.c[column.name] for column in stored])
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
        chosen = sa.select(*rows.keys.values(), *rows.values.values())
        if not rows.is_ordered:
            chosen = chosen.order_by(*rows.keys.values())
        insert = sa.insert(self._layout.predictions_table).from_select([*rows.keys, *rows.values], chosen)
        return self._write(connection, insert, rows)

    def _write(self, connection: sa.Connection, statement: sa.Insert | sa.Update, rows: _Scored) -> _Written:
        """Execute a statement that writes predictions, with what it inserts into other tables and counts."""
        counting = self.scoring.counting
        if counting is not None and not self._writes_several:
            keep(connection, rows.rows)
            counted = counting.fetch(connection, kept(rows.rows), self._syntax)
            written = connection.execute(statement).rowcount
            drop_kept(connection)
            return _Written(predictions=written, challenged=Counter(), counted=counted)
        if not rows.others and counting is None:
            return _Written(predictions=connection.execute(statement).rowcount, challenged=Counter())
        writes = [statement, *rows.others]
        parts = [
            write.returning(sa.literal_column("1").label("one")).cte(f"written {number}")
            for number, write in enumerate(writes)
        ]
        counts = [sa.select(sa.func.count()).select_from(part).scalar_subquery() for part in parts]
        query = sa.select(*counts) if counting is None else counting.aggregates(rows.rows, self._syntax)
        found = connection.execute(query if counting is None else query.add_columns(*counts)).all()
        predictions, *others = found[0][-len(counts) :] if found else [0] * len(counts)
        challengers = self.scoring.challengers
        challenged = zip(challengers, others[len(others) - len(challengers) :], strict=True)
        return _Written(
            predictions=predictions,
            challenged=Counter({one.version: count for one, count in challenged}),
            counted=None if counting is None else counting.of_aggregates(row[: -len(counts)] for row in found),
        )

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


def _sum(one: Counted | None, other: Counted | None) -> Counted | None:
    if one is None or other is None:
        return one or other
    return one + other


def _compare(counted_rows: int, written: int, table: sa.Table) -> None:
    if counted_rows != written:
        raise WrittenCountDiffers(
            f"{counted(counted_rows, 'row')} {were(counted_rows)} scored for {table.fullname} and {written:,} written;"
            " the chunk was rolled back. Check the table for a trigger or rule, or another writer",
            table=table.fullname,
            sent=counted_rows,
            written=written,
        )
