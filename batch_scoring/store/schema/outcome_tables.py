"""The definitions of the fixed tables of outcomes: what was read of them, and how predictions compare with them."""

from __future__ import annotations

import sqlalchemy as sa

from batch_scoring.store.engine.sql_types import UtcTimestamp
from batch_scoring.store.schema.definitions import count, database_user, identity, metadata, nested

outcome_readings = sa.Table(
    "outcome_readings",
    metadata,
    sa.Column("reading_id", identity, primary_key=True, autoincrement=True, comment="Number of the reading"),
    sa.Column("job", sa.String(63), nullable=False, comment="The job"),
    count("read_count", "Rows of the outcomes"),
    count("unknown_count", "Rows whose outcome is not known yet"),
    count("invalid_count", "Rows whose outcome is no label of the model, or no number where it predicts one"),
    count("undated_count", "Rows without a time"),
    count("unknown_key_count", "Rows whose key was never scored"),
    count("unpredicted_count", "Rows whose key had no current prediction at the time"),
    count("duplicate_count", "Rows that repeat the outcome of a prediction"),
    count("reversal_count", "Rows that change the outcome of a prediction"),
    count("immature_count", "Outcomes of months whose performance window is still open"),
    count("used_count", "Outcomes that figures were computed from"),
    sa.Column("read_at", UtcTimestamp, nullable=False, comment="When they were read, by the database's clock"),
    sa.Column("read_by", sa.String(255), nullable=False, comment="The login that read them"),
    database_user(),
    sa.Index("ix_outcome_readings_job_reading_id", "job", "reading_id"),
    comment="One row per reading of the outcomes of a job. Rows never change",
)

performance_reports = sa.Table(
    "performance_reports",
    metadata,
    sa.Column("report_id", identity, primary_key=True, autoincrement=True, comment="Number of the report"),
    sa.Column("reading_id", sa.BigInteger, nullable=False, comment="The reading of outcomes that it is based on"),
    sa.Column("job", sa.String(63), nullable=False, comment="The job"),
    sa.Column("month", sa.Date, nullable=False, comment="First day of the month of the decisions, UTC"),
    sa.Column("model_name", sa.String(100), nullable=False, comment="The model that predicted"),
    sa.Column("model_version", sa.Integer, nullable=False, comment="The version that predicted"),
    sa.Column("population", sa.String(16), nullable=False, comment="all, or exploration: rows accepted at random"),
    sa.Column("number", sa.Integer, nullable=False, comment="Number of the report of this month, from 1"),
    count("predicted_count", "Predictions, with an outcome or without"),
    count("outcome_count", "Those of them with an outcome"),
    sa.Column("sums", nested, nullable=False, comment="Histograms of the score by outcome, and labels by outcome"),
    sa.ForeignKeyConstraint(["reading_id"], ["outcome_readings.reading_id"]),
    sa.UniqueConstraint(
        "job", "month", "model_name", "model_version", "population", "number", name="uq_performance_reports_cohort"
    ),
    sa.CheckConstraint("population IN ('all', 'exploration')", name="population"),
    comment="One row per month, model version and change of its outcomes. Rows never change",
)

decision_counts = sa.Table(
    "decision_counts",
    metadata,
    sa.Column("reading_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="The reading of outcomes"),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False, comment="Number of the row in it, from 1"),
    sa.Column("month", sa.Date, nullable=False, comment="First day of the month of the decisions, UTC"),
    sa.Column("model_name", sa.String(100), nullable=False, comment="The model that predicted"),
    sa.Column("model_version", sa.Integer, nullable=False, comment="The version that predicted"),
    sa.Column("prediction", sa.Text, nullable=False, comment="The predicted label"),
    sa.Column("decision", sa.Text, nullable=False, comment="The label that was decided in the end"),
    sa.Column("reason", sa.Text, nullable=False, comment="Reason, as the outcomes name it"),
    sa.Column("decided_by", sa.Text, nullable=False, comment="The user who decided, as the outcomes name them"),
    count("decision_count", "Decisions that are alike"),
    sa.ForeignKeyConstraint(["reading_id"], ["outcome_readings.reading_id"]),
    comment="One row per kind of decision, of each reading in which they had changed. Rows never change",
)

fairness_reports = sa.Table(
    "fairness_reports",
    metadata,
    sa.Column("report_id", identity, primary_key=True, autoincrement=True, comment="Number of the report"),
    sa.Column("job", sa.String(63), nullable=False, comment="The job"),
    sa.Column("month", sa.Date, nullable=False, comment="First day of the month, UTC"),
    sa.Column("number", sa.Integer, nullable=False, comment="Number of the report of this month, from 1"),
    sa.Column("figures", nested, nullable=False, comment="Figures of each group that has enough rows to be shown"),
    sa.Column("read_at", UtcTimestamp, nullable=False, comment="When it was computed, by the database's clock"),
    sa.Column("read_by", sa.String(255), nullable=False, comment="The login that computed it"),
    database_user(),
    sa.UniqueConstraint("job", "month", "number"),
    comment="One row per month and change of the figures of groups. Rows never change",
)

performance_metrics = sa.Table(
    "performance_metrics",
    metadata,
    sa.Column("report_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="The report"),
    sa.Column("metric", sa.String(32), primary_key=True, comment="accuracy, roc_auc and others"),
    sa.Column("value", sa.Double, comment="Its value; NULL where it was not computed"),
    sa.Column("low", sa.Double, comment="Lower limit of its 95 % confidence interval"),
    sa.Column("high", sa.Double, comment="Upper limit of its 95 % confidence interval"),
    sa.Column("why_not", sa.Text, comment="Why it was not computed; NULL if it was"),
    sa.ForeignKeyConstraint(["report_id"], ["performance_reports.report_id"]),
    comment="One row per figure of a performance report. Rows never change",
)

performance_bands = sa.Table(
    "performance_bands",
    metadata,
    sa.Column("report_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="The report"),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False, comment="Number of the band, from 1"),
    sa.Column("low", sa.Double, nullable=False, comment="Smallest score of the band"),
    sa.Column("high", sa.Double, nullable=False, comment="Largest score of the band"),
    count("outcome_count", "Predictions with an outcome"),
    sa.Column("expected", sa.Double, nullable=False, comment="Mean score"),
    sa.Column("observed", sa.Double, nullable=False, comment="Share of positive outcomes"),
    sa.Column("observed_low", sa.Double, nullable=False, comment="Lower limit of its 95 % confidence interval"),
    sa.Column("observed_high", sa.Double, nullable=False, comment="Upper limit of its 95 % confidence interval"),
    sa.ForeignKeyConstraint(["report_id"], ["performance_reports.report_id"]),
    comment="One row per band of similar scores of a performance report. Rows never change",
)
