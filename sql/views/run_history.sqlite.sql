DROP VIEW IF EXISTS run_history;

-- One row per run, with its duration and throughput. Times are UTC.
CREATE VIEW run_history AS
SELECT
  r.run_id,
  r.job,
  r."trigger",
  r.status,
  r.scheduled_for,
  r.started_at,
  r.finished_at,
  round((julianday(coalesce(r.finished_at, r.heartbeat_at)) - julianday(r.started_at)) * 86400.0, 3) AS seconds,
  r.due_count,
  CASE WHEN r.status = 'running' THEN coalesce(c.scored_count, 0) ELSE r.scored_count END AS scored_count,
  CASE WHEN r.status = 'running' THEN coalesce(c.superseded_count, 0) ELSE r.superseded_count END AS superseded_count,
  CASE WHEN r.status = 'running' THEN coalesce(c.quarantined_count, 0) ELSE r.quarantined_count END AS quarantined_count,
  CASE WHEN r.status = 'running' THEN coalesce(c.unseen_category_count, 0) ELSE r.unseen_category_count END AS unseen_category_count,
  CASE WHEN r.status = 'running' THEN coalesce(c.chunk_count, 0) ELSE r.chunk_count END AS chunk_count,
  round(
    CASE
      WHEN r.status = 'running' THEN coalesce(c.scored_count + c.quarantined_count, 0)
      ELSE r.scored_count + r.quarantined_count
    END
    / nullif((julianday(coalesce(r.finished_at, r.heartbeat_at)) - julianday(r.started_at)) * 86400.0, 0),
    1
  ) AS rows_per_second,
  r.model_name,
  r.model_version,
  r.artifact_sha256,
  r.requested_by,
  r.reason,
  r.error_type,
  r.error_message,
  r.host,
  r.package_version,
  r.mode,
  r.sweep_only_count,
  r.continues_run_id,
  r.purged_count,
  r.refresh_count,
  r.new_version_count,
  CASE WHEN r.status = 'running' THEN coalesce(c.closed_count, 0) ELSE r.closed_count END AS closed_count,
  r.engine,
  r.largest_difference
FROM scoring_runs AS r
LEFT JOIN (
  -- the counts of a run are stored when it ends
  SELECT
    run_id,
    sum(scored_count) AS scored_count,
    sum(superseded_count) AS superseded_count,
    sum(quarantined_count) AS quarantined_count,
    sum(unseen_category_count) AS unseen_category_count,
    sum(closed_count) AS closed_count,
    count(*) AS chunk_count
  FROM scoring_chunks
  WHERE run_id IN (SELECT run_id FROM scoring_runs WHERE status = 'running')
  GROUP BY run_id
) AS c ON c.run_id = r.run_id;
