"""``model promote``, ``propose``, ``approve``, ``rollback``, ``archive`` and ``history``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from batch_scoring.cli.model_options import Alias, AllowMismatch, Name, Version
from batch_scoring.cli.observers import event_log
from batch_scoring.cli.output import (
    Json,
    TableColumn,
    database,
    migrated_database,
    notice,
    required_reason,
    settings,
    show_json,
    show_table,
)

if TYPE_CHECKING:
    from batch_scoring.domain.job import Job
    from batch_scoring.registry.effect import Promotion
    from batch_scoring.registry.gates import GateResult
    from batch_scoring.registry.promotion import Promoted, Promoter
    from batch_scoring.store.outcomes.counts import VersionCount

Reason = Annotated[str | None, typer.Option(help="The reason, recorded for reviewers. Required.")]
Force = Annotated[bool, typer.Option("--force", help="Overrule gates that refuse; recorded, and needs a --reason.")]


def known_jobs() -> list[Job]:
    """The jobs whose files can be read, with a notice for each of the others."""
    from batch_scoring.scheduling.job_files import JobFiles

    files = JobFiles(settings().jobs_dir)
    files.refresh()
    for broken in files.broken:
        notice(f"job {broken} cannot be read, so it has no gates and no effect is shown; see `batch-scoring check`")
    return list(files.jobs.values())


def promote(
    name: Name,
    version: Version,
    alias: Alias = "champion",
    reason: Annotated[str | None, typer.Option(help="The reason, recorded with the promotion.")] = None,
    force: Force = False,
    allow_version_mismatch: AllowMismatch = False,
    as_json: Json = False,
) -> None:
    """Point an alias at a version, once its gates pass. Active runs keep their version."""
    jobs = known_jobs()
    promoter = _promoter(name, alias, jobs, allow_version_mismatch=allow_version_mismatch)
    _finish(promoter, promoter.promote(version, reason=reason, is_forced=force), as_json=as_json)


def propose(
    name: Name,
    version: Version,
    alias: Alias = "champion",
    reason: Reason = None,
    force: Force = False,
    allow_version_mismatch: AllowMismatch = False,
    as_json: Json = False,
) -> None:
    """Propose a promotion whose gates pass, for another login to approve."""
    promoter = _promoter(name, alias, known_jobs(), allow_version_mismatch=allow_version_mismatch)
    proposal, gates = promoter.propose(version, reason=required_reason(reason), is_forced=force)
    if as_json:
        show_json(proposal)
        return
    _show_gates(gates)
    typer.echo(
        f"proposal {proposal.proposal_id}: {alias} of {name} -> version {version}; another login approves it with"
        f" `batch-scoring model approve {name} {version} --alias {alias}`"
    )


def approve(
    name: Name,
    version: Version,
    alias: Alias = "champion",
    reason: Annotated[str | None, typer.Option(help="Recorded; without it, that of the proposal.")] = None,
    allow_version_mismatch: AllowMismatch = False,
    as_json: Json = False,
) -> None:
    """Approve a promotion that another login proposed, once its gates pass again."""
    promoter = _promoter(name, alias, known_jobs(), allow_version_mismatch=allow_version_mismatch)
    _finish(promoter, promoter.approve(version, reason=reason), as_json=as_json)


def rollback(
    name: Name,
    alias: Alias = "champion",
    reason: Reason = None,
    allow_version_mismatch: AllowMismatch = False,
    as_json: Json = False,
) -> None:
    """Point an alias at the version that was in use before; a second time, at the one before that.

    Only its file and its signature are checked, and it needs no approval.
    """
    promoter = _promoter(name, alias, known_jobs(), allow_version_mismatch=allow_version_mismatch)
    _finish(promoter, promoter.roll_back(reason=required_reason(reason)), as_json=as_json)


def archive(
    name: Name,
    version: Version,
    reason: Reason = None,
    undo: Annotated[bool, typer.Option("--undo", help="End the archival.")] = False,
) -> None:
    """Archive a version that is not in use: it is listed by `--all` only, and cannot be promoted."""
    from batch_scoring.registry import promotion

    promotion.archive(migrated_database(), name, version, reason=required_reason(reason), undo=undo)
    typer.echo(f"{name} version {version} is {'no longer ' if undo else ''}archived; its file is kept")


def history(
    name: Name,
    alias: Annotated[str | None, typer.Option(help="Only this alias.")] = None,
    as_json: Json = False,
) -> None:
    """Show what happened to the versions of a model: promotions, open proposals, archivals."""
    from batch_scoring.store import lifecycle, registry

    source = migrated_database()
    promotions = lifecycle.list_promotions(source, name, alias)
    proposals = [one for one in lifecycle.list_proposals(source, name, only_open=True) if alias in (None, one.alias)]
    archivals = [] if alias else lifecycle.list_archivals(source, name)
    if as_json:
        show_json({"promotions": promotions, "open_proposals": proposals, "archivals": archivals})
        return
    if not registry.list_versions(source, name):
        notice(f"no model {name} is registered; see `batch-scoring model list`")
        return
    text = TableColumn(name="reason", is_text=True)
    show_table(
        ["alias", "from", "to", "at", "by", "how", text],
        [
            [
                one.alias,
                one.previous_version,
                one.version,
                f"{one.promoted_at:%Y-%m-%d %H:%M:%S}",
                _person(one.promoted_by, one.database_user),
                _how(is_rollback=one.is_rollback, is_forced=one.is_forced, proposal_id=one.proposal_id),
                one.reason,
            ]
            for one in promotions
        ],
        title="promotions",
    )
    if proposals:
        show_table(
            ["proposal", "alias", "version", "at", "by", text],
            [
                [
                    one.proposal_id,
                    one.alias,
                    one.version,
                    f"{one.proposed_at:%Y-%m-%d %H:%M:%S}",
                    _person(one.proposed_by, one.database_user),
                    one.reason,
                ]
                for one in proposals
            ],
            title="open proposals",
        )
    if archivals:
        show_table(
            ["version", "archived", "at", "by", text],
            [
                [
                    one.version,
                    "yes" if one.is_archived else "ended",
                    f"{one.archived_at:%Y-%m-%d %H:%M:%S}",
                    _person(one.archived_by, one.database_user),
                    one.reason,
                ]
                for one in archivals
            ],
            title="archivals",
        )


def _person(login: str, database_user: str | None) -> str:
    return login if database_user in (None, login) else f"{login} ({database_user})"


def _how(*, is_rollback: bool, is_forced: bool, proposal_id: int | None) -> str:
    parts = ["rollback"] if is_rollback else []
    parts += ["forced"] if is_forced else []
    parts += [f"proposal {proposal_id}"] if proposal_id is not None else []
    return ", ".join(parts) or "promoted"


def _promoter(name: str, alias: str, jobs: Sequence[Job], *, allow_version_mismatch: bool) -> Promoter:
    from batch_scoring.registry.promotion import Promoter

    return Promoter(
        database=database(),
        artifacts_dir=settings().artifacts_dir,
        name=name,
        alias=alias,
        jobs=jobs,
        allow_version_mismatch=allow_version_mismatch,
        observers=event_log(),
    )


def _finish(promoter: Promoter, done: Promoted, *, as_json: bool) -> None:
    """Print a promotion that was recorded, with its effect."""
    from batch_scoring.registry.effect import describe

    found = describe(
        promoter.database,
        promoter.jobs,
        name=promoter.name,
        alias=promoter.alias,
        version=done.version,
        version_before=done.version_before,
        gates=done.gates,
    )
    if as_json:
        show_json(found)
    else:
        _show_promotion(found)


def _show_gates(gates: Sequence[GateResult]) -> None:
    show_table(
        ["gate", "job", "outcome", TableColumn(name="result", is_text=True)],
        [[gate.gate, gate.job, gate.outcome.value, gate.message] for gate in gates],
    )


def _show_promotion(found: Promotion) -> None:
    before = "none" if found.version_before is None else found.version_before
    typer.echo(f"{found.alias} of {found.name}: version {before} -> version {found.version}")
    if found.version_before not in (None, found.version):
        show_table(
            ["", f"version {found.version_before}", f"version {found.version}"],
            [[figure.name, figure.before, figure.now] for figure in found.figures],
        )
    _show_gates(found.gates)
    for effect in found.jobs:
        if effect.problem is not None:
            notice(f"job {effect.job}: the effect on it cannot be determined now ({effect.problem})")
            continue
        typer.echo(
            f"job {effect.job}: {effect.other_count:,} of {effect.current_count:,} current predictions are by another"
            f" version{_other_versions(effect.versions, but=(found.name, found.version))}; the next run scores due rows"
            f" with version {found.version}"
        )
        for command in effect.commands:
            typer.echo(f"  to score them again: {command}")


def _other_versions(versions: Sequence[VersionCount], *, but: tuple[str, int]) -> str:
    others = [one for one in versions if (one.model_name, one.model_version) != but]
    listed = ", ".join(f"{one.model_name or '?'} v{one.model_version}: {one.rows:,}" for one in others)
    return f" ({listed})" if listed else ""
