-- Current predictions whose row the source no longer gives. Reads the whole source
SELECT ${keys}, prediction, score, scored_at
FROM ${current}
WHERE (${keys}) NOT IN (
  ${source_keys}
)
ORDER BY ${keys};
