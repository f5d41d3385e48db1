"""The selection of rows for a rescore, which is checked against the source and stored with the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.keys import Key, TextKey
from batch_scoring.store.source.condition_parser import from_record
from batch_scoring.store.source.conditions import Condition
from batch_scoring.store.source.key_conditions import key_batches, key_in

NOTHING_YET = 2**62
"""A number greater than that of any run: no run has scored the selection yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Source rows that are to be scored again. All given criteria must hold; without any, all rows are selected.

    A row is done as soon as run ``since_run`` or a later one has scored or quarantined it.
    """

    keys: tuple[Key, ...] | None = None
    scored_by_version: int | None = None
    scored_before: datetime | None = None
    scored_after: datetime | None = None
    where: tuple[Condition, ...] = ()
    since_run: int = NOTHING_YET

    def batches(self, most: int | None = None) -> Iterator[Selection]:
        """The selection in batches that fit into one statement, of ``most`` keys at most."""
        if self.keys is None:
            yield self
        else:
            yield from (replace(self, keys=tuple(batch)) for batch in key_batches(self.keys, most))

    def of_keys(self, keys: Sequence[sa.ColumnElement[Any]]) -> list[sa.ColumnElement[bool]]:
        """The condition that the key is selected."""
        return [] if self.keys is None else [key_in(keys, self.keys)]

    def of_prediction(self, current: sa.FromClause) -> list[sa.ColumnElement[bool]]:
        """The condition that the current prediction is selected."""
        conditions: list[sa.ColumnElement[bool]] = []
        if self.scored_by_version is not None:
            conditions.append(current.c.model_version == self.scored_by_version)
        if self.scored_before is not None:
            conditions.append(current.c.valid_from < sa.literal(self.scored_before, current.c.valid_from.type))
        if self.scored_after is not None:
            conditions.append(current.c.valid_from >= sa.literal(self.scored_after, current.c.valid_from.type))
        return conditions

    def record(self) -> dict[str, Any]:
        """The selection as JSON."""
        return {
            "keys": None if self.keys is None else [[str(value) for value in key] for key in self.keys],
            "scored_by_version": self.scored_by_version,
            "scored_before": self.scored_before and self.scored_before.isoformat(),
            "scored_after": self.scored_after and self.scored_after.isoformat(),
            "where": [str(condition) for condition in self.where],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A requested rescore: a selection whose keys are still text."""

    keys: tuple[TextKey, ...] | None = None
    selection: Selection = field(default_factory=Selection)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Request:
        """Read the JSON that ``Selection.record`` returned."""

        def timestamp(name: str) -> datetime | None:
            return datetime.fromisoformat(record[name]) if record[name] else None

        selection = Selection(
            scored_by_version=record["scored_by_version"],
            scored_before=timestamp("scored_before"),
            scored_after=timestamp("scored_after"),
            where=tuple(map(from_record, record["where"])),
        )
        keys = record["keys"]
        return cls(keys=None if keys is None else tuple(map(tuple, keys)), selection=selection)
