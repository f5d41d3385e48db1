"""Retrying after transient errors, bounded in attempts and time, with exponential backoff and jitter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from batch_scoring.errors import DatabaseFault, TransientError

if TYPE_CHECKING:
    from stamina.instrumentation import RetryDetails

ATTEMPTS = 8
TIME_LIMIT = timedelta(minutes=2)

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """A retry that is scheduled after a transient error."""

    number: int
    """1 for the second attempt."""
    wait_seconds: float
    error_type: str


_observers: list[Callable[[Retry], None]] = []


def observe_retries(observer: Callable[[Retry], None]) -> None:
    """Set the observer of all retries of this process, replacing an earlier one."""
    _observers[:] = [observer]


def retry_transient(
    operation: Callable[[], Result],
    on: type[DatabaseFault] | tuple[type[DatabaseFault], ...] = TransientError,
) -> Result:
    """Call ``operation``, and retry it after the errors ``on``, up to ``ATTEMPTS`` times within ``TIME_LIMIT``.

    It must be safe to repeat after a COMMIT whose outcome is unknown. Raises the error of the last attempt.
    """
    try:
        return operation()
    except on:
        retry = stamina().retry(on=on, attempts=ATTEMPTS, timeout=TIME_LIMIT, wait_initial=0.2, wait_max=15.0)
        result: Result = retry(operation)()
        return result


def stamina() -> Any:
    """The retry library, imported on the first error, with its hook set to the observer of this module.

    The library's own log entry would contain function arguments, among them the address of a webhook.
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
