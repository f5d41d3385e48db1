-- The latest runs
SELECT run_id, "trigger", status, started_at, seconds, scored_count, superseded_count, quarantined_count
FROM run_history
ORDER BY run_id DESC
LIMIT 20;
