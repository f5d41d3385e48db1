-- Scores and the share of positive outcomes, by band of similar scores
SELECT month, model_version, band, outcome_count, expected, observed, observed_low, observed_high
FROM calibration
WHERE job = 'loan_eligibility' AND population = 'all'
ORDER BY month, model_version, band;
