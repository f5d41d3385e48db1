"""The reference of the command line, written from the commands themselves for ``docs/cli.md``.

Nothing here formats for a terminal, so the text does not depend on its width.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any

from command_tree import Entry, command_tree

COMMON_EXIT_CODES = (0, 1, 2)
"""Any command may succeed, fail in the database, or be called wrongly."""

EXIT_CODES: dict[str, tuple[tuple[int, str], ...]] = {
    "demo": (),
    "check": (
        (1, "the first problem found is one of the database"),
        (2, "the first problem found is one of the settings, a job file, the schema or a source"),
        (3, "the first problem found is one of a model"),
    ),
    "load": ((2, "the file or the table refuses a row; nothing is loaded"),),
    "train": (
        (1, "the version is registered here, and could not be logged to MLflow"),
        (3, "the fitted pipeline cannot be registered"),
    ),
    "run": (
        (1, "the run failed"),
        (3, "the model was refused"),
        (4, "more rows were quarantined than `max_quarantined` allows"),
        (6, "the rows breach a limit that holds the run; nothing was written"),
        (75, "another run of the job is active, or the slot of `--scheduled-for` is filled"),
    ),
    "schedule": ((1, "a second signal ended the service at once"),),
    "status": ((5, "a job is unhealthy or stale"),),
    "outcomes": (
        (2, "the outcomes cannot be read or joined, or none is one that the model could predict"),
        (3, "the job and a model version are of different kinds"),
    ),
    "fairness": (
        (2, "the groups cannot be read or joined, or the job has no positive label"),
        (3, "the job and a model version are of different kinds"),
    ),
    "rescore": (
        (1, "the run failed, or the confirmation was declined"),
        (3, "the model was refused"),
        (4, "more rows were quarantined than `max_quarantined` allows"),
        (75, "another run of the job is active"),
    ),
    "why": (),
    "replay": (
        (1, "a score differs, or an input was altered"),
        (3, "the model file is missing, changed or refused"),
    ),
    "purge": ((1, "the run failed, or the confirmation was declined"), (75, "another run of the job is active")),
    "db upgrade": (),
    "db sql": (),
    "db roles": (
        (1, "with `--verify`, something is wrong with the privileges"),
        (2, "with `--verify`, the database has no roles"),
    ),
    "db dictionary": (),
    "db queries": (),
    "model register": ((3, "the file holds no usable model"),),
    "model list": (),
    "model sql": (
        (2, "no job uses the model, or several do and none was named"),
        (3, "there is no such version, or the model is scored in Python only"),
    ),
    "model show": ((3, "there is no such version"),),
    "model sign": ((2, "no usable key is set"), (3, "there is no such version")),
    "model verify": ((3, "the model is missing, changed, or does not reproduce its golden rows"),),
    "model promote": (
        (3, "a gate refused, an approval is required, or the version is missing; the alias was not moved"),
    ),
    "model propose": ((3, "a gate refused, or the version is missing; nothing is proposed"),),
    "model approve": (
        (2, "no such proposal is open"),
        (3, "a gate refused, or this login made the proposal; the alias was not moved"),
    ),
    "model rollback": (
        (2, "no version was in use before"),
        (3, "that version is missing, changed, archived, or does not fit a job; the alias was not moved"),
    ),
    "model archive": (
        (2, "an alias points at the version, or it is archived already"),
        (3, "there is no such version"),
    ),
    "model history": (),
    "model compare": (
        (2, "several jobs use the model and none was named"),
        (3, "a version is missing, changed, or does not fit the job"),
    ),
    "model dossier": ((3, "there is no such version"),),
    "notify test": ((1, "a channel did not accept the notice"), (2, "no channel is configured")),
    "runs list": (),
    "runs show": ((2, "there is no such run"),),
    "runs verify": ((1, "a record was altered, removed or inserted, or an expected hash is unknown"),),
    "runs release": ((2, "there is no such run, it was not held, or it was decided on before"),),
    "runs reject": ((2, "there is no such run, it was not held, or it was decided on before"),),
    "monitor drift": ((3, "the job and the model of a window are of different kinds"),),
    "monitor profile": ((2, "there is no such run, or it counted nothing"),),
    "monitor reference": ((2, "the model has no reference"), (3, "there is no such model")),
    "monitor alerts": (),
    "monitor acknowledge": ((2, "no such alert is open, or the end or the reason is missing"),),
    "monitor mute": (
        (2, "no such feature or measure, or the end or the reason is missing"),
        (3, "there is no such model"),
    ),
    "monitor unmute": ((2, "no such mute is in force"),),
    "monitor limits": (),
    "quarantine list": (),
    "quarantine show": (),
    "quarantine retry": ((75, "another run of the job is active"),),
    "quarantine export": (),
    "hold add": (),
    "hold remove": ((2, "there is no such hold, or it was removed already"),),
    "hold list": (),
}
"""What each command's exit codes mean in addition to the common ones; a test requires an entry for every command."""

_TYPE_WORDS = {"str": "text", "int": "integer", "float": "number", "bool": "boolean", "Path": "file", "path": "file"}
_LARGE = 2**31 - 1


def reference() -> str:
    """Markdown: an overview of all commands, then one section for each."""
    entries = command_tree()
    lines = ["| command | does |", "| --- | --- |"]
    lines += [
        f"| [`{entry.name}`](#{_anchor(entry)}) | {_summary(entry)} |" for entry in entries if _is_callable(entry)
    ]
    for entry in entries:
        lines += ["", *_section(entry)]
    return "\n".join(lines)


def _is_callable(entry: Entry) -> bool:
    return not entry.is_group and bool(entry.path)


def _anchor(entry: Entry) -> str:
    return entry.name.replace(" ", "-")


def _summary(entry: Entry) -> str:
    paragraph, _, _ = (entry.command.help or "").partition("\n\n")
    sentence, separator, _ = _joined(paragraph).partition(". ")
    return _cell(sentence + ("." if separator else ""))


def _section(entry: Entry) -> Iterable[str]:
    yield f"{'##' if len(entry.path) < 2 else '###'} `{entry.name}`"
    for paragraph in (entry.command.help or "").split("\n\n"):
        yield from ("", _plain(_joined(paragraph)))
    usage = " ".join((entry.name, *(_usage(piece) for piece in entry.command.collect_usage_pieces(entry.context))))
    yield from ("", "```text", usage, "```")
    arguments = [each for each in entry.parameters if each.param_type_name == "argument"]
    options = [each for each in entry.parameters if each.param_type_name == "option" and each.name != "help"]
    if arguments:
        yield from ("", "| argument | value | meaning |", "| --- | --- | --- |")
        for each in arguments:
            yield f"| `{each.name.upper()}` | {_value(each, entry.context)} | {_meaning(each)} |"
    if options:
        yield from ("", "| option | value | default | meaning |", "| --- | --- | --- | --- |")
        for each in options:
            names = ", ".join(f"`{name}`" for name in (*each.opts, *each.secondary_opts))
            yield f"| {names} | {_value(each, entry.context)} | {_default(each)} | {_meaning(each)} |"
    if not entry.is_group:
        codes = "; ".join(f"`{code}` {meaning}" for code, meaning in EXIT_CODES[" ".join(entry.path)])
        if codes:
            yield from ("", f"Exit codes, in addition to the [common ones](#exit-codes): {codes}.")


def _usage(piece: str) -> str:
    """``{job}`` is a required argument, ``[job]`` an optional one."""
    if piece.startswith("{"):
        return piece.strip("{}").upper()
    return piece.upper()


def _value(parameter: Any, context: Any) -> str:
    if getattr(parameter, "is_flag", False):
        return "flag"
    described = parameter.type_descriptor
    if parameter.metavar is not None:
        found = f"`{parameter.metavar}`"
    elif described.is_choice:
        found = ", ".join(f"`{_text(choice)}`" for choice in described.choices)
    elif described.is_ranged:
        found = f"integer, {_range(parameter)}"
    else:
        word = parameter.display_type(context).strip("<>").removeprefix("list[").rstrip("]")
        found = _TYPE_WORDS.get(word, word)
    return f"{found}; may be repeated" if getattr(parameter, "multiple", False) else found


def _range(parameter: Any) -> str:
    if parameter.max is None or parameter.max >= _LARGE:
        return f"{parameter.min} or more"
    return f"{parameter.min} to {parameter.max}"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if parameter.default is None or parameter.is_flag:
        return ""
    return f"`{_text(parameter.default)}`"


def _meaning(parameter: Any) -> str:
    return _cell(_joined(parameter.help or ""))


def _text(value: object) -> str:
    return str(value.value) if isinstance(value, Enum) else str(value)


def _joined(text: str) -> str:
    return " ".join(text.split())


def _plain(text: str) -> str:
    """Text outside code in which no character means anything to Markdown."""
    pieces = text.split("`")
    return "`".join(
        piece if number % 2 else piece.replace("<", "\\<").replace("*", "\\*") for number, piece in enumerate(pieces)
    )


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")
