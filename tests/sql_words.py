"""What tests say in SQL that one database spells otherwise than another. A new database has one more entry here."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from batch_scoring.store.engine.dialects.dialect import Dialect


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """The words of one database."""

    swallow_row: tuple[str, ...]
    """Statements that make a trigger: it leaves out the rows of {table} whose id is {id} at an {event}, without an
    error."""
    own_words: str
    """What the database itself says of its tables, views and constraints; the name of a table comes first."""
    split_script: Callable[[str], Iterable[str]]
    """A script cut at the ends of its statements, as a person would paste them."""
    compares_defaults: bool = True
    """Whether Alembic can compare the defaults of columns without writing."""
    count_sessions: str = ""
    """How many sessions carry a :label, where sessions can be ended."""


def _split_after_semicolons(script: str) -> Iterator[str]:
    yield from (part for part in re.split(r";[ \t]*$", script, flags=re.MULTILINE) if part.strip())


def _split_complete_statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    assert not statement.strip(), f"the script ends inside a statement: {statement}"


_WORDS = {
    "postgresql": Words(
        swallow_row=(
            (
                "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql"
                " AS $$ BEGIN IF NEW.id = {id} THEN RETURN NULL; END IF; RETURN NEW; END $$"
            ),
            "CREATE TRIGGER swallow BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION swallow()",
        ),
        own_words=(
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2"
        ),
        split_script=_split_after_semicolons,
        compares_defaults=False,
        count_sessions=(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = :label"
        ),
    ),
    "sqlite": Words(
        swallow_row=(
            "CREATE TRIGGER swallow BEFORE {event} ON {table} WHEN NEW.id = {id} BEGIN SELECT RAISE(IGNORE); END",
        ),
        own_words="SELECT tbl_name, type, name, sql FROM sqlite_master ORDER BY 1, 2, 3",
        split_script=_split_complete_statements,
    ),
}


def words_of(dialect: Dialect) -> Words:
    """The words of a dialect: those in which its templates are written."""
    return _WORDS[dialect.templates]
