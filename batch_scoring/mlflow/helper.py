"""The process that imports MLflow's client: ``python -m batch_scoring.mlflow.helper``. See ``protocol``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any, TextIO

from batch_scoring.domain.mlflow_uri import ModelUri
from batch_scoring.mlflow.protocol import SHA256_TAG, Fault, Found


def main() -> None:
    """Answer requests from standard input until it ends, or until one fails."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    silence = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):  # libraries print there, and quote what the server said
        os.dup2(silence, descriptor)
    try:
        _note_statuses()
        for line in sys.stdin:
            request = json.loads(line)
            _answer(answers, _HANDLERS[request.pop("do")](**request))
    except ModuleNotFoundError:
        _answer(answers, {"fault": "extra"})
    except Exception as exc:
        fault, status = _fault(exc)
        _answer(answers, {"fault": fault, "status": status})


def _answer(answers: TextIO, value: dict[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def _resolve(uri: str) -> dict[str, Any]:
    from mlflow import MlflowClient
    from mlflow.artifacts import list_artifacts

    parsed, client = ModelUri.parse(uri), MlflowClient()
    version = None
    if parsed.alias is not None:
        version = client.get_model_version_by_alias(parsed.name, parsed.alias)
    elif parsed.version is not None:
        version = client.get_model_version(parsed.name, parsed.version)
    number = None if version is None else str(version.version)
    pinned = parsed.pinned(number)
    files = {
        PurePosixPath(file.path).name: int(file.file_size or 0)
        for file in list_artifacts(artifact_uri=pinned)
        if not file.is_dir
    }
    found = Found(
        uri=pinned,
        mlflow_version=number,
        mlflow_run_id=parsed.run_id if version is None else version.run_id,
        mlflow_model_id=None if version is None else _model_id(version),
        sha256=None if version is None else version.tags.get(SHA256_TAG),
        files=files,
    )
    return asdict(found)


def _model_id(version: Any) -> str | None:
    source = str(version.source or "")
    return version.model_id or (source.removeprefix("models:/") if source.startswith("models:/m-") else None)


def _download(uri: str, file: str, folder: str) -> dict[str, Any]:
    from mlflow.artifacts import download_artifacts

    return {"path": download_artifacts(artifact_uri=f"{uri}/{file}", dst_path=folder)}


_HANDLERS: dict[str, Callable[..., dict[str, Any]]] = {"resolve": _resolve, "download": _download}

_CODES: dict[str, Fault] = {
    "RESOURCE_DOES_NOT_EXIST": "missing",
    "INVALID_PARAMETER_VALUE": "missing",  # an alias that there is not
    "NOT_FOUND": "missing",
    "UNAUTHENTICATED": "denied",
    "PERMISSION_DENIED": "denied",
}
_STATUSES: dict[int, Fault] = {404: "missing"}
_FIRST_ERROR = 400

_statuses: list[int] = []
"""Of the answers so far. MLflow's errors do not tell, where a proxy answered."""


def _note_statuses() -> None:
    import requests

    send = requests.Session.send

    def noting(self: requests.Session, request: Any, **options: Any) -> Any:
        response = send(self, request, **options)
        _statuses.append(response.status_code)
        return response

    requests.Session.send = noting  # type: ignore[method-assign]


def _fault(exc: Exception) -> tuple[Fault, int | None]:
    """What went wrong, and the status of the server's last answer, if that was an error."""
    status = _statuses[-1] if _statuses and _statuses[-1] >= _FIRST_ERROR else None
    if status in (401, 403):
        return "denied", status
    code = str(getattr(exc, "error_code", ""))
    if code in _CODES:
        return _CODES[code], status
    return ("unavailable" if status is None else _STATUSES.get(status, "unavailable")), status


if __name__ == "__main__":
    main()
