"""``model …``."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch_scoring.cli import comparing, promoting, registering
from batch_scoring.cli.model_options import AllowMismatch, Name, Version
from batch_scoring.cli.output import (
    Json,
    TableColumn,
    database,
    migrated_database,
    notice,
    settings,
    show_json,
    show_record,
    show_table,
)
from batch_scoring.counting import counted
from batch_scoring.domain.names import MAX_MODEL_VERSION
from batch_scoring.errors import InputFault, UnusableModel

if TYPE_CHECKING:
    from batch_scoring.domain.model_version import ModelVersion

app = typer.Typer(help="The model registry.", no_args_is_help=True)
app.command()(registering.register)


class DialectChoice(StrEnum):
    """The dialects of ``model sql``."""

    POSTGRESQL = "postgresql"
    SQLITE = "sqlite"


@app.command(name="list")
def list_(
    name: Annotated[str | None, typer.Argument(help="Name of a model; without it, all models.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Archived versions too.")] = False,
    as_json: Json = False,
) -> None:
    """List the versions of every model, with the aliases that point at them."""

    from batch_scoring.store import lifecycle, registry

    source = migrated_database()
    aliases = registry.list_aliases(source)
    archived = lifecycle.archived_versions(source, name)
    versions = [one for one in registry.list_versions(source, name) if every or (one.name, one.version) not in archived]
    if as_json:
        show_json([_brief(version, aliases.get((version.name, version.version), [])) for version in versions])
        return
    if not versions:
        notice("no model is registered; train one with `batch-scoring train`")
        return
    rows = [_brief(version, aliases.get((version.name, version.version), [])) for version in versions]
    names = ["name", "version", "aliases", "kind", "algorithm", "accuracy", "created_at", "created_by"]
    optional = {"kind", "accuracy", "created_by"}
    show_table(
        [TableColumn(name=name, optional=name in optional) for name in names],
        [[_joined(row[name]) for name in names] for row in rows],
    )


def _joined(value: Any) -> Any:
    return ", ".join(value) or None if isinstance(value, list) else value


def _brief(version: ModelVersion, aliases: list[str]) -> dict[str, Any]:
    try:
        manifest = version.manifest
    except UnusableModel:  # listed anyway: the error is reported when the version is used
        manifest = None
    metrics = None if manifest is None else manifest.metrics
    return {
        "name": version.name,
        "version": version.version,
        "aliases": aliases,
        "kind": manifest and manifest.kind,
        "algorithm": manifest and manifest.algorithm,
        "accuracy": metrics and metrics.cross_validation.accuracy,
        "artifact_uri": version.artifact_uri,
        "artifact_sha256": version.artifact_sha256,
        "created_at": version.created_at,
        "created_by": version.created_by,
    }


@app.command()
def sql(
    name: Name,
    version: Annotated[
        int | None, typer.Option(min=1, max=MAX_MODEL_VERSION, help="The version; without it, that of the job's alias.")
    ] = None,
    job: Annotated[str | None, typer.Option(help="The job whose table and threshold are used.")] = None,
    dialect: Annotated[
        DialectChoice | None, typer.Option(help="The dialect; without it, that of the database.")
    ] = None,
    view: Annotated[str | None, typer.Option(metavar="NAME", help="Print a statement that creates this view.")] = None,
    allow_version_mismatch: AllowMismatch = False,
) -> None:
    """Print a model as a query that computes its scores in the database."""
    from batch_scoring.domain.job_files import load_job, load_jobs
    from batch_scoring.operations import model_sql
    from batch_scoring.store import registry
    from batch_scoring.store.engine.dialects.registered import dialect_named
    from batch_scoring.store.job_models import version_of_job

    chosen, source = settings(), migrated_database()
    of_job = load_job(chosen.jobs_dir, job) if job else model_sql.job_of(load_jobs(chosen.jobs_dir), name)
    found = version_of_job(source, of_job) if version is None else registry.get_version(source, name, version)
    text = model_sql.model_sql(
        source,
        of_job,
        chosen.artifacts_dir,
        found,
        dialect=dialect_named(dialect.value) if dialect else None,
        view=view,
        allow_version_mismatch=allow_version_mismatch,
    )
    typer.echo(text)


@app.command()
def show(name: Name, version: Version, as_json: Json = False) -> None:
    """Show a model version: its signature, metrics, training data and libraries."""

    from batch_scoring.store import registry
    from batch_scoring.store.mlflow import known_by_version

    source = migrated_database()
    found = registry.get_version(source, name, version)
    if as_json:
        show_json(found.as_json())
        return
    manifest = found.manifest
    aliases = registry.list_aliases(source).get((name, version), [])
    data = manifest.training_data
    show_record(
        [
            ("model", f"{found.name} version {found.version}"),
            ("aliases", ", ".join(aliases) or None),
            ("kind", manifest.kind),
            ("algorithm", manifest.algorithm),
            ("labels", ", ".join(map(str, manifest.labels)) or None),
            ("score", manifest.score_description),
            ("decides", manifest.decision_description),
            ("engine", f"Python: {manifest.only_in_python}" if manifest.only_in_python else "the database, or Python"),
            ("purpose", manifest.purpose),
            *(("limit", limit) for limit in manifest.limits),
            *(("note", note) for note in manifest.notes),
            *(("in MLflow", f"{one.uri} on {one.tracking_uri}") for one in known_by_version(source, name, version)),
            ("artifact", found.artifact_uri),
            ("SHA-256", found.artifact_sha256),
            (
                "training data",
                f"{data.file}, {counted(data.rows, 'row')}, label {data.label_column}" if data else None,
            ),
            ("libraries", ", ".join(f"{name} {version}" for name, version in manifest.libraries.items())),
            ("golden rows", len(manifest.golden.rows)),
            ("signatures", len(found.signatures)),
            ("created", f"{found.created_at:%Y-%m-%d %H:%M:%S} UTC by {found.created_by}"),
        ]
    )
    registering.show_metrics(manifest.metrics)
    show_table(
        ["column", "type", "nullable", TableColumn(name="categories", is_text=True)],
        [
            [c.name, c.type.value, "yes" if c.nullable else "no", ", ".join(c.categories or ()) or None]
            for c in manifest.signature.columns
        ],
        title="signature",
    )


@app.command()
def sign(name: Name, version: Version) -> None:
    """Sign the manifest of a version with the key of BATCH_SCORING_SIGNING_KEY or BATCH_SCORING_SIGNING_KEY_FILE."""
    from batch_scoring.registry.registration import sign_version
    from batch_scoring.settings import key_text
    from batch_scoring.store import registry

    key = key_text("SIGNING_KEY")
    if key is None:
        raise InputFault("no key is set; name the file of a private key in BATCH_SCORING_SIGNING_KEY_FILE")
    source = migrated_database()
    signed = sign_version(source, registry.get_version(source, name, version), key)
    typer.echo(f"{name} version {version} is signed ({len(signed.signatures)} in all)")


@app.command()
def verify(
    name: Name,
    version: Annotated[
        int | None, typer.Argument(help="The version number; without it, the champion.", min=1, max=MAX_MODEL_VERSION)
    ] = None,
    allow_version_mismatch: AllowMismatch = False,
    as_json: Json = False,
) -> None:
    """Verify an artifact with the checks of a run: hash, library version, golden rows."""

    from batch_scoring.registry import verification

    verified = verification.verify(
        database(), settings().artifacts_dir, name, version, allow_version_mismatch=allow_version_mismatch
    )
    if as_json:
        show_json(verified)
        return
    typer.echo(
        f"{verified.version.name} version {verified.version.version} is intact:"
        f" SHA-256 matches, {counted(verified.golden_rows, 'golden row')} reproduced"
    )
    if verified.version_difference:
        notice(f"accepted: {verified.version_difference}")


app.command()(promoting.promote)
app.command()(promoting.propose)
app.command()(promoting.approve)
app.command()(promoting.rollback)
app.command()(promoting.archive)
app.command()(promoting.history)
app.command()(comparing.compare)
app.command()(comparing.dossier)
