CREATE OR REPLACE VIEW ${drift_alert_history} AS
SELECT
  a.alert_id,
  a.job,
  a.subject,
  a.name,
  a.measure,
  a.message,
  a.raised_at,
  a.raised_run_id,
  a.notified_at,
  a.cleared_at,
  a.cleared_run_id,
  a.cleared_at IS NULL AS is_open,
  (
    SELECT max(m.ends_at)
    FROM ${drift_mutes} AS m
    WHERE m.removed_at IS NULL
      AND m.job = a.job
      AND CASE
        WHEN m.alert_id IS NULL THEN coalesce(m.name, a.name) = a.name AND coalesce(m.measure, a.measure) = a.measure
        ELSE m.alert_id = a.alert_id
      END
  ) AS muted_until
FROM ${drift_alerts} AS a;

COMMENT ON VIEW ${drift_alert_history} IS 'Alerts of drift: one row per alert, from when it was raised to when it was cleared';
COMMENT ON COLUMN ${drift_alert_history}.alert_id IS 'Number of the alert';
COMMENT ON COLUMN ${drift_alert_history}.job IS 'The job';
COMMENT ON COLUMN ${drift_alert_history}.subject IS 'feature, score, prediction or rows';
COMMENT ON COLUMN ${drift_alert_history}.name IS 'The feature, or the subject again';
COMMENT ON COLUMN ${drift_alert_history}.measure IS 'distribution, missing, unseen, invalid, out_of_range or row_count';
COMMENT ON COLUMN ${drift_alert_history}.message IS 'What was measured when it was raised';
COMMENT ON COLUMN ${drift_alert_history}.raised_at IS 'When it was raised, UTC';
COMMENT ON COLUMN ${drift_alert_history}.raised_run_id IS 'The run with which it was raised';
COMMENT ON COLUMN ${drift_alert_history}.notified_at IS 'When operators were last told, UTC; NULL while it is muted';
COMMENT ON COLUMN ${drift_alert_history}.cleared_at IS 'When it was cleared, UTC; NULL while it is open';
COMMENT ON COLUMN ${drift_alert_history}.cleared_run_id IS 'The run with which it was cleared';
COMMENT ON COLUMN ${drift_alert_history}.is_open IS 'Whether it is open';
COMMENT ON COLUMN ${drift_alert_history}.muted_until IS 'Until when it is acknowledged or muted, UTC; NULL if it never was';
