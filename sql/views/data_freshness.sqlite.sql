DROP VIEW IF EXISTS data_freshness;

-- One row per job: the freshness of its predictions. Times are UTC.
CREATE VIEW data_freshness AS
SELECT
  j.job,
  j.predictions_table,
  r.last_success_at,
  round((julianday('now') - julianday(r.last_success_at)) * 86400.0, 3) AS seconds_since_success,
  r.complete_as_of,
  r.last_scored_at,
  l.status AS last_status,
  l.started_at AS last_started_at
FROM scoring_jobs AS j
LEFT JOIN (
  SELECT
    job,
    max(CASE WHEN status = 'succeeded' THEN finished_at END) AS last_success_at,
    max(CASE WHEN status = 'succeeded' AND mode = 'sweep' THEN started_at END) AS complete_as_of,
    max(CASE WHEN scored_count > 0 OR (
      status = 'running'
      AND EXISTS (SELECT 1 FROM scoring_chunks AS c WHERE c.run_id = scoring_runs.run_id AND c.scored_count > 0)
    ) THEN coalesce(finished_at, heartbeat_at) END) AS last_scored_at,
    max(CASE WHEN status <> 'skipped' THEN run_id END) AS last_run_id
  FROM scoring_runs
  WHERE "trigger" IN ('cli', 'schedule')
  GROUP BY job
) AS r ON r.job = j.job
LEFT JOIN scoring_runs AS l ON l.run_id = r.last_run_id
WHERE NOT EXISTS (
  SELECT 1 FROM scoring_jobs AS newer WHERE newer.job = j.job AND newer.created_at > j.created_at
);
