"""Errors of a driver that SQLAlchemy does not wrap."""

from __future__ import annotations


def is_driver_error(exc: BaseException) -> bool:
    """Whether the exception is a DB-API ``Error`` of a known driver (PEP 249) that SQLAlchemy did not wrap."""
    return any(cls.__name__ == "Error" and cls.__module__ in _DRIVER_MODULES for cls in type(exc).__mro__)


_DRIVER_MODULES = frozenset({"sqlite3", "psycopg2", "psycopg"})
