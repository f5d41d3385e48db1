-- Predictions by week in which they were made: one for each new or changed row, and those of rescores apart
SELECT ${week} AS week, sum(ordinary_count) AS predictions, sum(rescored_count) AS rescored
FROM ${daily}
GROUP BY 1
ORDER BY 1;
