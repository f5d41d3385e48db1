"""Who runs this process, as far as the operating system knows."""

from __future__ import annotations

import getpass
import os


def login() -> str:
    """The login name, or the user's number where there is no name: at most 255 characters that any database stores."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return name.encode(errors="backslashreplace").decode()[:255]
