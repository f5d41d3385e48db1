CREATE OR REPLACE VIEW ${data_freshness} AS
SELECT
  j.job,
  j.predictions_table,
  r.last_success_at,
  round(extract(epoch FROM now() - r.last_success_at)::numeric, 3) AS seconds_since_success,
  r.complete_as_of,
  r.last_scored_at,
  l.status AS last_status,
  l.started_at AS last_started_at
FROM ${scoring_jobs} AS j
LEFT JOIN LATERAL (
  SELECT
    max(finished_at) FILTER (WHERE status = 'succeeded') AS last_success_at,
    max(started_at) FILTER (WHERE status = 'succeeded' AND mode = 'sweep') AS complete_as_of,
    max(coalesce(finished_at, heartbeat_at)) FILTER (WHERE scored_count > 0 OR (
      status = 'running'
      AND EXISTS (SELECT 1 FROM ${scoring_chunks} AS c WHERE c.run_id = ${scoring_runs}.run_id AND c.scored_count > 0)
    )) AS last_scored_at
  FROM ${scoring_runs}
  WHERE ${scoring_runs}.job = j.job AND "trigger" IN ('cli', 'schedule')
) AS r ON true
LEFT JOIN LATERAL (
  SELECT status, started_at
  FROM ${scoring_runs}
  WHERE ${scoring_runs}.job = j.job AND "trigger" IN ('cli', 'schedule') AND status <> 'skipped'
  ORDER BY run_id DESC
  LIMIT 1
) AS l ON true
WHERE NOT EXISTS (
  SELECT 1 FROM ${scoring_jobs} AS newer WHERE newer.job = j.job AND newer.created_at > j.created_at
);

COMMENT ON VIEW ${data_freshness} IS 'One row per job: the freshness of its predictions';
COMMENT ON COLUMN ${data_freshness}.job IS 'The job';
COMMENT ON COLUMN ${data_freshness}.predictions_table IS 'The table of its predictions';
COMMENT ON COLUMN ${data_freshness}.last_success_at IS 'When a run last succeeded, UTC';
COMMENT ON COLUMN ${data_freshness}.seconds_since_success IS 'Seconds since then';
COMMENT ON COLUMN ${data_freshness}.complete_as_of IS 'Every row that was in the source at this time, UTC, has been scored or quarantined';
COMMENT ON COLUMN ${data_freshness}.last_scored_at IS 'When an ordinary run last wrote a prediction, UTC';
COMMENT ON COLUMN ${data_freshness}.last_status IS 'Status of the last run; skipped runs do not count';
COMMENT ON COLUMN ${data_freshness}.last_started_at IS 'When that run started, UTC';
