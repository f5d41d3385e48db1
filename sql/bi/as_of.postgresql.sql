-- The predictions that were current at a time, by the function
SELECT "Loan_ID", prediction, score
FROM predictions_as_of('2026-06-30 12:00:00+00')
ORDER BY "Loan_ID";
