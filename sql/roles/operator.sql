-- operator: also registers and promotes models, rescores, decides on held runs, mutes alerts, adds legal holds, replays and purges.
GRANT SELECT, INSERT ON model_versions, mlflow_versions, rescore_requests, held_run_decisions TO operator;
GRANT SELECT, INSERT ON model_promotions, model_proposals, model_archivals, model_signatures TO operator;
GRANT SELECT, INSERT, UPDATE (removed_at, removed_by) ON legal_holds TO operator;
GRANT SELECT, INSERT, UPDATE (removed_at, removed_by) ON drift_mutes TO operator;
GRANT USAGE ON SEQUENCE legal_holds_hold_id_seq, drift_mutes_mute_id_seq, model_proposals_proposal_id_seq TO operator;
GRANT SELECT ON run_history, data_freshness, quarantine_summary, drift_latest, drift_history, drift_alert_history TO operator;
GRANT SELECT ON performance, performance_history, calibration, decision_overrides, outcome_coverage TO operator;
-- for each job
GRANT SELECT ON ${current}, ${history}, ${daily}, ${distribution}, ${agreement} TO operator;
GRANT DELETE ON ${superseded}, ${quarantine_closed}, ${challengers}, ${inputs} TO operator;
GRANT EXECUTE ON FUNCTION ${as_of}(timestamptz), ${gone}() TO operator;
