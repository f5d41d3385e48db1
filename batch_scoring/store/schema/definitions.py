"""What the definitions of the fixed tables share."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

nested = sa.JSON()
identity = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def count(name: str, comment: str) -> sa.Column[int]:
    """A column with a number of rows, 0 unless another is given."""
    return sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0"), comment=comment)


def database_user(name: str = "database_user") -> sa.Column[str]:
    """A column with the login that wrote a record, which a trigger sets."""
    return sa.Column(name, sa.String(63), comment="The login as the database knows it; NULL on SQLite")
