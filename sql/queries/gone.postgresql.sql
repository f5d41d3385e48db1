-- Current predictions whose row the source no longer gives. Reads the whole source
SELECT ${keys}, prediction, score, scored_at
FROM ${gone}()
ORDER BY ${keys};
