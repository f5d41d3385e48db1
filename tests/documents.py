"""The Markdown documents of the repository: their blocks of code, code spans, headings and links."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support import REPOSITORY

DOCUMENTS = sorted(
    file
    for pattern in ("*.md", "docs/**/*.md", "tests/*.md", "deploy/**/*.md", ".github/*.md")
    for file in REPOSITORY.glob(pattern)
)

COMMANDS = Path(os.environ.get("COMMANDS_FROM") or Path(sys.executable).parent)
"""The folder of the programs that documents name: of this environment, or of one with an installed wheel."""

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run by tests: (.+?) -->\n+\Z")
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of code."""

    language: str
    text: str
    why_not_run: str | None
    """The reason that the document gives, in a comment right above the block."""


def name_of(document: Path) -> str:
    return document.relative_to(REPOSITORY).as_posix()


def blocks(document: Path) -> list[Block]:
    content = document.read_text(encoding="utf-8")
    return [
        Block(
            language=match[1],
            text=match[2],
            why_not_run=reason[1] if (reason := _NOT_RUN.search(content, 0, match.start())) else None,
        )
        for match in _FENCED.finditer(content)
    ]


def prose(document: Path) -> str:
    """A document without its blocks of code."""
    return _FENCED.sub("", document.read_text(encoding="utf-8"))


def code_spans(document: Path) -> list[str]:
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(document))]


def links(document: Path) -> list[str]:
    """The targets of links and images, as written."""
    return _LINK.findall(re.sub(r"`[^`\n]*`", "`code`", prose(document)))


def anchors(document: Path) -> set[str]:
    """The anchors of the headings of a document, as GitHub makes them."""
    return set(_anchors(prose(document)))


def _anchors(text: str) -> Iterator[str]:
    seen: dict[str, int] = {}
    for heading in re.findall(r"^#{1,6} (.+)$", text, flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        number = seen.get(slug, 0)
        seen[slug] = number + 1
        yield f"{slug}-{number}" if number else slug
