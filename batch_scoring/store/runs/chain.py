"""A hash chain over ended runs and promotions: an alteration of a record is found by computing it again.

Runs of a job are one chain, promotions of a model another. The digest of a record is the SHA-256 of its columns that
are not NULL, as JSON in the order of their names, so that a later version may add columns. The hash of a link is that
of the hash before it, its number, its record and its digest. Whoever alters a record must replace every later link
too, and each hash that was noted elsewhere shows it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.runs import Status
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.dialects.registered import dialect_of
from batch_scoring.store.schema.tables import model_promotions, record_chain, scoring_runs

_START = "0" * 64
"""In the place of the hash before the first link."""

_ROWS_AT_ONCE = 1_000


def append_run(connection: sa.Connection, run_id: int) -> None:
    """Inside the transaction that ends a run, after all else: append its record."""
    row = connection.execute(sa.select(*_columns(scoring_runs)).where(scoring_runs.c.run_id == run_id)).one()
    _append(connection, f"job:{row.job}", str(run_id), row)


def append_promotion(connection: sa.Connection, name: str, alias: str, number: int) -> None:
    """Inside the transaction of a promotion, after its INSERT: append its record."""
    c = model_promotions.c
    is_it = (c.name == name, c.alias == alias, c.number == number)
    row = connection.execute(sa.select(*_columns(model_promotions)).where(*is_it)).one()
    _append(connection, f"model:{name}", f"{alias} {number}", row)


def _append(connection: sa.Connection, chain: str, record: str, row: sa.Row[Any]) -> None:
    dialect = dialect_of(connection)
    if not dialect.may_insert(connection, record_chain.name):
        return  # privileges that somebody granted by hand; a verification says that the record is in no link
    dialect.lock_name(connection, chain)
    latest = (
        sa.select(record_chain.c.number, record_chain.c.hash)
        .where(record_chain.c.chain == chain)
        .order_by(record_chain.c.number.desc())
        .limit(1)
    )
    before = connection.execute(latest).one_or_none()
    number, previous = (1, _START) if before is None else (before.number + 1, before.hash)
    digest = _digest(row)
    link = {"chain": chain, "number": number, "record": record, "digest": digest}
    connection.execute(sa.insert(record_chain).values(**link, hash=_hash(previous, number, record, digest)))


def _columns(table: sa.Table) -> list[sa.Column[Any]]:
    return [column for column in table.columns if column.computed is None]


def _digest(row: sa.Row[Any]) -> str:
    content = {name: _plain(value) for name, value in row._asdict().items() if value is not None}
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _hash(previous: str, number: int, record: str, digest: str) -> str:
    return hashlib.sha256(f"{previous}\n{number}\n{record}\n{digest}".encode()).hexdigest()


# --- verification


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifiedChain:
    """The result of computing a chain again."""

    chain: str
    links: int
    """Links that were verified, up to the first that is wrong."""
    hash: str | None
    """Of the last link that was verified; None if there is none."""
    problem: str | None
    """What is wrong first; None if nothing is."""


def verify(database: Database, job: str | None = None) -> Sequence[VerifiedChain]:
    """Compute every chain again, or that of the runs of one job, on one snapshot. Raises DatabaseFault."""
    with database.read() as connection:
        kinds = [("job:", scoring_runs, scoring_runs.c.job, scoring_runs.c.status != Status.RUNNING)]
        if job is None:
            kinds.append(("model:", model_promotions, model_promotions.c.name, sa.true()))
        found = []
        for prefix, table, owner, is_recorded in kinds:
            owners = set(connection.execute(sa.select(owner).where(is_recorded).distinct()).scalars())
            chains = connection.execute(sa.select(record_chain.c.chain).distinct()).scalars()
            owners |= {chain.removeprefix(prefix) for chain in chains if chain.startswith(prefix)}
            for name in sorted(owners if job is None else owners & {job}):
                rows = sa.select(*_columns(table)).where(owner == name, is_recorded)
                found.append(_verified(connection, prefix + name, rows))
        return found


def contains(database: Database, noted: str) -> bool:
    """Whether a hash that was noted before is that of a link. Raises DatabaseFault."""
    with database.read() as connection:
        return connection.execute(sa.select(sa.exists().where(record_chain.c.hash == noted))).scalar_one()


def _verified(connection: sa.Connection, chain: str, rows: sa.Select[Any]) -> VerifiedChain:
    digests = {_name(row): _digest(row) for row in connection.execute(rows)}
    count, previous = 0, _START

    def result(problem: str | None) -> VerifiedChain:
        return VerifiedChain(chain=chain, links=count, hash=previous if count else None, problem=problem)

    seen: set[str] = set()
    for link in _links(connection, chain):
        what = _shown(chain, link.record)
        if link.number != count + 1:
            return result(f"link {count + 1} is missing: {what} is recorded by link {link.number}")
        if link.hash != _hash(previous, link.number, link.record, link.digest):
            return result(f"link {link.number}, of {what}, was altered, or one before it was replaced")
        if link.record in seen:
            return result(f"{what} is recorded twice, the second time by link {link.number}")
        if link.record not in digests:
            return result(f"{what} is gone, which link {link.number} recorded")
        if digests[link.record] != link.digest:
            return result(f"{what} was altered after link {link.number} recorded it")
        seen.add(link.record)
        count, previous = link.number, link.hash
    if missing := [record for record in digests if record not in seen]:
        return result(f"{_shown(chain, missing[0])} is in no link: it was inserted, or its link was deleted")
    return result(None)


def _name(row: sa.Row[Any]) -> str:
    return str(row.run_id) if hasattr(row, "run_id") else f"{row.alias} {row.number}"


def _shown(chain: str, record: str) -> str:
    kind, _, name = chain.partition(":")
    return f"run {record}" if kind == "job" else f"promotion {record} of model {name}"


def _links(connection: sa.Connection, chain: str) -> Iterator[sa.Row[Any]]:
    query = sa.select(record_chain).where(record_chain.c.chain == chain).order_by(record_chain.c.number)
    last = 0
    while links := connection.execute(query.where(record_chain.c.number > last).limit(_ROWS_AT_ONCE)).all():
        yield from links
        last = links[-1].number
