-- The predictions created on each day by each model version, including superseded ones
SELECT day, model_version, ordinary_count, rescored_count, positive_share, mean_score, decile_1, decile_5, decile_9
FROM ${daily}
ORDER BY day, model_version;
