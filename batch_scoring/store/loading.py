"""``load``: rows of a CSV file into a source table, which is made if it is absent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import sqlalchemy as sa
from sqlalchemy.exc import NoSuchTableError

from batch_scoring.errors import InputFault
from batch_scoring.job import TableName
from batch_scoring.store.bulk import bulk_for
from batch_scoring.store.database import Database, UtcTimestamp, database_now, driver_sql, exactly, quoted
from batch_scoring.store.schema import RawType


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """What a load did, in rows."""

    table: str
    read: int
    inserted: int
    updated: int
    created: bool
    """Whether the table was made."""

    @property
    def unchanged(self) -> int:
        return self.read - self.inserted - self.updated


def load_csv(
    database: Database, table: str, file: Path, *, key: Sequence[str], changed_at: str = "updated_at"
) -> Loaded:
    """Put the rows of a CSV file with a header into a table, all or none.

    New keys are inserted, rows that differ are updated and get ``changed_at`` = now, others stay untouched. An empty
    field is NULL. A table that is absent is made: its types are those all values of a column have, its primary key
    is ``key``. Raises InputFault.
    """
    if database.dialect not in ("sqlite", "postgresql"):
        raise InputFault(
            f"load works on SQLite and PostgreSQL, this is {database.dialect}; use the database's own loader"
        )
    try:
        name = TableName.parse(table)
    except ValueError as exc:
        raise InputFault(f"{table!r} names no table: {exc}") from exc
    if len(set(key)) != len(key):
        raise InputFault(f"--key {', '.join(key)}: name each column once")
    rows = _read(file)
    if missing := [column for column in key if column not in rows.column_names]:
        raise InputFault(f"{file} has no column {', '.join(missing)}; it has {', '.join(rows.column_names)}")
    if changed_at in rows.column_names:
        raise InputFault(f"{file} has a column {changed_at}, which load maintains; name another with --changed-at")
    _check_key(file, rows, key)
    with database.write(create=True) as connection:
        types, created = _table(connection, name, rows, key, changed_at, file)
        converted = {column: _converted(rows[column], types[column], column, file) for column in rows.column_names}
        _check_converted_key(file, converted, types, key)
        inserted, updated = _upsert(database, connection, name, converted, types, key, changed_at)
    return Loaded(table=table, read=rows.num_rows, inserted=inserted, updated=updated, created=created)


def _read(file: Path) -> pa.Table:
    try:
        with file.open("rb") as stream:
            header = pacsv.open_csv(stream).schema.names
        if len(set(header)) != len(header) or not all(header):
            raise InputFault(f"{file} has a column without a name, or two of the same name; mend its header")
        table = pacsv.read_csv(
            file,
            parse_options=pacsv.ParseOptions(newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                column_types={name: pa.string() for name in header},
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except OSError as exc:
        raise InputFault(f"{file} cannot be read: {exc.strerror or exc}") from exc
    except UnicodeDecodeError as exc:
        raise InputFault(f"{file} is not a CSV file in UTF-8: its header is not; save it as UTF-8") from exc
    except pa.ArrowInvalid as exc:
        reason = str(exc).partition(":")[2].strip().partition(":")[0] or "empty"
        raise InputFault(
            f"{file} is not a CSV file in UTF-8 with a header and as many fields in each line ({reason})"
        ) from exc
    if not table.num_rows:
        raise InputFault(f"{file} has a header and no rows")
    return table.combine_chunks()


def _check_key(file: Path, rows: pa.Table, key: Sequence[str]) -> None:
    empty = sum(rows[column].null_count for column in key)
    if empty:
        raise InputFault(f"{file}: the key ({', '.join(key)}) is empty in {empty} rows; nothing was loaded")
    distinct = rows.select(list(key)).group_by(list(key)).aggregate([]).num_rows
    if distinct != rows.num_rows:
        raise InputFault(
            f"{file}: the key ({', '.join(key)}) is not unique: {distinct} keys in {rows.num_rows} rows;"
            " nothing was loaded"
        )


def _check_converted_key(
    file: Path, columns: dict[str, list[Any]], types: dict[str, sa.types.TypeEngine[Any]], key: Sequence[str]
) -> None:
    """Keys that differ as text may be one key to the database: 1 and 1.0."""
    values = [
        [Decimal(value) for value in columns[column]] if isinstance(types[column], sa.Numeric) else columns[column]
        for column in key
    ]
    rows = list(zip(*values, strict=True))
    if len(set(rows)) != len(rows):
        raise InputFault(
            f"{file}: the key ({', '.join(key)}) is not unique: {len(set(rows))} keys in {len(rows)} rows;"
            " nothing was loaded"
        )


_WHOLE = r"^-?(0|[1-9]\d{0,17})$"
_NUMBER = r"^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$"
_BOOLEAN = r"^(true|false|True|False|TRUE|FALSE)$"
_DATE = r"^\d{4}-\d{2}-\d{2}$"


def _guess(values: pa.ChunkedArray, *, is_key: bool) -> sa.types.TypeEngine[Any]:
    """The type all values have. Numbers are NUMERIC, exact and ready for decimals to come; whole keys are BIGINT."""
    patterns: list[tuple[str, sa.types.TypeEngine[Any]]] = [
        (_WHOLE, sa.BigInteger()) if is_key else (_NUMBER, sa.Numeric()),
        (_BOOLEAN, sa.Boolean()),
        (_DATE, sa.Date()),
    ]
    present = values.drop_null()
    for pattern, declared in patterns:
        if len(present) and pc.all(pc.match_substring_regex(present, pattern)).as_py():
            return declared
    return sa.Text()


def _table(
    connection: sa.Connection,
    name: TableName,
    rows: pa.Table,
    key: Sequence[str],
    changed_at: str,
    file: Path,
) -> tuple[dict[str, sa.types.TypeEngine[Any]], bool]:
    """The types of the table's columns; makes the table where it is absent."""
    inspector = sa.inspect(connection)
    try:
        reflected = inspector.get_columns(name.name, schema=name.schema)
    except NoSuchTableError:
        types = {column: _guess(rows[column], is_key=column in key) for column in rows.column_names}
        columns: list[sa.Column[Any]] = [
            sa.Column(
                exactly(column), type_, primary_key=column in key, autoincrement=False, nullable=column not in key
            )
            for column, type_ in types.items()
        ]
        columns.append(sa.Column(exactly(changed_at), UtcTimestamp, nullable=False))
        schema = exactly(name.schema) if name.schema else None
        sa.Table(exactly(name.name), sa.MetaData(), *columns, schema=schema).create(connection)
        return types, True
    types = {column["name"]: column["type"] for column in reflected}
    if unknown := [column for column in [*rows.column_names, changed_at] if column not in types]:
        raise InputFault(
            f"{name} has no column {', '.join(unknown)} (it has {', '.join(types)});"
            f" add it, or mend the header of {file} or --changed-at"
        )
    unique = [inspector.get_pk_constraint(name.name, schema=name.schema)["constrained_columns"]]
    unique += [c["column_names"] for c in inspector.get_unique_constraints(name.name, schema=name.schema)]
    if not any(set(columns) == set(key) for columns in unique):
        raise InputFault(f"no primary key or unique constraint of {name} is on ({', '.join(key)}); mend --key")
    return types, False


def _converted(values: pa.ChunkedArray, declared: sa.types.TypeEngine[Any], column: str, file: Path) -> list[Any]:
    """A column's values as the database takes them: checked, and passed as text where that is exact."""
    try:
        converted = values
        if isinstance(declared, sa.Boolean):
            converted = values.cast(pa.bool_())
        elif isinstance(declared, sa.Integer):
            converted = _whole_numbers(values)
        elif isinstance(declared, sa.Float):
            converted = values.cast(pa.float64())
        elif isinstance(declared, sa.Numeric):
            values.cast(pa.float64())
    except pa.ArrowInvalid as exc:
        raise InputFault(
            f"{file}: column {column} holds values that are no {declared}, the type it has in the table;"
            " mend the file; nothing was loaded"
        ) from exc
    plain: list[Any] = converted.to_pylist()
    return plain


def _whole_numbers(values: pa.ChunkedArray) -> pa.ChunkedArray:
    # spreadsheets and pandas write 110.0 for 110
    return pc.replace_substring_regex(values, r"\.0+$", "").cast(pa.int64())


def _upsert(
    database: Database,
    connection: sa.Connection,
    name: TableName,
    columns: dict[str, list[Any]],
    types: dict[str, sa.types.TypeEngine[Any]],
    key: Sequence[str],
    changed_at: str,
) -> tuple[int, int]:
    dialect = connection.dialect
    quote = partial(quoted, dialect)
    target = quoted(dialect, *name)
    stage_name = f"batch_scoring_load_{uuid4().hex[:12]}"  # no table of anybody's
    stage = sa.Table(
        stage_name,
        sa.MetaData(),
        *(sa.Column(exactly(column), RawType(types[column].compile(dialect=dialect))) for column in columns),
        prefixes=["TEMPORARY"],
    )
    stage.create(connection)
    bulk = bulk_for(database)
    bulk.insert(connection, stage, bulk.prepare(stage, columns), {})
    names = ", ".join(quote(column) for column in columns)
    others = [column for column in columns if column not in key]
    same = " AND ".join(f"target.{quote(column)} = stage.{quote(column)}" for column in key)
    differs = "IS DISTINCT FROM" if dialect.name == "postgresql" else "IS NOT"
    clock = str(database_now().compile(dialect=dialect)).replace("%%", "%")
    updated = 0
    if others:
        assignments = ", ".join(f"{quote(column)} = stage.{quote(column)}" for column in others)
        changed = " OR ".join(f"target.{quote(column)} {differs} stage.{quote(column)}" for column in others)
        update = (
            f"UPDATE {target} AS target SET {assignments}, {quote(changed_at)} = {clock}"  # noqa: S608 - quoted identifiers
            f" FROM {stage_name} AS stage WHERE {same} AND ({changed})"
        )
        updated = connection.exec_driver_sql(driver_sql(dialect, update)).rowcount
    insert = (
        f"INSERT INTO {target} ({names}, {quote(changed_at)}) SELECT {names}, {clock} FROM {stage_name} AS stage"  # noqa: S608 - quoted identifiers
        f" WHERE NOT EXISTS (SELECT 1 FROM {target} AS target WHERE {same})"
    )
    inserted = connection.exec_driver_sql(driver_sql(dialect, insert)).rowcount
    stage.drop(connection)
    return inserted, updated
