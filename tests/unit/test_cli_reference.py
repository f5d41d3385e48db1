"""``docs/cli.md`` names every command with its arguments, options, defaults and exit codes."""

from __future__ import annotations

import os
import re

import pytest
from cli_reference import COMMON_EXIT_CODES, EXIT_CODES, reference
from command_tree import command_tree
from support import REPOSITORY, documented

from batch_scoring.errors import ExitCode

DOCUMENT = REPOSITORY / "docs" / "cli.md"
COMMANDS = [entry for entry in command_tree() if not entry.is_group]


def test_the_reference_is_current() -> None:
    documented(DOCUMENT, "commands", reference())


def test_every_command_is_documented() -> None:
    headings = re.findall(r"^#{2,3} `(batch-scoring[^`]*)`$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)

    assert headings == [entry.name for entry in command_tree()]


def test_every_option_is_documented_in_the_section_of_its_command() -> None:
    sections = re.split(r"^#{2,3} ", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    by_name = {section.partition("\n")[0]: section for section in sections}

    for entry in command_tree():
        shown = set(re.findall(r"`(--?[\w-]+)`", by_name[f"`{entry.name}`"]))
        assert set(entry.option_names) - {"-h", "--help"} <= shown, entry.name


def test_every_command_states_its_exit_codes() -> None:
    assert list(EXIT_CODES) == [" ".join(entry.path) for entry in COMMANDS]
    stated = {code for codes in EXIT_CODES.values() for code, _ in codes} | set(COMMON_EXIT_CODES)
    assert stated == {int(code) for code in ExitCode}


def test_every_exit_code_is_explained_once() -> None:
    table = DOCUMENT.read_text(encoding="utf-8").partition("## Exit codes")[2].partition("\n## ")[0]

    assert re.findall(r"^\| (\d+) \|", table, flags=re.MULTILINE) == [str(int(code)) for code in ExitCode]


def test_the_reference_does_not_depend_on_the_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = set()
    for columns in ("40", "80", "200"):
        monkeypatch.setitem(os.environ, "COLUMNS", columns)
        texts.add(reference())

    assert len(texts) == 1
