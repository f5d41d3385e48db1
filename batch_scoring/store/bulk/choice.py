"""Which strategy moves the rows of a database."""

from __future__ import annotations

from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.engine.database import Database


def bulk_for(database: Database, preference: str = "auto") -> Bulk:
    """The fastest way this database knows, or the portable one where the job asks for it."""
    if preference == "auto" and database.url.drivername == "postgresql+psycopg2":
        from batch_scoring.store.bulk.postgresql import CopyBulk

        return CopyBulk()
    if preference == "auto" and database.url.drivername in ("sqlite", "sqlite+pysqlite"):
        from batch_scoring.store.bulk.sqlite import SqliteBulk

        return SqliteBulk()
    from batch_scoring.store.bulk.portable import PortableBulk

    return PortableBulk()
