"""``notify test``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from batch_scoring.cli.output import Json, notice, settings, show_json
from batch_scoring.errors import ConfigurationError, ExitCode, InputFault, Problem

if TYPE_CHECKING:
    from batch_scoring.settings import Recipients
    from batch_scoring.sinks.notifications import Delivery

app = typer.Typer(help="Notices to operators: test their delivery.", no_args_is_help=True)

_VARIABLES = {
    "webhook": "BATCH_SCORING_WEBHOOK_URL",
    "mail": "BATCH_SCORING_SMTP_URL, BATCH_SCORING_MAIL_TO and BATCH_SCORING_MAIL_FROM",
}


@app.callback()
def _notify() -> None:
    pass


@app.command(name="test")
def send_test(
    to: Annotated[
        str | None, typer.Option(help="Mail addresses to send the test to, instead of BATCH_SCORING_MAIL_TO.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send a test notice on every configured channel, and print the result of each.

    Exit code 0 if every channel accepted it, 1 if one did not, 2 if none is configured.
    """
    import socket

    from batch_scoring.sinks.notifications import Notice, send

    notice_of_test = Notice(
        kind="test",
        job="test",
        message="This is a test, sent by `batch-scoring notify test`. No action is required.",
        host=socket.gethostname(),
    )
    deliveries: list[Delivery] = []
    for delivery in send(_recipients(to), notice_of_test):
        deliveries.append(delivery)
        if not as_json:
            outcome = "delivered" if delivery.is_delivered else "not delivered"
            typer.echo(f"{delivery.channel}  {delivery.to}  {outcome} ({delivery.reason})")
    if as_json:
        show_json(deliveries)
    failed = [delivery for delivery in deliveries if not delivery.is_delivered]
    for delivery in failed:
        notice(f"error: {delivery.channel}: {delivery.reason}; correct {_VARIABLES[delivery.channel]}, then try again")
    if failed:
        raise typer.Exit(ExitCode.RUN_FAILED)


def _recipients(to: str | None) -> Recipients:
    """The configured channels, with other mail addresses if given. Raises ConfigurationError, InputFault."""
    from dataclasses import replace

    from batch_scoring.settings import mail_addresses

    found = settings().recipients
    if not found.webhook_url and not found.smtp_url:
        message = (
            "no channel for notices is configured: set it to an https:// address that accepts JSON, or set"
            " BATCH_SCORING_SMTP_URL and BATCH_SCORING_MAIL_TO"
        )
        raise ConfigurationError([Problem(where="BATCH_SCORING_WEBHOOK_URL", key="", message=message)])
    if to is None:
        return found
    if not found.smtp_url:
        message = "--to requires a mail server: set it to smtp://host:25, smtp://user:password@host:587 or smtps://…"
        raise ConfigurationError([Problem(where="BATCH_SCORING_SMTP_URL", key="", message=message)])
    try:
        addresses = mail_addresses(to)
    except ValueError:
        addresses = ()
    if not addresses:
        raise InputFault(f"--to {to!r}: expected mail addresses separated by commas")
    return replace(found, mail_to=addresses)
