"""The one place where a driver's errors get our names.

No message quotes a value: of a driver's own words only those are kept that speak of the schema or the server.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from batch_scoring import errors
from batch_scoring.errors import DatabaseFault


def sqlite_fault(exc: BaseException | None, file: Path | None) -> DatabaseFault:
    """What an error of SQLite's driver means for the database in ``file``."""
    name: str = getattr(exc, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return errors.PassingFault(f"{file} is locked by another process; try again when that has finished")
    if name.startswith("SQLITE_CANTOPEN"):
        return errors.DatabaseUnreachable(f"{file} cannot be opened; check that its folder exists and may be written")
    if name.startswith("SQLITE_READONLY"):
        return errors.DatabaseReadOnly(f"{file} can only be read; check the permissions of the file and its folder")
    if name.startswith("SQLITE_FULL") or (name.startswith("SQLITE_IOERR") and _no_space(file)):
        return errors.DatabaseFull(f"there is no space left for {file}; free some, then run again")
    if name.startswith("SQLITE_CONSTRAINT"):
        return errors.ConstraintViolated(f"a constraint refused the write: {exc}")
    if name in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
        return DatabaseFault(f"{file} is not an SQLite database or is damaged; restore it or name another file")
    if "Could not decode to UTF-8" in str(exc):
        return DatabaseFault(f"{file}: a key is not valid UTF-8; mend it, or leave it out with [source] where")
    return DatabaseFault(f"{file}: {exc}" if name else f"{file}: the statement failed ({type(exc).__name__})")


def _no_space(file: Path | None) -> bool:
    if file is None:
        return False
    try:
        status = os.statvfs(file.parent)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < 1 << 20


_PASSING = {
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


def postgresql_fault(
    exc: BaseException | None, shown: str, *, lost: bool, without_secrets: Callable[[str], str]
) -> DatabaseFault:
    """What an error of PostgreSQL's driver means; ``shown`` is the address without its secrets.

    ``without_secrets`` removes them from the driver's own words, which are kept.
    """
    state: str | None = getattr(exc, "pgcode", None) or getattr(exc, "sqlstate", None)
    diagnostics = getattr(exc, "diag", None)
    primary = without_secrets((getattr(diagnostics, "message_primary", None) or "").strip())
    if state is None and not lost:
        return _connection_fault(str(exc), shown, without_secrets)
    if lost or state is None or state in _LOST or state.startswith("08"):
        return errors.ConnectionLost(f"the connection to {shown} was lost; check that the server is up")
    if state in _PASSING:
        return errors.PassingFault(f"PostgreSQL reported {_PASSING[state]} ({state})")
    if state in _READ_ONLY:
        return errors.DatabaseReadOnly(f"{shown} can only be read; connect to the primary server")
    if state in _DENIED:
        return errors.AccessDenied(f"{primary}; ask for the privilege or use another user ({state})")
    if state == _OUT_OF_MEMORY:
        return DatabaseFault(f"the server has no memory left ({state}); give it more, or fewer sessions")
    if state == _FULL:
        return errors.DatabaseFull(f"the server has no space left ({state}); free some, then run again")
    if state.startswith("23"):
        constraint = getattr(diagnostics, "constraint_name", None) or getattr(diagnostics, "column_name", None)
        return errors.ConstraintViolated(f"constraint {constraint} refused the write ({state})")
    if state.startswith("22"):
        return DatabaseFault(f"PostgreSQL refused a value ({state}); a column's type does not hold it")
    return DatabaseFault(f"PostgreSQL: {primary} ({state})")


_NO_ENTRY = re.compile(r"authentication failed|no password supplied|no pg_hba\.conf entry|does not exist|not permitted")
_SERVER_GONE = re.compile(
    r"closed the connection unexpectedly|connection already closed|SSL connection has been closed"
)


def _connection_fault(text: str, shown: str, without_secrets: Callable[[str], str]) -> DatabaseFault:
    reason = without_secrets(_reason(text))
    if _SERVER_GONE.search(text):
        return errors.ConnectionLost(f"the connection to {shown} was lost; check that the server is up")
    if "No space left on device" in text:  # a server that cannot write a file of its own lets nobody in
        return errors.DatabaseFull(f"the server has no space left to let us in ({reason}); free some, then run again")
    if _NO_ENTRY.search(text):
        return errors.AccessDenied(
            f"{shown} did not let us in: {reason or 'access denied'}; check user, password and database"
        )
    return errors.DatabaseUnreachable(
        f"no connection to {shown}{': ' + reason if reason else ''}; check the address and that the server is up"
    )


_UNKNOWN_OPTION = "invalid connection option"


def _reason(text: str) -> str:
    """Why there is no connection, as the driver or the server puts it: one reason for each address it tried."""
    lines = [line for line in text.strip().splitlines() if line.strip() and not line[0].isspace()]
    reasons = []
    for line in lines:
        if _UNKNOWN_OPTION in line:  # its name is of the address's query, and may be a part of a password
            return "the address has a parameter that the driver does not know"
        _, _, after = line.rpartition(" failed: ")
        reasons.append((after or line).removeprefix("FATAL:").removeprefix("ERROR:").strip())
    return "; ".join(dict.fromkeys(filter(None, reasons)))


def is_driver_error(exc: BaseException) -> bool:
    """Whether the exception is a DB-API ``Error`` of any driver (PEP 249), raised past SQLAlchemy."""
    return any(cls.__name__ == "Error" and cls.__module__ in _DRIVER_MODULES for cls in type(exc).__mro__)


_DRIVER_MODULES = frozenset({"sqlite3", "psycopg2", "psycopg"})
