"""Buffers for Arrow's readers, in memory that Arrow allocates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa


def arrow_buffer(content: Any) -> pa.Buffer:
    """A copy of bytes that Arrow's threads may release at any time.

    Releasing a Python buffer requires the interpreter lock (GIL). An Arrow thread that requests it while the
    interpreter shuts down is terminated, which ends the process with SIGABRT instead of its exit code.
    """
    source = np.frombuffer(content, np.uint8)
    buffer = pa.allocate_buffer(len(source))
    np.frombuffer(buffer, np.uint8)[:] = source
    return buffer
