DROP VIEW IF EXISTS ${history};

-- One row per prediction, current or superseded, with its validity period from valid_from to valid_to, exclusive. Times are UTC.
CREATE VIEW ${history} AS
SELECT
  ${keys},
  p.score,
  p.prediction,
  r.model_name,
  p.model_version,
  p.run_id,
  r."trigger",
  r.requested_by,
  r.reason,
  p.source_changed_at,
  p.valid_from,
  p.valid_to,
  p.valid_to = '9999-12-31 00:00:00.000000' AS is_current
FROM ${all_predictions} AS p
JOIN scoring_runs AS r ON r.run_id = p.run_id;
