"""``docs/security.md`` names tests, each of which exists."""

from __future__ import annotations

import re

from support import REPOSITORY


def test_each_attack_is_held_by_a_test_that_exists() -> None:
    page = (REPOSITORY / "docs" / "security.md").read_text("utf-8")
    rows = [line for line in page.partition("## Attacks")[2].splitlines() if line.startswith("| ")][2:]
    sources = "\n".join(file.read_text("utf-8") for file in (REPOSITORY / "tests").rglob("test_*.py"))
    known = set(re.findall(r"^def (test_\w+)\(", sources, re.MULTILINE))
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row.rpartition("| ")[0] + row)
        assert named, row
        assert set(named) <= known, row
