"""What the process does that imports MLflow's client, see ``client`` and ``protocol``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path, PurePosixPath
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


def _log_training(
    experiment: str,
    run_name: str,
    params: dict[str, str],
    metrics: dict[str, float],
    tags: dict[str, str],
    dataset: dict[str, str],
    files: str,
    model: str,
    name: str,
    sha256: str,
    card: str,
    alias: str | None,
) -> dict[str, Any]:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException

    client = MlflowClient()
    experiment_id = _experiment(client, experiment)
    run = client.create_run(experiment_id, run_name=run_name, tags=tags)
    run_id = run.info.run_id
    status = "FAILED"
    try:
        _log(client, run_id, params, metrics)
        client.log_inputs(run_id, datasets=[_dataset(dataset, "training")])
        client.log_artifacts(run_id, files)
        logged = client.create_logged_model(
            experiment_id, name=name, source_run_id=run_id, params=params, model_type="sklearn"
        )
        client.log_outputs(run_id, models=[LoggedModelOutput(model_id=logged.model_id, step=0)])
        _note_model_id(model, logged.model_id, run_id)
        client.log_model_artifacts(logged.model_id, model)
        client.finalize_logged_model(logged.model_id, "READY")
        try:
            client.create_registered_model(name)
        except MlflowException as exc:
            if exc.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        version = client.create_model_version(
            name,
            source=f"models:/{logged.model_id}",
            run_id=run_id,
            model_id=logged.model_id,
            tags={SHA256_TAG: sha256},
            description=card[:_LONGEST_DESCRIPTION],
        )
        if alias is not None:
            client.set_registered_model_alias(name, alias, version.version)
        status = "FINISHED"
    finally:
        client.set_terminated(run_id, status)
    return {"uri": f"models:/{name}/{version.version}", "run_id": run_id, "model_id": logged.model_id}


_LONGEST_DESCRIPTION = 100_000
"""Characters of a version's description that MLflow takes, on every database."""


def _note_model_id(folder: str, model_id: str, run_id: str) -> None:
    """Write into MLmodel which logged model it is, as MLflow does when it logs one itself."""
    import yaml

    path = Path(folder) / "MLmodel"
    content = yaml.safe_load(path.read_bytes())
    path.write_text(yaml.safe_dump({**content, "model_id": model_id, "run_id": run_id}), encoding="utf-8")


def _log_run(
    experiment: str,
    run_name: str,
    start: int,
    end: int,
    status: str,
    params: dict[str, str],
    metrics: dict[str, float],
    tags: dict[str, str],
    dataset: dict[str, str],
    model_id: str | None,
) -> dict[str, Any]:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModelInput

    client = MlflowClient()
    run = client.create_run(_experiment(client, experiment), start_time=start, run_name=run_name, tags=tags)
    run_id = run.info.run_id
    _log(client, run_id, params, metrics)
    models = [] if model_id is None else [LoggedModelInput(model_id=model_id)]
    client.log_inputs(run_id, datasets=[_dataset(dataset, "scoring")], models=models)
    client.set_terminated(run_id, status, end_time=end)
    return {"run_id": run_id}


def _experiment(client: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException:
        found = client.get_experiment_by_name(name)  # another process created it
        if found is None:
            raise
        return str(found.experiment_id)


def _log(client: Any, run_id: str, params: dict[str, str], metrics: dict[str, float]) -> None:
    from time import time

    from mlflow.entities import Metric, Param

    now = int(time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
        params=[Param(name, value) for name, value in params.items()],
    )


def _dataset(values: dict[str, str], context: str) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return DatasetInput(dataset=Dataset(**values), tags=[InputTag("mlflow.data.context", context)])


_HANDLERS: dict[str, Callable[..., dict[str, Any]]] = {
    "resolve": _resolve,
    "download": _download,
    "log_training": _log_training,
    "log_run": _log_run,
}

_CODES: dict[str, Fault] = {
    "RESOURCE_DOES_NOT_EXIST": "missing",
    "INVALID_PARAMETER_VALUE": "missing",  # an alias that there is not
    "NOT_FOUND": "missing",
    "UNAUTHENTICATED": "denied",
    "PERMISSION_DENIED": "denied",
}
_FIRST_ERROR, _NOT_FOUND = 400, 404

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
    return ("missing" if status == _NOT_FOUND else "unavailable"), status
