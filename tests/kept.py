"""Replaying predictions with their stored inputs."""

from __future__ import annotations

from support import Workspace

from batch_scoring.domain.runs import Run
from batch_scoring.operations.replay import Replay, replay_run

KEEP = "keep_inputs = true"


def replayed(workspace: Workspace, run: Run | int = 1, *, job: str = "facts", sample: int | None = None) -> Replay:
    """A run's predictions, replayed."""
    run_id = run if isinstance(run, int) else run.run_id
    with workspace.database() as database:
        return replay_run(database, workspace.job(job), workspace.artifacts_dir, run_id, sample=sample)


def assert_whole(done: Replay, count: int) -> None:
    """So many scores came out again, and no other did not."""
    assert (done.row_count, done.reproduced_count, done.deviations) == (count, count, [])
    assert done.is_reproduced
    assert done.largest_difference <= 1e-12


def assert_in_step(workspace: Workspace, predictions: str = "predictions") -> None:
    """Each prediction has its inputs, and none are there without one."""
    names = ("id", "valid_from", "run_id")
    same = " AND ".join(f"i.{name} = p.{name}" for name in names)
    every = workspace.with_past(predictions)
    together = workspace.scalar(f"SELECT count(*) FROM {every} p JOIN {predictions}_inputs i ON {same}")
    assert together == workspace.scalar(f"SELECT count(*) FROM {every} p")
    assert together == workspace.scalar(f"SELECT count(*) FROM {predictions}_inputs")
