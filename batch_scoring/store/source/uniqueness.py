"""Whether the database enforces that a key is unique and not NULL for every row that is read, and if not, why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from batch_scoring.counting import counted
from batch_scoring.domain.names import TableName
from batch_scoring.store.engine.catalog import Index, Relation, Structure
from batch_scoring.store.engine.dialects.dialect import Dialect


@dataclass(frozen=True, kw_only=True, slots=True)
class Guarantee:
    """What the database enforces for a key."""

    is_unique: bool
    """No two rows without NULL in the key have the same key."""
    may_be_null: tuple[str, ...]
    """Key columns that may be NULL."""
    doubt: str | None
    """The reason why runs must count the keys, as a clause; None if they need not."""

    can_be_enforced: bool = True
    """A constraint of the table could enforce it."""

    @property
    def holds(self) -> bool:
        """Whether each row is guaranteed to have a unique key without NULL."""
        return self.is_unique and not self.may_be_null


def guarantee(table: TableName, key: Sequence[str], found: Structure) -> Guarantee:
    """What the database enforces for a key of a table."""
    if found.relation is Relation.VIEW:
        return _none(key, f"{table} is a view, which has no key of its own")
    if found.relation is Relation.FOREIGN_TABLE:
        return _none(key, f"{table} is a foreign table, whose constraints are not enforced here")
    within = [index for index in found.indexes if index.is_unique and set(index.columns) <= set(key)]
    if found.children:
        shown = _of(within[0], table) if within else f"a constraint of {table}"
        inherit = "which inherits" if len(found.children) == 1 else "which inherit"
        return _none(key, f"{shown} does not cover {', '.join(found.children)}, {inherit} from it")
    may_be_null = tuple(name for name in key if name not in found.not_null)
    enforcing = [index for index in within if next(_doubts(index, table), None) is None]
    if not enforcing:
        partly = [index for index in found.indexes if index.is_unique and None in index.columns]
        doubts = [doubt for index in [*within, *partly] for doubt in _doubts(index, table)]
        doubt = doubts[0] if doubts else f"{table} has no primary key or unique index on {', '.join(key)}"
        return Guarantee(is_unique=False, may_be_null=may_be_null, doubt=doubt)
    return Guarantee(is_unique=True, may_be_null=may_be_null, doubt=_null_doubt(table, may_be_null, found))


def _none(key: Sequence[str], doubt: str) -> Guarantee:
    return Guarantee(is_unique=False, may_be_null=tuple(key), doubt=doubt, can_be_enforced=False)


def _doubts(index: Index, table: TableName) -> Iterator[str]:
    shown = _of(index, table)
    if not index.is_valid:
        yield f"{shown} is invalid: its build did not finish (REINDEX INDEX CONCURRENTLY builds it again)"
    if None in index.columns:
        yield f"{shown} is on an expression"
    if index.is_partial:
        yield f"{shown} is partial and does not cover the rows outside its WHERE"
    if not index.is_immediate:
        # its trigger does not fire where session_replication_role is replica, as in a subscriber of a publication
        yield f"{shown} is deferrable: it is checked by a trigger, which replication and DISABLE TRIGGER bypass"
    if index.is_exclusion:
        yield f"{shown} is WITHOUT OVERLAPS"
    if not index.keeps_equality:
        yield f"{shown} has another collation than its column"


def _of(index: Index, table: TableName) -> str:
    return f"the primary key of {table}" if index.is_primary else f"unique index {index.name} of {table}"


def _null_doubt(table: TableName, may_be_null: Iterable[str], found: Structure) -> str | None:
    names = list(may_be_null)
    if not names:
        return None
    if set(names) <= found.not_null_not_valid:
        return f"NOT NULL of {', '.join(names)} in {table} is NOT VALID: older rows were not checked"
    return f"{', '.join(names)} of {table} may be NULL"


def duplicates(connection: sa.Connection, rows: sa.FromClause, keys: Sequence[sa.ColumnElement[Any]]) -> str | None:
    """How many keys occur more than once and in how many rows, as text; None if none does."""
    twice = sa.select(sa.func.count().label("n")).select_from(rows).group_by(*keys).having(sa.func.count() > 1)
    groups = twice.subquery()
    count, total = connection.execute(sa.select(sa.func.count(), sa.func.sum(groups.c.n)).select_from(groups)).one()
    if not count:
        return None
    return f"{'1 key occurs' if count == 1 else f'{count:,} keys occur'} in {counted(int(total), 'row')}"


def duplicates_query(dialect: Dialect, table: TableName, key: Sequence[str], where: str | None) -> str:
    """A statement that lists the duplicates. They are not part of messages, since keys may be applicant data."""
    names = ", ".join(dialect.readable(name) for name in key)
    end = "\n" if where and "--" in where else ""
    condition = f" WHERE {where}{end}" if where else ""
    source = ".".join(dialect.readable(name) for name in table if name)
    return f"SELECT {names}, count(*) FROM {source}{condition} GROUP BY {names} HAVING count(*) > 1"  # noqa: S608
