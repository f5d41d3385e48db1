"""Alerts of drift, from when they are raised to when they are cleared, and who silenced them until when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime

import sqlalchemy as sa

from batch_scoring.domain.drift import Drift, Metric
from batch_scoring.domain.limits import Measure, Subject
from batch_scoring.errors import InputFault
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.schema.monitoring_tables import drift_alerts, drift_mutes


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """An alert; open while ``cleared_at`` is None."""

    alert_id: int
    job: str
    subject: Subject
    name: str
    measure: Measure
    raised_run_id: int
    raised_at: datetime
    message: str
    """What was measured when it was raised."""
    notified_at: datetime | None
    """When operators were last told."""
    cleared_run_id: int | None
    cleared_at: datetime | None
    muted_until: datetime | None = None
    """None if no mute covers it now."""

    @property
    def metric(self) -> Metric:
        return self.subject, self.name, self.measure


@dataclass(frozen=True, kw_only=True, slots=True)
class Mute:
    """Until when no notices are sent of what."""

    mute_id: int
    job: str
    name: str | None
    measure: str | None
    """None for all of them."""
    alert_id: int | None
    """The alert that it acknowledges; None if it covers later ones too."""
    reason: str
    ends_at: datetime
    created_at: datetime
    created_by: str
    removed_at: datetime | None = None
    removed_by: str | None = None

    def covers(self, alert: Alert) -> bool:
        """Whether it covers an alert."""
        if self.alert_id is not None:
            return self.alert_id == alert.alert_id
        return self.name in (None, alert.name) and self.measure in (None, alert.measure)


_ALERT = [drift_alerts.c[field.name] for field in fields(Alert) if field.name in drift_alerts.c]
_MUTE = [drift_mutes.c[field.name] for field in fields(Mute)]


def open_alerts(connection: sa.Connection, job: str) -> list[Alert]:
    """The open alerts of a job, the oldest first."""
    return _alerts(connection, drift_alerts.c.job == job, drift_alerts.c.cleared_at.is_(None))


def list_alerts(database: Database, job: str, *, with_cleared: bool = False) -> list[Alert]:
    """The alerts of a job, the oldest first. Raises DatabaseFault."""
    conditions = [drift_alerts.c.job == job]
    if not with_cleared:
        conditions.append(drift_alerts.c.cleared_at.is_(None))
    with database.read() as connection:
        return _alerts(connection, *conditions)


def _alerts(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> list[Alert]:
    rows = connection.execute(sa.select(*_ALERT).where(*conditions).order_by(drift_alerts.c.alert_id)).all()
    found = [Alert(**row._asdict()) for row in rows]
    if not found:
        return []
    mutes = _mutes_in_force(connection, {one.job for one in found})
    return [_muted(one, mutes) for one in found]


def _muted(alert: Alert, mutes: Iterable[Mute]) -> Alert:
    ends = [mute.ends_at for mute in mutes if mute.job == alert.job and mute.covers(alert)]
    return replace(alert, muted_until=max(ends, default=None))


def raise_alert(connection: sa.Connection, job: str, run_id: int, drift: Drift, time: datetime) -> None:
    """Record an alert. Raises ConstraintViolated where it is open already."""
    connection.execute(
        sa.insert(drift_alerts).values(
            job=job,
            subject=drift.subject,
            name=drift.name,
            measure=drift.measure,
            raised_run_id=run_id,
            raised_at=time,
            message=drift.sentence,
        )
    )


def clear_alert(connection: sa.Connection, alert_id: int, run_id: int, time: datetime) -> None:
    """Record that an alert was cleared."""
    alert = drift_alerts.c
    connection.execute(
        sa.update(drift_alerts)
        .where(alert.alert_id == alert_id, alert.cleared_at.is_(None))
        .values(cleared_at=time, cleared_run_id=run_id)
    )


def record_notice(connection: sa.Connection, alert_ids: Sequence[int], time: datetime) -> None:
    """Record that operators are told of alerts."""
    if alert_ids:
        own = drift_alerts.c.alert_id
        connection.execute(sa.update(drift_alerts).where(own.in_(alert_ids)).values(notified_at=time))


# --- mutes


def acknowledge(
    database: Database, job: str, alerts: Sequence[Alert], *, until: datetime, reason: str, by: str
) -> None:
    """Record that open alerts are known: no reminders of them until a time. Raises InputFault, DatabaseFault."""
    with database.write() as connection:
        for alert in alerts:
            _add(connection, job, name=None, measure=None, alert_id=alert.alert_id, until=until, reason=reason, by=by)


def mute(
    database: Database,
    job: str,
    *,
    name: str | None,
    measure: str | None,
    until: datetime,
    reason: str,
    by: str,
) -> int:
    """Send no notices of alerts of a name or measure until a time; returns its number.

    Raises InputFault, DatabaseFault.
    """
    with database.write() as connection:
        return _add(connection, job, name=name, measure=measure, alert_id=None, until=until, reason=reason, by=by)


def _add(
    connection: sa.Connection,
    job: str,
    *,
    name: str | None,
    measure: str | None,
    alert_id: int | None,
    until: datetime,
    reason: str,
    by: str,
) -> int:
    time = now(connection)
    if until <= time:
        raise InputFault(f"--until {until:%Y-%m-%d %H:%M} UTC is not in the future")
    result = connection.execute(
        sa.insert(drift_mutes).values(
            job=job,
            name=name,
            measure=measure,
            alert_id=alert_id,
            reason=reason,
            ends_at=until,
            created_at=time,
            created_by=by,
        )
    )
    assert result.inserted_primary_key is not None
    mute_id: int = result.inserted_primary_key[0]
    return mute_id


def unmute(database: Database, mute_id: int, *, by: str) -> bool:
    """End a mute early; returns False if no such mute is in force. Raises DatabaseFault."""
    own = drift_mutes.c
    with database.write() as connection:
        time = now(connection)
        result = connection.execute(
            sa.update(drift_mutes)
            .where(own.mute_id == mute_id, own.removed_at.is_(None), own.ends_at > sa.literal(time, own.ends_at.type))
            .values(removed_at=time, removed_by=by)
        )
    return bool(result.rowcount)


def mutes_in_force(database: Database, job: str) -> list[Mute]:
    """The mutes of a job that are in force, acknowledgements included, the oldest first. Raises DatabaseFault."""
    with database.read() as connection:
        return _mutes_in_force(connection, {job})


def _mutes_in_force(connection: sa.Connection, jobs: set[str]) -> list[Mute]:
    own = drift_mutes.c
    query = (
        sa.select(*_MUTE)
        .where(
            own.job.in_(sorted(jobs)),
            own.removed_at.is_(None),
            own.ends_at > sa.literal(now(connection), own.ends_at.type),
        )
        .order_by(own.mute_id)
    )
    return [Mute(**row._asdict()) for row in connection.execute(query)]
