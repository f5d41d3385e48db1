"""Telling somebody that a job needs them: a webhook with JSON, and mail.

A notice carries what ``runs show`` says: numbers, names and the error, never applicant data. That it cannot be
delivered is logged and fails nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import unquote, urlsplit

from batch_scoring.settings import Recipients

Kind = Literal["run_failed", "quarantine_over_limit", "unhealthy", "recovered"]

_TIMEOUT_SECONDS = 10
_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """One thing that somebody should know."""

    kind: Kind
    job: str
    message: str
    run_id: int | None = None
    host: str = ""

    @property
    def subject(self) -> str:
        return f"batch-scoring: {self.job}: {self.kind.replace('_', ' ')}"


def notify(recipients: Recipients, notice: Notice, undelivered: Callable[[str, str], None]) -> None:
    """Send a notice to everybody; ``undelivered`` hears of each way that failed and why. Raises nothing."""
    for way, send in _ways(recipients):
        try:
            _persistently(send, notice)
        except Exception as exc:
            undelivered(way, type(exc).__name__)  # its text may hold the address, which may hold a password


def _ways(recipients: Recipients) -> Iterator[tuple[str, Callable[[Notice], None]]]:
    if url := recipients.webhook_url:
        yield "webhook", lambda notice: _post(url, notice)
    if address := recipients.smtp_url:
        yield "mail", lambda notice: _mail(address, recipients, notice)


def _persistently(send: Callable[[Notice], None], notice: Notice) -> None:
    import smtplib  # like all that sends: loaded when there is something to send

    import stamina

    again = stamina.retry(on=(OSError, smtplib.SMTPException), attempts=_ATTEMPTS, timeout=30, wait_initial=0.5)
    again(send)(notice)


def _post(url: str, notice: Notice) -> None:
    import urllib.request

    sent_at = datetime.now(UTC).isoformat(timespec="seconds")
    body = json.dumps({**asdict(notice), "subject": notice.subject, "sent_at": sent_at}).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "batch-scoring"}
    request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310 - the settings allow http(s) only
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS):  # noqa: S310 - the same
        pass


def _mail(address: str, recipients: Recipients, notice: Notice) -> None:
    import smtplib
    from email.message import EmailMessage

    message = EmailMessage()
    message["Subject"] = notice.subject
    message["From"] = recipients.mail_from
    message["To"] = ", ".join(recipients.mail_to)
    about_run = f"\n\nbatch-scoring runs show {notice.run_id}" if notice.run_id is not None else ""
    message.set_content(f"{notice.message}{about_run}\n\non {notice.host}\n")
    parts = urlsplit(address)
    connect = smtplib.SMTP_SSL if parts.scheme == "smtps" else smtplib.SMTP
    with connect(parts.hostname or "localhost", parts.port or 0, timeout=_TIMEOUT_SECONDS) as server:
        server.ehlo()
        if parts.scheme == "smtp" and server.has_extn("starttls"):
            server.starttls()
            server.ehlo()
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
        server.send_message(message)
