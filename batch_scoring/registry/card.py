"""The model card: what a model is for, what it was fitted on, how well it does and for whom, and what it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from batch_scoring.counting import counted
from batch_scoring.domain.manifest import FEWEST_IN_GROUP, Manifest, Metrics
from batch_scoring.registry.markdown import document, html, table, text


def card(name: str, manifest: Manifest) -> str:
    """The card of a model as Markdown."""
    sections = [facts(manifest), use(manifest), metrics(manifest.metrics), groups(manifest.metrics), inputs(manifest)]
    return document(f"Model card of {name}", sections)


def card_html(name: str, manifest: Manifest, figures: Mapping[str, str]) -> str:
    """The card with its plots as one HTML document."""
    return html(card(name, manifest), f"Model card of {name}", figures)


def facts(manifest: Manifest) -> Iterator[str]:
    """Algorithm, labels, score, decision, training data and libraries."""
    data = manifest.training_data
    known = [
        ("kind", manifest.kind),
        ("algorithm", manifest.algorithm),
        ("labels", ", ".join(map(str, manifest.labels)) or "none"),
        ("score", manifest.score_description),
        ("decision", manifest.decision_description or "none"),
        ("SHA-256 of the file", manifest.artifact_sha256),
        (
            "training data",
            f"{data.file}, {counted(data.rows, 'row')}, SHA-256 {data.sha256}" if data else "unknown",
        ),
    ]
    if data and data.as_of:
        known.append(("rows known before", data.as_of))
    if data and data.label_counts:
        known.append(("label counts", ", ".join(f"{label}: {count:,}" for label, count in data.label_counts.items())))
    known += [
        ("libraries", ", ".join(f"{name} {number}" for name, number in manifest.libraries.items())),
        ("golden rows", str(len(manifest.golden.rows))),
        *(("note", note) for note in manifest.notes),
    ]
    yield from table(["", ""], known)


def use(manifest: Manifest) -> Iterator[str]:
    """What the model is for, and what it is not for."""
    yield "## Use"
    yield ""
    yield f"For: {text(manifest.purpose or 'not stated; [training] purpose of the job says it')}"
    yield ""
    if not manifest.limits:
        yield "Not for: not stated; \\[training\\] limits of the job says it."
    for limit in manifest.limits:
        yield f"- Not for, or only with care: {text(limit)}"


def metrics(known: Metrics | None) -> Iterator[str]:
    """Metrics with 95 % intervals, the algorithms that were compared, and the confusion matrix."""
    yield "## Metrics of the training"
    yield ""
    if known is None:
        yield "None are known: the model was not trained by this package."
        return
    folds, held_out = known.cross_validation, known.held_out
    yield from table(
        ["metric", "value", "95 % interval"],
        [
            (
                f"accuracy, {folds.folds} folds",
                f"{folds.accuracy:.4f} ± {folds.accuracy_std:.4f}",
                _interval(folds.accuracy_interval),
            ),
            ("ROC AUC", f"{folds.roc_auc:.4f}", _interval(folds.roc_auc_interval)),
            ("log loss", f"{folds.log_loss:.4f}", ""),
            (f"accuracy of {counted(held_out.rows, 'held-out row')}", f"{held_out.accuracy:.4f}", ""),
        ],
    )
    yield ""
    yield from table(
        ["held-out rows", *(f"predicted {label}" for label in held_out.labels)],
        [(f"actual {label}", *row) for label, row in zip(held_out.labels, held_out.confusion_matrix, strict=True)],
    )
    if known.candidates:
        yield ""
        yield "Compared on the same folds, and the first chosen:"
        yield ""
        yield from table(
            ["algorithm", "log loss", "ROC AUC", "accuracy"],
            [(one.algorithm, one.log_loss, one.roc_auc, one.accuracy) for one in known.candidates],
        )


def groups(known: Metrics | None) -> Iterator[str]:
    """Figures by group, where the job names columns of groups."""
    if known is None or not known.groups:
        return
    yield "## Figures by group"
    yield ""
    yield f"Decided out of fold; groups of fewer than {FEWEST_IN_GROUP} rows are left out."
    yield ""
    yield from table(
        ["column", "value", "rows", "accuracy", "95 % interval", "second label", "predicted"],
        [
            (
                one.column,
                "missing" if one.value is None else one.value,
                one.rows,
                one.accuracy,
                _interval(one.accuracy_interval),
                one.positive_share,
                one.predicted_positive_share,
            )
            for one in known.groups
        ],
    )


def inputs(manifest: Manifest) -> Iterator[str]:
    """The columns that the model takes."""
    yield "## Inputs"
    yield ""
    yield from table(
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


def _interval(found: tuple[float, float] | None) -> str:
    return "" if found is None else f"{found[0]:.4f} to {found[1]:.4f}"
