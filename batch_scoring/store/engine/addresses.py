"""Parse database URLs, show them without secrets, and remove secrets from messages of a driver.

An unescaped ``@`` in a password moves its tail into the host, and messages that name the host would print it. Such a
URL is refused. Of other URLs, nothing is shown that may be part of a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from urllib.parse import quote, quote_plus

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from batch_scoring.errors import ConfigurationError, Problem

SETTING = "BATCH_SCORING_DATABASE_URL"

_EXPECTED = "expected a SQLAlchemy URL such as postgresql://user@host/database or sqlite:///file.db"
_ESCAPE = (
    "write the characters of a user name or password that have a meaning in URLs as %40 for @, %3A for :, %2F for /,"
    " %3F for ?, %23 for # and %25 for %"
)
_USER_INFO = re.compile(r"[^:/]*(?::[^@]*)?@")
"""The part that SQLAlchemy reads as user and password."""

_PARAMETER = re.compile(r"[?&]\w+=")

_SHOWN_PARAMETERS = frozenset(
    {
        "application_name",
        "cache",
        "charset",
        "channel_binding",
        "client_encoding",
        "connect_timeout",
        "dbname",
        "encoding",
        "gssencmode",
        "host",
        "hostaddr",
        "immutable",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "mode",
        "port",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslrootcert",
        "target_session_attrs",
        "timeout",
        "uri",
        "user",
    }
)
"""Parameters without secrets. Others are not shown, and neither are their names."""

_SQLITE_PARAMETERS = frozenset(
    {"cached_statements", "check_same_thread", "detect_types", "isolation_level", "timeout", "uri"}
)
"""Parameters of SQLite's driver. SQLAlchemy's warning about others would show their names."""

_MIN_LENGTH = 4
"""A shorter secret is replaced only as an entire word."""


def parse_url(text: str, *, file_schemes: Collection[str]) -> sa.URL:
    """Parse a URL; with one of ``file_schemes`` the database is a file.

    Raises ConfigurationError, whose message shows no part of the URL.
    """
    url, message = _parse(text, file_schemes)
    if url is None:  # raised outside the handler: SQLAlchemy's error quotes the URL
        raise ConfigurationError([Problem(where=SETTING, key="", message=message)])
    return url


def _parse(text: str, file_schemes: Collection[str]) -> tuple[sa.URL | None, str]:
    is_file = _is_file(text, file_schemes)
    if not is_file and not text.isprintable():
        return None, "holds a line break or another character that cannot be printed; remove it"
    if not is_file and _has_stray_at(text):
        return None, f"holds an unescaped @; {_ESCAPE}"
    try:
        url = sa.make_url(text)
    except (ArgumentError, ValueError):
        return None, f"{_EXPECTED}; {_ESCAPE}" if "@" in text else _EXPECTED
    for part in (url.username, url.password):
        if any(character == "\ufffd" or not character.isprintable() for character in part or ""):
            return None, f"holds a % in the user name or password that is part of no escape sequence; {_ESCAPE}"
    if is_file and not _is_uri(url) and (set(url.query) - _SQLITE_PARAMETERS):
        return None, "has a parameter that SQLite's driver does not know; those of SQLite itself need uri=true"
    return url, ""


def _is_file(text: str, schemes: Collection[str]) -> bool:
    scheme, _, rest = text.partition("://")
    return scheme.partition("+")[0] in schemes and rest.startswith("/")


def _is_uri(url: sa.URL) -> bool:
    return str(url.query.get("uri", "")).lower() in ("true", "1", "yes", "on", "y", "t")


def _has_stray_at(text: str) -> bool:
    rest = text.partition("://")[2]
    user_info = _USER_INFO.match(rest)
    if user_info and _PARAMETER.search(user_info[0]):
        return True  # host:port/database?password=a@b reads as a user, a password and the host b
    return "@" in rest[user_info.end() if user_info else 0 :]


def shown(url: sa.URL) -> str:
    """The URL without its password, and without parameters that may hold one."""
    query = {name: value for name, value in url.query.items() if name in _SHOWN_PARAMETERS}
    return url.set(query=query).render_as_string(hide_password=True)


def without_secrets(text: str, url: sa.URL) -> str:
    """A message of a driver, with every secret of the URL and of the environment replaced by ``***``."""
    for secret in sorted(set(_secrets(url)), key=len, reverse=True):
        pattern = re.escape(secret) if len(secret) >= _MIN_LENGTH else rf"(?<!\w){re.escape(secret)}(?!\w)"
        text = re.sub(pattern, "***", text)
    return text


def _secrets(url: sa.URL) -> Iterator[str]:
    values = [url.password or "", os.environ.get("PGPASSWORD", ""), os.environ.get("PGOPTIONS", "")]
    for name, value in url.query.items():
        if name not in _SHOWN_PARAMETERS:
            values += [name, value] if isinstance(value, str) else [name, *value]
    for value in values:
        parts = [value, *re.split(r"[\s=]+", value)] if value != url.password else [value]
        for part in filter(None, parts):
            yield from (part, quote(part, safe=""), quote_plus(part))
