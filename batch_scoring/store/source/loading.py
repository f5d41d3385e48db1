"""``load``: rows of a CSV file into a source table, which is created if it is absent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import NoSuchTableError

from batch_scoring.domain.names import TableName
from batch_scoring.errors import DatabaseFault, InputFault
from batch_scoring.files.columns import guess
from batch_scoring.files.content import is_parquet, read_content
from batch_scoring.files.csv_table import CsvTable, read_csv_table
from batch_scoring.files.format import PLAIN, FileFormat
from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.dialects.dialect import Dialect
from batch_scoring.store.engine.names import driver_sql, exactly, statement_text
from batch_scoring.store.engine.reflection import located
from batch_scoring.store.engine.sql_types import RawType, UtcTimestamp, database_now
from batch_scoring.store.source.load_refusals import first_refused, refusal
from batch_scoring.store.source.load_values import NOTHING_LOADED, TYPES, Converter, TableColumn, check_key


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """The result of a load; counts are rows."""

    table: str
    read: int
    inserted: int
    updated: int
    created: bool
    """Whether the table was created."""

    @property
    def unchanged(self) -> int:
        return self.read - self.inserted - self.updated


def load_csv(
    database: Database,
    table: str,
    file: Path,
    *,
    key: Sequence[str],
    changed_at: str = "updated_at",
    form: FileFormat = PLAIN,
    notify: Callable[[str], None] | None = None,
) -> Loaded:
    """Upsert the rows of a CSV file with a header into a table, in one transaction.

    New keys are inserted, rows that differ are updated and get ``changed_at`` = now, others are left as they are. An
    empty field is NULL. A missing table is created with types that are inferred from the values, and the primary key
    ``key``. ``notify`` is called with a sentence for each inference that may be unexpected. Raises InputFault,
    DatabaseFault.
    """
    try:
        name = TableName.parse(table)
    except ValueError as exc:
        raise InputFault(f"{table!r} names no table: {exc}") from exc
    if len(set(key)) != len(key):
        raise InputFault(f"--key {', '.join(key)}: name each column once")
    content = read_content(file)
    if is_parquet(file, content):
        raise InputFault(f"{file} is a Parquet file, and load reads CSV; save it as CSV")
    rows = read_csv_table(file, content, form, keep=key)
    if missing := [column for column in key if column not in rows.columns]:
        raise rows.lacks(missing)
    if changed_at in rows.columns:
        raise InputFault(f"{file} has a column {changed_at}, which load maintains; name another with --changed-at")
    with database.write(create=True) as connection:
        target = _existing(connection, name, rows, key, changed_at)
        converter = Converter(rows, str(name), enforces_types=database.dialect.enforces_types)
        if target is None:
            guessed = {column: guess(rows, column, is_key=column in key) for column in rows.columns}
            types = {column: TYPES[found.kind] for column, found in guessed.items()}
            converted = {column: converter.of_kind(found) for column, found in guessed.items()}
            check_key(rows, converted, types, key)
            _create(database.dialect, connection, name, types, key, changed_at, file)
        else:
            types = {column: target[column].declared for column in rows.columns}
            converted = {
                column: converter.of_column(replace(target[column], nullable=True) if column in key else target[column])
                for column in rows.columns
            }
            check_key(rows, converted, types, key)
        inserted, updated = _write(database, connection, name, rows, converted, types, key, changed_at)
    for note in [*rows.notes, *converter.notes]:
        if notify:
            notify(f"{file.name}: {note}")
    return Loaded(table=table, read=rows.rows, inserted=inserted, updated=updated, created=target is None)


def _existing(
    connection: sa.Connection, name: TableName, rows: CsvTable, key: Sequence[str], changed_at: str
) -> dict[str, TableColumn] | None:
    """The table's columns by name; None where it is absent. Raises InputFault where it cannot take the file."""
    inspector, place = sa.inspect(connection), located(connection, name)
    try:
        reflected = {column["name"]: column for column in inspector.get_columns(place.name, schema=place.schema)}
    except NoSuchTableError:
        return None
    if unknown := [column for column in [*rows.columns, changed_at] if column not in reflected]:
        raise InputFault(
            f"{name} has no column {', '.join(unknown)} (it has {', '.join(reflected)});"
            f" add it, or correct the header of {rows.file} or --changed-at"
        )
    _refuse_generated(name, [reflected[column] for column in rows.columns])
    unique = [inspector.get_pk_constraint(place.name, schema=place.schema)["constrained_columns"]]
    unique += [c["column_names"] for c in inspector.get_unique_constraints(place.name, schema=place.schema)]
    if not any(set(columns) == set(key) for columns in unique):
        raise InputFault(f"no primary key or unique constraint of {name} is on ({', '.join(key)}); correct --key")
    return {
        column["name"]: TableColumn(
            name=column["name"],
            declared=getattr(column["type"], "data_type", column["type"]),  # for a domain its base type
            ddl=column["type"].compile(dialect=connection.dialect),
            nullable=column["nullable"],
        )
        for column in reflected.values()
        if not isinstance(column["type"], sa.types.NullType)
    } | {
        column["name"]: TableColumn(
            name=column["name"], declared=column["type"], ddl="BLOB", nullable=column["nullable"]
        )
        for column in reflected.values()
        if isinstance(column["type"], sa.types.NullType)
    }


def _refuse_generated(name: TableName, columns: Sequence[Any]) -> None:
    if generated := [column["name"] for column in columns if column.get("computed")]:
        raise InputFault(
            f"{name} computes column {', '.join(generated)} itself (GENERATED ALWAYS); leave it out of the file"
        )
    if identities := [column["name"] for column in columns if (column.get("identity") or {}).get("always")]:
        raise InputFault(
            f"{name} numbers column {', '.join(identities)} itself (GENERATED ALWAYS AS IDENTITY); leave it out of the"
            " file and name another unique key with --key, or declare it GENERATED BY DEFAULT"
        )


def _create(
    dialect: Dialect,
    connection: sa.Connection,
    name: TableName,
    types: dict[str, sa.types.TypeEngine[Any]],
    key: Sequence[str],
    changed_at: str,
    file: Path,
) -> None:
    _check_new_names(dialect, [*types, changed_at], file)
    columns: list[sa.Column[Any]] = [
        sa.Column(exactly(column), type_, primary_key=column in key, autoincrement=False, nullable=column not in key)
        for column, type_ in types.items()
    ]
    columns.append(sa.Column(exactly(changed_at), UtcTimestamp, nullable=False))
    sa.Table(exactly(name.name), sa.MetaData(), *columns, schema=exactly(name.schema)).create(connection)


def _check_new_names(dialect: Dialect, names: Sequence[str], file: Path) -> None:
    limit = dialect.longest_name
    if limit is not None and (long := [name for name in names if len(name.encode()) > limit]):
        raise InputFault(
            f"{file}: {dialect.product} shortens names of more than {limit} bytes;"
            f" shorten column {', '.join(long)} in the header"
        )
    folded = [name.lower() for name in names]
    alike = [name for name in names if folded.count(name.lower()) > 1]
    if dialect.folds_names and alike:
        raise InputFault(
            f"{file}: {dialect.product} does not distinguish upper and lower case in names; rename one of"
            f" {', '.join(alike)}"
        )


def _write(
    database: Database,
    connection: sa.Connection,
    name: TableName,
    rows: CsvTable,
    columns: dict[str, pa.Array],
    types: dict[str, sa.types.TypeEngine[Any]],
    key: Sequence[str],
    changed_at: str,
) -> tuple[int, int]:
    """Insert and update; return the number of each. Raises InputFault with the line that the table refuses."""

    def write(start: int, end: int) -> tuple[int, int]:
        part = {column: values[start:end] for column, values in columns.items()}
        return _upsert(database, connection, name, part, types, key, changed_at)

    try:
        with database.faults(), connection.begin_nested():
            return write(0, rows.rows)
    except DatabaseFault as fault:
        found = refusal(database.dialect, fault, list(columns))
        if found is None:
            raise
        column, why = found
        if column is not None and column not in columns:
            raise InputFault(
                f"{name} needs a value in column {column} (NOT NULL, without a default) and {rows.file} does not have"
                f" it; add it to the file{NOTHING_LOADED}"
            ) from fault
        line = rows.line_of(first_refused(database, connection, rows.rows, write))
        where = f", column {column}" if column else ""
        raise InputFault(f"{rows.file}, line {line}{where}: {why}; {name} refused the row{NOTHING_LOADED}") from fault


def _upsert(
    database: Database,
    connection: sa.Connection,
    name: TableName,
    columns: dict[str, pa.Array],
    types: dict[str, sa.types.TypeEngine[Any]],
    key: Sequence[str],
    changed_at: str,
) -> tuple[int, int]:
    dialect, driver = database.dialect, connection.dialect
    quote = dialect.quoted
    target = quote(*located(connection, name))
    stage_name = f"batch_scoring_load_{uuid4().hex[:12]}"  # a unique name
    stage = sa.Table(
        stage_name,
        sa.MetaData(),
        *(sa.Column(exactly(column), RawType(types[column].compile(dialect=driver))) for column in columns),
        prefixes=["TEMPORARY"],
        schema=dialect.temporary_schema,
    )
    staged = quote(dialect.temporary_schema, stage_name)
    stage.create(connection)
    bulk = bulk_for(database)
    bulk.prepare_insert(stage, columns).write(connection, {})
    names = ", ".join(quote(column) for column in columns)
    others = [column for column in columns if column not in key]
    same = " AND ".join(f"target.{quote(column)} = stage.{quote(column)}" for column in key)
    clock = statement_text(database_now(), driver)
    updated = 0
    if others:
        assignments = ", ".join(f"{quote(column)} = stage.{quote(column)}" for column in others)
        changed = " OR ".join(f"target.{quote(column)} {dialect.differs} stage.{quote(column)}" for column in others)
        update = (
            f"UPDATE {target} AS target SET {assignments}, {quote(changed_at)} = {clock}"  # noqa: S608 - quoted identifiers
            f" FROM {staged} AS stage WHERE {same} AND ({changed})"
        )
        updated = connection.exec_driver_sql(driver_sql(driver, update)).rowcount
    insert = (
        f"INSERT INTO {target} ({names}, {quote(changed_at)}) SELECT {names}, {clock} FROM {staged} AS stage"  # noqa: S608 - quoted identifiers
        f" WHERE NOT EXISTS (SELECT 1 FROM {target} AS target WHERE {same})"
    )
    inserted = connection.exec_driver_sql(driver_sql(driver, insert)).rowcount
    dialect.check_deferred(connection)  # while the refused row can still be located
    stage.drop(connection)
    return inserted, updated
