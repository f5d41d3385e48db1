"""Finding and downloading the files of a model."""

from __future__ import annotations

from pathlib import Path

from batch_scoring.errors import ArtifactMissing, TrackingServerUnavailable
from batch_scoring.mlflow.client import Client
from batch_scoring.mlflow.protocol import Found


def resolve(client: Client, uri: str) -> Found:
    """What a URI points to.

    Raises NoSuchModel, TrackingServerRefused, TrackingServerUnavailable, ExtraMissing.
    """
    return Found(**client.ask("resolve", about=uri, uri=uri))


def download(client: Client, found: Found, file: str, folder: Path) -> Path:
    """Download a file to a folder; its size is compared with the one that the server lists.

    Raises ArtifactMissing, NoSuchModel, TrackingServerRefused, TrackingServerUnavailable.
    """
    listed = found.files.get(file)
    if listed is None:
        raise ArtifactMissing(f"{found.uri} on {client.server.shown} has no file {file}; log the model again")
    answer = client.ask("download", about=f"{file} of {found.uri}", uri=found.uri, file=file, folder=str(folder))
    path = Path(answer["path"])
    size = path.stat().st_size
    if size != listed:
        raise TrackingServerUnavailable(
            f"the download of {file} of {found.uri} ended after {size:,} of {listed:,} bytes; try again"
        )
    return path
