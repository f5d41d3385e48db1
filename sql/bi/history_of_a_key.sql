-- The prediction history of a key, with the reason for each prediction
SELECT valid_from, valid_to, is_current, prediction, score, model_version, "trigger", requested_by, reason
FROM predictions_history
WHERE "Loan_ID" = 'LP001015'
ORDER BY valid_from;
