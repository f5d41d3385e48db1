"""Map PostgreSQL's errors to those of this package.

No message quotes a value: of a driver's message, only text about the schema or the server is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

from batch_scoring import errors
from batch_scoring.errors import DatabaseFault

_TRANSIENT = {
    "40001": "a serialization failure",
    "40P01": "a deadlock",
    "55P03": "a lock that was not released in time",
    "57014": "a statement over its time limit",
    "53300": "too many connections",
    "57P03": "a server that is starting or stopping",
}
_LOST = {"57P01", "57P02", "57P05", "25P03", "25P04"}
_READ_ONLY = {"25006"}
_DENIED = {"42501", "28000", "28P01", "3D000"}
_FULL = "53100"
_OUT_OF_MEMORY = "53200"


def fault(exc: BaseException | None, shown: str, *, lost: bool, without_secrets: Callable[[str], str]) -> DatabaseFault:
    """Map an error of PostgreSQL's driver; ``shown`` is the URL without its secrets.

    ``without_secrets`` removes them from the driver's message.
    """
    state: str | None = getattr(exc, "pgcode", None) or getattr(exc, "sqlstate", None)
    diagnostics = getattr(exc, "diag", None)
    if state is None and not lost:
        return _connection_fault(str(exc), shown, without_secrets)
    if lost or state is None or state in _LOST or state.startswith("08"):
        return errors.ConnectionLost(f"the connection to {shown} was lost; check that the server is up")
    if state in _TRANSIENT:
        return errors.TransientError(f"PostgreSQL reported {_TRANSIENT[state]} ({state})")
    if state in _READ_ONLY:
        return errors.DatabaseReadOnly(f"{shown} can only be read; connect to the primary server")
    primary = without_secrets(_text(state, diagnostics))
    if state in _DENIED:
        return errors.AccessDenied(f"{primary}; ask for the privilege or use another user ({state})")
    if state == _OUT_OF_MEMORY:
        return DatabaseFault(f"the server has no memory left ({state}); give it more memory, or open fewer sessions")
    if state == _FULL:
        return errors.DatabaseFull(f"the server has no space left ({state}); free some, then run again")
    if state.startswith("23"):
        constraint = getattr(diagnostics, "constraint_name", None) or getattr(diagnostics, "column_name", None)
        return errors.ConstraintViolated(f"constraint {constraint} refused the write ({state})")
    if state.startswith("22"):
        return DatabaseFault(f"PostgreSQL refused a value ({state}); a column's type does not hold it")
    advice = "; a key is too long to be one: leave such rows out with [source] where" if _is_long_key(primary) else ""
    return DatabaseFault(f"PostgreSQL: {primary} ({state}){advice}")


def _is_long_key(text: str) -> bool:
    return text.startswith("index row ")


_OF_TRIGGERS = "55000"
"""The code of this package's triggers, whose texts name tables and runs only."""

_TEXTS_OF_SERVER = ("0A", "25", "26", "28", "2B", "3B", "3D", "3F", "42", "53", "54", "55", "57", "58")
"""Classes of SQLSTATE whose messages name tables, columns and settings only."""


def _text(state: str, diagnostics: Any) -> str:
    """The server's message, if it has no values of rows; a function of the source may raise any text with any code."""
    is_raised = "PL/" in (getattr(diagnostics, "context", None) or "")
    if state != _OF_TRIGGERS and (is_raised or not state.startswith(_TEXTS_OF_SERVER)):
        return "the statement was refused, for a reason that only the server's log has"
    return (getattr(diagnostics, "message_primary", None) or "").strip()


_ACCESS_DENIED = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|does not exist|not permitted"
)
_SERVER_GONE = re.compile(
    r"closed the connection unexpectedly|connection already closed|SSL connection has been closed"
)


def _connection_fault(text: str, shown: str, without_secrets: Callable[[str], str]) -> DatabaseFault:
    reason = without_secrets(_reason(text))
    if _SERVER_GONE.search(text):
        return errors.ConnectionLost(f"the connection to {shown} was lost; check that the server is up")
    if "No space left on device" in text:  # a server that cannot write its own files accepts no connections
        return errors.DatabaseFull(
            f"the server has no space left to accept a connection ({reason}); free some, then run again"
        )
    if _ACCESS_DENIED.search(text):
        return errors.AccessDenied(
            f"{shown} denied access: {reason or 'no reason given'}; check user, password and database"
        )
    return errors.DatabaseUnreachable(
        f"no connection to {shown}{': ' + reason if reason else ''}; check the address and that the server is up"
    )


_UNKNOWN_OPTION = "invalid connection option"


def _reason(text: str) -> str:
    """Why there is no connection, by the driver or the server: one reason for each address that was tried."""
    lines = [line for line in text.strip().splitlines() if line.strip() and not line[0].isspace()]
    reasons = []
    for line in lines:
        if _UNKNOWN_OPTION in line:  # its name is from the URL's query, and may be part of a password
            return "the address has a parameter that the driver does not know"
        _, _, after = line.rpartition(" failed: ")
        reasons.append((after or line).removeprefix("FATAL:").removeprefix("ERROR:").strip())
    return "; ".join(dict.fromkeys(filter(None, reasons)))


_REFUSALS = {
    "23502": "a value is missing where the column needs one (NOT NULL)",
    "23503": "the row that foreign key {constraint} refers to is missing",
    "23505": "another row has the same values, and {constraint} keeps them unique",
    "23514": "check constraint {constraint} does not allow it",
    "23P01": "exclusion constraint {constraint} does not allow it together with another row",
    "22001": "a text is too long for its column",
    "22003": "a number is beyond the range of its column",
    "22P02": "a value is not of its column's type",
    "22P03": "a value is not of its column's type",
    "22007": "a value is not of its column's type",
    "22008": "a date or time is beyond the range of its column",
    "22021": "a text is not valid in the encoding of the database",
    "22P05": "a text holds a character that the encoding of the database does not have",
    "P0001": "a trigger of the table refused it",
}


def refusal(driver: Any, columns: Collection[str]) -> tuple[str | None, str] | None:
    """The column, where it is known, and why a row was refused; None where it was for another reason."""
    state = getattr(driver, "pgcode", None)
    message = _REFUSALS.get(state or "")
    if message is None:
        return None
    diagnostics = driver.diag
    constraint = diagnostics.constraint_name
    if state == "23514" and constraint is None:
        message = "no partition of the table takes it"
    context = diagnostics.context or ""
    named = next(
        (name for name in columns if f", column {name}: " in context or context.endswith(f", column {name}")), None
    )
    return diagnostics.column_name or named, message.format(constraint=constraint)
