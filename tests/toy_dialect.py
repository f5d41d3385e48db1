"""A dialect that somebody else could bring: SQLite under another name, with fewer capabilities."""

from __future__ import annotations

from batch_scoring.store.engine.dialects.sqlite.dialect import SQLite


class Toy(SQLite):
    """Its rows are moved by the portable strategy, one INSERT for each, and its names are short."""

    name = "toy"
    product = "Toy"
    bulk = {}  # noqa: RUF012 - a ClassVar of the base
    inserts_many_values = False
    longest_name = 63
    pings = True
