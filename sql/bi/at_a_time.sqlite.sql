-- The predictions that were current at a time
SELECT "Loan_ID", prediction, score
FROM predictions_history
WHERE valid_from <= '2026-06-30 12:00:00.000000' AND '2026-06-30 12:00:00.000000' < valid_to
ORDER BY "Loan_ID";
