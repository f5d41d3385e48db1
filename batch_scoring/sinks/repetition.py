"""Which repetitions of a failure are worth a notice.

The first, then with exponentially growing intervals (the second, fourth, eighth, …), and at least one a day; of a job
that is held, the first and then one a week. A success resets the count. Failures are read from the recorded runs, so
the result is the same in every process; runs that could not be recorded are counted in a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

_DAILY = timedelta(hours=23)
"""Slightly less than a day, because the start of a daily run varies."""
_WEEKLY = timedelta(days=6, hours=23)


@dataclass(frozen=True, kw_only=True, slots=True)
class Repetition:
    """How often a failure happened, and whether the last one is worth a notice."""

    count: int
    since: datetime
    is_notable: bool


def repetition(times: Sequence[datetime], *, is_one_state: bool = False) -> Repetition:
    """The repetition of a failure that happened at ``times``, oldest first, without a success in between.

    Where it is one state, such as that of a job that is held, people are reminded of it once a week.
    """
    notified_at = times[0]
    is_notable = True
    for number, at in enumerate(times[1:], start=2):
        passed = at - notified_at
        is_notable = passed >= _WEEKLY if is_one_state else is_worth_a_notice(number, passed)
        if is_notable:
            notified_at = at
    return Repetition(count=len(times), since=times[0], is_notable=is_notable)


def is_worth_a_notice(number: int, since_last_notice: timedelta) -> bool:
    """Whether failure ``number`` is: if it is a power of two, or a day has passed since the last notice."""
    return number & (number - 1) == 0 or since_last_notice >= _DAILY


def same_cause(error_type: str | None, message: str | None) -> tuple[str, str]:
    """The identity of a failure: its error type, and its message without digits.

    Counts, run numbers, times and keys differ between runs of the same cause.
    """
    return error_type or "", re.sub(r"\d+", "#", message or "")


def _folder() -> Path:
    """The StateDirectory of a systemd unit, which outlives its private /tmp; else a temporary folder."""
    state = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(state) / "notices" if state else Path(tempfile.gettempdir()) / f"batch-scoring-{os.getuid()}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Counted:
    cause: str
    count: int
    since: str
    notified_at: str


class Unrecorded:
    """Failures of a job that are not recorded as runs, because the database could not be written. Raises nothing.

    They are counted in a file of this machine and user. If it cannot be written, each failure is worth a notice.
    """

    def __init__(self, database_url: str, job: str) -> None:
        which = hashlib.sha256(f"{database_url}\0{job}".encode()).hexdigest()[:16]
        self._file = _folder() / f"{job}-{which}.json"

    def failed(self, cause: Iterable[str], at: datetime) -> Repetition:
        """Count a failure."""
        digest = hashlib.sha256("\0".join(cause).encode("utf-8", "replace")).hexdigest()
        before = self._read()
        if before is None or before.cause != digest:
            self._write(_Counted(cause=digest, count=1, since=at.isoformat(), notified_at=at.isoformat()))
            return Repetition(count=1, since=at, is_notable=True)
        count = before.count + 1
        is_notable = is_worth_a_notice(count, at - datetime.fromisoformat(before.notified_at))
        notified_at = at.isoformat() if is_notable else before.notified_at
        is_stored = self._write(_Counted(cause=digest, count=count, since=before.since, notified_at=notified_at))
        return Repetition(
            count=count, since=datetime.fromisoformat(before.since), is_notable=is_notable or not is_stored
        )

    def ended(self) -> Repetition | None:
        """Reset the count, because a run was recorded; returns the failures before it, None if there were none."""
        before = self._read()
        try:
            self._file.unlink(missing_ok=True)
        except OSError:
            return None
        if before is None:
            return None
        return Repetition(count=before.count, since=datetime.fromisoformat(before.since), is_notable=True)

    def _read(self) -> _Counted | None:
        try:
            folder = self._file.parent.lstat()
            if folder.st_uid != os.getuid() or folder.st_mode & 0o022:
                return None  # owned or writable by another user: not trustworthy
            found = _Counted(**json.loads(self._file.read_text(encoding="utf-8")))
            for text in (found.since, found.notified_at):
                if datetime.fromisoformat(text).astimezone(UTC) > datetime.now(UTC) + _DAILY:
                    return None
        except (OSError, ValueError, TypeError):
            return None
        return found

    def _write(self, counted: _Counted) -> bool:
        new = self._file.with_suffix(f".{os.getpid()}")
        try:
            self._file.parent.mkdir(mode=0o700, exist_ok=True)
            folder = self._file.parent.lstat()
            if folder.st_uid != os.getuid() or folder.st_mode & 0o022:
                return False
            new.write_text(json.dumps(asdict(counted)), encoding="utf-8")
            new.replace(self._file)
        except OSError:
            return False
        return True
