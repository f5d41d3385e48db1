"""Errors that a driver raises past SQLAlchemy."""

from __future__ import annotations


def is_driver_error(exc: BaseException) -> bool:
    """Whether the exception is a DB-API ``Error`` of any driver (PEP 249), raised past SQLAlchemy."""
    return any(cls.__name__ == "Error" and cls.__module__ in _DRIVER_MODULES for cls in type(exc).__mro__)


_DRIVER_MODULES = frozenset({"sqlite3", "psycopg2", "psycopg"})
