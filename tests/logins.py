"""Users of PostgreSQL with the roles of ``db roles``, for tests of what each may do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg2
import sqlalchemy as sa
from support import LOAN_JOB, PostgresServer, Workspace
from typer.testing import CliRunner

from batch_scoring.cli.app import app
from batch_scoring.errors import BatchScoringError
from batch_scoring.store.schema.roles import ROLES

NAME = "loan_eligibility"
KEPT = LOAN_JOB.replace('kind = "binary"', 'kind = "binary"\nkeep_inputs = true')
SOME = 6
"""Applicants who changed after the first run."""


@dataclass(frozen=True, kw_only=True)
class Granted:
    """A workspace whose tables stand, and a user for each role; ``owner`` made it all."""

    owner: Workspace
    server: PostgresServer

    @property
    def database_name(self) -> str:
        name = sa.make_url(self.owner.database_url).database
        assert name is not None
        return name

    def user(self, role: str) -> str:
        """Roles are the server's, so that a user bears the name of the database of its test."""
        return f"{role}_{self.database_name}"

    def by(self, role: str) -> Workspace:
        """The workspace as somebody sees it who was granted a role."""
        return replace(self.owner, database_url=self.server.url(self.database_name, user=self.user(role)))

    def administrate(self, *statements: str) -> None:
        """What an administrator does, each statement as it is."""
        with session(self.owner) as cursor:
            for statement in statements:
                cursor.execute(statement)


@contextmanager
def session(workspace: Workspace) -> Iterator[Any]:
    """A session of one's own, without a transaction around its statements."""
    url = sa.make_url(workspace.database_url)
    connection = psycopg2.connect(host=url.query["host"], dbname=url.database, user=url.username)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def command(workspace: Workspace, *arguments: str) -> str:
    """What a command prints; it must succeed. It runs in this process."""
    code, printed = answer(workspace, *arguments)
    assert code == 0, printed
    return printed


def answer(workspace: Workspace, *arguments: str) -> tuple[int, str]:
    """The exit code of a command and what it prints."""
    result = CliRunner().invoke(app, arguments, env=workspace.process_environ)
    if isinstance(result.exception, BatchScoringError):
        return int(result.exception.exit_code), str(result.exception)
    return result.exit_code, result.stdout if result.exit_code == 0 else result.output


def grant_roles(workspace: Workspace, server: PostgresServer) -> Granted:
    """Apply what ``db roles`` prints, twice, and let a user log in for each role."""
    granted = Granted(owner=workspace, server=server)
    printed = command(workspace, "db", "roles")
    granted.administrate(printed, printed)
    for role in ROLES:
        granted.administrate(f"CREATE ROLE {granted.user(role)} LOGIN", f"GRANT {role} TO {granted.user(role)}")
    return granted
