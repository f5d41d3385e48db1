"""Settings from environment variables: database, job files, artifacts, logging, notifications."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args
from urllib.parse import urlsplit

from batch_scoring.errors import ConfigurationError, Problem

LogFormat = Literal["console", "json"]

DEFAULT_DATABASE_URL = "sqlite:///batch_scoring.db"
DEFAULT_LISTEN = ("127.0.0.1", 9680)
DEFAULT_MAIL_FROM = "batch-scoring@localhost"

SmtpSecurity = Literal["verified", "none"]

_PREFIX = "BATCH_SCORING_"

SETTINGS = frozenset(
    _PREFIX + name
    for name in (
        "DATABASE_URL",
        "JOBS_DIR",
        "ARTIFACTS_DIR",
        "LOG_FORMAT",
        "LISTEN",
        "METRICS_DIR",
        "WEBHOOK_URL",
        "SMTP_URL",
        "MAIL_FROM",
        "MAIL_TO",
        "SMTP_SECURITY",
        "SIGNING_KEY",
        "TRUSTED_KEYS",
    )
)

SECRETS = frozenset(
    _PREFIX + name for name in ("DATABASE_URL", "WEBHOOK_URL", "SMTP_URL", "SIGNING_KEY", "TRUSTED_KEYS")
)
"""Settings that may also be given as the path of a file, in a variable with the suffix ``_FILE``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipients:
    """The channels on which operators are notified."""

    webhook_url: str | None = field(default=None, repr=False)
    smtp_url: str | None = field(default=None, repr=False)
    """``smtp://user:password@host:587`` (STARTTLS if the server offers it) or ``smtps://…``."""
    mail_from: str = DEFAULT_MAIL_FROM
    mail_to: tuple[str, ...] = ()
    smtp_security: SmtpSecurity = "verified"
    """``verified``: certificates are verified, and a password is sent encrypted only. ``none``: the network is trusted.
    A server on this machine is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The settings of a process."""

    database_url: str = field(default=DEFAULT_DATABASE_URL, repr=False)
    jobs_dir: Path = Path("jobs")
    artifacts_dir: Path = Path("artifacts")
    log_format: LogFormat | None = None
    """None: ``console`` on a terminal, ``json`` elsewhere."""
    listen: tuple[str, int] | None = DEFAULT_LISTEN
    """Host and port that the scheduler service listens on; None: it does not listen."""
    metrics_dir: Path | None = None
    """The folder of the textfile collector of node_exporter, to which each run writes the metrics of its job."""
    recipients: Recipients = Recipients()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the ``BATCH_SCORING_*`` variables.

        Raises ConfigurationError with every invalid or unknown variable.
        """
        reader = _Reader(environ)
        found = cls(
            database_url=reader.url("DATABASE_URL", "a SQLAlchemy URL such as postgresql://user@host/database")
            or DEFAULT_DATABASE_URL,
            jobs_dir=Path(reader.text("JOBS_DIR") or "jobs"),
            artifacts_dir=Path(reader.text("ARTIFACTS_DIR") or "artifacts"),
            log_format=cast("LogFormat | None", reader.one_of("LOG_FORMAT", get_args(LogFormat))),
            listen=reader.address("LISTEN", DEFAULT_LISTEN),
            metrics_dir=Path(file) if (file := reader.text("METRICS_DIR")) else None,
            recipients=Recipients(
                webhook_url=reader.url("WEBHOOK_URL", "an https:// or http:// URL", ("https", "http")),
                smtp_url=reader.url("SMTP_URL", "smtp://user:password@host:587 or smtps://…", ("smtp", "smtps")),
                mail_from=next(iter(reader.addresses("MAIL_FROM")), DEFAULT_MAIL_FROM),
                mail_to=reader.addresses("MAIL_TO"),
                smtp_security=cast(
                    "SmtpSecurity", reader.one_of("SMTP_SECURITY", get_args(SmtpSecurity)) or "verified"
                ),
            ),
        )
        recipients = found.recipients
        if bool(recipients.smtp_url) != bool(recipients.mail_to):
            reader.problem("SMTP_URL", f"{_PREFIX}SMTP_URL and {_PREFIX}MAIL_TO: expected both or neither")
        if reader.problems:
            raise ConfigurationError(reader.problems)
        return found


def key_text(name: Literal["SIGNING_KEY", "TRUSTED_KEYS"], environ: Mapping[str, str] = os.environ) -> str | None:
    """The keys of a setting in PEM, which are read when they are used; None if it is not set.

    Raises ConfigurationError where its file cannot be read.
    """
    reader = _Reader({variable: text for variable, text in environ.items() if variable.startswith(_PREFIX + name)})
    found = reader.text(name)
    if reader.problems:
        raise ConfigurationError(reader.problems)
    return found


def _is_well_formed(url: str) -> bool:
    """Whether a URL has a host and a numeric port. An unescaped character in a password shifts both."""
    try:
        parts = urlsplit(url)
        has_valid_port = parts.port != 0
    except ValueError:
        return False
    after_host = f"{parts.path}{parts.query}{parts.fragment}"
    is_shifted = parts.scheme.startswith("smtp") and "@" in after_host
    return bool(parts.hostname) and has_valid_port and not is_shifted


def mail_addresses(text: str) -> tuple[str, ...]:
    """Parse a list such as ``a@example.com, "Doe, J" <j@example.com>``. Raises ValueError if it is not valid."""
    from email.utils import formataddr, getaddresses

    listed = _EMPTY_ITEM.sub("", text.strip().strip(","))  # Python from 3.11.10 on refuses a list with empty items
    found = [(name, address) for name, address in getaddresses([listed]) if name or address]
    if (
        not text.isprintable()
        or (listed.strip() and not found)
        or any(not _MAIL_ADDRESS.fullmatch(address) for _, address in found)
    ):
        raise ValueError("expected mail addresses")
    return tuple(formataddr((name, address), charset="utf-8") if name else address for name, address in found)


_EMPTY_ITEM = re.compile(r",(?=\s*,)")
_MAIL_ADDRESS = re.compile(r"[^@\s<>,;:]+@[^@\s<>,;:]+")


class _Reader:
    """Reads variables and collects their problems."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        known = SETTINGS | {f"{name}_FILE" for name in SECRETS}
        self.problems = [
            Problem(where=name, key="", message=f"is not a setting; expected one of {', '.join(sorted(known))}")
            for name in sorted(environ)
            if name.startswith(_PREFIX) and name not in known
        ]

    def problem(self, name: str, message: str) -> None:
        self.problems.append(Problem(where=_PREFIX + name, key="", message=message))

    def text(self, name: str) -> str | None:
        """The value of a variable, or the content of the file that its ``_FILE`` variable names."""
        given = self._environ.get(_PREFIX + name, "")
        file = self._environ.get(f"{_PREFIX}{name}_FILE", "") if _PREFIX + name in SECRETS else ""
        if given and file:
            self.problem(name, f"and {_PREFIX}{name}_FILE are both set; expected one of them")
        if not file:
            return given or None
        try:
            return Path(file).read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
            # an address or a password given instead of a file name is a secret, too
            is_path = file.startswith(("/", "./", "../")) and not set(file) & set("@:")
            shown = file if is_path else "the file it names"
            self.problem(f"{name}_FILE", f"{shown} cannot be read: {reason}; expected the path of a file")
            return None

    def url(self, name: str, expected: str, schemes: tuple[str, ...] = ()) -> str | None:
        found = self.text(name)
        scheme, separator, rest = (found or "").partition("://")
        if found is not None and (not separator or (schemes and (scheme not in schemes or not rest))):
            self.problem(name, f"expected {expected}")  # the value is a secret
            return None
        if found is not None and schemes and not _is_well_formed(found):
            self.problem(
                name, f"expected {expected}; in a user or password write %40 for @, %3A for :, %2F for /, %23 for #"
            )
            return None
        return found

    def addresses(self, name: str) -> tuple[str, ...]:
        """Mail addresses, separated by commas, each with an optional display name."""
        found = self.text(name)
        if found is None:
            return ()
        try:
            return mail_addresses(found)
        except ValueError:
            self.problem(name, f"expected mail addresses separated by commas, found {found!r}")
            return ()

    def one_of(self, name: str, choices: tuple[str, ...]) -> str | None:
        found = self.text(name)
        if found is not None and found not in choices:
            self.problem(name, f"expected {' or '.join(choices)}, found {found!r}")
        return found

    def address(self, name: str, default: tuple[str, int]) -> tuple[str, int] | None:
        found = self.text(name)
        if found is None:
            return default
        if found == "off":
            return None
        host, _, port = found.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65_535:
            self.problem(name, f'expected host:port such as "127.0.0.1:9680", or "off", found {found!r}')
            return None
        return host.strip("[]"), int(port)
