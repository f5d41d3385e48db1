"""The dossier of a model version, for a review: its card, its promotions with their gates, and where it is in use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

from batch_scoring.counting import counted
from batch_scoring.domain.manifest import Manifest, Metrics
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.printable import printable
from batch_scoring.registry.figures import figures
from batch_scoring.store import lifecycle, registry
from batch_scoring.store.engine.database import Database
from batch_scoring.store.lifecycle import PromotionRecord, Proposal
from batch_scoring.store.runs.history import runs_of_version

_SPECIAL = re.compile(r"([\\`*_\[\]<>|&#])")
_TIME = "%Y-%m-%d %H:%M:%S UTC"


def markdown(database: Database, name: str, version: int) -> str:
    """The dossier as Markdown. Raises NoSuchModel, UnusableModel, DatabaseFault."""
    found = registry.get_version(database, name, version)
    promotions = [
        one for one in lifecycle.list_promotions(database, name) if version in (one.version, one.previous_version)
    ]
    proposals = [one for one in lifecycle.list_proposals(database, name) if one.version == version]
    sections = [
        _card(database, found),
        _metrics(found.manifest.metrics),
        _inputs(found.manifest),
        _compared(database, found, promotions),
        _promotions(promotions, {one.proposal_id: one for one in proposals}, version),
        _proposals(database, name, version),
        _archivals(database, name, version),
        _use(database, name, version),
    ]
    parts = [part for section in sections if (part := list(section))]
    lines = [f"# {_text(name)} version {version}", *(line for part in parts for line in ("", *part))]
    return "\n".join(lines) + "\n"


def html(text: str, title: str) -> str:
    """A dossier as one HTML document without references to other files; markup in it is shown as text."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return _PAGE.format(title=escape(title), body=body)


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
h1, h2 {{ line-height: 1.2; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; margin: 1rem 0; }}
th, td {{ border: 1px solid #8888; padding: .3rem .6rem; text-align: left; vertical-align: top; }}
code {{ overflow-wrap: anywhere; }}
@media print {{ body {{ max-width: none; margin: 0; font-size: 11pt; }} }}
</style>
</head>
<body>
{body}</body>
</html>
"""


def _card(database: Database, version: ModelVersion) -> Iterator[str]:
    manifest, data = version.manifest, version.manifest.training_data
    yield from _table(
        ["", ""],
        [
            ("kind", manifest.kind),
            ("algorithm", manifest.algorithm),
            ("labels", ", ".join(map(str, manifest.labels)) or "none"),
            ("score", manifest.score_description),
            ("decision", manifest.decision_description or "none"),
            ("SHA-256 of the file", version.artifact_sha256),
            ("registered", f"{version.created_at:{_TIME}} by {version.created_by}"),
            ("aliases", ", ".join(registry.list_aliases(database).get((version.name, version.version), [])) or "none"),
            (
                "training data",
                f"{data.file}, {counted(data.rows, 'row')}, SHA-256 {data.sha256}" if data else "unknown",
            ),
            *((("label counts", _counts(data.label_counts)),) if data and data.label_counts else ()),
            ("libraries", ", ".join(f"{name} {number}" for name, number in manifest.libraries.items())),
            ("golden rows", len(manifest.golden.rows)),
            *(("note", note) for note in manifest.notes),
        ],
    )


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{label}: {count:,}" for label, count in counts.items())


def _metrics(metrics: Metrics | None) -> Iterator[str]:
    yield "## Metrics of the training"
    yield ""
    if metrics is None:
        yield "None are known: the model was not trained by this package."
        return
    folds, held_out = metrics.cross_validation, metrics.held_out
    yield from _table(
        ["metric", "value"],
        [
            (f"accuracy, {folds.folds} folds", f"{folds.accuracy:.4f} ± {folds.accuracy_std:.4f}"),
            ("ROC AUC", f"{folds.roc_auc:.4f}"),
            ("log loss", f"{folds.log_loss:.4f}"),
            (f"accuracy of {counted(held_out.rows, 'held-out row')}", f"{held_out.accuracy:.4f}"),
        ],
    )
    yield ""
    yield from _table(
        ["held-out rows", *(f"predicted {label}" for label in held_out.labels)],
        [(f"actual {label}", *row) for label, row in zip(held_out.labels, held_out.confusion_matrix, strict=True)],
    )


def _inputs(manifest: Manifest) -> Iterator[str]:
    yield "## Inputs"
    yield ""
    yield from _table(
        ["column", "type", "may be missing", "categories"],
        [
            (
                column.name,
                column.type.value,
                "yes" if column.nullable else "no",
                "" if column.categories is None else ", ".join(column.categories),
            )
            for column in manifest.signature.columns
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
    yield from _table(
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
        yield f"### {_text(one.alias)}: version {one.previous_version or 'none'} to version {one.version}"
        yield ""
        proposal = proposals.get(one.proposal_id or 0)
        rows: list[tuple[str, Any]] = [
            ("when", f"{one.promoted_at:{_TIME}}"),
            ("by", _person(one.promoted_by, one.database_user)),
            ("reason", one.reason or "none given"),
        ]
        if proposal is not None:
            rows.append(("proposed by", _person(proposal.proposed_by, proposal.database_user)))
            rows.append(("proposed", f"{proposal.proposed_at:{_TIME}}: {proposal.reason}"))
        if one.is_rollback:
            rows.append(("rollback", "yes"))
        if one.is_forced:
            rows.append(("forced", "yes: gates that refused were overruled"))
        yield from _table(["", ""], rows)
        if one.version == version:
            yield ""
            yield from _gates(one.gates)


def _gates(gates: lifecycle.Gates | None) -> Iterator[str]:
    if gates is None:
        yield "No gates were run: it was the first version."
        return
    yield from _table(
        ["gate", "job", "outcome", "result"],
        [(gate["gate"], gate["job"] or "", gate["outcome"], gate["message"]) for gate in gates],
    )
    for gate in gates:
        if flips := gate["figures"].get("flips"):
            yield ""
            yield f"Labels of live rows of job {_text(gate['job'])} that change:"
            yield ""
            yield from _table(["before", "now", "rows"], [tuple(flip) for flip in flips])


def _proposals(database: Database, name: str, version: int) -> Iterator[str]:
    yield "## Open proposals"
    yield ""
    found = [one for one in lifecycle.list_proposals(database, name, only_open=True) if one.version == version]
    if not found:
        yield "None."
    for one in found:
        yield f"Proposal {one.proposal_id}: {_text(one.alias)} to version {version}"
        yield ""
        by = _person(one.proposed_by, one.database_user)
        yield from _table(["", ""], [("when", f"{one.proposed_at:{_TIME}}"), ("by", by), ("reason", one.reason)])
        yield ""
        yield from _gates(one.gates)


def _archivals(database: Database, name: str, version: int) -> Iterator[str]:
    found = [one for one in lifecycle.list_archivals(database, name) if one.version == version]
    if not found:
        return
    yield "## Archivals"
    yield ""
    yield from _table(
        ["archived", "when", "by", "reason"],
        [
            (
                "yes" if one.is_archived else "ended",
                f"{one.archived_at:{_TIME}}",
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
    yield from _table(
        ["job", "runs", "first", "last", "rows scored"],
        [
            (one.job, one.runs, f"{one.first_started_at:{_TIME}}", f"{one.last_started_at:{_TIME}}", one.scored_count)
            for one in used
        ],
    )


def _person(login: str, database_user: str | None) -> str:
    return login if database_user in (None, login) else f"{login} (database login {database_user})"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield _row(head)
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield _row(row)


def _row(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(_text(cell) for cell in cells) + " |"


def _text(value: Any) -> str:
    """A value as text of a table cell, on one line and without markup."""
    if value is None:
        return ""
    shown = f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    return _SPECIAL.sub(r"\\\1", " ".join(printable(shown).split()))
