"""The changelog follows Keep a Changelog, and its newest release is the version of the package."""

from __future__ import annotations

import re
from datetime import date

from support import REPOSITORY

from batch_scoring import __version__

TEXT = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
RELEASES = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", TEXT, flags=re.MULTILINE)


def test_the_newest_release_is_the_version_of_the_package() -> None:
    assert RELEASES[0][0] == __version__


def test_releases_are_dated_and_the_newest_comes_first() -> None:
    headings = re.findall(r"^## (.+)$", TEXT, flags=re.MULTILINE)
    dates = [date.fromisoformat(written) for _, written in RELEASES]

    assert headings[0] == "[Unreleased]"
    assert len(headings) == 1 + len(RELEASES)
    assert dates == sorted(dates, reverse=True)


def test_every_change_is_of_a_known_kind() -> None:
    kinds = set(re.findall(r"^### (.+)$", TEXT, flags=re.MULTILINE))

    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Upgrade notes"}
