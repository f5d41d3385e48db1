"""Every link and path in a document leads somewhere, and every document can be reached from the README."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from documents import DOCUMENTS, anchors, code_spans, links, name_of
from support import REPOSITORY

import batch_scoring

PACKAGE = Path(batch_scoring.__file__).resolve().parent
PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def resolved(document: Path, link: str) -> tuple[Path, str]:
    """File and anchor of a relative link."""
    target, _, anchor = link.partition("#")
    return (document.parent / target).resolve() if target else document, anchor


def relative_links(document: Path) -> list[str]:
    return [link for link in links(document) if not link.startswith(("https://", "http://", "mailto:"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_relative_link_resolves(document: Path) -> None:
    broken = []
    for link in relative_links(document):
        file, anchor = resolved(document, link)
        if not file.exists() or not file.is_relative_to(REPOSITORY) or (anchor and anchor not in anchors(file)):
            broken.append(link)

    assert broken == []


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [REPOSITORY / "README.md"]
    while waiting:
        document = waiting.pop()
        if document in reached:
            continue
        reached.add(document)
        targets = {resolved(document, link)[0] for link in relative_links(document)}
        waiting += [target / "README.md" if target.is_dir() else target for target in targets & {*DOCUMENTS, *_FOLDERS}]

    assert [name_of(document) for document in DOCUMENTS if document not in reached] == []


_FOLDERS = {document.parent for document in DOCUMENTS if document.name == "README.md"}


def test_links_and_anchors_are_found(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        "# A `[section]`: what, *how*\n## Twice\n## Twice\n"
        "See [one](a.md#b), ![two](c.svg), [`x[0]`](d.md) and `[not](e.md)`.\n```sh\n[nor](f.md)\n```\n",
        encoding="utf-8",
    )

    assert links(document) == ["a.md#b", "c.svg", "d.md"]
    assert anchors(document) == {"a-section-what-how", "twice", "twice-1"}


_PATH = re.compile(
    r"(?:batch_scoring|tests|docs|sql|deploy|jobs|benchmarks|\.ci|" + "|".join(PACKAGES) + r")/[\w./@-]+"
)


@pytest.mark.parametrize("document", [file for file in DOCUMENTS if file.name != "CHANGELOG.md"], ids=name_of)
def test_every_path_that_a_document_names_exists(document: Path) -> None:
    missing = [
        span
        for span in code_spans(document)
        if _PATH.fullmatch(span) and not any((folder / span).exists() for folder in (REPOSITORY, PACKAGE))
    ]

    assert missing == []
