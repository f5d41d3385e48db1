"""A flow that runs a job, and tells by exit code what to do. For Prefect 3; ``serve`` starts it on a schedule."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from prefect import flow, task
from prefect.states import Completed, State

JOB = "loan_eligibility"
PROGRAM = "batch-scoring"

FAILED, QUARANTINED, HELD, ANOTHER_RUN = 1, 4, 6, 75


class RunFailed(Exception):
    """The run failed; another try may succeed."""


class Refused(Exception):
    """Another try changes nothing."""


def is_worth_another_try(_task: Any, _run: Any, state: State) -> bool:
    """Whether a run failed, and not because of something that somebody must correct."""
    return isinstance(state.result(raise_on_failure=False), RunFailed)


@task(retries=3, retry_delay_seconds=120, timeout_seconds=3600, retry_condition_fn=is_worth_another_try)
def run(job: str) -> State:
    """Run the job, and tell what its exit code means."""
    code = subprocess.run([PROGRAM, "run", job], check=False).returncode
    if code == ANOTHER_RUN:
        return Completed(message="another run of the job is active", name="Skipped")
    if code == FAILED:
        raise RunFailed
    if code == QUARANTINED:
        raise Refused("done, but more rows were quarantined than the job allows")
    if code == HELD:
        raise Refused("held before its first write: somebody must release or reject the rows")
    if code:
        raise Refused(f"exit code {code}: somebody must correct the configuration or the model")
    return Completed(message="done")


@flow
def score(job: str = JOB) -> State:
    """One task. A flow run has the state of its task."""
    state: State = run(job, return_state=True)
    return state


if __name__ == "__main__":
    if "--once" in sys.argv:
        score()
    else:
        score.serve(name="every-quarter-of-an-hour", cron="*/15 * * * *", limit=1)
