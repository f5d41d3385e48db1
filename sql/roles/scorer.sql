-- scorer: the role that runs jobs. It reads the source and the registry and writes predictions. It cannot alter tables. History
-- is appended by triggers of their owner, which let predictions of deleted rows be closed while a job that says so is running.
DO $$$$ BEGIN CREATE ROLE scorer NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$$$;
GRANT USAGE ON SCHEMA ${schemas} TO scorer;
GRANT SELECT ON alembic_version, model_versions, model_promotions, scoring_jobs TO scorer;
GRANT SELECT, INSERT, UPDATE ON scoring_runs TO scorer;
GRANT SELECT, INSERT ON scoring_chunks TO scorer;
GRANT USAGE ON SEQUENCE scoring_runs_run_id_seq, scoring_chunks_number_seq TO scorer;
-- for each job
GRANT SELECT ON ${source} TO scorer;
GRANT SELECT, INSERT, DELETE, UPDATE (${updated}) ON ${predictions} TO scorer;
GRANT SELECT, INSERT, DELETE, UPDATE (${updated_entry}) ON ${quarantine} TO scorer;
GRANT SELECT ON ${superseded} TO scorer;
GRANT SELECT, INSERT ON ${quarantine_closed} TO scorer;
GRANT SELECT, INSERT ON ${inputs} TO scorer;
