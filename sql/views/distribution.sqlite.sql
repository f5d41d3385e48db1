DROP VIEW IF EXISTS ${distribution};

-- Histogram of the current scores: one row per model version and twentieth of the score range that has any.
CREATE VIEW ${distribution} AS
WITH current AS (
  SELECT p.run_id, p.model_version, p.score
  FROM ${predictions} AS p
  WHERE p.score IS NOT NULL
),
span AS (
  ${span}
),
placed AS (
  SELECT
    c.run_id,
    c.model_version,
    s.low,
    s.high,
    coalesce(min(cast((c.score - s.low) / nullif(s.high - s.low, 0) * 20 AS INTEGER), 19), 0) AS band,
    count(*) AS n
  FROM current AS c
  CROSS JOIN span AS s
  GROUP BY 1, 2, 3, 4, 5
)
SELECT
  r.model_name,
  p.model_version,
  p.band + 1 AS band,
  p.low + (p.high - p.low) * p.band / 20 AS score_from,
  p.low + (p.high - p.low) * (p.band + 1) / 20 AS score_to,
  sum(p.n) AS prediction_count,
  sum(p.n) * 1.0 / sum(sum(p.n)) OVER (PARTITION BY r.model_name, p.model_version) AS share
FROM placed AS p
JOIN scoring_runs AS r ON r.run_id = p.run_id
GROUP BY r.model_name, p.model_version, p.band, p.low, p.high;
