-- What has drifted in the latest window
SELECT name, measure, value, expected, limit_value, is_breach
FROM drift_latest
WHERE job = 'loan_eligibility' AND is_breach
ORDER BY importance DESC;
