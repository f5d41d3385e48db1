CREATE OR REPLACE VIEW ${run_history} AS
SELECT
  r.run_id,
  r.job,
  r."trigger",
  r.status,
  r.scheduled_for,
  r.started_at,
  r.finished_at,
  round(extract(epoch FROM coalesce(r.finished_at, r.heartbeat_at) - r.started_at)::numeric, 3) AS seconds,
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
    / nullif(extract(epoch FROM coalesce(r.finished_at, r.heartbeat_at) - r.started_at), 0)::numeric,
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
FROM ${scoring_runs} AS r
LEFT JOIN (
  -- the counts of a run are stored when it ends
  SELECT
    run_id,
    sum(scored_count)::bigint AS scored_count,
    sum(superseded_count)::bigint AS superseded_count,
    sum(quarantined_count)::bigint AS quarantined_count,
    sum(unseen_category_count)::bigint AS unseen_category_count,
    sum(closed_count)::bigint AS closed_count,
    count(*) AS chunk_count
  FROM ${scoring_chunks}
  WHERE run_id IN (SELECT run_id FROM ${scoring_runs} WHERE status = 'running')
  GROUP BY run_id
) AS c ON c.run_id = r.run_id;

COMMENT ON VIEW ${run_history} IS 'One row per run, with its duration and throughput';
COMMENT ON COLUMN ${run_history}.run_id IS 'Number of the run';
COMMENT ON COLUMN ${run_history}.job IS 'The job that was run';
COMMENT ON COLUMN ${run_history}."trigger" IS 'What started the run: cli, schedule, rescore, retry or purge';
COMMENT ON COLUMN ${run_history}.status IS 'running, succeeded, failed, abandoned, skipped or held';
COMMENT ON COLUMN ${run_history}.scheduled_for IS 'The slot of the schedule this run fills, UTC';
COMMENT ON COLUMN ${run_history}.started_at IS 'When the run started, UTC';
COMMENT ON COLUMN ${run_history}.finished_at IS 'When the run ended, UTC; NULL while it is running';
COMMENT ON COLUMN ${run_history}.seconds IS 'Seconds from start to end, or to the last heartbeat of a running run';
COMMENT ON COLUMN ${run_history}.due_count IS 'Rows that were due when the run started';
COMMENT ON COLUMN ${run_history}.scored_count IS 'Predictions written';
COMMENT ON COLUMN ${run_history}.superseded_count IS 'Predictions superseded by a newer one';
COMMENT ON COLUMN ${run_history}.quarantined_count IS 'Rows quarantined because they could not be scored';
COMMENT ON COLUMN ${run_history}.unseen_category_count IS 'Scored rows with a category the model was not trained on';
COMMENT ON COLUMN ${run_history}.chunk_count IS 'Chunks committed';
COMMENT ON COLUMN ${run_history}.rows_per_second IS 'Rows scored or quarantined per second of the run';
COMMENT ON COLUMN ${run_history}.model_name IS 'The model that scored';
COMMENT ON COLUMN ${run_history}.model_version IS 'The version that scored';
COMMENT ON COLUMN ${run_history}.artifact_sha256 IS 'SHA-256 of the model file that scored';
COMMENT ON COLUMN ${run_history}.requested_by IS 'The login that started the run';
COMMENT ON COLUMN ${run_history}.reason IS 'Reason given for a manual run';
COMMENT ON COLUMN ${run_history}.error_type IS 'Type of the error that ended the run';
COMMENT ON COLUMN ${run_history}.error_message IS 'The error and the remedy';
COMMENT ON COLUMN ${run_history}.host IS 'Host name of the machine that ran it';
COMMENT ON COLUMN ${run_history}.package_version IS 'Version of batch_scoring';
COMMENT ON COLUMN ${run_history}.mode IS 'Scan mode: sweep (the whole source) or lookback (rows changed recently)';
COMMENT ON COLUMN ${run_history}.sweep_only_count IS 'Due rows that only a sweep finds';
COMMENT ON COLUMN ${run_history}.continues_run_id IS 'The interrupted rescore that this run continued';
COMMENT ON COLUMN ${run_history}.purged_count IS 'Rows that retention deleted';
COMMENT ON COLUMN ${run_history}.refresh_count IS 'Due rows that had not changed, and whose outcome was older than refresh';
COMMENT ON COLUMN ${run_history}.new_version_count IS 'Due rows that had not changed, and whose prediction was of another model version';
COMMENT ON COLUMN ${run_history}.closed_count IS 'Predictions and quarantine entries closed because their rows left the source';
COMMENT ON COLUMN ${run_history}.engine IS 'Where rows were scored: python or database; NULL if none was';
COMMENT ON COLUMN ${run_history}.largest_difference IS 'Largest difference found between scores of the database and of the model';
