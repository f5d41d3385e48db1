-- scorer: the role that runs jobs. It reads the source and the registry, writes predictions, and can neither alter tables nor delete rows.
DO $$$$ BEGIN CREATE ROLE scorer NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$$$;
GRANT USAGE ON SCHEMA ${schemas} TO scorer;
GRANT SELECT ON alembic_version, model_versions, model_promotions, scoring_jobs TO scorer;
GRANT SELECT, INSERT, UPDATE ON scoring_runs TO scorer;
GRANT USAGE ON SEQUENCE scoring_runs_run_id_seq TO scorer;
-- for each job
GRANT SELECT ON ${source} TO scorer;
GRANT SELECT, INSERT, UPDATE (valid_to) ON ${predictions}, ${quarantine} TO scorer;
GRANT SELECT, INSERT ON ${inputs} TO scorer;
