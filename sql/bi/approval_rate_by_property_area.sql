-- Approvals among the decisions that hold now, by property area. Needs SELECT on the source, which bi_reader has not
SELECT
  a."Property_Area" AS property_area,
  count(*) AS decisions,
  sum(CASE WHEN p.prediction = 'Y' THEN 1 ELSE 0 END) AS approvals,
  round(avg(CASE WHEN p.prediction = 'Y' THEN 1.0 ELSE 0.0 END), 4) AS approval_rate
FROM predictions_current AS p
JOIN applicants AS a ON a."Loan_ID" = p."Loan_ID"
GROUP BY a."Property_Area"
ORDER BY a."Property_Area";
