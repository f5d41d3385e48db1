"""The definitions of the fixed tables. A test compares them with the migrations."""

from __future__ import annotations

import sqlalchemy as sa

from batch_scoring.domain.runs import EndReason
from batch_scoring.store.engine.sql_types import UtcTimestamp
from batch_scoring.store.schema import (
    definitions,
    monitoring_tables,  # noqa: F401 - they belong to the metadata too
    outcome_tables,  # noqa: F401
)
from batch_scoring.store.schema.definitions import count, database_user, identity, nested

SCHEMA_REVISION = "0001"
"""The newest migration under ``sql/migrations``; a test compares them."""


metadata = definitions.metadata

_END_REASONS = ", ".join(f"'{reason}'" for reason in EndReason)

_FILLS_ITS_SLOT = "scheduled_for IS NOT NULL AND status IN ('running', 'succeeded')"
"""Runs that occupy their slot. The slot of a run that failed or was abandoned is free for another run."""

scoring_runs = sa.Table(
    "scoring_runs",
    metadata,
    sa.Column("run_id", identity, primary_key=True, autoincrement=True, comment="Number of the run"),
    sa.Column("job", sa.String(63), nullable=False, comment="The job that was run: the name of its file"),
    sa.Column(
        "trigger", sa.String(16), nullable=False, comment="What started the run: cli, schedule, rescore, retry or purge"
    ),
    sa.Column(
        "status",
        sa.String(16),
        nullable=False,
        comment="running, succeeded, failed, abandoned (its process crashed) or skipped (another run was active)",
    ),
    sa.Column("scheduled_for", UtcTimestamp, comment="The slot of the schedule this run fills, UTC"),
    sa.Column("started_at", UtcTimestamp, nullable=False, comment="When the run started, by the database's clock"),
    sa.Column("heartbeat_at", UtcTimestamp, nullable=False, comment="Time of the run's last heartbeat"),
    sa.Column("finished_at", UtcTimestamp, comment="When the run ended; NULL while it is running"),
    sa.Column("model_name", sa.String(100), comment="The model whose version scored"),
    sa.Column("model_version", sa.Integer, comment="The version that scored"),
    sa.Column("artifact_sha256", sa.String(64), comment="SHA-256 of the model file that scored"),
    sa.Column(
        "decision_policy", sa.JSON(none_as_null=True), comment="How labels were derived from the model's outputs"
    ),
    count("due_count", "Rows that were due when the run started"),
    count("scored_count", "Predictions written"),
    count("superseded_count", "Predictions superseded by a newer one"),
    count("quarantined_count", "Rows quarantined because they could not be scored"),
    count("unseen_category_count", "Scored rows with a category the model was not trained on"),
    count("chunk_count", "Chunks committed"),
    sa.Column("end_reason", sa.String(32), comment="Why it ended; NULL while it is running"),
    sa.Column("claim_token", sa.String(32), comment="Token of the claim that started the run; NULL for a skipped run"),
    sa.Column("error_type", sa.String(100), comment="Type of the error that ended the run"),
    sa.Column("error_message", sa.Text, comment="The error and the remedy; never applicant data"),
    sa.Column(
        "failed_keys",
        sa.JSON(none_as_null=True),
        comment="First and last key and row count of the chunk whose rows all failed; NULL for any other error",
    ),
    sa.Column("host", sa.String(255), nullable=False, comment="Host name of the machine that ran it"),
    sa.Column("process_id", sa.Integer, nullable=False, comment="Process ID of the run"),
    sa.Column("package_version", sa.String(32), nullable=False, comment="Version of batch_scoring"),
    sa.Column("environment", nested, nullable=False, comment="Versions of Python and libraries, and overridden checks"),
    sa.Column("job_config", nested, nullable=False, comment="The job file's content at that time"),
    sa.Column("mode", sa.String(16), comment="Scan mode: sweep (the whole source) or lookback (rows changed recently)"),
    count("sweep_only_count", "Due rows that only a sweep finds: last changed before the lookback window"),
    count("refresh_count", "Due rows that had not changed, and whose outcome was older than refresh"),
    count("new_version_count", "Due rows that had not changed, and whose prediction was of another model version"),
    count("closed_count", "Predictions and quarantine entries closed because their rows left the source"),
    sa.Column("engine", sa.String(16), comment="Where rows were scored: python or database; NULL if none was"),
    sa.Column("engine_reason", sa.Text, comment="Why it is not the database, where the job allows it"),
    sa.Column(
        "largest_difference",
        sa.Double,
        comment="Largest difference found between scores of the database and of the model",
    ),
    sa.Column("stop_requested_at", UtcTimestamp, comment="When a stop at the next chunk boundary was requested"),
    sa.Column("requested_by", sa.String(255), nullable=False, comment="The login that started the run"),
    database_user(),
    sa.Column("os_user_id", sa.BigInteger, comment="User ID of the process by its operating system"),
    sa.Column("reason", sa.Text, comment="Reason given for a manual run"),
    sa.Column(
        "challengers",
        sa.JSON(none_as_null=True),
        comment="Of each challenger: alias, version, rows scored and not, why it failed",
    ),
    sa.Column("continues_run_id", sa.BigInteger, comment="The interrupted rescore that this run continued"),
    count("purged_count", "Rows that retention deleted"),
    sa.Column(
        "running_job",
        sa.String(63),
        sa.Computed("CASE WHEN status = 'running' THEN job END", persisted=True),
        comment="The job while the run is running, else NULL: unique, so that a job has one running run",
    ),
    sa.ForeignKeyConstraint(["continues_run_id"], ["scoring_runs.run_id"]),
    sa.UniqueConstraint("running_job"),
    sa.UniqueConstraint("claim_token"),
    sa.CheckConstraint("trigger IN ('cli', 'schedule', 'rescore', 'retry', 'purge')", name="trigger"),
    sa.CheckConstraint("status IN ('running', 'succeeded', 'failed', 'abandoned', 'skipped', 'held')", name="status"),
    sa.CheckConstraint("(status = 'running') = (finished_at IS NULL)", name="finished"),
    sa.CheckConstraint("(status = 'running') = (end_reason IS NULL)", name="ended"),
    sa.CheckConstraint(f"end_reason IN ({_END_REASONS})", name="end_reason"),
    sa.Index(
        "uq_scoring_runs_job_scheduled_for",
        "job",
        "scheduled_for",
        unique=True,
        postgresql_where=sa.text(_FILLS_ITS_SLOT),
        sqlite_where=sa.text(_FILLS_ITS_SLOT),
    ),
    comment="One row per run of a job",
)

scoring_chunks = sa.Table(
    "scoring_chunks",
    metadata,
    sa.Column("number", identity, primary_key=True, autoincrement=True, comment="Number of the chunk, over all runs"),
    sa.Column("run_id", sa.BigInteger, nullable=False, comment="The run that committed it"),
    sa.Column("worker", sa.Integer, nullable=False, comment="Process ID of the process that scored it"),
    count("read_count", "Due rows that were read"),
    count("scored_count", "Predictions written"),
    count("superseded_count", "Predictions superseded by a newer one"),
    count("quarantined_count", "Rows quarantined because they could not be scored"),
    count("unseen_category_count", "Scored rows with a category the model was not trained on"),
    count("closed_count", "Predictions and quarantine entries closed because their rows left the source"),
    sa.Column("read_seconds", sa.Double, nullable=False, comment="Seconds of reading"),
    sa.Column("score_seconds", sa.Double, nullable=False, comment="Seconds of scoring"),
    sa.Column("write_seconds", sa.Double, nullable=False, comment="Seconds of writing, before the COMMIT"),
    sa.Column("committed_at", UtcTimestamp, nullable=False, comment="Start of the validity of what it wrote, UTC"),
    sa.ForeignKeyConstraint(["run_id"], ["scoring_runs.run_id"]),
    sa.Index("ix_scoring_chunks_run_id", "run_id"),
    comment="One row per committed chunk. The counts of a run are the sums over its chunks",
)

rescore_requests = sa.Table(
    "rescore_requests",
    metadata,
    sa.Column(
        "run_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="The run that started the rescore"
    ),
    sa.Column("selection", nested, nullable=False, comment="The rows that were selected"),
    sa.Column("model_version", sa.Integer, nullable=False, comment="The model version that was requested"),
    sa.Column("created_at", UtcTimestamp, nullable=False, comment="When it was requested"),
    sa.ForeignKeyConstraint(["run_id"], ["scoring_runs.run_id"]),
    comment="One row per requested rescore, from which an interrupted one is continued",
)

legal_holds = sa.Table(
    "legal_holds",
    metadata,
    sa.Column("hold_id", identity, primary_key=True, autoincrement=True, comment="Number of the hold"),
    sa.Column("job", sa.String(63), nullable=False, comment="The job whose rows are on hold"),
    sa.Column("source_key", sa.JSON(none_as_null=True), comment="The key on hold, by column; NULL for a hold on a run"),
    sa.Column("run_id", sa.BigInteger, comment="The run whose rows are on hold; NULL for a hold on a key"),
    sa.Column("reason", sa.Text, nullable=False, comment="Reason"),
    sa.Column("created_at", UtcTimestamp, nullable=False, comment="When the hold was added"),
    sa.Column("created_by", sa.String(255), nullable=False, comment="The login that added it"),
    sa.Column("removed_at", UtcTimestamp, comment="When the hold was removed; NULL while it is in force"),
    sa.Column("removed_by", sa.String(255), comment="The login that removed it"),
    database_user(),
    sa.Column("removed_by_database_user", sa.String(63), comment="The same of the removal"),
    sa.ForeignKeyConstraint(["run_id"], ["scoring_runs.run_id"]),
    sa.CheckConstraint("(source_key IS NULL) <> (run_id IS NULL)", name="one"),
    sa.CheckConstraint("(removed_at IS NULL) = (removed_by IS NULL)", name="removed"),
    comment="One row per legal hold: while it is in force, retention deletes nothing of that key or run",
)

model_versions = sa.Table(
    "model_versions",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True, comment="Name of the model"),
    sa.Column(
        "version", sa.Integer, primary_key=True, autoincrement=False, comment="Version number, from 1 for each model"
    ),
    sa.Column("artifact_uri", sa.Text, nullable=False, comment="The model file, relative to the artifacts folder"),
    sa.Column("artifact_sha256", sa.String(64), nullable=False, comment="SHA-256 of the model file"),
    sa.Column("manifest", nested, nullable=False, comment="Signature, metrics, golden rows, library versions"),
    sa.Column("created_at", UtcTimestamp, nullable=False, comment="When it was registered"),
    sa.Column("created_by", sa.String(255), nullable=False, comment="The login that registered it"),
    database_user(),
    comment="One row per registered model file",
)

model_proposals = sa.Table(
    "model_proposals",
    metadata,
    sa.Column("proposal_id", identity, primary_key=True, autoincrement=True, comment="Number of the proposal"),
    sa.Column("name", sa.String(100), nullable=False, comment="Name of the model"),
    sa.Column("alias", sa.String(63), nullable=False, comment="The alias that is to point to the version"),
    sa.Column("version", sa.Integer, nullable=False, comment="The version that is proposed"),
    sa.Column("proposed_at", UtcTimestamp, nullable=False, comment="Time of the proposal, by the database's clock"),
    sa.Column("proposed_by", sa.String(255), nullable=False, comment="The login that proposed it"),
    database_user(),
    sa.Column("reason", sa.Text, nullable=False, comment="Reason"),
    sa.Column("is_forced", sa.Boolean, nullable=False, comment="Whether gates that refuse it are to be overruled"),
    sa.Column("gates", nested, nullable=False, comment="The results of the gates at that time"),
    sa.ForeignKeyConstraint(["name", "version"], ["model_versions.name", "model_versions.version"]),
    comment="One row per proposed promotion, which another login approves. Rows are never changed",
)

model_signatures = sa.Table(
    "model_signatures",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True, comment="Name of the model"),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False, comment="Number of the version"),
    sa.Column(
        "number",
        sa.Integer,
        primary_key=True,
        autoincrement=False,
        comment="Number of the signature, from 1",
    ),
    sa.Column("key_id", sa.String(16), nullable=False, comment="Start of the SHA-256 of the public key"),
    sa.Column("signature", sa.String(128), nullable=False, comment="Ed25519 signature of name and manifest, in base64"),
    sa.Column("signed_at", UtcTimestamp, nullable=False, comment="Time of the record, by the database's clock"),
    sa.Column("signed_by", sa.String(255), nullable=False, comment="The login that recorded it"),
    database_user(),
    sa.ForeignKeyConstraint(["name", "version"], ["model_versions.name", "model_versions.version"]),
    comment="One row per signature of a manifest. Rows never change",
)

model_archivals = sa.Table(
    "model_archivals",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True, comment="Name of the model"),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False, comment="Number of the version"),
    sa.Column(
        "number",
        sa.Integer,
        primary_key=True,
        autoincrement=False,
        comment="Number of the record, from 1 for a version",
    ),
    sa.Column("is_archived", sa.Boolean, nullable=False, comment="Whether the version is archived from then on"),
    sa.Column("archived_at", UtcTimestamp, nullable=False, comment="Time of the record, by the database's clock"),
    sa.Column("archived_by", sa.String(255), nullable=False, comment="The login that recorded it"),
    database_user(),
    sa.Column("reason", sa.Text, nullable=False, comment="Reason"),
    sa.ForeignKeyConstraint(["name", "version"], ["model_versions.name", "model_versions.version"]),
    comment="One row per archival of a version, or its end. An archived one is not promoted. Rows never change",
)

model_promotions = sa.Table(
    "model_promotions",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True, comment="Name of the model"),
    sa.Column("alias", sa.String(63), primary_key=True, comment="champion, challenger or another name"),
    sa.Column(
        "number",
        sa.Integer,
        primary_key=True,
        autoincrement=False,
        comment="Number of the promotion, from 1 for each alias",
    ),
    sa.Column("version", sa.Integer, nullable=False, comment="The version to which the alias points from then on"),
    sa.Column(
        "previous_version", sa.Integer, comment="The version to which it pointed before; NULL for the first promotion"
    ),
    sa.Column("promoted_at", UtcTimestamp, nullable=False, comment="Time of the promotion, by the database's clock"),
    sa.Column("promoted_by", sa.String(255), nullable=False, comment="The login that promoted it"),
    database_user(),
    sa.Column("reason", sa.Text, comment="Reason"),
    sa.Column(
        "is_rollback",
        sa.Boolean,
        nullable=False,
        comment="Whether it returned to a version that had been in use before",
    ),
    sa.Column("is_forced", sa.Boolean, nullable=False, comment="Whether gates that refused it were overruled"),
    sa.Column("gates", sa.JSON(none_as_null=True), comment="The results of the gates; NULL for a first version"),
    sa.Column("proposal_id", sa.BigInteger, comment="The proposal that it approved; NULL if none was required"),
    sa.ForeignKeyConstraint(["name", "version"], ["model_versions.name", "model_versions.version"]),
    sa.ForeignKeyConstraint(["proposal_id"], ["model_proposals.proposal_id"]),
    comment="One row per promotion; an alias points to the version of its latest one. Rows are never changed",
)

mlflow_versions = sa.Table(
    "mlflow_versions",
    metadata,
    sa.Column("tracking_uri", sa.String(255), primary_key=True, comment="Tracking server, without user and password"),
    sa.Column("uri", sa.String(255), primary_key=True, comment="URI of the version: models:/NAME/N or runs:/ID/NAME"),
    sa.Column("name", sa.String(100), nullable=False, comment="Name of the model in this registry"),
    sa.Column("version", sa.Integer, nullable=False, comment="Number of the version in this registry"),
    sa.Column("mlflow_run_id", sa.String(64), comment="The MLflow run that logged it"),
    sa.Column("mlflow_model_id", sa.String(64), comment="The logged model, as MLflow numbers it"),
    sa.Column("file", sa.String(255), nullable=False, comment="The model file in the folder of the logged model"),
    sa.Column("file_bytes", sa.BigInteger, nullable=False, comment="Size of that file"),
    sa.Column(
        "trusted_by", sa.String(16), nullable=False, comment="Why it was: training, tag (of our hash) or first use"
    ),
    sa.Column("created_at", UtcTimestamp, nullable=False, comment="When it was recorded, by the database's clock"),
    sa.ForeignKeyConstraint(["name", "version"], ["model_versions.name", "model_versions.version"]),
    comment="One row per version in MLflow whose file is known here. Rows are never changed",
)

mlflow_resolutions = sa.Table(
    "mlflow_resolutions",
    metadata,
    sa.Column("run_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="The run that scores with it"),
    sa.Column("tracking_uri", sa.String(255), nullable=False, comment="Tracking server, without user and password"),
    sa.Column("uri", sa.String(255), nullable=False, comment="The URI of the job, which may have an alias"),
    sa.Column("version_uri", sa.String(255), nullable=False, comment="The URI of the version that it pointed to"),
    sa.Column("is_cached", sa.Boolean, nullable=False, comment="Whether the server was not reached"),
    sa.Column("resolved_at", UtcTimestamp, nullable=False, comment="When it was resolved, by the database's clock"),
    sa.ForeignKeyConstraint(["run_id"], ["scoring_runs.run_id"]),
    sa.ForeignKeyConstraint(["tracking_uri", "version_uri"], ["mlflow_versions.tracking_uri", "mlflow_versions.uri"]),
    comment="One row per run whose model is in MLflow: what its URI pointed to then. Rows are never changed",
)

scoring_jobs = sa.Table(
    "scoring_jobs",
    metadata,
    sa.Column("predictions_table", sa.String(255), primary_key=True, comment="Name of a predictions table"),
    sa.Column("job", sa.String(63), nullable=False, comment="The job for which it was created"),
    sa.Column("kind", sa.String(16), nullable=False, comment="binary, multiclass, regression or label"),
    sa.Column("key_columns", nested, nullable=False, comment="Key columns in order, each with its type"),
    sa.Column("changed_at_type", sa.String(255), nullable=False, comment="Type of source_changed_at"),
    sa.Column("created_at", UtcTimestamp, nullable=False, comment="When its tables were created"),
    comment="One row per predictions table of this database, with the job for which it was created",
)

record_chain = sa.Table(
    "record_chain",
    metadata,
    sa.Column("chain", sa.String(128), primary_key=True, comment="job:NAME for runs, model:NAME for promotions"),
    sa.Column(
        "number",
        sa.BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="Number of the link in its chain, from 1",
    ),
    sa.Column("record", sa.String(128), nullable=False, comment="The run, or alias and number of the promotion"),
    sa.Column("digest", sa.String(64), nullable=False, comment="SHA-256 of the record"),
    sa.Column("hash", sa.String(64), nullable=False, comment="SHA-256 of the link before and of this one"),
    comment="One row per ended run and per promotion, in order. Each contains the hash of the one before it",
)

IDENTITY_OF_RUN = (
    *("run_id", "job", "trigger", "scheduled_for", "started_at", "claim_token", "host", "process_id"),
    *("package_version", "job_config", "requested_by", "database_user", "os_user_id", "reason", "continues_run_id"),
)
"""Columns of a run that are fixed when it starts."""
