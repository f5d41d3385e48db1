"""``check``."""

from __future__ import annotations

import typer

from batch_scoring.cli.output import Json, database, settings, show_json, show_sentence


def check(as_json: Json = False) -> None:
    """Check settings, database, schema, jobs, sources and models, and report every problem. Starts no run."""
    from batch_scoring.monitoring import check as checks

    chosen = settings()
    report = checks.check(database(), chosen.jobs_dir, chosen.artifacts_dir)
    if as_json:
        show_json(report.findings)
    else:
        for finding in report.findings:
            show_sentence(f"{finding.severity:7}  ", f"{finding.subject}: {finding.message}")
    raise typer.Exit(report.exit_code)
