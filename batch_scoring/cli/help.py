"""The format of ``--help``: panels on a terminal that is wide enough, else plain text."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Literal

from batch_scoring.cli.streams import is_unicode

_WIDE_ENOUGH = 100
"""Columns that panels need to show every option name in full."""


def markup_mode() -> Literal["rich"] | None:
    """Typer's setting: ``rich`` for panels, None for plain text without escape sequences."""
    is_plain = (
        not sys.stdout.isatty()
        or os.environ.get("TERM", "dumb") in ("dumb", "unknown", "")
        or bool(os.environ.get("NO_COLOR"))
        or not is_unicode(sys.stdout.encoding)
        or shutil.get_terminal_size().columns < _WIDE_ENOUGH
    )
    return None if is_plain else "rich"
