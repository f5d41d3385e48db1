"""Arguments and options that commands about models share."""

from __future__ import annotations

from typing import Annotated

import typer

from batch_scoring.domain.names import MAX_MODEL_VERSION

Name = Annotated[str, typer.Argument(help="Name of the model.")]
Version = Annotated[int, typer.Argument(help="The version number.", min=1, max=MAX_MODEL_VERSION)]
AllowMismatch = Annotated[
    bool,
    typer.Option(
        "--allow-version-mismatch", help="Accept a scikit-learn other than the one the model was fitted with."
    ),
]
Alias = Annotated[str, typer.Option(help="The alias to move.")]
