CREATE OR REPLACE VIEW ${distribution} AS
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
    least(coalesce(floor((c.score - s.low) / nullif(s.high - s.low, 0) * 20), 0), 19)::integer AS band,
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
  sum(p.n)::bigint AS prediction_count,
  (sum(p.n) / sum(sum(p.n)) OVER (PARTITION BY r.model_name, p.model_version))::double precision AS share
FROM placed AS p
JOIN ${scoring_runs} AS r ON r.run_id = p.run_id
GROUP BY r.model_name, p.model_version, p.band, p.low, p.high;

COMMENT ON VIEW ${distribution} IS 'Histogram of the current scores: one row per model version and twentieth of the score range that has any';
COMMENT ON COLUMN ${distribution}.model_name IS 'The model that scored';
COMMENT ON COLUMN ${distribution}.model_version IS 'The version that scored';
COMMENT ON COLUMN ${distribution}.band IS 'Number of the twentieth, 1 to 20';
COMMENT ON COLUMN ${distribution}.score_from IS 'Lower bound, inclusive';
COMMENT ON COLUMN ${distribution}.score_to IS 'Upper bound, exclusive except for the last';
COMMENT ON COLUMN ${distribution}.prediction_count IS 'Current predictions in this range';
COMMENT ON COLUMN ${distribution}.share IS 'Share of the current predictions of the model version, 0 to 1';
