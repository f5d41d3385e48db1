"""The definitions of the fixed tables of monitoring: profiles, drift, alerts and the decisions of people on them."""

from __future__ import annotations

import sqlalchemy as sa

from batch_scoring.store.engine.sql_types import UtcTimestamp
from batch_scoring.store.schema.definitions import count, database_user, identity, metadata, nested

scoring_profiles = sa.Table(
    "scoring_profiles",
    metadata,
    sa.Column("number", identity, primary_key=True, autoincrement=True, comment="Number of the profile"),
    sa.Column("run_id", sa.BigInteger, nullable=False, comment="The run that read the rows"),
    count("read_count", "Rows that are counted"),
    sa.Column(
        "profile", nested, nullable=False, comment="Counts in the bins of the reference in the manifest of the model"
    ),
    sa.ForeignKeyConstraint(["run_id"], ["scoring_runs.run_id"]),
    sa.Index("ix_scoring_profiles_run_id", "run_id"),
    comment="Counts of what runs read and predicted: a row per chunk of a running run, one per ended run",
)

held_run_decisions = sa.Table(
    "held_run_decisions",
    metadata,
    sa.Column("run_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="The run that was held"),
    sa.Column("is_released", sa.Boolean, nullable=False, comment="Whether rows like its own are let through"),
    sa.Column("expires_at", UtcTimestamp, comment="Until when they are; NULL if they are not"),
    sa.Column("reason", sa.Text, nullable=False, comment="Reason"),
    sa.Column("decided_at", UtcTimestamp, nullable=False, comment="Time of the decision, by the database's clock"),
    sa.Column("decided_by", sa.String(255), nullable=False, comment="The login that decided"),
    database_user(),
    sa.ForeignKeyConstraint(["run_id"], ["scoring_runs.run_id"]),
    sa.CheckConstraint("(expires_at IS NULL) <> is_released", name="expires"),
    comment="One row per decision on a held run. Rows never change",
)

drift_reports = sa.Table(
    "drift_reports",
    metadata,
    sa.Column("run_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="The last run that is compared"),
    sa.Column("scope", sa.String(8), primary_key=True, comment="run, window (up to this run) or gate (due rows of it)"),
    sa.Column("job", sa.String(63), nullable=False, comment="The job of the run"),
    sa.Column("first_run_id", sa.BigInteger, nullable=False, comment="The first run that is compared"),
    sa.Column("window_from", UtcTimestamp, nullable=False, comment="Start of the first run that is compared"),
    sa.Column("window_to", UtcTimestamp, nullable=False, comment="Start of the last run that is compared"),
    sa.Column("is_complete", sa.Boolean, nullable=False, comment="Whether later runs belong to another window"),
    count("row_count", "Rows that are compared"),
    count("again_count", "Rows that an earlier run of the window had counted"),
    sa.Column("model_name", sa.String(100), nullable=False, comment="The model whose version scored"),
    sa.Column("model_version", sa.Integer, nullable=False, comment="The version that scored"),
    sa.Column("reference", sa.String(16), comment="What they are compared with: training, sample or runs"),
    sa.Column("reference_rows", sa.BigInteger, comment="Rows of the reference"),
    sa.Column("why_not", sa.Text, comment="Why nothing was compared; NULL if it was"),
    sa.Column("created_at", UtcTimestamp, nullable=False, comment="When it was computed, by the database's clock"),
    sa.ForeignKeyConstraint(["run_id"], ["scoring_runs.run_id"]),
    sa.CheckConstraint("scope IN ('run', 'window', 'gate')", name="scope"),
    sa.Index("ix_drift_reports_job_run_id", "job", "run_id"),
    comment="One row per comparison of what runs read and predicted with a reference. Rows never change",
)

drift_metrics = sa.Table(
    "drift_metrics",
    metadata,
    sa.Column("run_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="The run of the report"),
    sa.Column("scope", sa.String(8), primary_key=True, comment="The scope of the report"),
    sa.Column("subject", sa.String(16), primary_key=True, comment="feature, score, prediction or rows"),
    sa.Column("name", sa.String(255), primary_key=True, comment="The feature, or the subject again"),
    sa.Column("measure", sa.String(16), primary_key=True, comment="distribution, missing, row_count and others"),
    sa.Column("value", sa.Double, comment="PSI of a distribution, share, or due rows; NULL where it was not computed"),
    sa.Column("expected", sa.Double, comment="PSI by chance, share in the reference, or usual number of due rows"),
    sa.Column("p_value", sa.Double, comment="How often chance alone gives a difference as large"),
    sa.Column("q_value", sa.Double, comment="The same, adjusted for the number of comparisons"),
    sa.Column("limit_value", sa.Double, comment="The limit that applied"),
    sa.Column("action", sa.String(8), nullable=False, comment="What a breach does: off, warn or hold"),
    sa.Column(
        "is_breach", sa.Boolean, nullable=False, comment="Whether the difference reaches its limit and is significant"
    ),
    sa.Column("importance", sa.Double, comment="Permutation importance of the feature"),
    sa.Column("why_not", sa.Text, comment="Why it was not computed; NULL if it was"),
    sa.ForeignKeyConstraint(["run_id", "scope"], ["drift_reports.run_id", "drift_reports.scope"]),
    comment="One row per figure of a drift report. Rows never change",
)

drift_alerts = sa.Table(
    "drift_alerts",
    metadata,
    sa.Column("alert_id", identity, primary_key=True, autoincrement=True, comment="Number of the alert"),
    sa.Column("job", sa.String(63), nullable=False, comment="The job"),
    sa.Column("subject", sa.String(16), nullable=False, comment="feature, score, prediction or rows"),
    sa.Column("name", sa.String(255), nullable=False, comment="The feature, or the subject again"),
    sa.Column("measure", sa.String(16), nullable=False, comment="distribution, missing, row_count and others"),
    sa.Column("raised_run_id", sa.BigInteger, nullable=False, comment="The run with which it was raised"),
    sa.Column("raised_at", UtcTimestamp, nullable=False, comment="When it was raised, by the database's clock"),
    sa.Column("message", sa.Text, nullable=False, comment="What was measured then"),
    sa.Column("notified_at", UtcTimestamp, comment="When operators were last told; NULL while it is muted"),
    sa.Column("cleared_run_id", sa.BigInteger, comment="The run with which it was cleared; NULL while it is open"),
    sa.Column("cleared_at", UtcTimestamp, comment="When it was cleared; NULL while it is open"),
    sa.ForeignKeyConstraint(["raised_run_id"], ["scoring_runs.run_id"]),
    sa.ForeignKeyConstraint(["cleared_run_id"], ["scoring_runs.run_id"]),
    sa.CheckConstraint("(cleared_at IS NULL) = (cleared_run_id IS NULL)", name="cleared"),
    sa.Index(
        "uq_drift_alerts_open",
        "job",
        "subject",
        "name",
        "measure",
        unique=True,
        postgresql_where=sa.text("cleared_at IS NULL"),
        sqlite_where=sa.text("cleared_at IS NULL"),
    ),
    comment="One row per alert of drift, from when it is raised to when it is cleared",
)

drift_mutes = sa.Table(
    "drift_mutes",
    metadata,
    sa.Column("mute_id", identity, primary_key=True, autoincrement=True, comment="Number of the mute"),
    sa.Column("job", sa.String(63), nullable=False, comment="The job"),
    sa.Column("name", sa.String(255), comment="The feature, score, prediction or rows; NULL for all of them"),
    sa.Column("measure", sa.String(16), comment="The measure; NULL for all of them"),
    sa.Column("alert_id", sa.BigInteger, comment="The alert that it acknowledges; NULL if it covers later ones too"),
    sa.Column("reason", sa.Text, nullable=False, comment="Reason"),
    sa.Column("ends_at", UtcTimestamp, nullable=False, comment="Until when no notices are sent"),
    sa.Column("created_at", UtcTimestamp, nullable=False, comment="When it was recorded, by the database's clock"),
    sa.Column("created_by", sa.String(255), nullable=False, comment="The login that recorded it"),
    sa.Column("removed_at", UtcTimestamp, comment="When it was ended early; NULL if it was not"),
    sa.Column("removed_by", sa.String(255), comment="The login that ended it early"),
    database_user(),
    sa.ForeignKeyConstraint(["alert_id"], ["drift_alerts.alert_id"]),
    sa.CheckConstraint("(removed_at IS NULL) = (removed_by IS NULL)", name="removed"),
    comment="One row per acknowledged alert, and per muted feature or measure, with an end",
)

monitoring_limits = sa.Table(
    "monitoring_limits",
    metadata,
    sa.Column("job", sa.String(63), primary_key=True, comment="The job"),
    sa.Column("run_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="The first run with them"),
    sa.Column("limits", nested, nullable=False, comment="The section [monitoring] of the job file, with its defaults"),
    sa.Column("rationale", sa.Text, comment="Why the limits are what they are"),
    sa.Column("valid_from", UtcTimestamp, nullable=False, comment="Start of that run"),
    sa.Column("recorded_by", sa.String(255), nullable=False, comment="The login that started that run"),
    database_user(),
    sa.ForeignKeyConstraint(["run_id"], ["scoring_runs.run_id"]),
    comment="One row per change of the limits of a job. Rows never change",
)
