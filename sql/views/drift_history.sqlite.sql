DROP VIEW IF EXISTS drift_history;

-- Drift over time: one row per job, window and figure. Times are UTC.
CREATE VIEW drift_history AS
SELECT
  r.job,
  r.run_id,
  r.first_run_id,
  r.window_from,
  r.window_to,
  r.is_complete,
  r.row_count,
  r.model_name,
  r.model_version,
  r.reference,
  r.reference_rows,
  m.subject,
  m.name,
  m.measure,
  m.value,
  m.expected,
  m.p_value,
  m.q_value,
  m.limit_value,
  m.action,
  m.is_breach,
  m.importance,
  coalesce(m.why_not, r.why_not) AS why_not
FROM drift_reports AS r
LEFT JOIN drift_metrics AS m ON m.run_id = r.run_id AND m.scope = r.scope
WHERE r.scope = 'window'
  AND NOT EXISTS (
    SELECT 1
    FROM drift_reports AS l
    WHERE l.job = r.job AND l.scope = 'window' AND l.first_run_id = r.first_run_id AND l.run_id > r.run_id
  );
