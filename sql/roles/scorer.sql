-- ${role}: runs jobs. It reads the source and the registry and writes predictions. It cannot alter tables, nor the records of
-- runs that have ended. History is appended by triggers of the owner of the tables, which let predictions of deleted rows be
-- closed while a job that says so is running.
GRANT USAGE ON SCHEMA ${schemas} TO ${role};
GRANT SELECT ON alembic_version, model_versions, model_promotions, model_signatures, scoring_jobs, record_chain, held_run_decisions TO ${role};
GRANT SELECT, INSERT, UPDATE (${updated_run}) ON scoring_runs TO ${role};
GRANT SELECT, INSERT ON scoring_chunks, record_chain, mlflow_resolutions TO ${role};
GRANT SELECT, INSERT, DELETE ON scoring_profiles TO ${role};
GRANT SELECT, INSERT ON drift_reports, drift_metrics, monitoring_limits TO ${role};
GRANT SELECT, INSERT, UPDATE (notified_at, cleared_at, cleared_run_id) ON drift_alerts TO ${role};
GRANT SELECT ON drift_mutes TO ${role};
GRANT SELECT, INSERT ON outcome_readings, performance_reports, performance_metrics, performance_bands, decision_counts, fairness_reports TO ${role};
GRANT SELECT ON mlflow_versions TO ${role};
GRANT USAGE ON SEQUENCE scoring_runs_run_id_seq, scoring_chunks_number_seq, scoring_profiles_number_seq, drift_alerts_alert_id_seq, outcome_readings_reading_id_seq, performance_reports_report_id_seq, fairness_reports_report_id_seq TO ${role};
-- for each job
GRANT SELECT ON ${source} TO ${role};
GRANT SELECT, INSERT, DELETE, UPDATE (${updated}) ON ${predictions} TO ${role};
GRANT SELECT, INSERT, DELETE, UPDATE (${updated_entry}) ON ${quarantine} TO ${role};
GRANT SELECT ON ${superseded} TO ${role};
GRANT SELECT, INSERT ON ${quarantine_closed} TO ${role};
GRANT SELECT, INSERT ON ${challengers} TO ${role};
GRANT SELECT, INSERT ON ${inputs} TO ${role};
-- for each job whose model is in MLflow: it registers versions
GRANT INSERT ON model_versions, mlflow_versions TO ${role};
-- for each job whose outcomes are in a table: it reads them
GRANT SELECT ON ${outcomes} TO ${role};
