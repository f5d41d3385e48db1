"""``docs/job-file.toml`` is a valid job with every key of every section and its default."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from support import REPOSITORY

from batch_scoring.domain.durations import parse_duration
from batch_scoring.domain.job import Job
from batch_scoring.domain.job_files import read_job
from batch_scoring.domain.section import Section

FILE = REPOSITORY / "docs" / "job-file.toml"
GUIDE = (REPOSITORY / "docs" / "job-files.md").read_text(encoding="utf-8")


def sections() -> Iterator[tuple[str, type[Section]]]:
    """The sections of a job file with their classes."""
    for name, field in Job.model_fields.items():
        kinds = get_args(field.annotation) if get_origin(field.annotation) in (Union, UnionType) else [field.annotation]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, Section):
                yield name, kind


FIELDS = {f"{section}.{name}": field for section, kind in sections() for name, field in kind.model_fields.items()}


def comments() -> dict[str, str]:
    """The comment above each key; a key that excludes another is commented out itself."""
    found: dict[str, str] = {}
    section = ""
    comment: list[str] = []
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            section, comment = heading[1], []
        elif key := re.match(r"(?:# )?(\w+) = ", line):
            found[f"{section}.{key[1]}"] = " ".join(comment)
            comment = []
        elif line.startswith("# "):
            comment.append(line.removeprefix("# "))
        else:
            comment = []
    return found


def shown(field: FieldInfo) -> Any:
    return field.default_factory() if field.default_factory else field.default  # type: ignore[call-arg]


def test_the_reference_is_a_valid_job() -> None:
    job = read_job(FILE)

    assert job.name == "job-file"
    assert job.schedule is not None


def test_every_key_of_every_section_occurs_in_the_reference() -> None:
    assert list(comments()) == list(FIELDS)


@pytest.mark.parametrize("key", FIELDS)
def test_the_reference_states_the_default_of_each_key(key: str) -> None:
    field, comment = FIELDS[key], comments()[key]

    if field.is_required():
        assert comment.endswith("Required.")
        return
    stated = re.search(r"Default: (.*)\.$", comment)
    assert stated is not None, comment
    default = None if stated[1] == "none" else tomllib.loads(f"default = {stated[1]}")["default"]
    expected = shown(field)
    if isinstance(expected, Section):
        expected = expected.model_dump(exclude_defaults=True)
    assert expected is not PydanticUndefined
    assert (parse_duration(default) if isinstance(expected, timedelta) else default) == expected


def test_every_key_is_explained_in_the_guide() -> None:
    explained = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`[^|]*`) \|", GUIDE, flags=re.MULTILINE))))

    assert {key.partition(".")[2] for key in FIELDS} <= explained
