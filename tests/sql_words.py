"""What tests say in SQL that one database spells otherwise than another. A new database has one more entry here."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from batch_scoring.store.engine.dialects.dialect import Dialect


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """The words of one database."""

    timestamp: str
    """The type of a column of timestamps, with a time zone where there are time zones."""
    local_timestamp: str
    """The type of a column of timestamps without a time zone."""
    uuid: str
    """The type of a column of UUIDs; TEXT where there is no such type."""
    json: str
    """The type of a column of JSON."""
    now: str
    """The time by the clock of the database, as the package stores it."""
    utc: str = ""
    """What follows a timestamp in UTC."""
    hours_before: str
    """The time that is {hours} before {time}, as the package stores it."""
    seconds_since: str
    """How many seconds ago {time} was, by the clock of the database."""
    zeros: str
    """{count} bytes that are zero."""
    json_with: str
    """The JSON {column} with the text :{name} as value of {name}."""
    new_schema: str | None = None
    """A schema that a test may create, where there are schemas."""
    set_time_zone: str | None = None
    """Sets the time zone of a session, where it has one."""
    count_other_sessions: str | None = None
    """How many sessions of the database there are for which {condition} holds, where there is a server that knows."""
    count_writers: str | None = None
    """How many other sessions hold a lock for writing, where there is a server that knows."""
    exact_percentiles: bool = True
    """Whether percentiles are values that occur, and not approximate."""
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

    @property
    def has_uuids(self) -> bool:
        """Whether UUIDs have a type of their own."""
        return self.uuid != "TEXT"

    def timestamp_text(self, at: datetime) -> str:
        """A timestamp in UTC as the database stores it."""
        return f"{at:%Y-%m-%d %H:%M:%S.%f}{self.utc}"

    def hours_ago(self, hours: int) -> str:
        """The time so many hours ago, by the clock of the database."""
        return self.hours_before.format(time=self.now, hours=hours)


def _split_after_semicolons(script: str) -> Iterator[str]:
    """At semicolons that end a line, except those in a body between dollar quotes."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        quotes = re.findall(r"\$\w*\$", statement)
        if re.search(r";[ \t]*$", line) and len(quotes) % 2 == 0:
            yield statement
            statement = ""
    assert not statement.strip(), f"the script ends inside a statement: {statement}"


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
        timestamp="TIMESTAMP WITH TIME ZONE",
        local_timestamp="TIMESTAMP",
        uuid="UUID",
        json="JSON",
        now="clock_timestamp()",
        utc="+00",
        hours_before="{time} - interval '{hours} hours'",
        seconds_since="extract(epoch FROM clock_timestamp() - {time})",
        zeros="decode(repeat('00', {count}), 'hex')",
        json_with="jsonb_set({column}::jsonb, '{{{name}}}', to_jsonb(CAST(:{name} AS text)))",
        new_schema="Cards",
        set_time_zone="SET LOCAL TimeZone = '{}'",
        count_other_sessions=(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend' AND {condition}"
        ),
        count_writers=(
            "SELECT count(*) FROM pg_locks WHERE mode = 'RowExclusiveLock' AND pid <> pg_backend_pid()"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ),
        exact_percentiles=False,
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
        timestamp="DATETIME",
        local_timestamp="DATETIME",
        uuid="TEXT",
        json="TEXT",
        now="strftime('%Y-%m-%d %H:%M:%f000', 'now')",
        hours_before="strftime('%Y-%m-%d %H:%M:%f000', {time}, '-{hours} hours')",
        seconds_since="(julianday('now') - julianday({time})) * 86400",
        zeros="zeroblob({count})",
        json_with="json_set({column}, '$.{name}', :{name})",
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
