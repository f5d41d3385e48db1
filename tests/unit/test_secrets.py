"""Addresses that hold passwords: read, or refused, and never shown with a part of one."""

from __future__ import annotations

import pickle
import re
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_scoring.errors import BatchScoringError, ConfigurationError
from batch_scoring.settings import Settings
from batch_scoring.store.engine import addresses
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.timeouts import Timeouts

LETTERS = "QXZJKVW0123456789"
"""Of no word that a message is composed of."""

secrets = st.text(alphabet=LETTERS + "@/#?:%&=+[]", min_size=6, max_size=16).filter(
    lambda text: re.search(f"[{LETTERS}]{{4}}", text)
)

FORMS = (
    "postgresql://scorer:{}@127.0.0.1:1/lending",
    "postgresql+psycopg2://scorer:{}@127.0.0.1:1/lending?sslmode=prefer",
    "postgresql://scorer:{}@/lending?host=/nowhere",
    "postgresql:///scorer:{}@127.0.0.1:1/lending",
    "postgresql://us/er:{}@127.0.0.1:1/lending",
    "postgresql://127.0.0.1:1/lending?user=scorer&password={}",
    "postgresql://scorer@127.0.0.1:1/lending?sslpassword={}",
    "postgresql://scorer@127.0.0.1:1/lending?options=-c%20my.secret={}",
    "postgresql://scorer@127.0.0.1:1/lending?secret={}",
    "mysql://scorer:{}@127.0.0.1:1/lending",
    "postgresql+nodriver://scorer:{}@127.0.0.1:1/lending",
)


def pieces(secret: str) -> list[str]:
    """Every part of a secret that somebody would recognize."""
    return [found for i in range(len(secret) - 3) if set(found := secret[i : i + 4]) <= set(LETTERS)]


def everything_shown(url: str, folder: Path) -> str:
    """Whatever a person, a log or a record may come to see of a database at an address."""
    database = Database(url, timeouts=Timeouts(connect=timedelta(seconds=1)))
    shown: list[str] = []
    asked: tuple[Callable[[], str], ...] = (
        lambda: database.shown,
        lambda: str(database.engine.connect()),
        lambda: _read(database),
    )
    for ask in asked:
        try:
            shown.append(ask())
        except BatchScoringError as exc:
            shown += [str(exc), repr(exc), str(pickle.loads(pickle.dumps(exc)))]
            if isinstance(exc, ConfigurationError):
                shown.append("".join(traceback.format_exception(exc)))
        except Exception:
            shown.append("not one of ours")  # of the engine itself, which nobody asks past the transactions
    return "\n".join(shown)


def _read(database: Database) -> str:
    with database.read():
        return ""


@settings(max_examples=150, deadline=None)
@given(secret=secrets, form=st.sampled_from(FORMS), is_escaped=st.booleans())
def test_no_piece_of_a_secret_is_shown_of_any_address(
    tmp_path_factory: pytest.TempPathFactory, secret: str, form: str, is_escaped: bool
) -> None:
    from urllib.parse import quote

    url = form.format(quote(secret, safe="") if is_escaped else secret)
    shown = everything_shown(url, tmp_path_factory.getbasetemp())
    for piece in pieces(secret):
        assert piece not in shown


@given(secret=secrets)
def test_an_escaped_password_is_read_as_it_is(secret: str) -> None:
    from urllib.parse import quote

    url = Database(f"postgresql://scorer:{quote(secret, safe='')}@127.0.0.1/lending").url
    assert (url.password, url.host, url.database) == (secret, "127.0.0.1", "lending")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://scorer:Winter@Secret9@127.0.0.1:1/lending",
        "postgresql://scorer:Winter@Secret9/x@127.0.0.1:1/lending",
        "postgresql://scorer:Winter@Secret9?x@127.0.0.1:1/lending",
        "postgresql://127.0.0.1:1/lending?user=scorer&password=Winter@Secret9",
        "postgresql:///scorer:Secret9@127.0.0.1:1/lending",
    ],
)
def test_an_unescaped_at_is_refused_with_the_way_to_write_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"unescaped @.*%40 for @") as refused:
        _ = Database(url).url
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None
    assert "Secret9" not in str(refused.value)


@pytest.mark.parametrize("password", ["Sec/ret", "Sec#ret", "Sec?ret", "Sec:ret", "Sec%ret", "Sec ret&x"])
def test_other_characters_of_a_password_need_no_escape(password: str) -> None:
    url = Database(f"postgresql://scorer:{password}@host:5433/lending").url
    assert (url.password, url.host, url.port, url.database) == (password, "host", 5433, "lending")


@pytest.mark.parametrize("password", ["Sec%bcret", "Sec%00ret", "Sec%0Aret", "Sec\nret", "Sec\udcffret"])
def test_a_password_that_cannot_be_read_is_refused_without_repeating_it(password: str) -> None:
    with pytest.raises(ConfigurationError, match="BATCH_SCORING_DATABASE_URL: holds a") as refused:
        _ = Database(f"postgresql://scorer:{password}@host/lending").url
    assert "ret" not in str(refused.value).replace("interpreted", "")


def test_a_user_at_a_server_is_no_password() -> None:
    """As in Azure's ``user@server``."""
    url = Database("postgresql://scorer@server:secret@host/lending").url
    assert (url.username, url.password, url.host) == ("scorer@server", "secret", "host")


@pytest.mark.parametrize("name", ["a@b.db", "what:it@is?", "x#y%z"])
def test_the_file_of_sqlite_may_have_any_name(tmp_path: Path, name: str) -> None:
    database = Database(f"sqlite:///{tmp_path}/{name.partition('?')[0]}")
    with database.write(create=True) as connection:
        connection.exec_driver_sql("CREATE TABLE t (id INTEGER)")
    database.dispose()


def test_a_parameter_that_sqlite_does_not_know_is_refused_without_naming_it() -> None:
    with pytest.raises(ConfigurationError, match="has a parameter that SQLite's driver does not know") as refused:
        _ = Database("sqlite:///x.db?Secret9=1").url
    assert "Secret9" not in str(refused.value)


def test_the_words_of_a_driver_lose_the_secrets_of_address_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "FromTheEnvironment")
    url = Database("postgresql://u:Se%23cret@h/d?sslpassword=Another1&sslmode=require").url
    said = 'no: "Se#cret", Se%23cret, Another1, FromTheEnvironment; require of h'
    assert addresses.without_secrets(said, url) == 'no: "***", ***, ***, ***; require of h'


@pytest.mark.parametrize(
    "environ",
    [
        {"BATCH_SCORING_DATABASE_URL_FILE": "postgresql://u:QXZJ1234@h/d"},
        {"BATCH_SCORING_DATABASE_URL_FILE": "QXZJ1234"},
        {"BATCH_SCORING_DATABASE_URL": "postgresql:/u:QXZJ1234@h/d"},
        {"BATCH_SCORING_SMTP_URL": "smtp://u:QX/ZJ1234@h:25", "BATCH_SCORING_MAIL_TO": "a@b"},
        {"BATCH_SCORING_SMTP_URL": "smtp://u:12/ZJ1234@h:25", "BATCH_SCORING_MAIL_TO": "a@b"},
        {"BATCH_SCORING_SMTP_URL": "smtp://u:Q#ZJ1234@h:25", "BATCH_SCORING_MAIL_TO": "a@b"},
        {"BATCH_SCORING_WEBHOOK_URL": "https://u:QX/ZJ1234@h/QXZJ1234"},
        {"BATCH_SCORING_WEBHOOK_URL": "ftp://h/QXZJ1234"},
        {"BATCH_SCORING_WEBHOOK_URL": "https://[QXZJ1234"},
    ],
)
def test_settings_that_cannot_be_used_are_not_repeated(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings.from_environment(environ)
    assert "BATCH_SCORING_" in str(refused.value)
    for piece in pieces("QXZJ1234"):
        assert piece not in "".join(traceback.format_exception(refused.value))


@given(secret=secrets)
def test_the_settings_are_represented_without_their_secrets(secret: str) -> None:
    from urllib.parse import quote

    escaped = quote(secret, safe="")
    environ = {
        "BATCH_SCORING_DATABASE_URL": f"postgresql://u:{escaped}@h/d",
        "BATCH_SCORING_WEBHOOK_URL": f"https://hooks.example/{escaped}",
        "BATCH_SCORING_SMTP_URL": f"smtp://u:{escaped}@h:25",
        "BATCH_SCORING_MAIL_TO": "a@b.c",
    }
    with suppress(ConfigurationError):
        found = repr(Settings.from_environment(environ))
        assert not any(piece in found for piece in pieces(secret))
