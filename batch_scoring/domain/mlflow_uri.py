"""URIs of models in MLflow: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``runs:/RUN/NAME``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_MODELS = re.compile(r"models:/(?P<name>[^/:@\s]+)(?:@(?P<alias>[^/:@\s]+)|/(?P<version>[1-9][0-9]{0,8}))")
_RUNS = re.compile(r"runs:/(?P<run>[0-9A-Za-z_-]+)/(?P<name>[^/:@\s]+)")
_WITHOUT_VERSION = re.compile(r"models:/[^/:@\s]+/?([^/:@\s]*)")

EXPECTED = "expected models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN_ID/NAME"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelUri:
    """A parsed URI."""

    text: str
    name: str
    """The name of the registered model, or of the model of a run."""
    alias: str | None = None
    version: str | None = None
    run_id: str | None = None

    @classmethod
    def parse(cls, text: str) -> ModelUri:
        """Parse a URI. Raises ValueError, which says what is expected."""
        if found := _MODELS.fullmatch(text):
            return cls(text=text, name=found["name"], alias=found["alias"], version=found["version"])
        if found := _RUNS.fullmatch(text):
            return cls(text=text, name=found["name"], run_id=found["run"])
        if found := _WITHOUT_VERSION.fullmatch(text):
            named = found[1]
            if named == "latest":
                raise ValueError(f"{EXPECTED}; latest moves with every registration, an alias when somebody moves it")
            if named:
                raise ValueError(f"{EXPECTED}; MLflow 3 has aliases in place of the stage {named}")
        raise ValueError(EXPECTED)

    def pinned(self, version: str | None) -> str:
        """The URI of what it points to now, which never points to anything else."""
        return self.text if self.alias is None else f"models:/{self.name}/{version}"


def check(text: str) -> str:
    """The URI itself. Raises ValueError where it is none."""
    return ModelUri.parse(text).text


def name_of(text: Any) -> str | None:
    """The name in a URI; None where it is none."""
    try:
        return ModelUri.parse(text).name if isinstance(text, str) else None
    except ValueError:
        return None
