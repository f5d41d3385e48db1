-- bi_reader: the role for BI tools. It can read the views only: no stored inputs, no messages of the quarantine.
DO $$$$ BEGIN CREATE ROLE bi_reader NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$$$;
GRANT USAGE ON SCHEMA ${schemas} TO bi_reader;
GRANT SELECT ON run_history, data_freshness, quarantine_summary TO bi_reader;
-- for each job
GRANT SELECT ON ${current}, ${history}, ${daily}, ${distribution} TO bi_reader;
REVOKE ALL ON FUNCTION ${as_of}(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ${as_of}(timestamptz) TO bi_reader, scorer, operator;
REVOKE ALL ON FUNCTION ${gone}() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ${gone}() TO bi_reader, operator;
