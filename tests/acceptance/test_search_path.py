"""Somebody who may create objects in the schema of the tables does not make other logins run code (CVE-2018-1058)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import joblib
import pytest
from conftest import prepare_loans
from logins import KEPT, NAME, Granted, answer, command, grant_roles, session
from support import PostgresServer, Workspace

from batch_scoring.model.training import TrainedModel

_STOLEN = """
CREATE TABLE public.stolen (by text, what text);
GRANT INSERT ON public.stolen TO PUBLIC;
CREATE FUNCTION public.steal(what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.stolen VALUES (current_user, what);
EXCEPTION WHEN OTHERS THEN
  RAISE EXCEPTION 'code of a stranger ran as %: %', current_user, what;
END $$
"""
_FUNCTION = """CREATE FUNCTION public.{name}({arguments}) RETURNS {result} LANGUAGE plpgsql AS $$
BEGIN PERFORM public.steal('{name}({arguments})'); RETURN {value}; END $$"""
_OPERATOR = """CREATE OPERATOR public.{sign} (FUNCTION = public.{function}, LEFTARG = {left}, RIGHTARG = {right})"""

_JOB = KEPT.replace('table = "predictions"', 'table = "outcomes"')

_TYPES = ("varchar", "text", "bpchar", "name")
_JSON = ("json", "varchar", "text")
_NUMBERS = ("int2", "int4", "int8", "float4", "float8", "numeric")
_FUNCTIONS = (
    *("lower", "length", "concat", "trunc", "abs", "ln", "exp", "sqrt", "round", "date_trunc"),
    *("max", "min", "count", "sum", "string_agg", "hashtext", "format_type", "to_regclass"),
)
_TIMES = ("date", "timestamp", "timestamptz")


def _operators() -> Iterator[tuple[str, str, str, str, str]]:
    """Sign, types of both sides, type and value of the result."""
    compared = ("=", "<>", "<", "<=", ">", ">=")
    for sign, left, right in itertools.product((*compared, "~"), _TYPES, _TYPES):
        yield sign, left, right, "boolean", "true"
    for left, right in itertools.product(_TYPES, _TYPES):
        yield "||", left, right, "text", "NULL"
    for sign, kinds in itertools.product(compared, (_NUMBERS, _TIMES)):
        for left, right in itertools.permutations(kinds, 2):
            yield sign, left, right, "boolean", "true"
    for left, right in itertools.product(_JSON, repeat=2):
        yield "->", left, right, "json", "NULL"
        yield "->>", left, right, "text", "NULL"


def _planted() -> Iterator[str]:
    """Operators and functions that fit calls better than those of the system, which convert their arguments."""
    yield _STOLEN
    for number, (sign, left, right, result, value) in enumerate(_operators()):
        name, arguments = f"planted_{number}", f"a {left}, b {right}"
        yield _FUNCTION.format(name=name, arguments=arguments, result=result, value=value)
        yield _OPERATOR.format(sign=sign, function=name, left=left, right=right)
    for name, kind in itertools.product(_FUNCTIONS, (*_TYPES, *_NUMBERS)):
        yield _FUNCTION.format(name=name, arguments=f"a {kind}", result=kind, value="NULL")


@pytest.fixture
def besieged(postgresql_workspace: Workspace, loan_model: TrainedModel, postgres: PostgresServer) -> Granted:
    """A stranger has created all that before the tables were, whose key is of type varchar; the logins of the roles."""
    workspace = postgresql_workspace
    with session(workspace) as cursor:
        stranger = Granted(owner=workspace, server=postgres).user("stranger")
        cursor.execute(f"CREATE ROLE {stranger} LOGIN")
        cursor.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {stranger}")
    by_stranger = Granted(owner=workspace, server=postgres).by("stranger")
    with session(by_stranger) as cursor:
        for statement in _planted():
            try:
                cursor.execute(statement)
            except Exception as exc:
                if "already exists" not in str(exc) and "is not allowed" not in str(exc):
                    raise
    prepare_loans(workspace, loan_model, job=KEPT)
    for name in ("Loan_ID", "Gender", "Property_Area"):
        workspace.sql(f'ALTER TABLE public.applicants ALTER "{name}" TYPE varchar(50)')
    (workspace.jobs_dir / f"{NAME}.toml").write_text(_JOB)
    command(workspace, "db", "upgrade")
    granted = grant_roles(workspace, postgres)
    granted.administrate(f"GRANT CREATE ON SCHEMA public TO {stranger}")
    return granted


def _ran(granted: Granted) -> list[tuple[str, str]]:
    with session(granted.owner) as cursor:
        cursor.execute("SELECT DISTINCT by, what FROM public.stolen")
        found: list[tuple[str, str]] = cursor.fetchall()
    return found


@pytest.mark.slow
def test_no_login_runs_what_a_stranger_planted(besieged: Granted, loan_model: TrainedModel) -> None:
    owner, operator, scorer = besieged.owner, besieged.by("operator"), besieged.by("scorer")
    assert "others than its owner may create objects in schema public" in command(owner, "check")
    assert scorer.run().scored_count == 367
    with session(owner) as cursor:
        cursor.execute("SET search_path = pg_catalog")
        cursor.execute("UPDATE public.applicants SET updated_at = clock_timestamp()")
        cursor.execute("""UPDATE public.applicants SET "Education" = NULL
            WHERE "Loan_ID"::text OPERATOR(pg_catalog.=) 'LP001015'::text""")
    again = scorer.run()
    assert (again.superseded_count, again.quarantined_count) == (366, 1)
    (scorer.jobs_dir / f"{NAME}.toml").write_text(
        _JOB.replace("keep_inputs = true", "").replace("[run]", '[run]\nengine = "database"')
    )
    owner_sql = "UPDATE public.applicants SET updated_at = clock_timestamp()"
    besieged.administrate(owner_sql)
    assert scorer.run().engine == "database"
    (scorer.jobs_dir / f"{NAME}.toml").write_text(_JOB)

    model, sample = owner.folder / "model.joblib", owner.folder / "sample.csv"
    joblib.dump(loan_model.pipeline, model)
    loan_model.features.to_csv(sample, index=False)
    for arguments in (
        ("model", "register", str(model), "--name", NAME, "--sample", str(sample)),
        ("model", "promote", NAME, "2"),
        ("rescore", NAME, "--where", "Gender = 'Male'", "--reason", "a drift", "--yes"),
        ("quarantine", "retry", NAME, "--all", "--reason", "corrected"),
        ("quarantine", "list", NAME),
        ("hold", "add", NAME, "--key", "LP001022", "--reason", "a dispute"),
        ("hold", "list"),
        ("purge", NAME, "--superseded-before", "2100-01-01", "--reason", "old", "--yes"),
        ("replay", NAME, "LP001022"),
        ("why", NAME, "LP001022"),
        ("runs", "list"),
        ("runs", "verify"),
        ("status",),
        ("check",),
    ):
        code, said = answer(operator, *arguments)
        assert code in (0, 1) or "unhealthy" in said, (arguments, said)
        assert "code of a stranger" not in said
    for arguments in (("db", "upgrade"), ("db", "roles"), ("db", "roles", "--verify"), ("runs", "verify"), ("check",)):
        _, said = answer(owner, *arguments)
        assert "code of a stranger" not in said
    with session(besieged.by("bi_reader")) as cursor:
        cursor.execute("SET search_path = pg_catalog")
        for view in ("current", "history", "daily", "distribution"):
            cursor.execute(f"SELECT * FROM public.outcomes_{view}")
        for view in ("run_history", "data_freshness", "quarantine_summary"):
            cursor.execute(f"SELECT * FROM public.{view}")
        cursor.execute("SELECT count(*) FROM public.outcomes_as_of(now())")
        cursor.execute("SELECT count(*) FROM public.outcomes_gone()")
    assert _ran(besieged) == []
