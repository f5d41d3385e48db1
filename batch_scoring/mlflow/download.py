"""What a URI points to on a tracking server, and its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from batch_scoring.errors import ArtifactMissing, TrackingServerUnavailable
from batch_scoring.mlflow.client import Client
from batch_scoring.mlflow.protocol import Found


def find(client: Client, uri: str) -> Found:
    """What a URI points to.

    Raises NoSuchModel, TrackingServerRefused, TrackingServerUnavailable, ExtraMissing.
    """
    return Found(**client.ask("resolve", about=uri, uri=uri))


@dataclass(frozen=True, slots=True)
class Download:
    """The files of what a URI points to, downloaded one at a time."""

    client: Client
    found: Found
    folder: Path

    def file(self, name: str) -> bytes:
        """Download a file; its size is compared with the one that the server lists.

        Raises ArtifactMissing, NoSuchModel, TrackingServerRefused, TrackingServerUnavailable.
        """
        uri, listed = self.found.uri, self.found.files.get(name)
        if listed is None:
            raise ArtifactMissing(f"{uri} on {self.client.server.shown} has no file {name}; log the model again")
        answer = self.client.ask("download", about=f"{name} of {uri}", uri=uri, file=name, folder=str(self.folder))
        content = Path(answer["path"]).read_bytes()
        if len(content) != listed:
            raise TrackingServerUnavailable(
                f"the download of {name} of {uri} ended after {len(content):,} of {listed:,} bytes; try again"
            )
        return content
