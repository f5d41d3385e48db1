"""Files that a command writes: complete or absent, and never through a link."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def written(path: Path) -> Iterator[TextIO]:
    """A text file in UTF-8 that takes the place of ``path`` at the end of the block, or of a link of that name.

    A device or a pipe is written to. Raises OSError.
    """
    is_special = path.absolute().is_relative_to("/dev") or path.absolute().is_relative_to("/proc")  # /dev/stdout
    if is_special or (path.exists() and not path.is_file()):
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file
        return
    temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}")
    try:
        with temporary.open("x", encoding="utf-8", newline="") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
