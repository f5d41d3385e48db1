"""``docs/errors.md`` names every error with its exit code, what happened and what to do."""

from __future__ import annotations

import re

from error_reference import REMEDIES, error_classes, reference
from support import REPOSITORY, documented

DOCUMENT = REPOSITORY / "docs" / "errors.md"


def test_the_reference_of_errors_is_current() -> None:
    documented(DOCUMENT, "errors", reference())


def test_every_error_is_documented_with_what_to_do() -> None:
    names = [error.__name__ for error in error_classes()]

    assert set(REMEDIES) == set(names)
    assert sorted(re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)) == sorted(
        names
    )


def test_every_error_says_in_its_docstring_what_happened() -> None:
    for error in error_classes():
        assert error.__doc__, error.__name__
        assert error.__doc__.strip().endswith("."), error.__name__
