CREATE OR REPLACE FUNCTION ${as_of}(moment timestamptz) RETURNS SETOF ${history}
LANGUAGE sql STABLE
AS $$$$ SELECT * FROM ${history} AS h WHERE h.valid_from <= moment AND moment < h.valid_to $$$$;

COMMENT ON FUNCTION ${as_of}(timestamptz) IS 'The predictions that held at a moment: at most one row per key';
