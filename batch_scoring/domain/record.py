"""The base of values that are stored as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen value whose JSON form has no fields but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")
