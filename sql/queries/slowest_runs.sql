-- The runs that took longest
SELECT run_id, job, status, started_at, seconds, scored_count, rows_per_second
FROM run_history
WHERE seconds IS NOT NULL
ORDER BY seconds DESC, run_id DESC
LIMIT 10;
