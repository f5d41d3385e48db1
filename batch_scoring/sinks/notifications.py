"""Sending notices to operators: JSON to a webhook, and mail.

A notice contains what ``runs show`` prints: numbers, names and the error, never applicant data. A delivery failure is
logged and fails no run.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from batch_scoring.printable import printable
from batch_scoring.scoring.transient import stamina
from batch_scoring.settings import Recipients

if TYPE_CHECKING:
    from email.message import EmailMessage

Kind = Literal[
    "run_failed", "run_held", "quarantine_over_limit", "unhealthy", "recovered", "drift", "drift_over", "test"
]
Channel = Literal["webhook", "mail"]

_TIMEOUT_SECONDS = 10
_ATTEMPTS = 3
_TIME_LIMIT_SECONDS = 30
_DEADLINE_SECONDS = 40.0
"""How long a delivery may take in all. A server that sends a byte now and then is within every other limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """A message to the operators about a job."""

    kind: Kind
    job: str
    message: str
    run_id: int | None = None
    host: str = ""
    count: int = 1
    """How often it has happened since the last success."""
    since: datetime | None = None
    """When it first happened."""

    @property
    def subject(self) -> str:
        what = self.kind.replace("_", " ")
        if self.count > 1:
            what = {
                "run_failed": f"still failing, {ordinal(self.count)} run",
                "run_held": f"still held, {ordinal(self.count)} run",
                "quarantine_over_limit": f"still over the quarantine limit, {ordinal(self.count)} run",
                "unhealthy": "still unhealthy",
            }.get(self.kind, what)
        return f"batch-scoring: {self.job}: {what}"

    @property
    def text(self) -> str:
        """The notice as text for a chat, with the escapes that Slack requires."""
        text = "\n".join(self._lines)
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    @property
    def body(self) -> str:
        """The body of the notice as a mail."""
        return "\n\n".join(self._lines[1:]) + "\n"

    @property
    def _lines(self) -> list[str]:
        since = [] if self.since is None else [f"since {self.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"]
        run = [] if self.run_id is None else [f"batch-scoring runs show {self.run_id}"]
        lines = [self.subject, *self.message.splitlines(), *since, *run, f"on {self.host}"]
        return [printable(line.encode("utf-8", "replace").decode()) for line in lines]


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """The result of sending a notice on one channel."""

    channel: Channel
    to: str
    """The host it was sent to, without the path of a webhook or a password."""
    is_delivered: bool
    status: int | None
    """The HTTP status or the SMTP reply code; None without a response."""
    reason: str
    """The response, or why there was none."""


def ordinal(number: int) -> str:
    """Format an ordinal number: 1st, 2nd, 3rd, 4th, 11th, 21st."""
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def notify_aside(recipients: Recipients, notice: Notice, report: Callable[[Delivery], None]) -> threading.Thread:
    """Send a notice from a thread of its own, which does not keep the process alive."""
    thread = threading.Thread(target=notify, args=(recipients, notice, report), name="notice", daemon=True)
    thread.start()
    return thread


def notify(recipients: Recipients, notice: Notice, report: Callable[[Delivery], None]) -> None:
    """Send a notice on every channel; ``report`` is called with the result of each. Raises nothing."""
    for delivery in send(recipients, notice):
        report(delivery)


def send(recipients: Recipients, notice: Notice) -> Iterator[Delivery]:
    """Send a notice on every configured channel, one after the other, and yield the results. Raises nothing."""
    if recipients.webhook_url:
        yield _delivered("webhook", recipients.webhook_url, lambda url: _post(url, notice))
    if recipients.smtp_url:
        yield _delivered("mail", recipients.smtp_url, lambda url: _mail(url, recipients, notice))


def shown(url: str) -> str:
    """An address without secrets: scheme, host and port, or only the scheme if the address is ambiguous."""
    parts = urlsplit(url)
    rest = url.partition("://")[2]
    try:
        port = parts.port
    except ValueError:
        return f"{parts.scheme}://…"
    if "@" in rest.removeprefix(parts.netloc) and (":" in parts.netloc or parts.scheme.startswith("smtp")):
        return f"{parts.scheme}://…"  # the apparent host may be part of a password
    host = parts.hostname or "…"
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{'' if port is None else f':{port}'}"


class DeliveryRefused(Exception):
    """The server answered and refused the notice."""

    def __init__(self, status: int, reason: str, *, is_transient: bool) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.is_transient = is_transient


def _delivered(channel: Channel, url: str, transmit: Callable[[str], tuple[int, str]]) -> Delivery:
    import http.client
    import smtplib

    def is_transient(exc: Exception) -> bool:
        if isinstance(exc, DeliveryRefused):
            return exc.is_transient
        return isinstance(exc, OSError | smtplib.SMTPException | http.client.HTTPException)

    found: list[tuple[bool, int | None, str]] = []

    def deliver() -> None:
        try:
            for attempt in stamina().retry_context(
                on=is_transient, attempts=_ATTEMPTS, timeout=_TIME_LIMIT_SECONDS, wait_initial=0.5
            ):
                with attempt:
                    status, reason = transmit(url)
            found.append((True, status, reason))
        except DeliveryRefused as exc:
            found.append((False, exc.status, exc.reason))
        except Exception as exc:  # its message may contain the address and a password
            found.append((False, None, _reason(exc)))

    thread = threading.Thread(target=deliver, name=f"{channel} delivery", daemon=True)
    thread.start()
    thread.join(_DEADLINE_SECONDS)
    is_delivered, status, reason = (
        found[0] if found else (False, None, f"no complete response within {_DEADLINE_SECONDS:.0f} seconds")
    )
    return Delivery(channel=channel, to=shown(url), is_delivered=is_delivered, status=status, reason=printable(reason))


def _reason(exc: BaseException) -> str:
    """Why there was no response, without any part of the address."""
    import http.client
    import smtplib
    import socket
    import ssl

    inner = getattr(exc, "reason", None)
    if isinstance(inner, BaseException):  # wrapped by urllib
        return _reason(inner)
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"the certificate cannot be trusted: {exc.verify_message}"
    if isinstance(exc, TimeoutError):
        return f"no response within {_TIMEOUT_SECONDS} seconds"
    if isinstance(exc, socket.gaierror):
        return "the host is unknown"
    is_closed = isinstance(exc, smtplib.SMTPServerDisconnected | ConnectionError)
    if is_closed and not isinstance(exc, ConnectionRefusedError):
        return "the connection was closed without a response"
    if isinstance(exc, smtplib.SMTPNotSupportedError):
        return (
            "the server does not support what the mail requires: authentication, or addresses with non-ASCII characters"
        )
    if isinstance(exc, http.client.InvalidURL | UnicodeError):
        return "the address is not a valid URL"
    if isinstance(exc, http.client.HTTPException) and not isinstance(exc, OSError):
        return "the response is not HTTP"
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return type(exc).__name__


def _post(url: str, notice: Notice) -> tuple[int, str]:
    import urllib.error
    import urllib.request

    class NoRedirects(urllib.request.HTTPRedirectHandler):
        """Refuses redirects: a redirected POST would become a GET, which succeeds without notifying anybody."""

        def redirect_request(self, *_arguments: Any) -> None:
            return None

    body = {
        "text": notice.text,
        "kind": notice.kind,
        "job": notice.job,
        "run_id": notice.run_id,
        "message": notice.message,
        "host": notice.host,
        "count": notice.count,
        "since": None if notice.since is None else notice.since.astimezone(UTC).isoformat(timespec="seconds"),
        "subject": notice.subject,
        "sent_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    address, headers = _without_login(urlsplit(url))
    headers |= {"Content-Type": "application/json", "User-Agent": "batch-scoring"}
    request = urllib.request.Request(address, data=json.dumps(body).encode(), headers=headers)  # noqa: S310 - settings allow http and https only
    opener = urllib.request.build_opener(NoRedirects)
    try:
        with opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
            return response.status, f"HTTP {response.status}"
    except urllib.error.HTTPError as exc:
        with exc:
            status = exc.code
        redirects = "; it redirects: set the address that it redirects to" if 300 <= status < 400 else ""
        is_transient = status >= 500 or status == 429
        raise DeliveryRefused(status, f"HTTP {status}{redirects}", is_transient=is_transient) from None


def _without_login(parts: SplitResult) -> tuple[str, dict[str, str]]:
    """An address without user and password, and the Authorization header with them."""
    if parts.username is None:
        return parts.geturl(), {}
    import base64

    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=place).geturl(), {"Authorization": f"Basic {base64.b64encode(login).decode()}"}


def mail_of(recipients: Recipients, notice: Notice) -> EmailMessage:
    """The mail message of a notice."""
    from email.message import EmailMessage
    from email.utils import format_datetime, make_msgid, parseaddr

    domain = parseaddr(recipients.mail_from)[1].rpartition("@")[2]
    message = EmailMessage()
    message["Subject"] = notice.subject
    message["From"] = recipients.mail_from
    message["To"] = ", ".join(recipients.mail_to)
    message["Date"] = format_datetime(datetime.now(UTC))
    # not the host name, which should not be disclosed and is often no domain
    message["Message-ID"] = make_msgid(domain=domain if domain and domain.isascii() else "localhost")
    message["Auto-Submitted"] = "auto-generated"
    body = notice.body
    message.set_content(body, cte=None if body.isascii() else "quoted-printable")  # not every server supports 8BITMIME
    return message


def _mail(address: str, recipients: Recipients, notice: Notice) -> tuple[int, str]:
    import smtplib
    import ssl

    parts = urlsplit(address)
    replies: list[tuple[int, bytes]] = []

    context = ssl.create_default_context()
    is_lenient = recipients.smtp_security == "none" or _is_loopback(parts.hostname)
    if is_lenient and not parts.username:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def transmit(server: smtplib.SMTP) -> None:
        server.ehlo()
        is_encrypted = parts.scheme == "smtps"
        if not is_encrypted and server.has_extn("starttls"):
            server.starttls(context=context)
            server.ehlo()
            is_encrypted = True
        if parts.username and not (is_encrypted or is_lenient):
            raise DeliveryRefused(
                -1,
                "the server offers no encryption, and the password is not sent without it; use smtps://, or set"
                " BATCH_SCORING_SMTP_SECURITY=none if the network is trusted",
                is_transient=False,
            )
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
        deliver = server.data

        def data(msg: Any) -> tuple[int, bytes]:
            replies.append(deliver(msg))
            return replies[-1]

        server.data = data  # type: ignore[method-assign]  # smtplib discards the reply to DATA
        if refused := server.send_message(mail_of(recipients, notice)):
            raise _refusal(refused, "some of the recipients")

    host, port = parts.hostname or "localhost", parts.port or 0
    try:
        with (
            smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT_SECONDS, context=context)
            if parts.scheme == "smtps"
            else smtplib.SMTP(host, port, timeout=_TIMEOUT_SECONDS)
        ) as server:
            transmit(server)
    except smtplib.SMTPRecipientsRefused as exc:
        raise _refusal(exc.recipients, "all recipients") from None
    except smtplib.SMTPResponseException as exc:
        reply = exc.smtp_error
        raise _response(exc.smtp_code, reply if isinstance(reply, bytes) else str(reply).encode(), parts) from None
    code, answer = replies[-1]
    return code, f"{code} {_first_line(answer)}".strip()


def _is_loopback(host: str | None) -> bool:
    import ipaddress

    if host in (None, "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refusal(refused: dict[str, tuple[int, bytes]], who: str) -> DeliveryRefused:
    code, answer = next(iter(refused.values()))
    return DeliveryRefused(code, f"{who} refused: {code} {_first_line(answer)}", is_transient=False)


def _response(code: int, reply: bytes, parts: SplitResult) -> DeliveryRefused:
    text = _first_line(reply)
    for secret in (parts.password, parts.username):
        for form in {secret or "", unquote(secret or "")} - {""}:
            text = text.replace(form, "…")
    return DeliveryRefused(code, f"{code} {text}", is_transient=400 <= code < 500 or code == -1)


def _first_line(reply: bytes) -> str:
    lines = reply.decode("ascii", "replace").splitlines()
    return lines[0][:200] if lines else ""
