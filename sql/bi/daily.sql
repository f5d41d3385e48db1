-- What was predicted each day by each model version, whatever became of it since
SELECT day, model_version, ordinary_count, rescored_count, positive_share, mean_score, decile_1, decile_5, decile_9
FROM predictions_daily
ORDER BY day, model_version;
