DROP VIEW IF EXISTS decision_overrides;

-- Decisions compared with what was predicted: one row per job, month, model version, labels, reason and user. Times are UTC.
CREATE VIEW decision_overrides AS
SELECT
  c.job,
  d.month,
  d.model_name,
  d.model_version,
  d.prediction,
  d.decision,
  d.decision <> d.prediction AS is_override,
  d.reason,
  d.decided_by,
  d.decision_count
FROM decision_counts AS d
JOIN outcome_readings AS c ON c.reading_id = d.reading_id
WHERE NOT EXISTS (
  SELECT 1
  FROM decision_counts AS ld
  JOIN outcome_readings AS lc ON lc.reading_id = ld.reading_id
  WHERE lc.job = c.job AND lc.reading_id > c.reading_id
);
