-- Current predictions that are outdated: their row has changed since and is quarantined
SELECT "Loan_ID", prediction, score, scored_at, quarantined_since, quarantine_reason
FROM predictions_current
WHERE quarantined_since IS NOT NULL
ORDER BY quarantined_since DESC, "Loan_ID";
