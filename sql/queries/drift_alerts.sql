-- Alerts of drift
SELECT raised_at, cleared_at, message, muted_until
FROM drift_alert_history
WHERE job = ${job}
ORDER BY raised_at DESC;
