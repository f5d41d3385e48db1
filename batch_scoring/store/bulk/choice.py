"""Choose the bulk strategy for a database."""

from __future__ import annotations

from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.engine.database import Database


def bulk_for(database: Database, preference: str = "auto") -> Bulk:
    """The fastest strategy for this database and driver, or the portable one if the job requires it.

    Raises ConfigurationError where the database is not supported.
    """
    fastest = database.dialect.bulk.get(database.url.drivername) if preference == "auto" else None
    if fastest == "copy":
        from batch_scoring.store.bulk.postgresql import CopyBulk

        return CopyBulk()
    if fastest == "sqlite":
        from batch_scoring.store.bulk.sqlite import SqliteBulk

        return SqliteBulk()
    from batch_scoring.store.bulk.portable import PortableBulk

    return PortableBulk()
