"""Promoting model versions: by one login, or proposed by one and approved by another; rollbacks and archivals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batch_scoring.counting import counted
from batch_scoring.domain.job import Job
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.domain.names import ALIAS, check_name
from batch_scoring.errors import InputFault, NoSuchModel, PromotionRefused
from batch_scoring.login import login
from batch_scoring.registry.gates import GateResult, Gates, Outcome
from batch_scoring.scoring.events import ModelPromoted, Observer, emit
from batch_scoring.store import lifecycle, registry
from batch_scoring.store.engine.database import Database
from batch_scoring.store.lifecycle import NewPromotion, Proposal
from batch_scoring.store.schema.revision import check_schema


@dataclass(frozen=True, kw_only=True, slots=True)
class Promoted:
    """A promotion that was recorded."""

    version: int
    version_before: int | None
    gates: Sequence[GateResult]


@dataclass(frozen=True, kw_only=True, slots=True)
class Promoter:
    """Moves one alias of a model."""

    database: Database
    artifacts_dir: Path
    name: str
    alias: str = "champion"
    jobs: Sequence[Job] = ()
    """The jobs that are known; those that use the alias have gates."""
    allow_version_mismatch: bool = False
    observers: Sequence[Observer] = field(default=())

    def __post_init__(self) -> None:
        check_name("--alias", self.alias, ALIAS)
        check_schema(self.database)

    def promote(self, version: int, *, reason: str | None, is_forced: bool = False) -> Promoted:
        """Point the alias at a version once its gates pass, or in spite of them.

        Raises InputFault, PromotionRefused, NoSuchModel, SchemaOutOfDate, DatabaseFault.
        """
        if is_forced:
            _check_reason(reason)
        if demanding := [job.name for job in self._concerned if job.promotion.require_approval]:
            raise PromotionRefused(
                f"job {', '.join(demanding)} requires the approval of another login; propose it with"
                f" `batch-scoring model propose {self.name} {version} --alias {self.alias} --reason ...`"
            )
        current = self._in_use()
        gates = self._gates(self._promotable(version), current, is_forced=is_forced)
        return self._record(version, current, gates, reason=reason, is_forced=is_forced)

    def propose(self, version: int, *, reason: str, is_forced: bool = False) -> tuple[Proposal, Sequence[GateResult]]:
        """Propose a promotion whose gates pass, or that is to be forced.

        Raises InputFault, PromotionRefused, NoSuchModel, SchemaOutOfDate, DatabaseFault.
        """
        _check_reason(reason)
        gates = self._gates(self._promotable(version), self._in_use(), is_forced=is_forced)
        proposal = lifecycle.add_proposal(
            self.database,
            name=self.name,
            alias=self.alias,
            version=version,
            proposed_by=login(),
            reason=reason,
            is_forced=is_forced and _refusals(gates) != [],
            gates=[gate.record() for gate in gates],
        )
        return proposal, gates

    def approve(self, version: int, *, reason: str | None = None) -> Promoted:
        """Approve the latest open proposal of a version: its gates run again, and the alias is moved.

        Raises InputFault where nothing is proposed, PromotionRefused, NoSuchModel, SchemaOutOfDate, DatabaseFault.
        """
        proposed = [
            one
            for one in lifecycle.list_proposals(self.database, self.name, only_open=True)
            if (one.alias, one.version) == (self.alias, version)
        ]
        if not proposed:
            raise InputFault(
                f"no open proposal points {self.alias} of {self.name} at version {version};"
                f" see `batch-scoring model history {self.name}`"
            )
        proposal = proposed[0]
        self._check_other_login(proposal)
        current = self._in_use()
        gates = self._gates(self._promotable(version), current, is_forced=proposal.is_forced)
        return self._record(
            version,
            current,
            gates,
            reason=reason or proposal.reason,
            is_forced=proposal.is_forced,
            proposal_id=proposal.proposal_id,
        )

    def roll_back(self, *, reason: str) -> Promoted:
        """Point the alias at the version that was in use before the current one, once runs can use it.

        It needs no approval: that version was in use. Raises InputFault where there is none, PromotionRefused,
        NoSuchModel, SchemaOutOfDate, DatabaseFault.
        """
        _check_reason(reason)
        promotions = lifecycle.list_promotions(self.database, self.name, self.alias)
        if not promotions:
            raise NoSuchModel(f"model {self.name} has no {self.alias}", model=self.name, alias=self.alias)
        version = lifecycle.version_to_return_to(promotions)
        if version is None:
            raise InputFault(
                f"{self.alias} of {self.name} points at version {promotions[0].version}, before which none was in use:"
                " there is nothing to return to"
            )
        gates = Gates(
            self.database,
            self.artifacts_dir,
            self._promotable(version),
            current=None,
            allow_version_mismatch=self.allow_version_mismatch,
        ).run_quickly(self._concerned)
        self._check(gates, version, is_forced=False, remedy="")
        return self._record(version, promotions[0].version, gates, reason=reason, is_rollback=True)

    @property
    def _concerned(self) -> list[Job]:
        return [job for job in self.jobs if job.model.uses(self.name, self.alias)]

    @property
    def _challenged(self) -> list[Job]:
        return [job for job in self.jobs if job.model.name == self.name and self.alias in job.model.challengers]

    def _promotable(self, version: int) -> ModelVersion:
        found = registry.get_version(self.database, self.name, version)
        if archival := lifecycle.archived_versions(self.database, self.name).get((self.name, version)):
            raise PromotionRefused(
                f"{self.name} version {version} was archived on {archival.archived_at:%Y-%m-%d} by"
                f" {archival.archived_by} ({archival.reason}); to use it, end that with"
                f" `batch-scoring model archive {self.name} {version} --undo`"
            )
        return found

    def _in_use(self) -> int | None:
        return registry.version_of_alias(self.database, self.name, self.alias)

    def _gates(self, version: ModelVersion, in_use: int | None, *, is_forced: bool) -> list[GateResult]:
        is_other = in_use not in (None, version.version)
        found = Gates(
            self.database,
            self.artifacts_dir,
            version,
            registry.get_version(self.database, self.name, in_use) if in_use is not None and is_other else None,
            allow_version_mismatch=self.allow_version_mismatch,
        ).run(self._concerned, self._challenged)
        self._check(
            found,
            version.version,
            is_forced=is_forced,
            remedy="; --force with a --reason overrules them, and is recorded",
        )
        return found

    def _check(self, gates: Iterable[GateResult], version: int, *, is_forced: bool, remedy: str) -> None:
        refusals = _refusals(gates)
        if refusals and not is_forced:
            raise PromotionRefused(
                f"{counted(len(refusals), 'gate')} refused to point {self.alias} at version {version} of {self.name}:"
                f" {'; '.join(refusals)}{remedy}",
                reasons=refusals,
            )

    def _check_other_login(self, proposal: Proposal) -> None:
        with self.database.read() as connection:
            here = self.database.dialect.login(connection)
        is_same = here == proposal.database_user if here is not None else login() == proposal.proposed_by
        if is_same:
            raise PromotionRefused(
                f"proposal {proposal.proposal_id} was made by this login ({here or login()}); another one approves it"
            )

    def _record(
        self,
        version: int,
        replaces: int | None,
        gates: Sequence[GateResult],
        *,
        reason: str | None,
        is_forced: bool = False,
        is_rollback: bool = False,
        proposal_id: int | None = None,
    ) -> Promoted:
        person = login()
        before = registry.promote(
            self.database,
            NewPromotion(
                name=self.name,
                alias=self.alias,
                version=version,
                promoted_by=person,
                reason=reason,
                is_rollback=is_rollback,
                is_forced=is_forced and _refusals(gates) != [],
                gates=[gate.record() for gate in gates],
                proposal_id=proposal_id,
                replaces=replaces,
            ),
        )
        event = ModelPromoted(
            name=self.name, alias=self.alias, version=version, previous_version=before, promoted_by=person
        )
        emit(self.observers, event)
        return Promoted(version=version, version_before=before, gates=gates)


def _refusals(gates: Iterable[GateResult]) -> list[str]:
    return [
        f"{gate.gate}{f' of job {gate.job}' if gate.job else ''}: {gate.message}"
        for gate in gates
        if gate.outcome is Outcome.REFUSED
    ]


def _check_reason(reason: str | None) -> None:
    if not (reason or "").strip():
        raise InputFault("--reason is required: it is what a reviewer reads later")


def archive(database: Database, name: str, version: int, *, reason: str, undo: bool = False) -> None:
    """Archive a version that no alias points to, or end that. Raises InputFault, NoSuchModel, DatabaseFault."""
    _check_reason(reason)
    registry.get_version(database, name, version)
    is_archived = (name, version) in lifecycle.archived_versions(database, name)
    if is_archived is not undo:
        raise InputFault(f"{name} version {version} is {'already' if is_archived else 'not'} archived")
    if not undo and (aliases := registry.list_aliases(database).get((name, version))):
        raise InputFault(
            f"{', '.join(aliases)} of {name} points at version {version}, so that it is in use;"
            " promote another version first"
        )
    lifecycle.add_archival(
        database, name=name, version=version, is_archived=not undo, archived_by=login(), reason=reason
    )
