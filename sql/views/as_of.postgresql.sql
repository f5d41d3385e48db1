CREATE OR REPLACE FUNCTION ${as_of}(moment timestamptz) RETURNS SETOF ${history}
LANGUAGE sql STABLE
BEGIN ATOMIC SELECT * FROM ${history} AS h WHERE h.valid_from <= $$1 AND $$1 < h.valid_to; END;

COMMENT ON FUNCTION ${as_of}(timestamptz) IS 'The predictions that were current at a time: at most one row per key';
