"""Commands whose output is a terminal of a given width, or a file, in a given encoding."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import forks
from support import Workspace


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a command showed; on a terminal, standard error is among it."""

    code: int
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def _carry_out(arguments: tuple[str, ...], folder: str, environ: dict[str, str], device: str, encoding: str) -> None:
    from batch_scoring.cli import main

    os.setsid()
    number = os.open(device, os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(number, target)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open while the process lasts
    sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115 - open while the process lasts
    sys.stderr = open(2, "w", encoding=encoding, closefd=False)  # noqa: SIM115 - open while the process lasts
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["batch-scoring", *arguments]
    main()


def on_terminal(
    workspace: Workspace, *arguments: str, columns: int = 80, encoding: str = "utf-8", **environ: str
) -> Shown:
    """Run a command on a terminal of so many columns."""
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = _start(workspace, arguments, os.ttyname(secondary), encoding, {"TERM": "xterm", **environ})
    content = b""
    os.set_blocking(primary, False)
    while True:
        is_over = not process.is_alive()
        with suppress(BlockingIOError):
            while part := os.read(primary, 1 << 16):
                content += part
        if is_over:
            break
        process.join(0.02)
    os.close(primary)
    os.close(secondary)
    return Shown(code=process.exitcode, text=content.decode(encoding).replace("\r\n", "\n"))


def in_file(workspace: Workspace, *arguments: str, encoding: str = "utf-8", **environ: str) -> Shown:
    """Run a command whose output is no terminal."""
    printed = workspace.folder / "printed.txt"
    printed.write_bytes(b"")
    process = _start(workspace, arguments, str(printed), encoding, environ)
    process.join(120)
    return Shown(code=process.exitcode, text=Path(printed).read_bytes().decode(encoding))


def _start(
    workspace: Workspace, arguments: tuple[str, ...], device: str, encoding: str, environ: dict[str, str]
) -> Any:
    everything = {**workspace.process_environ, **environ}
    process = forks().Process(target=_carry_out, args=(arguments, str(workspace.folder), everything, device, encoding))
    process.start()
    return process
