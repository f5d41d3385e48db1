"""Look up rows of a source by their keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.keys import Key, KeyRange, TextKey
from batch_scoring.store.source.key_conditions import key_batches, key_in, within
from batch_scoring.store.source.table import SourceTable
from batch_scoring.store.source.values import candidates, unmatched


def find(connection: sa.Connection, source: SourceTable, keys: Iterable[TextKey]) -> tuple[list[Key], list[TextKey]]:
    """The keys of the given texts that are in the source, and the texts of those that are not.

    Raises InputFault where a text is not a value of its column.
    """
    columns = [source.columns[name] for name in source.key]
    texts = list(keys)
    wanted = dict.fromkeys(key for text in texts for key in candidates(text, columns))
    rows = source.rows()
    own = source.keys_of(rows)
    shown = [column.as_read(key) for column, key in zip(columns, own, strict=True)]
    found = {
        tuple(key): None
        for batch in key_batches(tuple(wanted))
        for key in connection.execute(sa.select(*shown).where(key_in(own, batch)))
    }
    return list(found), unmatched(texts, columns, found)


def find_anywhere(connection: sa.Connection, source: SourceTable, key: TextKey) -> bool:
    """Whether the table has the key, inside the job's ``where`` or not."""
    return bool(find(connection, replace(source, where=None), [key])[0])


def changed_at_of(connection: sa.Connection, source: SourceTable, key: Key) -> Any:
    """The version of a key's row; None if there is no such row."""
    assert source.changed_at is not None
    rows = source.rows()
    query = sa.select(rows.c[source.changed_at]).where(key_in(source.keys_of(rows), (key,)))
    return connection.execute(query).scalar_one_or_none()


def is_between(connection: sa.Connection, source: SourceTable, key: Key, first: Key, last: Key) -> bool:
    """Whether a key of the source lies between two others, both included, in the order of the database."""
    rows = source.rows()
    own = source.keys_of(rows)
    from_first = sa.or_(sa.and_(*within(own, KeyRange(lower=first))), key_in(own, (first,)))
    inside = [key_in(own, (key,)), *within(own, KeyRange(upper=last)), from_first]
    return connection.execute(sa.select(sa.func.count()).select_from(rows).where(*inside)).scalar_one() > 0
