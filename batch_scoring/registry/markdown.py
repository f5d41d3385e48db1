"""Markdown of cards and dossiers, and the HTML document that it becomes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from batch_scoring.printable import printable

_SPECIAL = re.compile(r"([\\`*_\[\]<>|&#])")
TIME = "%Y-%m-%d %H:%M:%S UTC"


def document(title: str, sections: Iterable[Iterable[str]]) -> str:
    """A document of sections; empty ones are left out."""
    parts = [part for section in sections if (part := list(section))]
    return "\n".join([f"# {text(title)}", *(line for part in parts for line in ("", *part))]) + "\n"


def html(markdown: str, title: str, figures: Mapping[str, str] | None = None) -> str:
    """A document as HTML without references to other files; markup in its text is shown as text.

    ``figures`` are drawings as SVG, by title, which follow it.
    """
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    drawn = "".join(
        f"<figure>\n{svg}\n<figcaption>{escape(name)}</figcaption>\n</figure>\n"
        for name, svg in (figures or {}).items()
    )
    return _PAGE.format(title=escape(title), body=body, figures=f"<section>\n{drawn}</section>\n" if drawn else "")


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
h1, h2 {{ line-height: 1.2; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; margin: 1rem 0; }}
th, td {{ border: 1px solid #8888; padding: .3rem .6rem; text-align: left; vertical-align: top; }}
code {{ overflow-wrap: anywhere; }}
section {{ display: flex; flex-wrap: wrap; gap: 1rem; }}
figure {{ margin: 0; flex: 1 1 18rem; max-width: 26rem; }}
figure svg {{ width: 100%; height: auto; background: #fff; }}
figcaption {{ text-align: center; }}
@media print {{ body {{ max-width: none; margin: 0; font-size: 11pt; }} }}
</style>
</head>
<body>
{body}{figures}</body>
</html>
"""


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """The lines of a table."""
    yield _row(head)
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield _row(row)


def _row(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(text(cell) for cell in cells) + " |"


def text(value: Any) -> str:
    """A value as text of a table cell, on one line and without markup."""
    if value is None:
        return ""
    shown = f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    return _SPECIAL.sub(r"\\\1", " ".join(printable(shown).split()))
