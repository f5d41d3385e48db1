"""A DAG that runs a job every quarter of an hour, and tells by exit code what to do. For Airflow 3."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta

from airflow.exceptions import AirflowFailException, AirflowSkipException
from airflow.sdk import dag, task

JOB = "loan_eligibility"
PROGRAM = "/opt/batch_scoring/.venv/bin/batch-scoring"

FAILED, QUARANTINED, HELD, ANOTHER_RUN = 1, 4, 6, 75


@dag(
    schedule="*/15 * * * *",
    start_date=datetime(2026, 1, 1),  # noqa: DTZ001 - Airflow takes it in the time zone of the DAG
    catchup=False,  # a run scores whatever is due, however many were missed
    max_active_runs=1,
    tags=["batch-scoring"],
)
def score_loans() -> None:
    """One task: the command, and what its exit code means."""

    @task(retries=3, retry_delay=timedelta(minutes=2), execution_timeout=timedelta(hours=1))
    def run() -> None:
        code = subprocess.run([PROGRAM, "run", JOB], check=False).returncode
        if code == ANOTHER_RUN:
            raise AirflowSkipException("another run of the job is active")
        if code == QUARANTINED:
            raise AirflowFailException("done, but more rows were quarantined than the job allows")
        if code == HELD:
            raise AirflowFailException("held before its first write: somebody must release or reject the rows")
        if code == FAILED:
            raise RuntimeError("the run failed; it is tried again")
        if code:
            raise AirflowFailException(f"exit code {code}: somebody must correct the configuration or the model")

    run()


score_loans()
