"""Statements by which somebody who writes records of runs could forge them."""

from __future__ import annotations

_RUN = """INSERT INTO scoring_runs (job, trigger, status, started_at, heartbeat_at, host, process_id, package_version,
  environment, job_config, requested_by{columns})
  VALUES ('{job}', '{trigger}', '{status}', {started}, clock_timestamp(), 'h', 1, '0', '{{}}', '{{}}', 'me'{values})"""


def started_run(**given: str) -> str:
    """The INSERT of a run that starts now, with other values where they are given."""
    values = {"job": "other", "trigger": "cli", "status": "running", "started": "clock_timestamp()"}
    return _RUN.format(**{"columns": "", "values": "", **values, **given})


_CHUNK = """INSERT INTO scoring_chunks (run_id, worker, read_seconds, score_seconds, write_seconds, committed_at)
  VALUES (1, 1, 0, 0, 0, now())"""

ENDED = {"columns": ", finished_at, end_reason", "values": ", clock_timestamp(), 'completed'"}

FORGERIES: dict[str, tuple[str, ...]] = {
    "the status of an ended run": ("UPDATE scoring_runs SET status = 'failed' WHERE run_id = 1",),
    "the counts of an ended run": ("UPDATE scoring_runs SET scored_count = 1 WHERE run_id = 1",),
    "the model of an ended run": ("UPDATE scoring_runs SET model_version = 7 WHERE run_id = 1",),
    "an ended run that runs again": (
        "UPDATE scoring_runs SET status = 'running', finished_at = NULL, end_reason = NULL WHERE run_id = 1",
    ),
    "the number of a run": ("UPDATE scoring_runs SET run_id = 99 WHERE run_id = 1",),
    "who started a run": ("UPDATE scoring_runs SET requested_by = 'someone else'",),
    "the login of a run": ("UPDATE scoring_runs SET database_user = 'someone else'",),
    "why a run was started": ("UPDATE scoring_runs SET reason = 'approved'",),
    "when a run started": ("UPDATE scoring_runs SET started_at = started_at - interval '1 day'",),
    "the job of a run": ("UPDATE scoring_runs SET job = 'other'",),
    "the job file of a run": ("UPDATE scoring_runs SET job_config = '{}'",),
    "a run that has succeeded from the start": (started_run(status="succeeded", **ENDED),),
    "a run of last year": (started_run(started="now() - interval '1 year'"),),
    "a run of next year": (started_run(started="now() + interval '1 year'"),),
    "a heartbeat for ever": (
        started_run(),
        "UPDATE scoring_runs SET heartbeat_at = 'infinity' WHERE run_id > 1",
    ),
    "an end in the future": (
        started_run(),
        "UPDATE scoring_runs SET status = 'failed', end_reason = 'error', finished_at = 'infinity' WHERE run_id > 1",
    ),
    "a deleted run": ("DELETE FROM scoring_runs",),
    "a chunk of an ended run": (_CHUNK,),
    "a chunk that was committed": ("UPDATE scoring_chunks SET scored_count = 0",),
    "a deleted chunk": ("DELETE FROM scoring_chunks",),
    "a profile of an ended run": ("INSERT INTO scoring_profiles (run_id, profile) VALUES (1, '{}')",),
    "a profile that was written": ("UPDATE scoring_profiles SET profile = '{}'",),
    "a deleted profile of an ended run": ("DELETE FROM scoring_profiles",),
    "a link of the chain": ("UPDATE record_chain SET digest = hash",),
    "a deleted link of the chain": ("DELETE FROM record_chain",),
    "a promotion": ("UPDATE model_promotions SET version = 7",),
    "a prediction that ended at once": (
        "UPDATE predictions SET score = 0.5, valid_from = valid_from - interval '1 hour'",
    ),
    "a prediction of the future": ("UPDATE predictions SET score = 0.5, valid_from = now() + interval '1 day'",),
    "history that was never current": (
        "INSERT INTO predictions_superseded SELECT p.*, now() FROM predictions AS p LIMIT 1",
    ),
}
"""What neither who scores nor who operates may do: the last statement is refused."""
