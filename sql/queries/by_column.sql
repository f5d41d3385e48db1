-- The current predictions by a column of the source. Needs SELECT on the source, which bi_reader does not have
SELECT
  s.${column} AS value,
  count(*) AS predictions,${positive_rate}
  avg(p.score) AS mean_score
FROM ${current} AS p
JOIN ${source} AS s ON ${source_is_prediction}
GROUP BY s.${column}
ORDER BY count(*) DESC;
