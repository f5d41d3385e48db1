"""Every command and query of the documents runs as it is written."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa
from documents import COMMANDS, DOCUMENTS, blocks, code_spans
from support import REPOSITORY

from batch_scoring.demo.main_job import run_demo


def _blocks(language: str, document: str = "README.md") -> list[str]:
    """The blocks of a document that are to be run."""
    return [
        block.text
        for block in blocks(REPOSITORY / document)
        if block.language == language and block.why_not_run is None
    ]


def _run(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run commands as a shell does that ends at the first one that fails."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BATCH_SCORING_")}
    environ["PATH"] = f"{COMMANDS}:{environ['PATH']}"
    return subprocess.run(
        ["/bin/sh", "-eu", "-c", commands], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the demo has run."""
    folder = tmp_path_factory.mktemp("readme")
    run_demo(folder / "demo", lambda _text: None)
    return folder


def test_every_make_target_of_the_documents_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))

    for document in DOCUMENTS:
        lines = [line for block in blocks(document) for line in block.text.splitlines()]
        named = {found for text in (*lines, *code_spans(document)) for found in re.findall(r"^make ([a-z-]+)", text)}
        assert named <= targets, document


@pytest.mark.slow
def test_the_commands_of_the_readme_work_one_after_the_other(demo: Path) -> None:
    sessions = _blocks("sh")
    assert len(sessions) == 4
    done = _run("\n".join(sessions), demo)
    assert done.returncode == 0, done.stderr
    assert "3000 read, 2997 scored, 0 superseded, 3 quarantined" in done.stdout
    assert done.stdout.count("missing_value") == 3
    assert "250 read, 250 scored, 50 superseded, 0 quarantined" in done.stdout
    (count,) = re.findall(r"dry run: (\d+) rows would be scored again", done.stdout)
    assert f"{count} read, {count} scored, {count} superseded, 0 quarantined" in done.stdout
    assert re.search(r"state +scored", done.stdout)


def test_the_queries_of_the_readme_run_and_answer(demo: Path) -> None:
    (queries,) = _blocks("sql")
    engine = sa.create_engine(f"sqlite:///{demo / 'demo' / 'batch_scoring.db'}")
    with engine.connect() as connection:
        statements = [query for query in queries.split(";") if query.strip()]
        counts = [len(connection.execute(sa.text(statement)).all()) for statement in statements]
    engine.dispose()
    assert counts[:2] == [10, 0]
    assert counts[2] > 0


@pytest.mark.slow
def test_the_commands_of_the_guide_for_bi_work_where_the_demo_ran(demo: Path) -> None:
    (commands,) = _blocks("sh", "docs/bi.md")

    done = _run(commands, demo / "demo")

    assert done.returncode == 0, done.stderr
    assert "FROM predictions_current" in done.stdout
