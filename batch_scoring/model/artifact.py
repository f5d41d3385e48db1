"""The model file: named after its hash, and loaded only if its bytes have the registered hash."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from batch_scoring.domain.manifest import Manifest
from batch_scoring.errors import ArtifactChanged, ArtifactMissing, UnusableModel


@dataclass(frozen=True, kw_only=True, slots=True)
class ArtifactReference:
    """The path of a registered artifact and the SHA-256 that its bytes must have."""

    path: Path
    sha256: str
    folder: Path | None = None
    """The folder that the file must be in, whatever links there are."""

    @property
    def manifest_path(self) -> Path:
        return self.path.with_suffix(".manifest.json")


def dump(model: Any) -> bytes:
    """Serialize a fitted model with joblib."""
    import joblib

    buffer = io.BytesIO()
    joblib.dump(model, buffer, compress=("zlib", 3))
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def artifact_uri(name: str, manifest: Manifest) -> str:
    """The path of an artifact relative to the artifacts folder: the name of its model and its hash."""
    return f"{name}/{manifest.artifact_sha256[:16]}.{manifest.format}"


def save(artifacts_dir: Path, name: str, content: bytes, manifest: Manifest) -> ArtifactReference:
    """Write artifact and manifest atomically: each file is either complete or absent."""
    reference = ArtifactReference(path=artifacts_dir / artifact_uri(name, manifest), sha256=manifest.artifact_sha256)
    reference.path.parent.mkdir(parents=True, exist_ok=True)
    _write_atomically(reference.path, content)
    _write_atomically(reference.manifest_path, (manifest.model_dump_json(indent=2) + "\n").encode())
    return reference


def _write_atomically(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:  # with the permissions that the umask leaves: golden rows are training data
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_verified(reference: ArtifactReference) -> bytes:
    """Read an artifact and verify its SHA-256.

    Raises ArtifactMissing or ArtifactChanged. The bytes returned are those that were hashed.
    """
    with _opened(reference) as file:
        content = file.read(LARGEST)
    found = sha256(content)
    if found != reference.sha256:
        raise _changed(reference, f"SHA-256 {found[:12]}…, registered {reference.sha256[:12]}…")
    return content


LARGEST = 16 * 2**30
"""The largest artifact, in bytes, that is read into memory."""

HASHED_AT_MOST = 4 * 2**20
"""The largest artifact, in bytes, that ``check_in_place`` hashes; hashing it takes some milliseconds."""


def check_in_place(reference: ArtifactReference, size: int | None) -> None:
    """Check an artifact without loading it: a small one by its hash, a large one by its ``size`` in bytes.

    A large file whose size is not known is only opened. Raises ArtifactMissing or ArtifactChanged.
    """
    with _opened(reference) as file:
        found = os.fstat(file.fileno()).st_size
        if found > HASHED_AT_MOST:
            file.read(1)
    if found <= HASHED_AT_MOST:
        read_verified(reference)
    elif size is not None and found != size:
        raise _changed(reference, f"{found:,} bytes, registered {size:,}")


@contextmanager
def _opened(reference: ArtifactReference) -> Iterator[BinaryIO]:
    path = reference.path
    try:
        if not path.exists():
            # a network file system may cache that a file is absent; listing the folder asks the server
            with suppress(OSError):
                list(path.parent.iterdir())
        with os.fdopen(_open_regular(reference), "rb") as file:
            yield file
    except OSError as exc:
        raise ArtifactMissing(
            f"the artifact {path} cannot be read ({exc.strerror}); restore it from a backup,"
            " set BATCH_SCORING_ARTIFACTS_DIR to its folder, or promote another version",
            path=path,
        ) from exc


def _open_regular(reference: ArtifactReference) -> int:
    """A descriptor of the file, if it is a regular one inside its folder. No link is followed, no device opened."""
    parent = reference.path.parent.resolve()
    if reference.folder is not None and not parent.is_relative_to(reference.folder.resolve()):
        raise _changed(reference, f"it is not inside {reference.folder}")
    try:
        descriptor = os.open(parent / reference.path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise _changed(reference, "it is a symbolic link") from None
        raise
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_size <= LARGEST:
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise _changed(reference, f"{found.st_size:,} bytes" if stat.S_ISREG(found.st_mode) else "it is not a regular file")


def _changed(reference: ArtifactReference, difference: str) -> ArtifactChanged:
    return ArtifactChanged(
        f"the artifact {reference.path} is not the registered one ({difference}) and was not loaded; restore it from a"
        " backup or register it as a new version",
        path=reference.path,
    )


def unpickle(content: bytes, artifact_format: str) -> Any:
    """Deserialize a model from verified bytes. Raises UnusableModel where they hold none."""
    try:
        if artifact_format == "skops":
            return _load_skops(content)
        import joblib

        return joblib.load(io.BytesIO(content))
    except UnusableModel:
        raise
    except Exception as exc:
        raise UnusableModel(_not_unpickled(exc)) from exc


_FROM_MAIN = re.compile(r"Can't get attribute '(?P<name>[^']+)' on <module '(?:[^']+\.)?__(?:mp_)?main__'")
_FROM_MODULE = re.compile(r"Can't get attribute '(?P<name>[^']+)' on <module '(?P<module>[^']+)'")


def _not_unpickled(exc: Exception) -> str:
    """The message for a file that cannot be deserialized: the reason and the remedy."""
    text = str(exc)
    if match := _FROM_MAIN.search(text):
        return (
            f"the model uses {match['name']}, which was defined in the script or notebook that saved it (__main__) and"
            " cannot be imported anywhere else; move it to a module, put that module's folder on PYTHONPATH here too"
            f" (or install it), import {match['name']} from it, then fit and save the model again"
        )
    if isinstance(exc, ModuleNotFoundError) and exc.name:
        return (
            f"the model needs the module {exc.name}, which is not installed here; install the package it is in, or put"
            " the folder of your own module on PYTHONPATH, wherever batch-scoring runs"
        )
    if match := _FROM_MODULE.search(text):
        return (
            f"the model uses {match['name']} of the module {match['module']}, and the module installed here has no"
            " such name; install the version of it that the model was saved with, or train the model again"
        )
    return (
        f"the file does not load as a model saved by joblib, pickle or skops ({type(exc).__name__}); save the fitted"
        " model with joblib.dump, in an environment with the same versions of Python and of its libraries"
    )


_TRUSTED_BY_SKOPS = frozenset(
    {
        "numpy.dtype",
        "batch_scoring.model.features.CategoryIndicators",
        "batch_scoring.model.features.DerivedFeatures",
        "batch_scoring.model.scorecard.WeightOfEvidence",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.metrics._scorer._PassthroughScorer",
        "sklearn.model_selection._split.KFold",
        "sklearn.model_selection._split.StratifiedKFold",
        "sklearn.utils._bunch.Bunch",
    }
)
"""Types that a skops file may hold in addition to those that skops trusts: the transformers that ``train`` creates, and
parts of calibrated, searched and stacked models. All are written in Python and only hold values. Compiled types are not
among them, such as those of trees: they do not check the state that they are given, which is used as addresses."""


def _load_skops(content: bytes) -> Any:
    try:
        import skops.io as sio
    except ModuleNotFoundError as exc:
        raise UnusableModel("a .skops artifact needs the extra: pip install 'batch-scoring[skops]'") from exc
    wanted = sio.get_untrusted_types(data=content)
    unknown = [name for name in wanted if name not in _TRUSTED_BY_SKOPS]
    if unknown:
        raise UnusableModel(
            f"the skops file holds types that are not trusted: {', '.join(unknown)}. What is trusted is fixed here and"
            " never read from a file; if you trust the author of this one, save the model with joblib instead"
        )
    return sio.loads(content, trusted=sorted(_TRUSTED_BY_SKOPS))
