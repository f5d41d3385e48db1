"""Runs, model versions, aliases and jobs.

The tables are written out rather than imported, because a released migration must not change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

utc = sa.DateTime(timezone=True)
json = sa.JSON()
identity = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def count(name: str, comment: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0"), comment=comment)


def upgrade() -> None:
    op.create_table(
        "scoring_runs",
        sa.Column("run_id", identity, primary_key=True, autoincrement=True, comment="Number of the run"),
        sa.Column("job", sa.String(63), nullable=False, comment="The job that was run: the name of its file"),
        sa.Column(
            "trigger",
            sa.String(16),
            nullable=False,
            comment="What started the run: cli, schedule, rescore, retry or purge",
        ),
        sa.Column(
            "status",
            sa.String(16),
            nullable=False,
            comment="running, succeeded, failed, abandoned (its process crashed) or skipped (another run was active)",
        ),
        sa.Column("scheduled_for", utc, comment="The slot of the schedule this run fills, UTC"),
        sa.Column("started_at", utc, nullable=False, comment="When the run started, by the database's clock"),
        sa.Column("heartbeat_at", utc, nullable=False, comment="Time of the run's last heartbeat"),
        sa.Column("finished_at", utc, comment="When the run ended; NULL while it is running"),
        sa.Column("model_name", sa.String(100), comment="The model whose version scored"),
        sa.Column("model_version", sa.Integer, comment="The version that scored"),
        sa.Column("artifact_sha256", sa.String(64), comment="SHA-256 of the model file that scored"),
        sa.Column("decision_policy", json, comment="How labels were derived from the model's outputs"),
        count("due_count", "Rows that were due when the run started"),
        count("scored_count", "Predictions written"),
        count("superseded_count", "Predictions superseded by a newer one"),
        count("quarantined_count", "Rows quarantined because they could not be scored"),
        count("unseen_category_count", "Scored rows with a category the model was not trained on"),
        count("chunk_count", "Chunks committed"),
        sa.Column("end_reason", sa.String(32), comment="Why it ended; NULL while it is running"),
        sa.Column(
            "claim_token", sa.String(32), comment="Token of the claim that started the run; NULL for a skipped run"
        ),
        sa.Column("error_type", sa.String(100), comment="Type of the error that ended the run"),
        sa.Column("error_message", sa.Text, comment="The error and the remedy; never applicant data"),
        sa.Column(
            "failed_keys",
            json,
            comment="First and last key and row count of the chunk whose rows all failed; NULL for any other error",
        ),
        sa.Column("host", sa.String(255), nullable=False, comment="Host name of the machine that ran it"),
        sa.Column("process_id", sa.Integer, nullable=False, comment="Process ID of the run"),
        sa.Column("package_version", sa.String(32), nullable=False, comment="Version of batch_scoring"),
        sa.Column(
            "environment", json, nullable=False, comment="Versions of Python and libraries, and overridden checks"
        ),
        sa.Column("job_config", json, nullable=False, comment="The job file's content at that time"),
        sa.Column(
            "mode", sa.String(16), comment="Scan mode: sweep (the whole source) or lookback (rows changed recently)"
        ),
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
        sa.Column("stop_requested_at", utc, comment="When a stop at the next chunk boundary was requested"),
        sa.Column("requested_by", sa.String(255), nullable=False, comment="The login that started the run"),
        sa.Column("database_user", sa.String(63), comment="The login as the database knows it; NULL on SQLite"),
        sa.Column("os_user_id", sa.BigInteger, comment="User ID of the process by its operating system"),
        sa.Column("reason", sa.Text, comment="Reason given for a manual run"),
        sa.Column(
            "challengers", json, comment="Of each challenger: alias, version, rows scored and not, why it failed"
        ),
        sa.Column("continues_run_id", sa.BigInteger, comment="The interrupted rescore that this run continued"),
        count("purged_count", "Rows that retention deleted"),
        sa.Column(
            "running_job",
            sa.String(63),
            sa.Computed("CASE WHEN status = 'running' THEN job END", persisted=True),
            comment="The job while the run is running, else NULL: unique, so that a job has one running run",
        ),
        sa.PrimaryKeyConstraint("run_id", name="pk_scoring_runs"),
        sa.ForeignKeyConstraint(["continues_run_id"], ["scoring_runs.run_id"], name="fk_scoring_runs_continues_run_id"),
        sa.UniqueConstraint("running_job", name="uq_scoring_runs_running_job"),
        sa.UniqueConstraint("claim_token", name="uq_scoring_runs_claim_token"),
        sa.CheckConstraint(
            "trigger IN ('cli', 'schedule', 'rescore', 'retry', 'purge')", name=op.f("ck_scoring_runs_trigger")
        ),
        sa.CheckConstraint(
            "status IN ('running', 'succeeded', 'failed', 'abandoned', 'skipped', 'held')",
            name=op.f("ck_scoring_runs_status"),
        ),
        sa.CheckConstraint("(status = 'running') = (finished_at IS NULL)", name=op.f("ck_scoring_runs_finished")),
        sa.CheckConstraint("(status = 'running') = (end_reason IS NULL)", name=op.f("ck_scoring_runs_ended")),
        sa.CheckConstraint(
            "end_reason IN ('completed', 'error', 'stopped', 'worker_crashed', 'process_crashed', 'stalled',"
            " 'another_run_active', 'held')",
            name=op.f("ck_scoring_runs_end_reason"),
        ),
        comment="One row per run of a job",
    )
    fills_its_slot = sa.text("scheduled_for IS NOT NULL AND status IN ('running', 'succeeded')")
    op.create_index(
        "uq_scoring_runs_job_scheduled_for",
        "scoring_runs",
        ["job", "scheduled_for"],
        unique=True,
        postgresql_where=fills_its_slot,
        sqlite_where=fills_its_slot,
    )
    op.create_table(
        "scoring_chunks",
        sa.Column("number", identity, autoincrement=True, comment="Number of the chunk, over all runs"),
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
        sa.Column("committed_at", utc, nullable=False, comment="Start of the validity of what it wrote, UTC"),
        sa.PrimaryKeyConstraint("number", name="pk_scoring_chunks"),
        sa.ForeignKeyConstraint(["run_id"], ["scoring_runs.run_id"], name="fk_scoring_chunks_run_id"),
        comment="One row per committed chunk. The counts of a run are the sums over its chunks",
    )
    op.create_index("ix_scoring_chunks_run_id", "scoring_chunks", ["run_id"])
    op.create_table(
        "scoring_profiles",
        sa.Column("number", identity, autoincrement=True, comment="Number of the profile"),
        sa.Column("run_id", sa.BigInteger, nullable=False, comment="The run that read the rows"),
        count("read_count", "Rows that are counted"),
        sa.Column(
            "profile",
            sa.JSON,
            nullable=False,
            comment="Counts in the bins of the reference in the manifest of the model",
        ),
        sa.PrimaryKeyConstraint("number", name="pk_scoring_profiles"),
        sa.ForeignKeyConstraint(["run_id"], ["scoring_runs.run_id"], name="fk_scoring_profiles_run_id"),
        comment="Counts of what runs read and predicted: a row per chunk of a running run, one per ended run",
    )
    op.create_index("ix_scoring_profiles_run_id", "scoring_profiles", ["run_id"])
    op.create_table(
        "held_run_decisions",
        sa.Column("run_id", sa.BigInteger, autoincrement=False, comment="The run that was held"),
        sa.Column("is_released", sa.Boolean, nullable=False, comment="Whether rows like its own are let through"),
        sa.Column("expires_at", utc, comment="Until when they are; NULL if they are not"),
        sa.Column("reason", sa.Text, nullable=False, comment="Reason"),
        sa.Column("decided_at", utc, nullable=False, comment="Time of the decision, by the database's clock"),
        sa.Column("decided_by", sa.String(255), nullable=False, comment="The login that decided"),
        sa.Column("database_user", sa.String(63), comment="The login as the database knows it; NULL on SQLite"),
        sa.PrimaryKeyConstraint("run_id", name="pk_held_run_decisions"),
        sa.ForeignKeyConstraint(["run_id"], ["scoring_runs.run_id"], name="fk_held_run_decisions_run_id"),
        sa.CheckConstraint("(expires_at IS NULL) <> is_released", name=op.f("ck_held_run_decisions_expires")),
        comment="One row per decision on a held run. Rows never change",
    )
    op.create_table(
        "drift_reports",
        sa.Column("run_id", sa.BigInteger, autoincrement=False, comment="The last run that is compared"),
        sa.Column("scope", sa.String(8), comment="run, window (up to this run) or gate (due rows of it)"),
        sa.Column("job", sa.String(63), nullable=False, comment="The job of the run"),
        sa.Column("first_run_id", sa.BigInteger, nullable=False, comment="The first run that is compared"),
        sa.Column("window_from", utc, nullable=False, comment="Start of the first run that is compared"),
        sa.Column("window_to", utc, nullable=False, comment="Start of the last run that is compared"),
        sa.Column("is_complete", sa.Boolean, nullable=False, comment="Whether later runs belong to another window"),
        count("row_count", "Rows that are compared"),
        count("again_count", "Rows that an earlier run of the window had counted"),
        sa.Column("model_name", sa.String(100), nullable=False, comment="The model whose version scored"),
        sa.Column("model_version", sa.Integer, nullable=False, comment="The version that scored"),
        sa.Column("reference", sa.String(16), comment="What they are compared with: training, sample or runs"),
        sa.Column("reference_rows", sa.BigInteger, comment="Rows of the reference"),
        sa.Column("why_not", sa.Text, comment="Why nothing was compared; NULL if it was"),
        sa.Column("created_at", utc, nullable=False, comment="When it was computed, by the database's clock"),
        sa.PrimaryKeyConstraint("run_id", "scope", name="pk_drift_reports"),
        sa.ForeignKeyConstraint(["run_id"], ["scoring_runs.run_id"], name="fk_drift_reports_run_id"),
        sa.CheckConstraint("scope IN ('run', 'window', 'gate')", name=op.f("ck_drift_reports_scope")),
        comment="One row per comparison of what runs read and predicted with a reference. Rows never change",
    )
    op.create_index("ix_drift_reports_job_run_id", "drift_reports", ["job", "run_id"])
    op.create_table(
        "drift_metrics",
        sa.Column("run_id", sa.BigInteger, autoincrement=False, comment="The run of the report"),
        sa.Column("scope", sa.String(8), comment="The scope of the report"),
        sa.Column("subject", sa.String(16), comment="feature, score, prediction or rows"),
        sa.Column("name", sa.String(255), comment="The feature, or the subject again"),
        sa.Column("measure", sa.String(16), comment="distribution, missing, row_count and others"),
        sa.Column(
            "value", sa.Double, comment="PSI of a distribution, share, or due rows; NULL where it was not computed"
        ),
        sa.Column("expected", sa.Double, comment="PSI by chance, share in the reference, or usual number of due rows"),
        sa.Column("p_value", sa.Double, comment="How often chance alone gives a difference as large"),
        sa.Column("q_value", sa.Double, comment="The same, adjusted for the number of comparisons"),
        sa.Column("limit_value", sa.Double, comment="The limit that applied"),
        sa.Column("action", sa.String(8), nullable=False, comment="What a breach does: off, warn or hold"),
        sa.Column(
            "is_breach",
            sa.Boolean,
            nullable=False,
            comment="Whether the difference reaches its limit and is significant",
        ),
        sa.Column("importance", sa.Double, comment="Permutation importance of the feature"),
        sa.Column("why_not", sa.Text, comment="Why it was not computed; NULL if it was"),
        sa.PrimaryKeyConstraint("run_id", "scope", "subject", "name", "measure", name="pk_drift_metrics"),
        sa.ForeignKeyConstraint(
            ["run_id", "scope"],
            ["drift_reports.run_id", "drift_reports.scope"],
            name="fk_drift_metrics_run_id_scope",
        ),
        comment="One row per figure of a drift report. Rows never change",
    )
    op.create_table(
        "drift_alerts",
        sa.Column("alert_id", identity, autoincrement=True, comment="Number of the alert"),
        sa.Column("job", sa.String(63), nullable=False, comment="The job"),
        sa.Column("subject", sa.String(16), nullable=False, comment="feature, score, prediction or rows"),
        sa.Column("name", sa.String(255), nullable=False, comment="The feature, or the subject again"),
        sa.Column("measure", sa.String(16), nullable=False, comment="distribution, missing, row_count and others"),
        sa.Column("raised_run_id", sa.BigInteger, nullable=False, comment="The run with which it was raised"),
        sa.Column("raised_at", utc, nullable=False, comment="When it was raised, by the database's clock"),
        sa.Column("message", sa.Text, nullable=False, comment="What was measured then"),
        sa.Column("notified_at", utc, comment="When operators were last told; NULL while it is muted"),
        sa.Column("cleared_run_id", sa.BigInteger, comment="The run with which it was cleared; NULL while it is open"),
        sa.Column("cleared_at", utc, comment="When it was cleared; NULL while it is open"),
        sa.PrimaryKeyConstraint("alert_id", name="pk_drift_alerts"),
        sa.ForeignKeyConstraint(["raised_run_id"], ["scoring_runs.run_id"], name="fk_drift_alerts_raised_run_id"),
        sa.ForeignKeyConstraint(["cleared_run_id"], ["scoring_runs.run_id"], name="fk_drift_alerts_cleared_run_id"),
        sa.CheckConstraint("(cleared_at IS NULL) = (cleared_run_id IS NULL)", name=op.f("ck_drift_alerts_cleared")),
        comment="One row per alert of drift, from when it is raised to when it is cleared",
    )
    op.create_index(
        "uq_drift_alerts_open",
        "drift_alerts",
        ["job", "subject", "name", "measure"],
        unique=True,
        postgresql_where=sa.text("cleared_at IS NULL"),
        sqlite_where=sa.text("cleared_at IS NULL"),
    )
    op.create_table(
        "drift_mutes",
        sa.Column("mute_id", identity, autoincrement=True, comment="Number of the mute"),
        sa.Column("job", sa.String(63), nullable=False, comment="The job"),
        sa.Column("name", sa.String(255), comment="The feature, score, prediction or rows; NULL for all of them"),
        sa.Column("measure", sa.String(16), comment="The measure; NULL for all of them"),
        sa.Column(
            "alert_id", sa.BigInteger, comment="The alert that it acknowledges; NULL if it covers later ones too"
        ),
        sa.Column("reason", sa.Text, nullable=False, comment="Reason"),
        sa.Column("ends_at", utc, nullable=False, comment="Until when no notices are sent"),
        sa.Column("created_at", utc, nullable=False, comment="When it was recorded, by the database's clock"),
        sa.Column("created_by", sa.String(255), nullable=False, comment="The login that recorded it"),
        sa.Column("removed_at", utc, comment="When it was ended early; NULL if it was not"),
        sa.Column("removed_by", sa.String(255), comment="The login that ended it early"),
        sa.Column("database_user", sa.String(63), comment="The login as the database knows it; NULL on SQLite"),
        sa.PrimaryKeyConstraint("mute_id", name="pk_drift_mutes"),
        sa.ForeignKeyConstraint(["alert_id"], ["drift_alerts.alert_id"], name="fk_drift_mutes_alert_id"),
        sa.CheckConstraint("(removed_at IS NULL) = (removed_by IS NULL)", name=op.f("ck_drift_mutes_removed")),
        comment="One row per acknowledged alert, and per muted feature or measure, with an end",
    )
    op.create_table(
        "monitoring_limits",
        sa.Column("job", sa.String(63), comment="The job"),
        sa.Column("run_id", sa.BigInteger, autoincrement=False, comment="The first run with them"),
        sa.Column(
            "limits", sa.JSON, nullable=False, comment="The section [monitoring] of the job file, with its defaults"
        ),
        sa.Column("rationale", sa.Text, comment="Why the limits are what they are"),
        sa.Column("valid_from", utc, nullable=False, comment="Start of that run"),
        sa.Column("recorded_by", sa.String(255), nullable=False, comment="The login that started that run"),
        sa.Column("database_user", sa.String(63), comment="The login as the database knows it; NULL on SQLite"),
        sa.PrimaryKeyConstraint("job", "run_id", name="pk_monitoring_limits"),
        sa.ForeignKeyConstraint(["run_id"], ["scoring_runs.run_id"], name="fk_monitoring_limits_run_id"),
        comment="One row per change of the limits of a job. Rows never change",
    )
    op.create_table(
        "rescore_requests",
        sa.Column("run_id", sa.BigInteger, autoincrement=False, comment="The run that started the rescore"),
        sa.Column("selection", json, nullable=False, comment="The rows that were selected"),
        sa.Column("model_version", sa.Integer, nullable=False, comment="The model version that was requested"),
        sa.Column("created_at", utc, nullable=False, comment="When it was requested"),
        sa.PrimaryKeyConstraint("run_id", name="pk_rescore_requests"),
        sa.ForeignKeyConstraint(["run_id"], ["scoring_runs.run_id"], name="fk_rescore_requests_run_id"),
        comment="One row per requested rescore, from which an interrupted one is continued",
    )
    op.create_table(
        "legal_holds",
        sa.Column("hold_id", identity, autoincrement=True, comment="Number of the hold"),
        sa.Column("job", sa.String(63), nullable=False, comment="The job whose rows are on hold"),
        sa.Column("source_key", json, comment="The key on hold, by column; NULL for a hold on a run"),
        sa.Column("run_id", sa.BigInteger, comment="The run whose rows are on hold; NULL for a hold on a key"),
        sa.Column("reason", sa.Text, nullable=False, comment="Reason"),
        sa.Column("created_at", utc, nullable=False, comment="When the hold was added"),
        sa.Column("created_by", sa.String(255), nullable=False, comment="The login that added it"),
        sa.Column("removed_at", utc, comment="When the hold was removed; NULL while it is in force"),
        sa.Column("removed_by", sa.String(255), comment="The login that removed it"),
        sa.Column("database_user", sa.String(63), comment="The login as the database knows it; NULL on SQLite"),
        sa.Column("removed_by_database_user", sa.String(63), comment="The same of the removal"),
        sa.PrimaryKeyConstraint("hold_id", name="pk_legal_holds"),
        sa.ForeignKeyConstraint(["run_id"], ["scoring_runs.run_id"], name="fk_legal_holds_run_id"),
        sa.CheckConstraint("(source_key IS NULL) <> (run_id IS NULL)", name=op.f("ck_legal_holds_one")),
        sa.CheckConstraint("(removed_at IS NULL) = (removed_by IS NULL)", name=op.f("ck_legal_holds_removed")),
        comment="One row per legal hold: while it is in force, retention deletes nothing of that key or run",
    )
    op.create_table(
        "outcome_readings",
        sa.Column("reading_id", identity, autoincrement=True, comment="Number of the reading"),
        sa.Column("job", sa.String(63), nullable=False, comment="The job"),
        sa.Column(
            "read_count", sa.BigInteger, nullable=False, server_default=sa.text("0"), comment="Rows of the outcomes"
        ),
        sa.Column(
            "unknown_count",
            sa.BigInteger,
            nullable=False,
            server_default=sa.text("0"),
            comment="Rows whose outcome is not known yet",
        ),
        sa.Column(
            "invalid_count",
            sa.BigInteger,
            nullable=False,
            server_default=sa.text("0"),
            comment="Rows whose outcome is no label of the model, or no number where it predicts one",
        ),
        sa.Column(
            "undated_count", sa.BigInteger, nullable=False, server_default=sa.text("0"), comment="Rows without a time"
        ),
        sa.Column(
            "unknown_key_count",
            sa.BigInteger,
            nullable=False,
            server_default=sa.text("0"),
            comment="Rows whose key was never scored",
        ),
        sa.Column(
            "unpredicted_count",
            sa.BigInteger,
            nullable=False,
            server_default=sa.text("0"),
            comment="Rows whose key had no current prediction at the time",
        ),
        sa.Column(
            "duplicate_count",
            sa.BigInteger,
            nullable=False,
            server_default=sa.text("0"),
            comment="Rows that repeat the outcome of a prediction",
        ),
        sa.Column(
            "reversal_count",
            sa.BigInteger,
            nullable=False,
            server_default=sa.text("0"),
            comment="Rows that change the outcome of a prediction",
        ),
        sa.Column(
            "immature_count",
            sa.BigInteger,
            nullable=False,
            server_default=sa.text("0"),
            comment="Outcomes of months whose performance window is still open",
        ),
        sa.Column(
            "used_count",
            sa.BigInteger,
            nullable=False,
            server_default=sa.text("0"),
            comment="Outcomes that figures were computed from",
        ),
        sa.Column("read_at", utc, nullable=False, comment="When they were read, by the database's clock"),
        sa.Column("read_by", sa.String(255), nullable=False, comment="The login that read them"),
        sa.Column("database_user", sa.String(63), comment="The login as the database knows it; NULL on SQLite"),
        sa.PrimaryKeyConstraint("reading_id", name="pk_outcome_readings"),
        comment="One row per reading of the outcomes of a job. Rows never change",
    )
    op.create_index("ix_outcome_readings_job_reading_id", "outcome_readings", ["job", "reading_id"])
    op.create_table(
        "performance_reports",
        sa.Column("report_id", identity, autoincrement=True, comment="Number of the report"),
        sa.Column("reading_id", sa.BigInteger, nullable=False, comment="The reading of outcomes that it is based on"),
        sa.Column("job", sa.String(63), nullable=False, comment="The job"),
        sa.Column("month", sa.Date, nullable=False, comment="First day of the month of the decisions, UTC"),
        sa.Column("model_name", sa.String(100), nullable=False, comment="The model that predicted"),
        sa.Column("model_version", sa.Integer, nullable=False, comment="The version that predicted"),
        sa.Column("population", sa.String(16), nullable=False, comment="all, or exploration: rows accepted at random"),
        sa.Column("number", sa.Integer, nullable=False, comment="Number of the report of this month, from 1"),
        sa.Column(
            "predicted_count",
            sa.BigInteger,
            nullable=False,
            server_default=sa.text("0"),
            comment="Predictions, with an outcome or without",
        ),
        sa.Column(
            "outcome_count",
            sa.BigInteger,
            nullable=False,
            server_default=sa.text("0"),
            comment="Those of them with an outcome",
        ),
        sa.Column("sums", json, nullable=False, comment="Histograms of the score by outcome, and labels by outcome"),
        sa.PrimaryKeyConstraint("report_id", name="pk_performance_reports"),
        sa.ForeignKeyConstraint(
            ["reading_id"], ["outcome_readings.reading_id"], name="fk_performance_reports_reading_id"
        ),
        sa.UniqueConstraint(
            "job",
            "month",
            "model_name",
            "model_version",
            "population",
            "number",
            name="uq_performance_reports_cohort",
        ),
        sa.CheckConstraint("population IN ('all', 'exploration')", name=op.f("ck_performance_reports_population")),
        comment="One row per month, model version and change of its outcomes. Rows never change",
    )
    op.create_table(
        "decision_counts",
        sa.Column("reading_id", sa.BigInteger, autoincrement=False, comment="The reading of outcomes"),
        sa.Column("number", sa.Integer, autoincrement=False, comment="Number of the row in it, from 1"),
        sa.Column("month", sa.Date, nullable=False, comment="First day of the month of the decisions, UTC"),
        sa.Column("model_name", sa.String(100), nullable=False, comment="The model that predicted"),
        sa.Column("model_version", sa.Integer, nullable=False, comment="The version that predicted"),
        sa.Column("prediction", sa.Text, nullable=False, comment="The predicted label"),
        sa.Column("decision", sa.Text, nullable=False, comment="The label that was decided in the end"),
        sa.Column("reason", sa.Text, nullable=False, comment="Reason, as the outcomes name it"),
        sa.Column("decided_by", sa.Text, nullable=False, comment="The user who decided, as the outcomes name them"),
        sa.Column(
            "decision_count",
            sa.BigInteger,
            nullable=False,
            server_default=sa.text("0"),
            comment="Decisions that are alike",
        ),
        sa.PrimaryKeyConstraint("reading_id", "number", name="pk_decision_counts"),
        sa.ForeignKeyConstraint(["reading_id"], ["outcome_readings.reading_id"], name="fk_decision_counts_reading_id"),
        comment="One row per kind of decision, of each reading in which they had changed. Rows never change",
    )
    op.create_table(
        "fairness_reports",
        sa.Column("report_id", identity, autoincrement=True, comment="Number of the report"),
        sa.Column("job", sa.String(63), nullable=False, comment="The job"),
        sa.Column("month", sa.Date, nullable=False, comment="First day of the month, UTC"),
        sa.Column("number", sa.Integer, nullable=False, comment="Number of the report of this month, from 1"),
        sa.Column("figures", json, nullable=False, comment="Figures of each group that has enough rows to be shown"),
        sa.Column("read_at", utc, nullable=False, comment="When it was computed, by the database's clock"),
        sa.Column("read_by", sa.String(255), nullable=False, comment="The login that computed it"),
        sa.Column("database_user", sa.String(63), comment="The login as the database knows it; NULL on SQLite"),
        sa.PrimaryKeyConstraint("report_id", name="pk_fairness_reports"),
        sa.UniqueConstraint("job", "month", "number", name="uq_fairness_reports_job_month_number"),
        comment="One row per month and change of the figures of groups. Rows never change",
    )
    op.create_table(
        "performance_metrics",
        sa.Column("report_id", sa.BigInteger, autoincrement=False, comment="The report"),
        sa.Column("metric", sa.String(32), comment="accuracy, roc_auc and others"),
        sa.Column("value", sa.Double, comment="Its value; NULL where it was not computed"),
        sa.Column("low", sa.Double, comment="Lower limit of its 95 % confidence interval"),
        sa.Column("high", sa.Double, comment="Upper limit of its 95 % confidence interval"),
        sa.Column("why_not", sa.Text, comment="Why it was not computed; NULL if it was"),
        sa.PrimaryKeyConstraint("report_id", "metric", name="pk_performance_metrics"),
        sa.ForeignKeyConstraint(
            ["report_id"], ["performance_reports.report_id"], name="fk_performance_metrics_report_id"
        ),
        comment="One row per figure of a performance report. Rows never change",
    )
    op.create_table(
        "performance_bands",
        sa.Column("report_id", sa.BigInteger, autoincrement=False, comment="The report"),
        sa.Column("number", sa.Integer, autoincrement=False, comment="Number of the band, from 1"),
        sa.Column("low", sa.Double, nullable=False, comment="Smallest score of the band"),
        sa.Column("high", sa.Double, nullable=False, comment="Largest score of the band"),
        sa.Column(
            "outcome_count",
            sa.BigInteger,
            nullable=False,
            server_default=sa.text("0"),
            comment="Predictions with an outcome",
        ),
        sa.Column("expected", sa.Double, nullable=False, comment="Mean score"),
        sa.Column("observed", sa.Double, nullable=False, comment="Share of positive outcomes"),
        sa.Column("observed_low", sa.Double, nullable=False, comment="Lower limit of its 95 % confidence interval"),
        sa.Column("observed_high", sa.Double, nullable=False, comment="Upper limit of its 95 % confidence interval"),
        sa.PrimaryKeyConstraint("report_id", "number", name="pk_performance_bands"),
        sa.ForeignKeyConstraint(
            ["report_id"], ["performance_reports.report_id"], name="fk_performance_bands_report_id"
        ),
        comment="One row per band of similar scores of a performance report. Rows never change",
    )
    op.create_table(
        "model_versions",
        sa.Column("name", sa.String(100), comment="Name of the model"),
        sa.Column("version", sa.Integer, autoincrement=False, comment="Version number, from 1 for each model"),
        sa.Column(
            "artifact_uri",
            sa.Text,
            nullable=False,
            comment="The model file, relative to the artifacts folder",
        ),
        sa.Column("artifact_sha256", sa.String(64), nullable=False, comment="SHA-256 of the model file"),
        sa.Column("manifest", json, nullable=False, comment="Signature, metrics, golden rows, library versions"),
        sa.Column("created_at", utc, nullable=False, comment="When it was registered"),
        sa.Column("created_by", sa.String(255), nullable=False, comment="The login that registered it"),
        sa.Column("database_user", sa.String(63), comment="The login as the database knows it; NULL on SQLite"),
        sa.PrimaryKeyConstraint("name", "version", name="pk_model_versions"),
        comment="One row per registered model file",
    )
    op.create_table(
        "model_proposals",
        sa.Column("proposal_id", identity, autoincrement=True, comment="Number of the proposal"),
        sa.Column("name", sa.String(100), nullable=False, comment="Name of the model"),
        sa.Column("alias", sa.String(63), nullable=False, comment="The alias that is to point to the version"),
        sa.Column("version", sa.Integer, nullable=False, comment="The version that is proposed"),
        sa.Column("proposed_at", utc, nullable=False, comment="Time of the proposal, by the database's clock"),
        sa.Column("proposed_by", sa.String(255), nullable=False, comment="The login that proposed it"),
        sa.Column("database_user", sa.String(63), comment="The login as the database knows it; NULL on SQLite"),
        sa.Column("reason", sa.Text, nullable=False, comment="Reason"),
        sa.Column("is_forced", sa.Boolean, nullable=False, comment="Whether gates that refuse it are to be overruled"),
        sa.Column("gates", json, nullable=False, comment="The results of the gates at that time"),
        sa.PrimaryKeyConstraint("proposal_id", name="pk_model_proposals"),
        sa.ForeignKeyConstraint(
            ["name", "version"],
            ["model_versions.name", "model_versions.version"],
            name="fk_model_proposals_name_version",
        ),
        comment="One row per proposed promotion, which another login approves. Rows are never changed",
    )
    op.create_table(
        "model_signatures",
        sa.Column("name", sa.String(100), comment="Name of the model"),
        sa.Column("version", sa.Integer, autoincrement=False, comment="Number of the version"),
        sa.Column("number", sa.Integer, autoincrement=False, comment="Number of the signature, from 1"),
        sa.Column("key_id", sa.String(16), nullable=False, comment="Start of the SHA-256 of the public key"),
        sa.Column(
            "signature", sa.String(128), nullable=False, comment="Ed25519 signature of name and manifest, in base64"
        ),
        sa.Column("signed_at", utc, nullable=False, comment="Time of the record, by the database's clock"),
        sa.Column("signed_by", sa.String(255), nullable=False, comment="The login that recorded it"),
        sa.Column("database_user", sa.String(63), comment="The login as the database knows it; NULL on SQLite"),
        sa.PrimaryKeyConstraint("name", "version", "number", name="pk_model_signatures"),
        sa.ForeignKeyConstraint(
            ["name", "version"],
            ["model_versions.name", "model_versions.version"],
            name="fk_model_signatures_name_version",
        ),
        comment="One row per signature of a manifest. Rows never change",
    )
    op.create_table(
        "model_archivals",
        sa.Column("name", sa.String(100), comment="Name of the model"),
        sa.Column("version", sa.Integer, autoincrement=False, comment="Number of the version"),
        sa.Column("number", sa.Integer, autoincrement=False, comment="Number of the record, from 1 for a version"),
        sa.Column("is_archived", sa.Boolean, nullable=False, comment="Whether the version is archived from then on"),
        sa.Column("archived_at", utc, nullable=False, comment="Time of the record, by the database's clock"),
        sa.Column("archived_by", sa.String(255), nullable=False, comment="The login that recorded it"),
        sa.Column("database_user", sa.String(63), comment="The login as the database knows it; NULL on SQLite"),
        sa.Column("reason", sa.Text, nullable=False, comment="Reason"),
        sa.PrimaryKeyConstraint("name", "version", "number", name="pk_model_archivals"),
        sa.ForeignKeyConstraint(
            ["name", "version"],
            ["model_versions.name", "model_versions.version"],
            name="fk_model_archivals_name_version",
        ),
        comment="One row per archival of a version, or its end. An archived one is not promoted. Rows never change",
    )
    op.create_table(
        "model_promotions",
        sa.Column("name", sa.String(100), comment="Name of the model"),
        sa.Column("alias", sa.String(63), comment="champion, challenger or another name"),
        sa.Column("number", sa.Integer, autoincrement=False, comment="Number of the promotion, from 1 for each alias"),
        sa.Column("version", sa.Integer, nullable=False, comment="The version to which the alias points from then on"),
        sa.Column(
            "previous_version",
            sa.Integer,
            comment="The version to which it pointed before; NULL for the first promotion",
        ),
        sa.Column("promoted_at", utc, nullable=False, comment="Time of the promotion, by the database's clock"),
        sa.Column("promoted_by", sa.String(255), nullable=False, comment="The login that promoted it"),
        sa.Column("database_user", sa.String(63), comment="The login as the database knows it; NULL on SQLite"),
        sa.Column("reason", sa.Text, comment="Reason"),
        sa.Column(
            "is_rollback",
            sa.Boolean,
            nullable=False,
            comment="Whether it returned to a version that had been in use before",
        ),
        sa.Column("is_forced", sa.Boolean, nullable=False, comment="Whether gates that refused it were overruled"),
        sa.Column("gates", json, comment="The results of the gates; NULL for a first version"),
        sa.Column("proposal_id", sa.BigInteger, comment="The proposal that it approved; NULL if none was required"),
        sa.PrimaryKeyConstraint("name", "alias", "number", name="pk_model_promotions"),
        sa.ForeignKeyConstraint(
            ["name", "version"],
            ["model_versions.name", "model_versions.version"],
            name="fk_model_promotions_name_version",
        ),
        sa.ForeignKeyConstraint(
            ["proposal_id"], ["model_proposals.proposal_id"], name="fk_model_promotions_proposal_id"
        ),
        comment="One row per promotion; an alias points to the version of its latest one. Rows are never changed",
    )
    op.create_table(
        "mlflow_versions",
        sa.Column("tracking_uri", sa.String(255), comment="Tracking server, without user and password"),
        sa.Column("uri", sa.String(255), comment="URI of the version: models:/NAME/N or runs:/ID/NAME"),
        sa.Column("name", sa.String(100), nullable=False, comment="Name of the model in this registry"),
        sa.Column("version", sa.Integer, nullable=False, comment="Number of the version in this registry"),
        sa.Column("mlflow_run_id", sa.String(64), comment="The MLflow run that logged it"),
        sa.Column("mlflow_model_id", sa.String(64), comment="The logged model, as MLflow numbers it"),
        sa.Column("file", sa.String(255), nullable=False, comment="The model file in the folder of the logged model"),
        sa.Column("file_bytes", sa.BigInteger, nullable=False, comment="Size of that file"),
        sa.Column(
            "trusted_by", sa.String(16), nullable=False, comment="Why it was: training, tag (of our hash) or first use"
        ),
        sa.Column("created_at", utc, nullable=False, comment="When it was recorded, by the database's clock"),
        sa.PrimaryKeyConstraint("tracking_uri", "uri", name="pk_mlflow_versions"),
        sa.ForeignKeyConstraint(
            ["name", "version"],
            ["model_versions.name", "model_versions.version"],
            name="fk_mlflow_versions_name_version",
        ),
        comment="One row per version in MLflow whose file is known here. Rows are never changed",
    )
    op.create_table(
        "mlflow_resolutions",
        sa.Column("run_id", sa.BigInteger, autoincrement=False, comment="The run that scores with it"),
        sa.Column("tracking_uri", sa.String(255), nullable=False, comment="Tracking server, without user and password"),
        sa.Column("uri", sa.String(255), nullable=False, comment="The URI of the job, which may have an alias"),
        sa.Column("version_uri", sa.String(255), nullable=False, comment="The URI of the version that it pointed to"),
        sa.Column("is_cached", sa.Boolean, nullable=False, comment="Whether the server was not reached"),
        sa.Column("resolved_at", utc, nullable=False, comment="When it was resolved, by the database's clock"),
        sa.PrimaryKeyConstraint("run_id", name="pk_mlflow_resolutions"),
        sa.ForeignKeyConstraint(["run_id"], ["scoring_runs.run_id"], name="fk_mlflow_resolutions_run_id"),
        sa.ForeignKeyConstraint(
            ["tracking_uri", "version_uri"],
            ["mlflow_versions.tracking_uri", "mlflow_versions.uri"],
            name="fk_mlflow_resolutions_tracking_uri_version_uri",
        ),
        comment="One row per run whose model is in MLflow: what its URI pointed to then. Rows are never changed",
    )
    op.create_table(
        "scoring_jobs",
        sa.Column("predictions_table", sa.String(255), comment="Name of a predictions table"),
        sa.Column("job", sa.String(63), nullable=False, comment="The job for which it was created"),
        sa.Column("kind", sa.String(16), nullable=False, comment="binary, multiclass, regression or label"),
        sa.Column("key_columns", json, nullable=False, comment="Key columns in order, each with its type"),
        sa.Column("changed_at_type", sa.String(255), nullable=False, comment="Type of source_changed_at"),
        sa.Column("created_at", utc, nullable=False, comment="When its tables were created"),
        sa.PrimaryKeyConstraint("predictions_table", name="pk_scoring_jobs"),
        comment="One row per predictions table of this database, with the job for which it was created",
    )
    op.create_table(
        "record_chain",
        sa.Column("chain", sa.String(128), comment="job:NAME for runs, model:NAME for promotions"),
        sa.Column("number", sa.BigInteger, autoincrement=False, comment="Number of the link in its chain, from 1"),
        sa.Column("record", sa.String(128), nullable=False, comment="The run, or alias and number of the promotion"),
        sa.Column("digest", sa.String(64), nullable=False, comment="SHA-256 of the record"),
        sa.Column("hash", sa.String(64), nullable=False, comment="SHA-256 of the link before and of this one"),
        sa.PrimaryKeyConstraint("chain", "number", name="pk_record_chain"),
        comment="One row per ended run and per promotion, in order. Each contains the hash of the one before it",
    )
