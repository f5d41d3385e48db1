"""``docs/decisions/README.md`` lists every decision with its title, status and summary."""

from __future__ import annotations

import re
from pathlib import Path

from support import REPOSITORY, documented

FOLDER = REPOSITORY / "docs" / "decisions"
INDEX = FOLDER / "README.md"
ROW = re.compile(r"^\| (\d+) \| \[.*\]\((\S+\.md)\) \| ([^|]*) \| ([^|]*) \|$", flags=re.MULTILINE)


def decisions() -> dict[int, Path]:
    return {int(file.name[:4]): file for file in sorted(FOLDER.glob("[0-9]*.md"))}


def listed() -> dict[int, tuple[str, str]]:
    """Status and summary of each decision in the index."""
    return {int(number): (status, summary) for number, _, status, summary in ROW.findall(INDEX.read_text("utf-8"))}


def index() -> str:
    """The table, with titles from the files and status and summary as they are."""
    known = listed()
    lines = ["| number | decision | status | summary |", "| --- | --- | --- | --- |"]
    for number, file in decisions().items():
        status, summary = known.get(number, ("accepted", "write a summary here"))
        lines.append(f"| {number} | [{title(file)}]({file.name}) | {status} | {summary} |")
    return "\n".join(lines)


def title(file: Path) -> str:
    heading, _, _ = file.read_text("utf-8").partition("\n")
    return heading.removeprefix("# ").partition(". ")[2]


def test_every_decision_is_in_the_index() -> None:
    documented(INDEX, "decisions", index())
    assert listed().keys() == decisions().keys()


def test_every_decision_has_a_number_of_its_own_in_its_heading() -> None:
    for number, file in decisions().items():
        assert file.read_text("utf-8").startswith(f"# {number}. "), file.name
    assert list(decisions()) == list(range(1, len(decisions()) + 1))


def test_every_decision_has_a_status_and_a_summary() -> None:
    for number, (status, summary) in listed().items():
        superseded_by = re.fullmatch(r"superseded by (\d+)", status)
        assert status == "accepted" or (superseded_by and int(superseded_by[1]) in decisions()), number
        assert summary.endswith("."), number
