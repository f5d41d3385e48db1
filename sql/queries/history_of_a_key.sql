-- Every prediction that one key ever had, and why
SELECT valid_from, valid_to, is_current, prediction, score, model_version, "trigger", requested_by, reason
FROM ${history}
WHERE ${is_key}
ORDER BY valid_from;
