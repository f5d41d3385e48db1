-- The prediction history of a key, with the reason for each prediction
SELECT valid_from, valid_to, is_current, prediction, score, model_version, "trigger", requested_by, reason
FROM ${history}
WHERE ${is_key}
ORDER BY valid_from;
