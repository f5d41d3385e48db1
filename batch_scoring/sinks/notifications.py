"""Notifying an operator that a job needs one: a webhook with JSON, and mail.

A notice carries what ``runs show`` says: numbers, names and the error, never applicant data. That it cannot be
delivered is logged and fails nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from batch_scoring.scoring.transient import stamina
from batch_scoring.settings import Recipients

if TYPE_CHECKING:
    from email.message import EmailMessage

Kind = Literal["run_failed", "quarantine_over_limit", "unhealthy", "recovered", "test"]
Channel = Literal["webhook", "mail"]

_TIMEOUT_SECONDS = 10
_ATTEMPTS = 3
_TIME_LIMIT_SECONDS = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """One thing that an operator should know."""

    kind: Kind
    job: str
    message: str
    run_id: int | None = None
    host: str = ""
    count: int = 1
    """How often it happened so far without a success in between."""
    since: datetime | None = None
    """When it happened first."""

    @property
    def subject(self) -> str:
        what = self.kind.replace("_", " ")
        if self.count > 1:
            what = {
                "run_failed": f"still failing, {ordinal(self.count)} run",
                "quarantine_over_limit": f"still over the quarantine limit, {ordinal(self.count)} run",
                "unhealthy": "still unhealthy",
            }.get(self.kind, what)
        return f"batch-scoring: {self.job}: {what}"

    @property
    def text(self) -> str:
        """The notice as a chat shows it; the three escapes are Slack's."""
        text = "\n".join(self._lines)
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    @property
    def body(self) -> str:
        """The notice as a mail."""
        return "\n\n".join(self._lines[1:]) + "\n"

    @property
    def _lines(self) -> list[str]:
        since = [] if self.since is None else [f"since {self.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"]
        run = [] if self.run_id is None else [f"batch-scoring runs show {self.run_id}"]
        lines = [self.subject, self.message, *since, *run, f"on {self.host}"]
        return [_printable(line) for line in lines]


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """What became of a notice on one channel."""

    channel: Channel
    to: str
    """Where it was sent: a host, never the path of a webhook or a password."""
    is_delivered: bool
    status: int | None
    """The status of HTTP or the reply code of SMTP; None where there was no answer."""
    reason: str
    """The answer, or why there was none."""


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 21st."""
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def notify(recipients: Recipients, notice: Notice, report: Callable[[Delivery], None]) -> None:
    """Send a notice on every channel; ``report`` is given what became of it on each. Raises nothing."""
    for delivery in send(recipients, notice):
        report(delivery)


def send(recipients: Recipients, notice: Notice) -> Iterator[Delivery]:
    """Send a notice on every channel that is configured, one after the other. Raises nothing."""
    if recipients.webhook_url:
        yield _delivered("webhook", recipients.webhook_url, lambda url: _post(url, notice))
    if recipients.smtp_url:
        yield _delivered("mail", recipients.smtp_url, lambda url: _mail(url, recipients, notice))


def shown(url: str) -> str:
    """The part of an address that holds no secret: scheme, host and port, or less where that cannot be told."""
    parts = urlsplit(url)
    rest = url.partition("://")[2]
    try:
        port = parts.port
    except ValueError:
        return f"{parts.scheme}://…"
    if "@" in rest.removeprefix(parts.netloc) and (":" in parts.netloc or parts.scheme.startswith("smtp")):
        return f"{parts.scheme}://…"  # what looks like a host may be the first half of a password
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

    status: int | None = None
    is_delivered = False
    try:
        for attempt in stamina().retry_context(
            on=is_transient, attempts=_ATTEMPTS, timeout=_TIME_LIMIT_SECONDS, wait_initial=0.5
        ):
            with attempt:
                status, reason = transmit(url)
        is_delivered = True
    except DeliveryRefused as exc:
        status, reason = exc.status, exc.reason
    except Exception as exc:  # its text may hold the address, which may hold a password
        reason = _reason(exc)
    return Delivery(channel=channel, to=shown(url), is_delivered=is_delivered, status=status, reason=_printable(reason))


def _reason(exc: BaseException) -> str:
    """Why there was no answer, in words that hold nothing of the address."""
    import http.client
    import smtplib
    import socket
    import ssl

    inner = getattr(exc, "reason", None)
    if isinstance(inner, BaseException):  # what urllib wraps
        return _reason(inner)
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"the certificate cannot be trusted: {exc.verify_message}"
    if isinstance(exc, TimeoutError):
        return f"no answer within {_TIMEOUT_SECONDS} seconds"
    if isinstance(exc, socket.gaierror):
        return "the host is not known"
    is_closed = isinstance(exc, smtplib.SMTPServerDisconnected | ConnectionError)
    if is_closed and not isinstance(exc, ConnectionRefusedError):
        return "the connection was closed before an answer"
    if isinstance(exc, smtplib.SMTPNotSupportedError):
        return "the server does not support what the mail needs: logging in, or addresses beyond ASCII"
    if isinstance(exc, http.client.InvalidURL | UnicodeError):
        return "the address is not a valid URL"
    if isinstance(exc, http.client.HTTPException) and not isinstance(exc, OSError):
        return "the answer is not HTTP"
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return type(exc).__name__


def _post(url: str, notice: Notice) -> tuple[int, str]:
    import urllib.error
    import urllib.request

    class NoRedirects(urllib.request.HTTPRedirectHandler):
        """A redirected POST would arrive as a GET, be answered with 200, and notify nobody."""

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
    request = urllib.request.Request(address, data=json.dumps(body).encode(), headers=headers)  # noqa: S310 - the settings allow http(s) only
    opener = urllib.request.build_opener(NoRedirects)
    try:
        with opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
            return answer.status, f"HTTP {answer.status}"
    except urllib.error.HTTPError as exc:
        with exc:
            status = exc.code
        redirects = "; it redirects: use the address that it redirects to" if 300 <= status < 400 else ""
        is_transient = status >= 500 or status == 429
        raise DeliveryRefused(status, f"HTTP {status}{redirects}", is_transient=is_transient) from None


def _without_login(parts: SplitResult) -> tuple[str, dict[str, str]]:
    """An address without its user and password, and the header that carries them."""
    if parts.username is None:
        return parts.geturl(), {}
    import base64

    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=place).geturl(), {"Authorization": f"Basic {base64.b64encode(login).decode()}"}


def mail_of(recipients: Recipients, notice: Notice) -> EmailMessage:
    """A notice as a mail."""
    from email.message import EmailMessage
    from email.utils import format_datetime, make_msgid, parseaddr

    domain = parseaddr(recipients.mail_from)[1].rpartition("@")[2]
    message = EmailMessage()
    message["Subject"] = notice.subject
    message["From"] = recipients.mail_from
    message["To"] = ", ".join(recipients.mail_to)
    message["Date"] = format_datetime(datetime.now(UTC))
    # the machine's own name is nobody's business, and often no domain
    message["Message-ID"] = make_msgid(domain=domain if domain and domain.isascii() else "localhost")
    message["Auto-Submitted"] = "auto-generated"
    body = notice.body
    message.set_content(body, cte=None if body.isascii() else "quoted-printable")  # not every server takes 8 bits
    return message


def _mail(address: str, recipients: Recipients, notice: Notice) -> tuple[int, str]:
    import smtplib
    import ssl

    parts = urlsplit(address)
    replies: list[tuple[int, bytes]] = []

    def transmit(server: smtplib.SMTP) -> None:
        server.ehlo()
        if parts.scheme == "smtp" and server.has_extn("starttls"):
            # without a password there is nothing that an unknown certificate could give away
            server.starttls(context=ssl.create_default_context() if parts.username else None)
            server.ehlo()
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
        deliver = server.data

        def data(msg: Any) -> tuple[int, bytes]:
            replies.append(deliver(msg))
            return replies[-1]

        server.data = data  # type: ignore[method-assign]  # the library drops the server's last reply
        if refused := server.send_message(mail_of(recipients, notice)):
            raise _refusal(refused, "some of the recipients")

    host, port = parts.hostname or "localhost", parts.port or 0
    try:
        with (
            smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT_SECONDS, context=ssl.create_default_context())
            if parts.scheme == "smtps"
            else smtplib.SMTP(host, port, timeout=_TIMEOUT_SECONDS)
        ) as server:
            transmit(server)
    except smtplib.SMTPRecipientsRefused as exc:
        raise _refusal(exc.recipients, "all recipients") from None
    except smtplib.SMTPResponseException as exc:
        reply = exc.smtp_error
        raise _answered(exc.smtp_code, reply if isinstance(reply, bytes) else str(reply).encode(), parts) from None
    code, answer = replies[-1]
    return code, f"{code} {_first_line(answer)}".strip()


def _refusal(refused: dict[str, tuple[int, bytes]], who: str) -> DeliveryRefused:
    code, answer = next(iter(refused.values()))
    return DeliveryRefused(code, f"{who} refused: {code} {_first_line(answer)}", is_transient=False)


def _answered(code: int, reply: bytes, parts: SplitResult) -> DeliveryRefused:
    text = _first_line(reply)
    for secret in (parts.password, parts.username):
        for form in {secret or "", unquote(secret or "")} - {""}:
            text = text.replace(form, "…")
    return DeliveryRefused(code, f"{code} {text}", is_transient=400 <= code < 500 or code == -1)


def _first_line(reply: bytes) -> str:
    lines = reply.decode("ascii", "replace").splitlines()
    return lines[0][:200] if lines else ""


def _printable(text: str) -> str:
    """Text that can be sent: half a surrogate pair, as the name of a file may hold, cannot."""
    return text.encode("utf-8", "replace").decode()
