"""The tracking server: its address, and the settings under which MLflow's client waits for it and prints nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from urllib.parse import urlsplit

from batch_scoring.domain.job import Job
from batch_scoring.errors import ConfigurationError, ExtraMissing, Problem

VARIABLE = "MLFLOW_TRACKING_URI"

_LONGEST = 255
_USER_INFO = re.compile(r"//[^/]*@")

_CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""By default the client waits for 20 minutes, prints to standard output and reports its use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A tracking server, which has the model registry too."""

    uri: str = field(repr=False)
    """As MLflow takes it; it may hold a password."""

    @property
    def shown(self) -> str:
        """The URI without user, password and parameters: how it is recorded and shown."""
        return _USER_INFO.sub("//", re.split(r"[?#]", self.uri)[0])

    def environ(self, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The environment of a process that uses the client."""
        registry = environ.get("MLFLOW_REGISTRY_URI", self.uri)
        return {**environ, **_CLIENT_SETTINGS, VARIABLE: self.uri, "MLFLOW_REGISTRY_URI": registry}


def server_of(job: Job, environ: Mapping[str, str] = os.environ) -> Server:
    """The tracking server of a job. MLflow's own default, a file in the current folder, is never used.

    Raises ConfigurationError where none is named, ExtraMissing where MLflow's client is not installed.
    """
    uri = job.mlflow.tracking_uri or environ.get(VARIABLE)
    where = f"job {job.name}"
    if not uri:
        message = f"expected the URI of the tracking server, such as http://mlflow:5000, here or in {VARIABLE}"
        raise ConfigurationError([Problem(where=where, key="mlflow.tracking_uri", message=message)])
    try:
        server = Server(uri=uri)
        is_usable = (bool(urlsplit(uri).scheme) or uri == "databricks") and len(server.shown) <= _LONGEST
    except ValueError:
        is_usable = False
    if not is_usable:
        message = f"is not a URI such as http://mlflow:5000 of at most {_LONGEST} characters"  # it may be a secret
        raise ConfigurationError([Problem(where=where, key="mlflow.tracking_uri", message=message)])
    check_extra()
    return server


def check_extra() -> None:
    """Raise ExtraMissing where MLflow's client is not installed. Imports nothing."""
    if find_spec("mlflow") is None:
        raise ExtraMissing.of("mlflow", "MLflow needs")
