"""Notices: what is sent over HTTP and SMTP, what becomes of it, and how often the same thing is notified."""

from __future__ import annotations

import json
import os
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import Message
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from support import Workspace

from batch_scoring.errors import ConfigurationError
from batch_scoring.scheduling.health_monitor import HealthMonitor
from batch_scoring.scheduling.job_files import JobFiles
from batch_scoring.settings import Recipients, Settings, mail_addresses
from batch_scoring.sinks import notifications
from batch_scoring.sinks.notifications import Delivery, Notice, ordinal, send, shown
from batch_scoring.sinks.repetition import is_worth_a_notice, repetition, same_cause

NOTICE = Notice(kind="run_failed", job="loans", message="a & b <!channel>\nRené", run_id=7, host="h")
SECRET = "s3cret-path"


class Hook:
    """A server that keeps what is posted to it, and answers as it is told."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.headers: list[Any] = []
        self.status = 200
        self.is_silent = False
        self.closes = False
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                outer.headers.append(self.headers)
                if outer.is_silent:
                    outer.released.wait(60)
                if outer.closes or outer.is_silent:
                    return
                self.send_response(outer.status)
                if 300 <= outer.status < 400:
                    self.send_header("Location", f"/login?{SECRET}")
                self.end_headers()

            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.place = f"http://127.0.0.1:{self.server.server_port}"
        self.url = f"{self.place}/services/{SECRET}"

    @property
    def kinds(self) -> list[str]:
        return [notice["kind"] for notice in self.received]


class Post:
    """A server that speaks SMTP, and refuses what it is told to refuse."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], Message]] = []
        self.refused: dict[bytes, bytes] = {}
        """Answers by the verb, or by a part of the line, that they refuse."""
        self.commands: list[bytes] = []
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 test\r\n")
                recipients: list[str] = []
                while line := self.rfile.readline():
                    outer.commands.append(line)
                    verb = line[:4].upper()
                    answer = next((answer for part, answer in outer.refused.items() if part in line.upper()), b"")
                    if answer:
                        self.wfile.write(answer + b"\r\n")
                    elif verb == b"EHLO":
                        self.wfile.write(b"250-test\r\n250 AUTH PLAIN\r\n")
                    elif verb == b"AUTH":
                        self.wfile.write(b"235 welcome\r\n")
                    elif verb == b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        body = b"".join(iter(self.rfile.readline, b".\r\n"))
                        outer.mails.append((recipients, message_from_bytes(body)))
                        self.wfile.write(b"250 2.0.0 queued as 4711\r\n")
                    elif verb == b"QUIT":
                        self.wfile.write(b"221 bye\r\n")
                        return
                    else:
                        if verb == b"RCPT":
                            recipients.append(line.decode().partition("<")[2].partition(">")[0])
                        self.wfile.write(b"250 ok\r\n")

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.place = f"smtp://127.0.0.1:{self.server.server_address[1]}"


def serving(server: socketserver.BaseServer) -> None:
    threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    serving(made.server)
    yield made
    made.released.set()
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def post() -> Iterator[Post]:
    made = Post()
    serving(made.server)
    yield made
    made.server.shutdown()
    made.server.server_close()


def by_mail(post: Post, *to: str, **more: Any) -> Recipients:
    return Recipients(smtp_url=post.place, mail_to=to or ("risk@example.com",), **more)


def one(recipients: Recipients, notice: Notice = NOTICE) -> Delivery:
    (delivery,) = send(recipients, notice)
    return delivery


# what is sent


def test_a_webhook_is_sent_json_with_a_text_that_a_chat_shows(hook: Hook) -> None:
    delivery = one(Recipients(webhook_url=hook.url))

    assert (delivery.is_delivered, delivery.status, delivery.reason) == (True, 200, "HTTP 200")
    (body,) = hook.received
    assert {"kind", "job", "run_id", "message", "host", "subject", "sent_at", "count", "since"} < body.keys()
    assert body["text"].splitlines() == [
        "batch-scoring: loans: run failed",
        "a &amp; b &lt;!channel&gt;",
        "René",
        "batch-scoring runs show 7",
        "on h",
    ]
    assert body["message"] == NOTICE.message
    assert hook.headers[0]["Content-Type"] == "application/json"


def test_user_and_password_of_a_webhook_are_sent_as_a_header(hook: Hook) -> None:
    assert one(Recipients(webhook_url=hook.url.replace("//", "//me:p%40ss@"))).is_delivered
    assert hook.headers[0]["Authorization"] == "Basic bWU6cEBzcw=="


def test_a_mail_has_what_mails_must_have(post: Post) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    recipients = by_mail(post, "a@example.com", '"Doe, J" <j@example.com>', mail_from="Scorer <scorer@risk.example>")

    delivery = one(recipients)

    assert (delivery.is_delivered, delivery.status) == (True, 250)
    assert delivery.reason == "250 2.0.0 queued as 4711"
    ((to, mail),) = post.mails
    assert to == ["a@example.com", "j@example.com"]
    assert before <= parsedate_to_datetime(mail["Date"]) <= datetime.now(UTC)
    assert re.fullmatch(r"<[^@\s<>]+@risk\.example>", mail["Message-ID"])
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Subject"] == "batch-scoring: loans: run failed"
    content = mail.get_payload(decode=True)
    assert isinstance(content, bytes)
    assert "René" in content.decode()


def test_each_mail_has_an_id_of_its_own_that_names_no_host(post: Post) -> None:
    for _ in range(2):
        assert one(by_mail(post)).is_delivered
    first, second = (mail["Message-ID"] for _, mail in post.mails)
    assert first != second
    assert first.endswith("@localhost>")


def test_half_a_surrogate_pair_in_a_message_is_sent_all_the_same(hook: Hook, post: Post) -> None:
    notice = Notice(kind="run_failed", job="loans", message="file \udc80 is gone")
    recipients = Recipients(webhook_url=hook.url, smtp_url=post.place, mail_to=("a@example.com",))

    assert all(delivery.is_delivered for delivery in send(recipients, notice))
    assert "file ? is gone" in hook.received[0]["text"]


@pytest.mark.parametrize("text", ["a@example.com\nBcc: x@example.com", "nobody", "a@b@c", "a@b\r\n"])
def test_what_is_no_list_of_addresses_is_refused_before_anything_is_sent(text: str) -> None:
    environ = {"BATCH_SCORING_SMTP_URL": "smtp://h", "BATCH_SCORING_MAIL_TO": text}
    with pytest.raises(ConfigurationError, match="BATCH_SCORING_MAIL_TO: expected mail addresses"):
        Settings.from_environment(environ)


def test_addresses_may_have_names_with_commas() -> None:
    assert mail_addresses('a@example.com, "Doe, J" <j@example.com>,') == (
        "a@example.com",
        '"Doe, J" <j@example.com>',
    )
    assert mail_addresses("a@example.com, , b@example.com,,") == ("a@example.com", "b@example.com")
    assert mail_addresses(" , ") == ()
    with pytest.raises(ValueError, match="mail addresses"):
        mail_addresses("a@example.com b@example.com, <<")


# what becomes of it


@pytest.mark.parametrize(
    ("status", "attempts"), [(200, 1), (204, 1), (302, 1), (307, 1), (400, 1), (404, 1), (429, 3), (500, 3), (503, 3)]
)
def test_a_status_is_reported_and_only_transient_errors_are_retried(hook: Hook, status: int, attempts: int) -> None:
    hook.status = status

    delivery = one(Recipients(webhook_url=hook.url))

    assert (delivery.is_delivered, delivery.status) == (status < 300, status)
    assert len(hook.received) == attempts
    assert delivery.reason.startswith(f"HTTP {status}")
    assert delivery.to == hook.place
    assert SECRET not in str(delivery)


@pytest.mark.slow
def test_a_server_that_never_answers_or_hangs_up_is_reported(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "_TIMEOUT_SECONDS", 0.2)
    hook.is_silent = True
    silent = one(Recipients(webhook_url=hook.url))
    hook.is_silent, hook.closes = False, True
    closed = one(Recipients(webhook_url=hook.url))

    assert (silent.is_delivered, silent.status, silent.reason) == (False, None, "no response within 0.2 seconds")
    assert (closed.is_delivered, closed.reason) == (False, "the connection was closed without a response")
    assert len(hook.received) == 6


def _closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@pytest.mark.parametrize("scheme", ["http", "https", "smtp", "smtps"])
def test_a_server_that_is_not_there_is_reported_in_words(scheme: str) -> None:
    url = f"{scheme}://u:{SECRET}@127.0.0.1:{_closed_port()}"
    is_mail = scheme.startswith("smtp")
    recipients = Recipients(smtp_url=url, mail_to=("a@b",)) if is_mail else Recipients(webhook_url=url)

    delivery = one(recipients)

    assert (delivery.is_delivered, delivery.status, delivery.reason) == (False, None, "Connection refused")
    assert SECRET not in str(delivery)


@pytest.mark.parametrize("url", ["https://exa mple/x", "http://127.0.0.1:1/\u00fcmlaut", "http://127.0.0.1:x/y"])
def test_an_address_that_is_no_url_is_reported_in_words(url: str) -> None:
    assert one(Recipients(webhook_url=url)).reason == "the address is not a valid URL"


@pytest.mark.slow
def test_a_server_that_does_not_speak_http_is_reported_in_words(post: Post) -> None:
    assert one(Recipients(webhook_url=post.place.replace("smtp", "http"))).reason == "the response is not HTTP"


@pytest.mark.parametrize("scheme", ["https", "smtps"])
def test_a_server_without_tls_is_reported_where_tls_is_asked_for(scheme: str, hook: Hook) -> None:
    url = f"{scheme}://127.0.0.1:{hook.server.server_port}/{SECRET}"
    recipients = Recipients(smtp_url=url, mail_to=("a@b",)) if scheme == "smtps" else Recipients(webhook_url=url)

    delivery = one(recipients)

    assert not delivery.is_delivered
    assert delivery.status is None
    assert SECRET not in str(delivery)


REFUSALS: list[tuple[dict[bytes, bytes], str, int, int]] = [
    ({b"RCPT": b"550 5.1.1 no such user"}, "all recipients refused: 550 5.1.1 no such user", 550, 0),
    ({b"<B@EXAMPLE.COM>": b"550 unknown"}, "some of the recipients refused: 550 unknown", 550, 1),
    ({b"MAIL": b"530 log in first"}, "530 log in first", 530, 0),
    ({b"AUTH": b"535 5.7.8 user me with s3cret-path is not known"}, "535 5.7.8 user … with … is not known", 535, 0),
]


@pytest.mark.parametrize(("refused", "reason", "status", "mails"), REFUSALS)
def test_the_answer_of_a_mail_server_that_refuses_is_reported_without_a_secret(
    post: Post, refused: dict[bytes, bytes], reason: str, status: int, mails: int
) -> None:
    post.refused = refused
    url = post.place.replace("//", f"//me:{SECRET}@")

    delivery = one(Recipients(smtp_url=url, mail_to=("a@example.com", "b@example.com")))

    assert (delivery.is_delivered, delivery.status, delivery.reason) == (False, status, reason)
    assert len(post.mails) == mails
    assert len([line for line in post.commands if line[:4].upper() == b"EHLO"]) == 1


def test_a_mail_server_that_asks_to_come_again_is_asked_three_times(post: Post) -> None:
    post.refused = {b"MAIL": b"451 try later"}

    delivery = one(by_mail(post))

    assert (delivery.is_delivered, delivery.status, delivery.reason) == (False, 451, "451 try later")
    assert len([line for line in post.commands if line[:4].upper() == b"EHLO"]) == 3


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://hooks.slack.com/services/T0/B0/x", "https://hooks.slack.com"),
        ("https://u:p@h.example:8443/x?token=1", "https://h.example:8443"),
        ("smtp://u:p@h.example:587", "smtp://h.example:587"),
        ("smtp://u:p/w@h.example:587", "smtp://…"),
        ("smtp://u:1/w@h.example:587", "smtp://…"),
        ("https://u:1/w@h.example/x", "https://…"),
        ("https://outlook.office.com/webhook/a@b/c", "https://outlook.office.com"),
        ("http://[::1]:80/x", "http://[::1]:80"),
    ],
)
def test_of_an_address_only_what_cannot_be_secret_is_shown(url: str, expected: str) -> None:
    assert shown(url) == expected


@pytest.mark.parametrize("url", ["smtp://u:p/w@h:587", "smtp://u:p#w@h", "smtp://u:p?@h", "smtp://h:x", "smtp://h:0"])
def test_a_mail_address_with_an_unescaped_password_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="%40 for @") as raised:
        Settings.from_environment({"BATCH_SCORING_SMTP_URL": url, "BATCH_SCORING_MAIL_TO": "a@b"})
    assert url not in str(raised.value)


# notify test


@pytest.fixture
def told(sqlite_workspace: Workspace, hook: Hook, post: Post) -> Workspace:
    """A small job, with somebody to notify."""
    sqlite_workspace.environ |= {
        "BATCH_SCORING_WEBHOOK_URL": hook.url,
        "BATCH_SCORING_SMTP_URL": post.place,
        "BATCH_SCORING_MAIL_TO": "risk@example.com",
        "TMPDIR": str(sqlite_workspace.folder),
    }
    return sqlite_workspace


def test_notify_test_sends_through_every_channel_and_prints_what_was_answered(
    told: Workspace, hook: Hook, post: Post
) -> None:
    done = told.cli("notify", "test")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"webhook  {hook.place}  delivered (HTTP 200)",
        f"mail  {post.place}  delivered (250 2.0.0 queued as 4711)",
    ]
    assert hook.kinds == ["test"]
    assert [to for to, _ in post.mails] == [["risk@example.com"]]
    assert told.cli("notify", "test", "--to", "me@example.com, you@example.com").returncode == 0
    assert post.mails[-1][0] == ["me@example.com", "you@example.com"]


def test_notify_test_ends_with_1_where_a_channel_fails_and_names_what_to_correct(told: Workspace, hook: Hook) -> None:
    hook.status = 404

    done = told.cli("notify", "test")

    assert done.returncode == 1
    assert f"webhook  {hook.place}  not delivered (HTTP 404)" in done.stdout
    assert done.stderr == "error: webhook: HTTP 404; correct BATCH_SCORING_WEBHOOK_URL, then try again\n"
    as_json = told.cli("notify", "test", "--json")
    found = json.loads(as_json.stdout)
    assert (as_json.returncode, [each["status"] for each in found]) == (1, [404, 250])
    assert SECRET not in done.stdout + done.stderr + as_json.stdout + as_json.stderr


def test_notify_test_ends_with_2_and_names_the_settings_that_are_missing(told: Workspace) -> None:
    del told.environ["BATCH_SCORING_SMTP_URL"], told.environ["BATCH_SCORING_MAIL_TO"]
    with_to = told.cli("notify", "test", "--to", "me@example.com")
    del told.environ["BATCH_SCORING_WEBHOOK_URL"]
    without = told.cli("notify", "test")

    assert (with_to.returncode, without.returncode) == (2, 2)
    assert "BATCH_SCORING_SMTP_URL: --to requires a mail server" in with_to.stderr
    for name in ("WEBHOOK_URL", "SMTP_URL", "MAIL_TO"):
        assert f"BATCH_SCORING_{name}" in without.stderr


def test_notify_test_refuses_what_is_no_address(told: Workspace, post: Post) -> None:
    done = told.cli("notify", "test", "--to", "nobody")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--to 'nobody': expected mail addresses" in done.stderr
    assert post.mails == []


# how often


HOUR = timedelta(hours=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


def notable(times: list[datetime]) -> list[int]:
    """Which of some failures are notified: each is judged by its own process, from the record."""
    return [n for n in range(1, len(times) + 1) if repetition(times[:n]).is_notable]


def test_what_fails_every_quarter_of_an_hour_is_notified_at_growing_distances() -> None:
    times = [START + n * timedelta(minutes=15) for n in range(90)]
    assert notable(times) == [1, 2, 4, 8, 16, 32, 64]


def test_what_fails_every_day_is_notified_every_day() -> None:
    jitter = [timedelta(minutes=minutes) for minutes in (0, 3, -3, 5, 0, -5, 4, 0, 2, 1)]
    assert notable([START + n * 24 * HOUR + extra for n, extra in enumerate(jitter)]) == list(range(1, 11))


def test_what_fails_for_weeks_is_notified_once_a_day_at_most_after_the_first() -> None:
    times = [START + n * HOUR for n in range(24 * 14)]
    found = notable(times)
    assert [n for n in found if n <= 32] == [1, 2, 4, 8, 16, 32]
    assert 14 <= len(found) <= 24


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=200))
def test_no_day_passes_without_a_notice_of_what_goes_on(gaps: list[int]) -> None:
    times = [START]
    for gap in gaps:
        times.append(times[-1] + timedelta(seconds=gap))
    notified = [times[n - 1] for n in notable(times)]
    for at in times:
        assert any(timedelta(0) <= at - told < timedelta(days=1) for told in notified)


@given(st.integers(1, 10**6), st.timedeltas(timedelta(0), timedelta(hours=22)))
def test_within_a_day_only_powers_of_two_are_notified(number: int, since: timedelta) -> None:
    assert is_worth_a_notice(number, since) == (number.bit_count() == 1)


def test_numbers_in_a_message_make_no_other_cause() -> None:
    one, other = "run 12: 3 of 367 rows (LP001015) failed", "run 13: 4 of 20 rows (LP7) failed"
    assert same_cause("SourceFault", one) == same_cause("SourceFault", other)
    assert same_cause("SourceFault", one) != same_cause("ModelRefused", one)
    assert same_cause("SourceFault", "no table a") != same_cause("SourceFault", "no table b")


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (22, "22nd"), (111, "111th")],
)
def test_ordinals_are_english(number: int, text: str) -> None:
    assert ordinal(number) == text


def prepare(workspace: Workspace, *, max_quarantined: float = 0.05) -> Workspace:
    """A hundred rows and a model of one number."""
    workspace.sql("CREATE TABLE facts (id INTEGER PRIMARY KEY, changed INTEGER, x DOUBLE PRECISION)")
    workspace.sql("INSERT INTO facts VALUES (:id, 1, :x)", [{"id": i, "x": i / 100} for i in range(100)])
    workspace.write_job(
        "loans",
        "[source]\ntable = 'facts'\nkey = ['id']\nchanged_at = 'changed'\n[model]\nname = 'm'\n[predictions]\n"
        f"positive_label = 'y'\nmax_quarantined = {max_quarantined}\n",
    )
    workspace.upgrade()
    sample = pd.DataFrame({"x": np.linspace(0, 1, 60)})
    workspace.register(LogisticRegression().fit(sample, np.where(sample["x"] > 0.5, "y", "n")), sample, name="m")
    return workspace


def failing(workspace: Workspace, times: int, how: Callable[[], object] = lambda: None) -> None:
    """Let runs fail one after the other, each in a process of its own."""
    for _ in range(times):
        how()
        assert workspace.cli("run", "loans").returncode not in (0, 4, 75)


@pytest.fixture
def both(workspace: Workspace, hook: Hook) -> Workspace:
    """The small job on each kind of database, with a webhook."""
    workspace.environ |= {"BATCH_SCORING_WEBHOOK_URL": hook.url, "TMPDIR": str(workspace.folder)}
    return prepare(workspace)


@pytest.mark.slow
def test_the_same_failure_is_notified_at_growing_distances_and_its_end_once(both: Workspace, hook: Hook) -> None:
    both.sql("ALTER TABLE facts RENAME TO elsewhere")
    failing(both, 9)
    both.sql("ALTER TABLE elsewhere RENAME TO facts")
    for _ in range(2):
        assert both.cli("run", "loans").returncode == 0

    assert [(notice["kind"], notice["run_id"], notice["count"]) for notice in hook.received] == [
        ("run_failed", 1, 1),
        ("run_failed", 2, 2),
        ("run_failed", 4, 4),
        ("run_failed", 8, 8),
        ("recovered", 10, 1),
    ]
    assert hook.received[0]["subject"] == "batch-scoring: loans: run failed"
    assert hook.received[3]["subject"] == "batch-scoring: loans: still failing, 8th run"
    assert hook.received[0]["since"] is None
    first = both.query("SELECT started_at FROM run_history WHERE run_id = 1")[0][0]
    assert hook.received[3]["since"][:19].replace("T", " ") == str(first)[:19]
    assert "run 10 succeeded after 9 failed runs, the first at " in hook.received[4]["message"]


def test_another_cause_is_notified_at_once_and_each_is_counted_by_itself(both: Workspace, hook: Hook) -> None:
    both.sql("ALTER TABLE facts RENAME TO elsewhere")
    failing(both, 3)
    both.sql("ALTER TABLE elsewhere RENAME TO facts")
    (artifact,) = both.artifacts_dir.rglob("*.joblib")
    artifact.rename(both.folder / "away")
    failing(both, 1)
    both.sql("ALTER TABLE facts RENAME TO elsewhere")
    failing(both, 1)

    assert [(notice["run_id"], notice["count"]) for notice in hook.received] == [(1, 1), (2, 2), (4, 1), (5, 4)]


@pytest.mark.slow
def test_a_success_starts_the_count_from_the_beginning(both: Workspace, hook: Hook) -> None:
    for _ in range(2):
        both.sql("ALTER TABLE facts RENAME TO elsewhere")
        failing(both, 3)
        both.sql("ALTER TABLE elsewhere RENAME TO facts")
        assert both.cli("run", "loans").returncode == 0

    assert hook.kinds == ["run_failed", "run_failed", "recovered"] * 2


@pytest.mark.slow
def test_too_many_quarantined_rows_are_notified_at_growing_distances(both: Workspace, hook: Hook) -> None:
    for number in range(5):
        both.sql(f"UPDATE facts SET x = NULL, changed = {number + 2} WHERE id < 40")
        both.sql(f"UPDATE facts SET changed = {number + 2} WHERE id >= 40")
        assert both.cli("run", "loans").returncode == 4
        assert both.cli("run", "loans").returncode == 0, "nothing is due in between"
    both.sql("UPDATE facts SET x = 0.5, changed = 100")
    assert both.cli("run", "loans").returncode == 0
    both.sql("UPDATE facts SET x = NULL, changed = 101 WHERE id < 40")
    both.sql("UPDATE facts SET changed = 101 WHERE id >= 40")
    assert both.cli("run", "loans").returncode == 4

    # many missing values are drift, too
    found = [notice for notice in hook.received if notice["kind"] == "quarantine_over_limit"]
    assert [notice["count"] for notice in found] == [1, 2, 4, 1]
    assert found[2]["subject"] == "batch-scoring: loans: still over the quarantine limit, 4th run"


@pytest.mark.slow
def test_a_failure_that_cannot_be_recorded_is_notified_at_growing_distances_and_its_end_once(
    told: Workspace, hook: Hook
) -> None:
    prepare(told)
    file = told.folder / "test.db"
    file.rename(told.folder / "away.db")
    failing(told, 5)
    (told.folder / "away.db").rename(file)
    for _ in range(2):
        assert told.cli("run", "loans").returncode == 0

    assert [(notice["kind"], notice["run_id"], notice["count"]) for notice in hook.received] == [
        ("run_failed", None, 1),
        ("run_failed", None, 2),
        ("run_failed", None, 4),
        ("recovered", 1, 1),
    ]
    assert "This run is not recorded in the database." in hook.received[0]["message"]
    assert "run 1 succeeded after 5 failed runs, the first at " in hook.received[3]["message"]


def test_the_count_outlives_the_temporary_files_of_a_unit_of_systemd(told: Workspace, hook: Hook) -> None:
    prepare(told)
    (told.folder / "test.db").rename(told.folder / "away.db")
    state = told.folder / "state"
    state.mkdir()
    told.environ["STATE_DIRECTORY"] = str(state)
    for number in range(3):
        private = told.folder / f"tmp-{number}"
        private.mkdir()
        told.environ["TMPDIR"] = str(private)
        failing(told, 1)

    assert [notice["count"] for notice in hook.received] == [1, 2]


@pytest.mark.slow
def test_where_the_count_cannot_be_kept_each_failure_is_notified(told: Workspace, hook: Hook) -> None:
    prepare(told)
    (told.folder / "test.db").rename(told.folder / "away.db")
    (told.folder / "no").write_text("")
    (told.folder / f"batch-scoring-{os.getuid()}").write_text("in the way")

    failing(told, 3)

    assert hook.kinds == ["run_failed"] * 3


@pytest.mark.slow
def test_the_log_holds_the_status_and_neither_the_path_nor_names_of_functions(both: Workspace, hook: Hook) -> None:
    both.sql("ALTER TABLE facts RENAME TO elsewhere")
    delivered = both.cli("run", "loans").stderr
    hook.status = 503
    missed = both.cli("run", "loans").stderr

    events = [json.loads(line) for line in delivered.splitlines() if line.startswith("{")]
    (event,) = [event for event in events if event["event"] == "notice_delivered"]
    assert (event["channel"], event["status"], event["to"]) == ("webhook", 200, hook.place)
    assert f"webhook: not delivered (HTTP 503; {hook.place})" in missed
    retried = [json.loads(line) for line in missed.splitlines() if "retry_scheduled" in line]
    assert [event["number"] for event in retried] == [1, 2]
    for text in (delivered, missed):
        assert SECRET not in text
        for word in ("<locals>", "lambda", "_post", "stamina", "args", " at 0x"):
            assert word not in text


def test_a_run_whose_process_crashed_is_notified_by_the_next_one(both: Workspace, hook: Hook) -> None:
    columns = "job, trigger, status, started_at, heartbeat_at, host, process_id, package_version, environment"
    both.sql(
        f"INSERT INTO scoring_runs ({columns}, job_config, requested_by) VALUES ('loans', 'cli', 'running',"
        " '2026-01-01 00:00:00.000000', '2026-01-01 00:00:00.000000', 'h', 1, '0', '{}', '{}', 'x')"
    )

    assert both.cli("run", "loans").returncode == 0

    assert [(notice["kind"], notice["run_id"]) for notice in hook.received] == [("run_failed", 1), ("recovered", 2)]


# what the service notifies of


@dataclass
class Monitored:
    """The health monitor of a service over the small job, whose clock the test sets."""

    workspace: Workspace
    now: datetime
    notices: list[Notice]
    monitor: HealthMonitor

    def poll(self) -> list[tuple[str, int]]:
        """What a poll notifies operators of."""
        self.notices.clear()
        self.monitor.poll()
        return [(notice.kind, notice.count) for notice in self.notices]


@pytest.fixture
def monitored(workspace: Workspace) -> Monitored:
    prepare(workspace)
    file = workspace.jobs_dir / "loans.toml"
    file.write_text(file.read_text() + "[schedule]\nevery = '1 hour'\nstale_after = '10000 days'\n")
    files = JobFiles(workspace.jobs_dir)
    files.refresh()
    notices: list[Notice] = []
    with workspace.database() as database:
        monitor = HealthMonitor(files, database, workspace.artifacts_dir, notices.append)
    found = Monitored(workspace, datetime(2026, 1, 1, tzinfo=UTC), notices, monitor)
    monitor.clock = lambda: found.now
    return found


def test_what_stays_unhealthy_is_notified_once_a_day_and_its_end_once(monitored: Monitored) -> None:
    workspace = monitored.workspace
    workspace.run("loans")
    assert monitored.poll() == []
    workspace.sql("ALTER TABLE facts RENAME TO elsewhere")

    found = []
    for _ in range(50):
        found += monitored.poll()
        monitored.now += HOUR
    assert found == [("unhealthy", 1), ("unhealthy", 2), ("unhealthy", 3)]
    monitored.now += 24 * HOUR
    assert monitored.poll() == [("unhealthy", 4)]
    assert monitored.notices[0].subject == "batch-scoring: loans: still unhealthy"

    workspace.sql("ALTER TABLE elsewhere RENAME TO facts")
    assert monitored.poll() == [("recovered", 1)]
    assert "(it was not: source, since 2026-01-01 00:00:00 UTC)" in monitored.notices[0].message
    assert monitored.poll() == []


def test_runs_whose_process_crashed_are_notified_at_growing_distances(monitored: Monitored) -> None:
    columns = (
        "job, trigger, status, started_at, heartbeat_at, finished_at, end_reason, host, process_id, package_version"
    )
    found = []
    for hour in range(6):
        at = f"'2026-01-01 0{hour}:00:00.000000'"
        monitored.workspace.sql(
            f"INSERT INTO scoring_runs ({columns}, environment, job_config, requested_by, error_message)"
            f" VALUES ('loans', 'schedule', 'abandoned', {at}, {at}, {at}, 'stalled', 'h', 1, '0', '{{}}', '{{}}', 'x',"
            " 'it crashed')"
        )
        found += monitored.poll()
        found += monitored.poll()

    assert found == [("run_failed", 1), ("run_failed", 2), ("run_failed", 4)]


# --- what a server may be trusted with


def test_a_server_that_drips_is_left_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "_DEADLINE_SECONDS", 2.0)
    ended = threading.Event()

    class Dripping(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            while not ended.wait(0.2):
                self.wfile.write(b"x")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dripping)
    server.daemon_threads = True
    serving(server)
    try:
        started = time.monotonic()
        delivery = one(Recipients(webhook_url=f"http://127.0.0.1:{server.server_address[1]}/x"))
        assert time.monotonic() - started < 10
        assert (delivery.is_delivered, delivery.status) == (False, None)
        assert delivery.reason == "no complete response within 2 seconds"
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


def test_a_password_is_not_sent_in_clear_to_another_machine(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "_is_loopback", lambda _host: False)
    address = post.place.replace("smtp://", "smtp://user:hush@")
    recipients = Recipients(smtp_url=address, mail_to=("risk@example.com",))

    delivery = one(recipients)
    assert not delivery.is_delivered
    assert "BATCH_SCORING_SMTP_SECURITY" in delivery.reason
    assert not any(command.upper().startswith(b"AUTH") for command in post.commands)
    assert post.mails == []

    assert one(replace(recipients, smtp_security="none")).is_delivered
    monkeypatch.undo()
    assert one(recipients).is_delivered, "this machine is trusted"


def test_a_notice_of_a_run_that_goes_on_is_sent_beside_it(workspace: Workspace) -> None:
    from batch_scoring.sinks.notifications import notify_aside

    released, delivered = threading.Event(), threading.Event()

    class Slow(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            released.wait(30)
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Slow)
    server.daemon_threads = True
    serving(server)
    try:
        started = time.monotonic()
        url = f"http://127.0.0.1:{server.server_address[1]}/x"
        thread = notify_aside(Recipients(webhook_url=url), NOTICE, lambda _delivery: delivered.set())
        assert time.monotonic() - started < 2
        assert not delivered.is_set()
        released.set()
        thread.join(30)
        assert delivered.is_set()
    finally:
        released.set()
        server.shutdown()
        server.server_close()
