-- The current predictions: one row per key, the ten highest scores
SELECT "Loan_ID", prediction, score, model_version, scored_at
FROM predictions_current
ORDER BY score DESC
LIMIT 10;
