"""The dossier of a model version, for a review: its card, its promotions with their gates, and where it is in use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.registry import card
from batch_scoring.registry.figures import figures
from batch_scoring.registry.markdown import TIME, document, table, text
from batch_scoring.store import lifecycle, registry
from batch_scoring.store.engine.database import Database
from batch_scoring.store.lifecycle import PromotionRecord, Proposal
from batch_scoring.store.mlflow import known_by_version
from batch_scoring.store.runs.history import runs_of_version


def markdown(database: Database, name: str, version: int) -> str:
    """The dossier as Markdown. Raises NoSuchModel, UnusableModel, DatabaseFault."""
    found = registry.get_version(database, name, version)
    promotions = [
        one for one in lifecycle.list_promotions(database, name) if version in (one.version, one.previous_version)
    ]
    proposals = [one for one in lifecycle.list_proposals(database, name) if one.version == version]
    manifest = found.manifest
    sections = [
        _registration(database, found),
        card.facts(manifest),
        card.use(manifest),
        card.metrics(manifest.metrics),
        card.groups(manifest.metrics),
        card.inputs(manifest),
        _compared(database, found, promotions),
        _promotions(promotions, {one.proposal_id: one for one in proposals}, version),
        _proposals(database, name, version),
        _archivals(database, name, version),
        _use(database, name, version),
    ]
    return document(f"{name} version {version}", sections)


def _registration(database: Database, version: ModelVersion) -> Iterator[str]:
    aliases = registry.list_aliases(database).get((version.name, version.version), [])
    yield from table(
        ["", ""],
        [
            ("registered", f"{version.created_at:{TIME}} by {version.created_by}"),
            ("aliases", ", ".join(aliases) or "none"),
            *(
                ("in MLflow", f"{one.uri} on {one.tracking_uri}")
                for one in known_by_version(database, version.name, version.version)
            ),
        ],
    )


def _compared(database: Database, version: ModelVersion, promotions: Sequence[PromotionRecord]) -> Iterator[str]:
    """The metrics of the version that it replaced."""
    replaced = [one.previous_version for one in promotions if one.version == version.version]
    before = next((number for number in reversed(replaced) if number not in (None, version.version)), None)
    yield "## Metrics against the version before"
    yield ""
    if before is None:
        yield "It has replaced no other version."
        return
    old = registry.get_version(database, version.name, before)
    yield from table(
        ["", f"version {before}", f"version {version.version}"],
        [(one.name, one.before, one.now) for one in figures(old.manifest, version.manifest)],
    )


def _promotions(promotions: Sequence[PromotionRecord], proposals: dict[int, Proposal], version: int) -> Iterator[str]:
    yield "## Promotions"
    if not promotions:
        yield ""
        yield "No alias has pointed to it."
    for one in reversed(promotions):
        yield ""
        yield f"### {text(one.alias)}: version {one.previous_version or 'none'} to version {one.version}"
        yield ""
        proposal = proposals.get(one.proposal_id or 0)
        rows: list[tuple[str, Any]] = [
            ("when", f"{one.promoted_at:{TIME}}"),
            ("by", _person(one.promoted_by, one.database_user)),
            ("reason", one.reason or "none given"),
        ]
        if proposal is not None:
            rows.append(("proposed by", _person(proposal.proposed_by, proposal.database_user)))
            rows.append(("proposed", f"{proposal.proposed_at:{TIME}}: {proposal.reason}"))
        if one.is_rollback:
            rows.append(("rollback", "yes"))
        if one.is_forced:
            rows.append(("forced", "yes: gates that refused were overruled"))
        yield from table(["", ""], rows)
        if one.version == version:
            yield ""
            yield from _gates(one.gates)


def _gates(gates: lifecycle.Gates | None) -> Iterator[str]:
    if gates is None:
        yield "No gates were run: it was the first version."
        return
    yield from table(
        ["gate", "job", "outcome", "result"],
        [(gate["gate"], gate["job"] or "", gate["outcome"], gate["message"]) for gate in gates],
    )
    for gate in gates:
        if flips := gate["figures"].get("flips"):
            yield ""
            yield f"Labels of live rows of job {text(gate['job'])} that change:"
            yield ""
            yield from table(["before", "now", "rows"], [tuple(flip) for flip in flips])


def _proposals(database: Database, name: str, version: int) -> Iterator[str]:
    yield "## Open proposals"
    yield ""
    found = [one for one in lifecycle.list_proposals(database, name, only_open=True) if one.version == version]
    if not found:
        yield "None."
    for one in found:
        yield f"Proposal {one.proposal_id}: {text(one.alias)} to version {version}"
        yield ""
        by = _person(one.proposed_by, one.database_user)
        yield from table(["", ""], [("when", f"{one.proposed_at:{TIME}}"), ("by", by), ("reason", one.reason)])
        yield ""
        yield from _gates(one.gates)


def _archivals(database: Database, name: str, version: int) -> Iterator[str]:
    found = [one for one in lifecycle.list_archivals(database, name) if one.version == version]
    if not found:
        return
    yield "## Archivals"
    yield ""
    yield from table(
        ["archived", "when", "by", "reason"],
        [
            (
                "yes" if one.is_archived else "ended",
                f"{one.archived_at:{TIME}}",
                _person(one.archived_by, one.database_user),
                one.reason,
            )
            for one in found
        ],
    )


def _use(database: Database, name: str, version: int) -> Iterator[str]:
    yield "## Runs"
    yield ""
    used = runs_of_version(database, name, version)
    if not used:
        yield "No run has scored with it."
        return
    yield from table(
        ["job", "runs", "first", "last", "rows scored"],
        [
            (one.job, one.runs, f"{one.first_started_at:{TIME}}", f"{one.last_started_at:{TIME}}", one.scored_count)
            for one in used
        ],
    )


def _person(login: str, database_user: str | None) -> str:
    return login if database_user in (None, login) else f"{login} (database login {database_user})"
