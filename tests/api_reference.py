"""The reference of the interface for Python programs, written from its names for ``docs/api.md``."""

from __future__ import annotations

import inspect
import typing
from dataclasses import fields, is_dataclass
from typing import Any

from batch_scoring import api


def reference() -> str:
    """Every function with its signature, and every class with its fields, as Markdown."""
    parts = []
    names = sorted(api.__all__, key=lambda name: (not inspect.isfunction(getattr(api, name)), name))
    for name in names:
        found = getattr(api, name)
        if inspect.isfunction(found):
            parts.append(f"## `{name}`\n\n```text\n{_signature(name, found)}\n```\n\n{_doc(found)}")
        elif inspect.isclass(found) and is_dataclass(found):
            parts.append(f"## `{name}`\n\n{_doc(found)}\n\n{_fields(found)}")
        elif name == "Event":
            parts.append(_events())
        elif inspect.isclass(found):
            parts.append(f"## `{name}`\n\n{_doc(found)}")
    return "\n\n".join(parts)


def _signature(name: str, function: Any) -> str:
    signature = inspect.signature(function)
    parameters = []
    is_keyword = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not is_keyword:
            parameters.append("*")
            is_keyword = True
        default = "" if parameter.default is parameter.empty else f" = {_shown(parameter.default)}"
        parameters.append(f"{parameter.name}: {parameter.annotation}{default}")
    listed = "".join(f"    {parameter},\n" for parameter in parameters)
    return f"def {name}(\n{listed}) -> {signature.return_annotation}"


def _shown(value: Any) -> str:
    return f"{type(value).__name__}()" if is_dataclass(value) else repr(value)


def _fields(found: type) -> str:
    lines = ["| field | type |", "| --- | --- |"]
    for field in fields(found):
        kind = str(field.type).replace("|", "\\|")
        lines.append(f"| `{field.name}` | `{kind}` |")
    return "\n".join(lines)


def _events() -> str:
    lines = ["## `Event`", "", "An observer is called with each of these, in the thread of the run.", ""]
    lines += ["| event | fields | when |", "| --- | --- | --- |"]
    for event in typing.get_args(api.Event):
        listed = ", ".join(f"`{field.name}`" for field in fields(event))
        lines.append(f"| `{event.__name__}` | {listed} | {' '.join(str(event.__doc__).split())} |")
    return "\n".join(lines)


def _doc(found: Any) -> str:
    return inspect.cleandoc(found.__doc__ or "").replace("``", "`")
