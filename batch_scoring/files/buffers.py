"""Bytes for Arrow's readers, in memory of Arrow's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa


def arrow_buffer(content: Any) -> pa.Buffer:
    """A copy of bytes that Arrow's threads may release at any time.

    A buffer of Python's needs the interpreter's lock to be released. A thread of Arrow that asks for it while the
    interpreter shuts down is ended by it, and that ends the process with SIGABRT instead of its exit code.
    """
    source = np.frombuffer(content, np.uint8)
    buffer = pa.allocate_buffer(len(source))
    np.frombuffer(buffer, np.uint8)[:] = source
    return buffer
