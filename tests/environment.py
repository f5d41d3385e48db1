"""What tests take from the environment they are started in: as little as they can.

Variables that configure database clients, languages, terminals, proxies, the user's name or the product itself are
removed; a temporary folder whose path is too long for a socket is replaced; programs are looked for where distributions
install them, whatever PATH is.
"""

from __future__ import annotations

import locale
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

_REMOVED = re.compile(
    r"(BATCH_SCORING_|LC_|MLFLOW_|PG|PYTHONIO|XDG_).*|LANG|LANGUAGE|(all|ftp|https?|no)_proxy"
    r"|LNAME|LOGNAME|USER|USERNAME|PYTHON(PROFILEIMPORTTIME|UNBUFFERED|UTF8|WARNINGS)"
    r"|CLICOLOR(_FORCE)?|COLUMNS|FORCE_COLOR|GITHUB_ACTIONS|LINES|NO_COLOR|PY_COLORS|TERM",
    re.IGNORECASE,
)
_SYSTEM = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_LONGEST_TEMPORARY = 40
"""Characters of a temporary folder; a socket's path is limited to 104 to 108, and what pytest adds needs the rest."""


def settle() -> None:
    """Make this process's environment, and so that of every process a test starts, one that tests may rely on."""
    for name in list(os.environ):
        if _REMOVED.fullmatch(name):
            del os.environ[name]
    os.environ["LANG"] = _plain_language()
    given = os.environ.get("PATH", "").split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join(dict.fromkeys([*filter(None, given), *_SYSTEM]))
    if len(tempfile.gettempdir()) > _LONGEST_TEMPORARY:
        os.environ["TMPDIR"] = tempfile.tempdir = "/tmp"


def _plain_language() -> str:
    """UTF-8 without the customs of a country, where the system has it; every system has C."""
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    except locale.Error:
        return "C"
    return "C.UTF-8"


def program(name: str, package: str) -> str:
    """A program of the system's. On CI it must be there; elsewhere the test is skipped where it is not."""
    found = shutil.which(name)
    if found is None:
        leave_out(f"{name} is not installed: apt-get install {package}")
    return found


def leave_out(reason: str) -> NoReturn:
    """Skip a test because of what this machine lacks; on CI it fails."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def short_folder(prefix: str) -> Path:
    """A new folder with a short path, in memory where that can be had: for a server and its socket."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix=prefix, dir=memory if os.access(memory, os.W_OK) else None))
