"""Trying again after faults that pass by themselves: bounded in attempts and time, with jitter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from batch_scoring.errors import TransientError

if TYPE_CHECKING:
    from stamina.instrumentation import RetryDetails

ATTEMPTS = 8
TIME_LIMIT = timedelta(minutes=2)

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """Something failed and is tried again."""

    number: int
    """1 for the second attempt."""
    wait_seconds: float
    error_type: str


_observers: list[Callable[[Retry], None]] = []


def observe_retries(observer: Callable[[Retry], None]) -> None:
    """Have every retry of this process reported to one observer; another that was set before is replaced."""
    _observers[:] = [observer]


def retry_transient(step: Callable[[], Result]) -> Result:
    """Carry a step out, again and again while a TransientError ends it, within the limits.

    The step must be safe to repeat after a COMMIT whose outcome is not known. Raises what the last attempt raised.
    """
    try:
        return step()
    except TransientError:
        again = stamina().retry(
            on=TransientError, attempts=ATTEMPTS, timeout=TIME_LIMIT, wait_initial=0.2, wait_max=15.0
        )
        result: Result = again(step)()
        return result


def stamina() -> Any:
    """The library that retries, loaded only when something went wrong; it reports to our observer.

    Its own log line would name functions and their arguments, an address among them.
    """
    import stamina
    from stamina.instrumentation import set_on_retry_hooks

    set_on_retry_hooks([_report])
    return stamina


def _report(details: RetryDetails) -> None:
    retry = Retry(
        number=details.retry_num,
        wait_seconds=round(details.wait_for, 3),
        error_type=type(details.caused_by).__name__,
    )
    for observer in _observers:
        observer(retry)
