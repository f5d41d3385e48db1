"""Trying again after faults that pass by themselves: bounded in attempts and time, with jitter."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from batch_scoring.errors import PassingFault

ATTEMPTS = 8
TIME_LIMIT = timedelta(minutes=2)

Result = TypeVar("Result")


def persistently(step: Callable[[], Result]) -> Result:
    """Carry a step out, again and again while a PassingFault ends it, within the limits.

    The step must be safe to repeat after a COMMIT whose outcome is not known. Raises what the last attempt raised.
    """
    try:
        return step()
    except PassingFault:
        import stamina  # loaded only when something went wrong

        again = stamina.retry(on=PassingFault, attempts=ATTEMPTS, timeout=TIME_LIMIT, wait_initial=0.2, wait_max=15.0)
        return again(step)()
