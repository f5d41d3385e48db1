-- bi_reader: for BI tools. It can read the views only: no stored inputs, no messages of the quarantine.
GRANT USAGE ON SCHEMA ${schemas} TO bi_reader;
GRANT SELECT ON run_history, data_freshness, quarantine_summary, drift_latest, drift_history, drift_alert_history TO bi_reader;
GRANT SELECT ON performance, performance_history, calibration, decision_overrides, outcome_coverage TO bi_reader;
-- for each job
GRANT SELECT ON ${current}, ${history}, ${daily}, ${distribution}, ${agreement} TO bi_reader;
GRANT EXECUTE ON FUNCTION ${as_of}(timestamptz), ${gone}() TO bi_reader;
