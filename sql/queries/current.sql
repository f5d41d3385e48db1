-- The current predictions: one row per key, the ten highest scores
SELECT ${keys}, prediction, score, model_version, scored_at
FROM ${current}
ORDER BY score DESC
LIMIT 10;
