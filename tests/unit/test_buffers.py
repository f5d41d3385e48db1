"""What Arrow's readers read is memory of Arrow's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import batch_scoring
from batch_scoring.files.buffers import arrow_buffer

PACKAGE = Path(batch_scoring.__file__).resolve().parent


@pytest.mark.parametrize("content", [b"", b"id,x\n1,2\n", bytearray(b"abc"), memoryview(b"abc")])
def test_a_buffer_holds_the_bytes_and_no_object_of_python(content: bytes) -> None:
    buffer = arrow_buffer(content)

    assert buffer.to_pybytes() == bytes(content)
    assert buffer.parent is None


def test_every_reader_of_arrow_is_given_such_a_buffer() -> None:
    """Where it is not, a process that ends soon after reading may end with SIGABRT."""
    readers = [
        (path.name, line)
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(
            r"BufferReader\((?!arrow_buffer\(|buffer\))|pa\.input_stream|read_(csv|table|feather)\((file|path|b)", line
        )
    ]
    assert readers == []
