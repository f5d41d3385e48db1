"""One run of this project in a separate process: ``python -m benchmarks.ours URL FOLDER JOB [WORKERS]``.

It prints the duration of the run from its claim to its end, with everything that a run does: counting due rows, loading
and verifying the model, fence, counters, heartbeat. Imports are excluded, as they are for the peers.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from pathlib import Path

from batch_scoring.domain.job_files import load_job
from batch_scoring.model.scorer import let_idle_threads_sleep
from batch_scoring.scoring.events import ChunkCommitted, Event
from batch_scoring.scoring.runner import RunOptions, run_job
from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.engine.database import Database
from benchmarks.peers import peak_mib


def main() -> None:
    """Execute one run and print its duration and memory use."""
    url, folder, name = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    options = RunOptions(workers=int(sys.argv[4]) if len(sys.argv) > 4 else None)
    job = load_job(folder / "jobs", name)
    bulk_for(Database(url))
    let_idle_threads_sleep()
    # the modules of the models are imported before the measurement, as all others
    import sklearn.compose
    import sklearn.ensemble
    import sklearn.impute
    import sklearn.linear_model
    import sklearn.pipeline
    import sklearn.preprocessing  # noqa: F401

    stages: defaultdict[str, float] = defaultdict(float)

    def add_up(event: Event) -> None:
        if isinstance(event, ChunkCommitted):
            for stage in ("read", "score", "write"):
                stages[stage] += getattr(event.seconds, stage)

    started, started_processor = time.perf_counter(), time.process_time()
    run = run_job(Database(url), job, folder / "artifacts", options=options, observers=[add_up])
    seconds = time.perf_counter() - started
    processor_seconds = time.process_time() - started_processor
    print(
        json.dumps(
            {
                "seconds": seconds,
                "processor_seconds": processor_seconds,
                "peak_mib": peak_mib(),
                "scored": run.scored_count,
                "superseded": run.superseded_count,
                "mode": run.mode,
                "chunks": run.chunk_count,
                "stages": dict(stages),
            }
        )
    )


if __name__ == "__main__":
    main()
