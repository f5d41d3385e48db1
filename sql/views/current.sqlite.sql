DROP VIEW IF EXISTS ${current};

-- One row per key: the current prediction. Times are UTC.
CREATE VIEW ${current} AS
SELECT
  ${keys},
  p.score,
  p.prediction,
  r.model_name,
  p.model_version,
  p.run_id,
  p.valid_from AS scored_at,
  p.source_changed_at,
  (
    SELECT q.valid_from FROM ${quarantine} AS q WHERE ${quarantine_of_key}
  ) AS quarantined_since,
  (
    SELECT q.reason_code FROM ${quarantine} AS q WHERE ${quarantine_of_key}
  ) AS quarantine_reason
FROM ${predictions} AS p
JOIN scoring_runs AS r ON r.run_id = p.run_id;
