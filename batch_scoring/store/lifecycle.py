"""Records of what happens to model versions: promotions, proposals and archivals. Rows are added and never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeAlias

import sqlalchemy as sa

from batch_scoring.errors import PromotionRefused
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import database_now
from batch_scoring.store.runs import chain
from batch_scoring.store.schema.tables import model_archivals, model_promotions, model_proposals, model_signatures

Gates: TypeAlias = Sequence[Mapping[str, Any]]
"""The results of gates as JSON."""


ANY_VERSION = 0
"""No version has this number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewPromotion:
    """A promotion that is to be recorded."""

    name: str
    alias: str
    version: int
    promoted_by: str
    reason: str | None = None
    is_rollback: bool = False
    is_forced: bool = False
    gates: Gates | None = None
    proposal_id: int | None = None
    replaces: int | None = ANY_VERSION
    """The version to which the alias must point, None for none, so that gates have compared with that one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PromotionRecord:
    """A promotion: from then on the alias pointed to the version."""

    name: str
    alias: str
    number: int
    version: int
    previous_version: int | None
    promoted_at: datetime
    promoted_by: str
    database_user: str | None
    reason: str | None
    is_rollback: bool
    is_forced: bool
    gates: Gates | None
    """None for a first version."""
    proposal_id: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """A promotion that was proposed, which another login approves."""

    proposal_id: int
    name: str
    alias: str
    version: int
    proposed_at: datetime
    proposed_by: str
    database_user: str | None
    reason: str
    is_forced: bool
    gates: Gates


@dataclass(frozen=True, kw_only=True, slots=True)
class Archival:
    """The archival of a version, or its end."""

    name: str
    version: int
    is_archived: bool
    archived_at: datetime
    archived_by: str
    database_user: str | None
    reason: str


# --- promotions


def latest_promotions() -> sa.Select[Any]:
    """The latest promotion of each alias: name, alias, number, version."""
    c, later = model_promotions.c, model_promotions.alias("later")
    is_superseded = sa.exists().where(later.c.name == c.name, later.c.alias == c.alias, later.c.number > c.number)
    return sa.select(c.name, c.alias, c.number, c.version).where(~is_superseded)


def add_promotion(connection: sa.Connection, new: NewPromotion) -> int | None:
    """Point an alias to a version; return the version to which it pointed before.

    Raises PromotionRefused where it points to another one than ``replaces``, and ConstraintViolated where a concurrent
    promotion of the alias was recorded.
    """
    c = model_promotions.c
    latest = connection.execute(latest_promotions().where(c.name == new.name, c.alias == new.alias)).one_or_none()
    previous: int | None = None if latest is None else latest.version
    if new.replaces not in (ANY_VERSION, previous):
        raise PromotionRefused(
            f"{new.alias} of {new.name} was moved to version {previous} while the gates of version {new.version} ran;"
            " nothing was changed: try again"
        )
    number = 1 if latest is None else latest.number + 1
    connection.execute(
        sa.insert(model_promotions).values(
            name=new.name,
            alias=new.alias,
            number=number,
            version=new.version,
            previous_version=previous,
            promoted_at=database_now(),
            promoted_by=new.promoted_by,
            reason=new.reason,
            is_rollback=new.is_rollback,
            is_forced=new.is_forced,
            gates=None if new.gates is None else list(new.gates),
            proposal_id=new.proposal_id,
        )
    )
    chain.append_promotion(connection, new.name, new.alias, number)
    return previous


def list_promotions(database: Database, name: str, alias: str | None = None) -> Sequence[PromotionRecord]:
    """The promotions of a model, or of one of its aliases, the latest first. Raises DatabaseFault."""
    columns = [model_promotions.c[field.name] for field in fields(PromotionRecord)]
    query = sa.select(*columns).where(model_promotions.c.name == name)
    if alias is not None:
        query = query.where(model_promotions.c.alias == alias)
    order = (model_promotions.c.promoted_at.desc(), model_promotions.c.alias, model_promotions.c.number.desc())
    with database.read() as connection:
        return [PromotionRecord(**row._asdict()) for row in connection.execute(query.order_by(*order))]


def version_to_return_to(promotions: Sequence[PromotionRecord]) -> int | None:
    """The version that a rollback restores, given the promotions of an alias, the latest first; None if there is none.

    It is the one in use before the current one: two rollbacks in a row go back twice.
    """
    in_use: list[int] = []
    for promotion in reversed(promotions):
        if promotion.is_rollback and promotion.version in in_use:
            del in_use[in_use.index(promotion.version) + 1 :]
        elif not in_use or in_use[-1] != promotion.version:
            in_use = [version for version in in_use if version != promotion.version]
            in_use.append(promotion.version)
    return in_use[-2] if len(in_use) > 1 else None


# --- proposals


def add_proposal(
    database: Database,
    *,
    name: str,
    alias: str,
    version: int,
    proposed_by: str,
    reason: str,
    is_forced: bool,
    gates: Gates,
) -> Proposal:
    """Record a proposal. Raises DatabaseFault."""
    with database.write() as connection:
        inserted = connection.execute(
            sa.insert(model_proposals).values(
                name=name,
                alias=alias,
                version=version,
                proposed_at=database_now(),
                proposed_by=proposed_by,
                reason=reason,
                is_forced=is_forced,
                gates=list(gates),
            )
        )
        (proposal_id,) = inserted.inserted_primary_key or (None,)
    (proposal,) = [one for one in list_proposals(database, name) if one.proposal_id == proposal_id]
    return proposal


def list_proposals(database: Database, name: str, *, only_open: bool = False) -> Sequence[Proposal]:
    """The proposals of a model, the latest first; ``only_open`` leaves out those that were approved.

    A proposal is no longer open either once its alias has been promoted after it. Raises DatabaseFault.
    """
    c, promoted = model_proposals.c, model_promotions.c
    query = sa.select(*(c[field.name] for field in fields(Proposal))).where(c.name == name)
    if only_open:
        is_settled = sa.exists().where(
            promoted.name == c.name,
            promoted.alias == c.alias,
            sa.or_(promoted.proposal_id == c.proposal_id, promoted.promoted_at >= c.proposed_at),
        )
        query = query.where(~is_settled)
    with database.read() as connection:
        return [Proposal(**row._asdict()) for row in connection.execute(query.order_by(c.proposal_id.desc()))]


# --- signatures


def add_signature(database: Database, *, name: str, version: int, key_id: str, signature: str, signed_by: str) -> None:
    """Record a signature of a version's manifest. Raises ConstraintViolated if two are at once, DatabaseFault."""
    values = {"key_id": key_id, "signature": signature, "signed_at": database_now(), "signed_by": signed_by}
    _add_numbered(database, model_signatures, name, version, values)


def signatures_of(connection: sa.Connection, name: str, version: int) -> tuple[str, ...]:
    """The signatures of a version's manifest, in base64."""
    c = model_signatures.c
    query = sa.select(c.signature).where(c.name == name, c.version == version).order_by(c.number)
    return tuple(connection.execute(query).scalars())


# --- archivals


def add_archival(
    database: Database, *, name: str, version: int, is_archived: bool, archived_by: str, reason: str
) -> None:
    """Archive a version, or end that. Raises ConstraintViolated if both happen at once, DatabaseFault."""
    values = {
        "is_archived": is_archived,
        "archived_at": database_now(),
        "archived_by": archived_by,
        "reason": reason,
    }
    _add_numbered(database, model_archivals, name, version, values)


def _add_numbered(database: Database, table: sa.Table, name: str, version: int, values: Mapping[str, Any]) -> None:
    """Add the next record of a version."""
    newest = sa.select(sa.func.coalesce(sa.func.max(table.c.number), 0)).where(
        table.c.name == name, table.c.version == version
    )
    with database.write() as connection:
        number = connection.execute(newest).scalar_one() + 1
        connection.execute(sa.insert(table).values(name=name, version=version, number=number, **values))


def list_archivals(database: Database, name: str | None = None) -> Sequence[Archival]:
    """The archivals of a model, or of all, the latest first. Raises DatabaseFault."""
    c = model_archivals.c
    query = sa.select(*(c[field.name] for field in fields(Archival)))
    if name is not None:
        query = query.where(c.name == name)
    order = (c.archived_at.desc(), c.version, c.number.desc())
    with database.read() as connection:
        return [Archival(**row._asdict()) for row in connection.execute(query.order_by(*order))]


def archived_versions(database: Database, name: str | None = None) -> Mapping[tuple[str, int], Archival]:
    """The archived versions by name and number, each with its archival. Raises DatabaseFault."""
    latest: dict[tuple[str, int], Archival] = {}
    for record in list_archivals(database, name):
        latest.setdefault((record.name, record.version), record)
    return {key: record for key, record in latest.items() if record.is_archived}
