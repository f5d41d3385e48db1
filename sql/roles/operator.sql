-- operator: the role for operators. It has the privileges of scorer, and can register and promote models, rescore, add
-- legal holds, replay and purge.
DO $$$$ BEGIN CREATE ROLE operator NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$$$;
GRANT scorer TO operator;
GRANT SELECT, INSERT ON model_versions, rescore_requests TO operator;
GRANT SELECT, INSERT ON model_promotions TO operator;
GRANT SELECT, INSERT, UPDATE (removed_at, removed_by) ON legal_holds TO operator;
GRANT USAGE ON SEQUENCE legal_holds_hold_id_seq TO operator;
GRANT SELECT ON run_history, data_freshness, quarantine_summary TO operator;
-- for each job
GRANT SELECT ON ${current}, ${history}, ${daily}, ${distribution} TO operator;
GRANT DELETE ON ${superseded}, ${quarantine_closed}, ${inputs} TO operator;
