"""Commands and code in the documents: every command exists with its options, and every block is run or says why not."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_tree import Entry, command_tree
from documents import DOCUMENTS, Block, blocks, code_spans, name_of
from support import REPOSITORY

ENTRIES = {entry.path: entry for entry in command_tree()}

RUN_BY = {
    ("README.md", "sh"): "tests/acceptance/test_documents.py",
    ("README.md", "sql"): "tests/acceptance/test_documents.py",
    ("docs/bi.md", "sh"): "tests/acceptance/test_documents.py",
    ("docs/bi.md", "sql"): "tests/acceptance/test_bi_guide.py",
    ("docs/bi.md", "python"): "tests/acceptance/test_bi_guide.py",
    ("docs/monitoring.md", "sh"): "tests/acceptance/test_monitoring.py",
    ("docs/mlflow.md", "sh"): "tests/acceptance/test_mlflow_walkthrough.py",
    ("docs/mlflow.md", "python"): "tests/acceptance/test_mlflow_walkthrough.py",
}
"""Which test runs the blocks of a document in a language, except those that say why they are not run."""

NOT_CODE = {"text", "json", "mermaid", "toml", "markdown"}


def words_of(command: str) -> list[str]:
    """The words of a command line in a document; what follows a pipe or a redirection is not ours."""
    command = re.split(r"[|>]|&&", command.partition(" # ")[0])[0]
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def commands_of(document: Path) -> Iterator[str]:
    """What a document writes after ``batch-scoring``, and code spans that begin with the name of a command."""
    lines = [
        line.strip()
        for block in blocks(document)
        if block.language in ("sh", "text")
        for line in block.text.replace("\\\n", " ").splitlines()
    ]
    for text in (*lines, *code_spans(document)):
        # a span may leave the name of the program out
        if match := re.match(r"(?:\S*/)?batch-scoring (?=[a-z])(.*)", text):
            yield match[1]
        elif text not in lines and (tuple(text.split()[:1]) in ENTRIES or tuple(text.split()[:2]) in ENTRIES):
            yield text


def fault_of(command: str) -> str | None:
    """What is wrong with a command as it is written, or None."""
    words = words_of(command)
    entry: Entry = ENTRIES[()]
    while words and (*entry.path, words[0]) in ENTRIES:
        entry = ENTRIES[*entry.path, words.pop(0)]
    if not entry.path:
        return f"there is no command {command}"
    if entry.path == ("monitor",) and words:
        entry = ENTRIES["monitor", "drift"]
    if entry.is_group and words and words[0][0].islower():
        return f"there is no command {entry.name} {words[0]}"
    known = {*entry.option_names, *ENTRIES[()].option_names}
    if entry.path == ("runs",):
        known |= {*ENTRIES["runs", "list"].option_names}
    unknown = [word for word in words if re.match(r"--\w", word) and word.partition("=")[0] not in known]
    return f"{entry.name} has no {' and no '.join(unknown)}" if unknown else None


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_command_of_the_documents_exists_with_its_options(document: Path) -> None:
    assert [fault for command in commands_of(document) if (fault := fault_of(command)) is not None] == []


def test_a_command_that_does_not_exist_is_found() -> None:
    assert fault_of("model forget NAME") == "there is no command batch-scoring model forget"
    assert fault_of("rescore JOB --everything") == "batch-scoring rescore has no --everything"
    assert fault_of("frobnicate") == "there is no command frobnicate"
    assert fault_of("rescore JOB --all --dry-run | head -1") is None


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_block_of_code_is_run_or_says_why_not(document: Path) -> None:
    def is_accounted_for(block: Block) -> bool:
        return bool(block.language in NOT_CODE or block.why_not_run or (name_of(document), block.language) in RUN_BY)

    assert [block.text for block in blocks(document) if not is_accounted_for(block)] == []


def test_what_runs_the_blocks_of_a_document_reads_it() -> None:
    for (document, language), test in RUN_BY.items():
        text = (REPOSITORY / test).read_text(encoding="utf-8")
        assert Path(document).name in text, (document, language)
        assert f'"{language}"' in text, (document, language)
