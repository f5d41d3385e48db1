"""What a refusal of a command looks like."""

from __future__ import annotations

import json
import subprocess
from typing import Any

Done = subprocess.CompletedProcess[str]


def said(done: Done) -> str:
    """What a command says to a person: its ``error:`` lines."""
    lines = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")]
    return "\n".join(lines)


def assert_refused(done: Done, code: int, *words: str) -> None:
    """The command ended with the code and said the words, without a result and without a traceback."""
    assert_no_traceback(done)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    for word in words:
        assert word in said(done)


def assert_no_traceback(done: Done) -> None:
    """The command was not ended by an error nobody foresaw."""
    assert "Traceback" not in done.stderr, done.stderr.splitlines()[-1]


def events(stderr: str) -> list[dict[str, Any]]:
    """The log events among the lines of standard error, in order."""
    return [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]
