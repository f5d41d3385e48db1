-- Current predictions whose row is no longer in the source. Reads the whole source
SELECT ${keys}, prediction, score, scored_at
FROM ${gone}()
ORDER BY ${keys};
