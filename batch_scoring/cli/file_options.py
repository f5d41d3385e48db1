"""Options for the format of a CSV file, shared by the commands that read one."""

from __future__ import annotations

from typing import Annotated

import typer

Encoding = Annotated[
    str | None,
    typer.Option(
        "--encoding", help="The file's encoding, such as cp1252; without it a byte order mark decides, or UTF-8."
    ),
]
Separator = Annotated[
    str | None,
    typer.Option("--separator", "--delimiter", help='What separates fields, such as ";" or tab; without it a comma.'),
]
Decimal = Annotated[str, typer.Option("--decimal", help="The decimal sign: . or ,")]
Thousands = Annotated[
    str | None, typer.Option("--thousands", help="What separates thousands; without it such numbers are text.")
]
