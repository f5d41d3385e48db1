-- How predictions compare with outcomes, by month of the decision
SELECT month, model_version, predicted_count, outcome_count, metric, value, low, high, first_value
FROM performance
WHERE job = 'loan_eligibility' AND population = 'all' AND metric IN ('accuracy', 'base_rate', 'roc_auc')
ORDER BY month, model_version, metric;
