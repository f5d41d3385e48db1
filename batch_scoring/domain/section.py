"""The base of every section of a job file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen record whose keys are all known and whose values are of the declared types, without conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, ser_json_timedelta="float")
