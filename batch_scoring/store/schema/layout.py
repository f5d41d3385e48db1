"""The tables of one job: predictions, quarantine and inputs. Their columns depend on its key and kind of model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.column_types import ColumnType, InputColumn
from batch_scoring.domain.job import Job, Kind
from batch_scoring.domain.names import TableName
from batch_scoring.errors import ConfigurationError, Problem, SourceFault
from batch_scoring.store.engine.names import exactly
from batch_scoring.store.engine.sql_types import FOREVER, RawType, UtcTimestamp
from batch_scoring.store.schema.tables import metadata
from batch_scoring.store.source.table import SourceTable

_INPUT_TYPES: dict[ColumnType, sa.types.TypeEngine[Any]] = {
    ColumnType.NUMBER: sa.Double(),
    ColumnType.INTEGER: sa.Double(),
    ColumnType.BOOLEAN: sa.Boolean(),
    ColumnType.TEXT: sa.Text(),
    ColumnType.TIMESTAMP: sa.DateTime(),
}


_INPUTS_COLUMNS = ("run_id", "valid_from", "digest")


@dataclass(frozen=True, kw_only=True)
class PredictionsLayout:
    """The properties of a job that determine the columns of its tables."""

    table: TableName
    kind: Kind
    key: tuple[tuple[str, str], ...]
    """Key columns in order: name and the type's DDL as the source has it."""
    changed_at_type: str

    @property
    def key_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.key)

    @property
    def superseded(self) -> TableName:
        return self._named("superseded")

    @property
    def quarantine(self) -> TableName:
        return self._named("quarantine")

    @property
    def quarantine_closed(self) -> TableName:
        return self._named("quarantine_closed")

    @property
    def inputs(self) -> TableName:
        return self._named("inputs")

    @property
    def challengers(self) -> TableName:
        return self._named("challengers")

    def _named(self, suffix: str) -> TableName:
        return self.table._replace(name=f"{self.table.name}_{suffix}")

    def inputs_table(self, columns: Sequence[InputColumn]) -> sa.Table:
        """The table of the model's inputs: a row for each prediction, by key and start of its validity period.

        An input that is a key column is not repeated. Raises ConfigurationError where an input has the name of one of
        the table's own columns.
        """
        if taken := [column.name for column in columns if column.name.lower() in _INPUTS_COLUMNS]:
            message = f"the model's input {', '.join(taken)} has the name of a column of the table; rename it in a view"
            raise ConfigurationError([Problem(where=str(self.inputs), key="predictions.keep_inputs", message=message)])
        return sa.Table(
            exactly(self.inputs.name),
            sa.MetaData(naming_convention=metadata.naming_convention),
            *(_key_column(name, ddl) for name, ddl in self.key),
            sa.Column(
                "valid_from", UtcTimestamp, primary_key=True, comment="Start of the prediction's validity period, UTC"
            ),
            sa.Column("run_id", sa.BigInteger, nullable=False, comment="The run that wrote it"),
            *(
                sa.Column(exactly(column.name), _INPUT_TYPES[column.type], comment="Input of the model")
                for column in columns
                if column.name not in self.key_names
            ),
            sa.Column("digest", sa.LargeBinary, nullable=False, comment="Checksums of the inputs, in their order"),
            schema=exactly(self.table.schema),
            comment="One row per prediction: the inputs of the model",
            sqlite_with_rowid=False,
        )

    @cached_property
    def predictions_table(self) -> sa.Table:
        """The current predictions: one row per key, whose primary key is the key."""
        return self._current(self.table, self._of_prediction(), "One row per key: its current prediction")

    @cached_property
    def superseded_table(self) -> sa.Table:
        """The superseded predictions. Rows are appended in the order of their start, so that history does not slow down
        writers: with the key first in the primary key, each row would be written to another page of a growing index."""
        return self._past(
            self.superseded, self._of_prediction(), "One row per superseded prediction. Rows are never changed"
        )

    @cached_property
    def quarantine_table(self) -> sa.Table:
        """The open quarantine entries, with the key of predictions."""
        return self._current(self.quarantine, self._of_entry(), "One row per key in quarantine: its open entry")

    @cached_property
    def quarantine_closed_table(self) -> sa.Table:
        """The closed quarantine entries."""
        return self._past(
            self.quarantine_closed, self._of_entry(), "One row per closed quarantine entry. Rows are never changed"
        )

    @cached_property
    def challengers_table(self) -> sa.Table:
        """What challengers gave for the rows of predictions: a row for each prediction and challenger, appended.

        On PostgreSQL it has no primary key, whose index would take half of the time of writing it, but a block range
        index on the time. SQLite stores a table in its primary key.
        """
        keys = [_key_column(name, ddl, is_primary=False) for name, ddl in self.key]
        columns: list[sa.schema.SchemaItem] = [
            *keys,
            sa.Column("run_id", sa.BigInteger, nullable=False, comment="The run that wrote it"),
            sa.Column("model_version", sa.Integer, nullable=False, comment="The version of the challenger"),
            sa.Column("score", sa.Double, comment=SCORE_COMMENTS[self.kind]),
            sa.Column("prediction", sa.Text, comment="Label: what the challenger would have predicted"),
            sa.Column(
                "valid_from", UtcTimestamp, nullable=False, comment="Start of the prediction's validity period, UTC"
            ),
        ]
        row_id = sa.PrimaryKeyConstraint("valid_from", "model_version", *(key.name for key in keys))
        by_time = sa.Index(exactly(f"{self.challengers.name}_time"), "valid_from", postgresql_using="brin")
        return self._table(
            self.challengers,
            [*columns, row_id.ddl_if(dialect="sqlite"), by_time.ddl_if(dialect="postgresql")],
            "One row per prediction and challenger: what it would have predicted",
        )

    @cached_property
    def all_predictions(self) -> sa.Subquery:
        """Current and superseded predictions, with ``valid_to``."""
        return _both(self.predictions_table, self.superseded_table)

    @cached_property
    def open_entries(self) -> sa.Subquery:
        """Open quarantine entries, with ``valid_to``."""
        return _open(self.quarantine_table).subquery()

    @cached_property
    def all_entries(self) -> sa.Subquery:
        """Open and closed quarantine entries, with ``valid_to``."""
        return _both(self.quarantine_table, self.quarantine_closed_table)

    def _of_prediction(self) -> list[sa.schema.SchemaItem]:
        label = "expected NULL for a regression" if self.kind == "regression" else "the predicted label"
        return [
            sa.Column("run_id", sa.BigInteger, nullable=False, comment="The run that wrote it"),
            sa.Column("model_version", sa.Integer, nullable=False, comment="The model version that scored"),
            sa.Column("score", sa.Double, nullable=self.kind == "label", comment=SCORE_COMMENTS[self.kind]),
            sa.Column("prediction", sa.Text, comment=f"Label: {label}"),
            sa.CheckConstraint(_SCORE_CHECKS[self.kind], name="score"),
        ]

    def _of_entry(self) -> list[sa.schema.SchemaItem]:
        return [
            sa.Column("run_id", sa.BigInteger, nullable=False, comment="The run that quarantined the row"),
            sa.Column("reason_code", sa.String(32), nullable=False, comment="Why it could not be scored"),
            sa.Column("column_name", sa.Text, comment="The column at fault, where there is one"),
            sa.Column("message", sa.Text, nullable=False, comment="The reason as text; never applicant data"),
            sa.Column("attempts", sa.Integer, nullable=False, comment="Number of consecutive failed attempts"),
        ]

    def _current(self, name: TableName, columns: list[sa.schema.SchemaItem], comment: str) -> sa.Table:
        start: sa.Column[Any] = sa.Column(
            "valid_from", UtcTimestamp, nullable=False, comment="Start of the validity period, UTC"
        )
        keys = [_key_column(name, ddl) for name, ddl in self.key]
        return self._table(name, [*keys, *columns, self._changed_at(), start], comment, postgresql_with=_ROOM_TO_UPDATE)

    def _past(self, name: TableName, columns: list[sa.schema.SchemaItem], comment: str) -> sa.Table:
        keys = [_key_column(name, ddl, is_primary=False) for name, ddl in self.key]
        period: list[sa.Column[Any]] = [
            sa.Column("valid_from", UtcTimestamp, nullable=False, comment="Start of the validity period, UTC"),
            sa.Column("valid_to", UtcTimestamp, nullable=False, comment="End of the validity period, exclusive, UTC"),
        ]
        return self._table(
            name,
            [
                *keys,
                *columns,
                self._changed_at(),
                *period,
                sa.PrimaryKeyConstraint("valid_from", *(key.name for key in keys)),
                sa.CheckConstraint("valid_from < valid_to", name="validity_period"),
            ],
            comment,
        )

    def _changed_at(self) -> sa.Column[Any]:
        return sa.Column(
            "source_changed_at", RawType(self.changed_at_type), comment="Version of the source row that was read"
        )

    def _table(self, name: TableName, items: list[sa.schema.SchemaItem], comment: str, **options: Any) -> sa.Table:
        return sa.Table(
            exactly(name.name),
            sa.MetaData(naming_convention=metadata.naming_convention),
            *items,
            schema=exactly(name.schema),
            comment=comment,
            sqlite_with_rowid=False,  # the table is stored in its primary key: one B-tree to write and to search
            **options,
        )


_ROOM_TO_UPDATE = {"fillfactor": 50}
"""A superseding UPDATE then finds room on the page of its row, and no index changes (HOT)."""


def _open(current: sa.Table) -> sa.Select[Any]:
    return sa.select(*current.c, sa.literal(FOREVER, UtcTimestamp()).label("valid_to"))


def _both(current: sa.Table, past: sa.Table) -> sa.Subquery:
    columns = [past.c[column.name] for column in current.c]
    return sa.union_all(_open(current), sa.select(*columns, past.c.valid_to)).subquery()


def layout_of(job: Job, source: SourceTable) -> PredictionsLayout:
    """The layout of a job's tables, with the types of its source. Raises SourceFault for an unusable key."""
    for name in source.key:
        column = source.columns[name]
        if column.is_inexact:
            raise SourceFault(
                f"job {job.name}: key column {name} is of the inexact type {column.ddl};"
                " use an exact key, or a view that casts it"
            )
        if not column.can_be_key:
            raise SourceFault(
                f"job {job.name}: key column {name} is of type {column.ddl}, which cannot be a key;"
                f" use another key, or a view that casts it, such as {column.cast_to('text')}"
            )
    changed_at = source.columns[source.changed_at].ddl if source.changed_at else "TIMESTAMP"
    return PredictionsLayout(
        table=job.predictions.table_name,
        kind=job.predictions.kind,
        key=tuple((name, source.columns[name].ddl) for name in source.key),
        changed_at_type=changed_at,
    )


def _key_column(name: str, ddl: str, *, is_primary: bool = True) -> sa.Column[Any]:
    return sa.Column(
        exactly(name),
        RawType(ddl),
        primary_key=is_primary,
        nullable=False,
        autoincrement=False,
        comment="Key of the source row",
    )


SCORE_COMMENTS: dict[Kind, str] = {
    "binary": "Probability of the positive label, 0 to 1",
    "multiclass": "Probability of the predicted label, 0 to 1",
    "regression": "The predicted value",
    "label": "Margin of the decision, or score of an outlier detector; NULL where the model gives labels only",
}


_FINITE = "abs(score) <= 1.7976931348623157e308"


_SCORE_CHECKS: dict[Kind, str] = {
    "binary": "score >= 0 AND score <= 1 AND prediction IS NOT NULL",
    "multiclass": "score >= 0 AND score <= 1 AND prediction IS NOT NULL",
    "regression": f"{_FINITE} AND prediction IS NULL",
    "label": f"(score IS NULL OR {_FINITE}) AND prediction IS NOT NULL",
}
