"""Map SQLite's errors to those of this package. No message quotes a value."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from batch_scoring import errors
from batch_scoring.errors import DatabaseFault


def fault(exc: BaseException | None, file: Path | None) -> DatabaseFault:
    """Map an error of SQLite's driver for the database in ``file``."""
    name: str = getattr(exc, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return errors.TransientError(f"{file} is locked by another process; try again when that has finished")
    if name.startswith("SQLITE_CANTOPEN"):
        return errors.DatabaseUnreachable(f"{file} cannot be opened; check that its folder exists and may be written")
    if name.startswith("SQLITE_READONLY"):
        return errors.DatabaseReadOnly(f"{file} can only be read; check the permissions of the file and its folder")
    if name.startswith("SQLITE_FULL") or (name.startswith("SQLITE_IOERR") and _no_space(file)):
        return errors.DatabaseFull(f"there is no space left for {file}; free some, then run again")
    if name.startswith("SQLITE_CONSTRAINT"):
        return errors.ConstraintViolated(f"a constraint refused the write: {exc}")
    if name == "SQLITE_TOOBIG":
        return DatabaseFault(f"{file}: {_TOO_LARGE}; shorten it or leave it out")
    if name in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
        return DatabaseFault(f"{file} is not an SQLite database or is damaged; restore it or name another file")
    if "Could not decode to UTF-8" in str(exc):
        return DatabaseFault(f"{file}: a key is not valid UTF-8; correct it, or leave it out with [source] where")
    return DatabaseFault(f"{file}: {exc}" if name else f"{file}: the statement failed ({type(exc).__name__})")


def _no_space(file: Path | None) -> bool:
    if file is None:
        return False
    try:
        status = os.statvfs(file.parent)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < 1 << 20


_TOO_LARGE = "a value or row is larger than SQLite stores (1,000,000,000 bytes)"

_REFUSALS = {
    "SQLITE_TOOBIG": _TOO_LARGE,
    "SQLITE_CONSTRAINT_NOTNULL": "a value is missing where the column needs one (NOT NULL)",
    "SQLITE_CONSTRAINT_FOREIGNKEY": "the row that a foreign key refers to is missing",
    "SQLITE_CONSTRAINT_UNIQUE": "another row has the same {constraint}, which the table keeps unique",
    "SQLITE_CONSTRAINT_PRIMARYKEY": "another row has the same {constraint}, which the table keeps unique",
    "SQLITE_CONSTRAINT_ROWID": "another row has the same {constraint}, which the table keeps unique",
    "SQLITE_CONSTRAINT_CHECK": "check constraint {constraint} does not allow it",
    "SQLITE_CONSTRAINT_TRIGGER": "a trigger of the table refused it",
    "SQLITE_CONSTRAINT_DATATYPE": "a value is not of its column's type",
}


def refusal(driver: Any, columns: Collection[str]) -> tuple[str | None, str] | None:  # noqa: ARG001 - the contract's
    """The column, where it is known, and why a row was refused; None where it was for another reason."""
    message = _REFUSALS.get(getattr(driver, "sqlite_errorname", None) or "")
    if message is None:
        return None
    what = str(driver).partition(": ")[2]
    names = [name.rpartition(".")[2] for name in what.split(", ")]
    column = names[0] if len(names) == 1 and "NOT NULL" in message else None
    shown = what if "check" in message else " and ".join(names)
    return column, message.format(constraint=shown)
