-- How far the score was from its reference over time
SELECT window_from, window_to, row_count, model_version, value AS psi, expected AS psi_by_chance
FROM drift_history
WHERE job = ${job} AND subject = 'score'
ORDER BY window_from;
