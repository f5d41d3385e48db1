DROP VIEW IF EXISTS drift_alert_history;

-- Alerts of drift: one row per alert, from when it was raised to when it was cleared. Times are UTC.
CREATE VIEW drift_alert_history AS
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
    FROM drift_mutes AS m
    WHERE m.removed_at IS NULL
      AND m.job = a.job
      AND CASE
        WHEN m.alert_id IS NULL THEN coalesce(m.name, a.name) = a.name AND coalesce(m.measure, a.measure) = a.measure
        ELSE m.alert_id = a.alert_id
      END
  ) AS muted_until
FROM drift_alerts AS a;
