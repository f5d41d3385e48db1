"""The due rows of a chunk as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from batch_scoring.domain.columns import Column, as_list
from batch_scoring.domain.keys import Version


@dataclass(frozen=True, kw_only=True, slots=True)
class DueCount:
    """The number of due rows."""

    total: int
    outside_lookback: int = 0
    """Those of them that only a sweep finds."""
    by_age: int = 0
    """Those of them whose outcome is of their present version, but older than the job's ``refresh``."""
    by_version: int = 0
    """The other ones whose prediction is of another model version only."""

    def record(self) -> dict[str, int]:
        """The counts by column of ``scoring_runs``."""
        return {
            "due_count": self.total,
            "sweep_only_count": self.outside_lookback,
            "refresh_count": self.by_age,
            "new_version_count": self.by_version,
        }

    def __add__(self, other: DueCount) -> DueCount:
        return DueCount(
            **{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)}
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceRows:
    """The due rows of a chunk: n rows in columns of length n."""

    keys: tuple[Column, ...]
    changed_at: Column | None
    features: dict[str, Column]
    current_since: Sequence[datetime | None]
    """``valid_from`` of the current prediction of the key, None where there is none."""
    quarantined_since: Sequence[datetime | None]
    """``valid_from`` of the open quarantine entry of the key, None where there is none."""
    attempts: Sequence[int | None]
    current_scores: Sequence[float | None] | None = None
    """Score and label of the current prediction, if they were requested."""
    current_labels: Sequence[str | None] | None = None

    def __len__(self) -> int:
        return len(self.keys[0])

    @property
    def size(self) -> int:
        """Size of the columns in bytes; of lists, an estimate."""
        return sum(getattr(values, "nbytes", 64 * len(values)) for values in self._columns())

    def _columns(self) -> Iterator[Column]:
        yield from self.keys
        yield from self.features.values()
        if self.changed_at is not None:
            yield self.changed_at

    @property
    def key_range(self) -> dict[str, Any]:
        """First and last key in the order of the database, and the number of rows, as JSON."""
        first, last = ([_of_json(as_list(values[at:][:1])[0]) for values in self.keys] for at in (0, len(self) - 1))
        return {"first": first, "last": last, "rows": len(self)}

    @property
    def last(self) -> Version:
        """The key and version of the last row."""
        return Version(
            key=tuple(as_list(values[-1:])[0] for values in self.keys),
            changed_at=None if self.changed_at is None else as_list(self.changed_at[-1:])[0],
        )


def _of_json(value: Any) -> Any:
    return value if isinstance(value, int | str) else str(value)


def timestamps(values: Column) -> list[datetime | None]:
    """A column of timestamps, which some databases return as text."""
    found = as_list(values)
    parsed = {text: _timestamp(text) for text in set(found) if isinstance(text, str)}
    return [parsed.get(time, time) for time in found] if parsed else found


def _timestamp(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
