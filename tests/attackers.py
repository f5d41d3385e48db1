"""What attackers do to a service: job files that no job is in, and connections that are no requests."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from serving import Serving


def _sparse(file: Path) -> None:
    with file.open("wb") as sink:
        sink.truncate(2 * 2**30)


HOSTILE_FILES: dict[str, Callable[[Path], object]] = {
    "nested": lambda file: file.with_name("nested.toml").write_text("[" * 100_000),
    "deep": lambda file: file.with_name("deep.toml").write_text("a = " + "[" * 20_000 + "]" * 20_000),
    "pipe": lambda file: os.mkfifo(file.with_name("pipe.toml")),
    "folder": lambda file: file.with_name("folder.toml").mkdir(),
    "dangling": lambda file: file.with_name("dangling.toml").symlink_to("/nowhere"),
    "device": lambda file: file.with_name("device.toml").symlink_to("/dev/zero"),
    "large": lambda file: _sparse(file.with_name("large.toml")),
    "binary": lambda file: file.with_name("binary.toml").write_bytes(bytes(range(256)) * 100),
    "name": lambda file: Path(os.fsdecode(os.fsencode(file.parent) + b"/\xff\xfe.toml")).write_text("a = 1"),
    "escape": lambda file: file.with_name("a\x1b[31m\nb.toml").write_text("a = 1"),
    "label": lambda file: file.with_name("label.toml").write_text("[/ok]\n"),
    "busy": lambda file: file.with_name("busy.toml").write_text(
        file.read_text().replace('"predictions"', '"busy"').replace('"1 second"', '"0.000001 s"')
    ),
    "huge number": lambda file: file.with_name("number.toml").write_text("a = " + "9" * 5_000),
}


@contextmanager
def many_descriptors() -> Iterator[None]:
    """As many open files as a flood needs, while the block lasts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8_000), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(port: int) -> socket.socket:
    """A connection to a port of this machine."""
    made = socket.create_connection(("127.0.0.1", port), timeout=10)
    made.settimeout(10)
    return made


def flood(service: Serving, count: int) -> None:
    """Half-sent requests, resets, header floods and nonsense, all kept open."""
    opened = []
    for number in range(count):
        try:
            connection = connect(service.port)
            if number % 4 == 0:
                connection.sendall(b"GET /metrics HTTP/1.1\r\nHost:")
            elif number % 4 == 1:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                connection.close()
                continue
            elif number % 4 == 2:
                connection.sendall(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 50)
            else:
                connection.sendall(bytes(range(256)))
        except OSError:
            continue
        opened.append(connection)
    for connection in opened:
        connection.close()
