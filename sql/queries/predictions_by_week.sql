-- Predictions by the week of their creation: one for each new or changed row; rescores are counted separately
SELECT ${week} AS week, sum(ordinary_count) AS predictions, sum(rescored_count) AS rescored
FROM ${daily}
GROUP BY 1
ORDER BY 1;
