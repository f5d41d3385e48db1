"""Rows so wide that a chunk is more than PostgreSQL hands over at once: read again with fewer, none lost."""

from __future__ import annotations

import pytest
from conftest import prepare_loans
from faults import loan_job
from support import Workspace

from batch_scoring.errors import TooMuchAtOnce
from batch_scoring.model.training import TrainedModel

_SMALL_LIMIT = """
CREATE FUNCTION join_within_limit(state text, value text, separator text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(length(state), 0) > {limit} THEN
        RAISE EXCEPTION 'string buffer exceeds maximum allowed length' USING ERRCODE = 'program_limit_exceeded';
    END IF;
    RETURN CASE WHEN state IS NULL THEN value ELSE state || separator || value END;
END $$;
CREATE AGGREGATE string_agg(text, text) (SFUNC = join_within_limit, STYPE = text);
"""
"""The limit of 1 GB a value, so much smaller that a test can meet it: an aggregate found before PostgreSQL's own."""


@pytest.fixture
def narrow(postgresql_workspace: Workspace, loan_model: TrainedModel) -> Workspace:
    """The loan job on a server that hands over few rows at once."""
    workspace = prepare_loans(postgresql_workspace, loan_model)
    name = workspace.database_url.partition("@/")[2].partition("?")[0]
    workspace.sql(_SMALL_LIMIT.format(limit=400))
    workspace.sql(f"ALTER DATABASE {name} SET search_path = public, pg_catalog")
    return workspace


@pytest.mark.slow
def test_a_chunk_that_is_too_large_is_read_again_with_half_the_rows_until_it_fits(narrow: Workspace) -> None:
    run = narrow.run()

    assert (run.due_count, run.scored_count, run.quarantined_count) == (367, 367, 0)
    assert run.chunk_count > 1
    assert narrow.query("SELECT count(*) FROM predictions_current") == [(367,)]


def test_that_holds_where_the_job_fixed_the_rows_of_a_chunk(narrow: Workspace) -> None:
    narrow.write_job("loan_eligibility", loan_job(chunk_rows=300))

    assert narrow.run().scored_count == 367


def test_a_single_row_that_is_too_large_fails_the_run_and_says_so(narrow: Workspace) -> None:
    narrow.sql("DROP AGGREGATE string_agg(text, text)")
    narrow.sql("DROP FUNCTION join_within_limit(text, text, text)")
    narrow.sql(_SMALL_LIMIT.format(limit=-1))

    with pytest.raises(TooMuchAtOnce, match="a single row"):
        narrow.run()
    assert narrow.query("SELECT status, error_type FROM scoring_runs") == [("failed", "TooMuchAtOnce")]
