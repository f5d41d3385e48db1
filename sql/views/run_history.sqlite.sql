DROP VIEW IF EXISTS run_history;

-- One row per run, with its duration and throughput. Times are UTC.
CREATE VIEW run_history AS
SELECT
  run_id,
  job,
  "trigger",
  status,
  scheduled_for,
  started_at,
  finished_at,
  round((julianday(coalesce(finished_at, heartbeat_at)) - julianday(started_at)) * 86400.0, 3) AS seconds,
  due_count,
  scored_count,
  superseded_count,
  quarantined_count,
  unseen_category_count,
  chunk_count,
  round(
    (scored_count + quarantined_count)
    / nullif((julianday(coalesce(finished_at, heartbeat_at)) - julianday(started_at)) * 86400.0, 0),
    1
  ) AS rows_per_second,
  model_name,
  model_version,
  artifact_sha256,
  requested_by,
  reason,
  error_type,
  error_message,
  host,
  package_version,
  mode,
  sweep_only_count,
  continues_run_id,
  purged_count
FROM scoring_runs;
