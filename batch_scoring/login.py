"""The user that runs this process."""

from __future__ import annotations

import getpass
import os


def login() -> str:
    """The login name, or the numeric user id if there is none: at most 255 characters that any database can store."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return name.encode(errors="backslashreplace").decode()[:255]


def user_id() -> int | None:
    """The numeric user id of this process; None where the operating system has none."""
    return os.getuid() if hasattr(os, "getuid") else None
