"""Every command of the command line, as Typer holds it: what tests and the generated reference walk through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer

from batch_scoring.cli.app import app


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One command or group of commands."""

    path: tuple[str, ...]
    """The words that call it; empty for the program itself."""
    command: Any
    context: Any

    @property
    def name(self) -> str:
        return " ".join(("batch-scoring", *self.path))

    @property
    def is_group(self) -> bool:
        return bool(getattr(self.command, "commands", {}))

    @property
    def parameters(self) -> list[Any]:
        """Its visible parameters, ``--help`` among them."""
        return [each for each in self.command.get_params(self.context) if not each.hidden]

    @property
    def option_names(self) -> list[str]:
        return [
            name
            for parameter in self.parameters
            if parameter.param_type_name == "option"
            for name in (*parameter.opts, *parameter.secondary_opts)
        ]


def command_tree() -> list[Entry]:
    """The program, its groups and its commands, each group before what it holds."""
    return list(_entries(typer.main.get_command(app), None, ()))


def _entries(command: Any, parent: Any, path: tuple[str, ...]) -> Iterator[Entry]:
    context = command.make_context(path[-1] if path else "batch-scoring", [], parent=parent, resilient_parsing=True)
    yield Entry(path=path, command=command, context=context)
    for name, inner in getattr(command, "commands", {}).items():
        yield from _entries(inner, context, (*path, name))
