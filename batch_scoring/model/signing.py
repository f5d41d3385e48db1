"""Signatures of manifests: whoever holds the key has seen this model, under this name, with this file.

Ed25519 (RFC 8032) over the name of the model and its manifest as JSON with sorted keys; the manifest has the SHA-256 of
the file. The version number is not signed: it is given by the registry.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.errors import ConfigurationError, ExtraMissing, ManifestNotSigned, Problem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_CONTEXT = b"batch_scoring manifest\0"
_PUBLIC = re.compile(r"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


def sign(name: str, manifest: Mapping[str, Any], key: str) -> tuple[str, str]:
    """Sign a manifest with a private key in PEM; returns the id of the key and the signature in base64.

    Raises ConfigurationError.
    """
    private = _private(key)
    signature = private.sign(_signed_bytes(name, manifest))
    return key_id(private.public_key()), base64.b64encode(signature).decode()


def check_key(key: str) -> None:
    """Check a private key in PEM before something is done that ends in a signature. Raises ConfigurationError."""
    _private(key)


def check_signed(version: ModelVersion, keys: str) -> str:
    """Check that one of a version's signatures is by one of the public keys in PEM; returns the id of that key.

    Raises ManifestNotSigned, ConfigurationError.
    """
    trusted = _public(keys)
    from cryptography.exceptions import InvalidSignature

    content = _signed_bytes(version.name, version.stored_manifest)
    for public in trusted:
        for signature in _decoded(version.signatures):
            try:
                public.verify(signature, content)
            except InvalidSignature:
                continue
            return key_id(public)
    what = "has no signature" if not version.signatures else "was altered, or signed by another key"
    raise ManifestNotSigned(
        f"the manifest of {version.name} version {version.version} {what}, and BATCH_SCORING_TRUSTED_KEYS demands one;"
        f" find out who wrote to the registry, or sign it with `batch-scoring model sign {version.name}"
        f" {version.version}`"
    )


def key_id(key: Ed25519PublicKey) -> str:
    """The first 16 digits of the SHA-256 of a public key's 32 bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _signed_bytes(name: str, manifest: Mapping[str, Any]) -> bytes:
    text = json.dumps({"name": name, "manifest": manifest}, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return _CONTEXT + text.encode()


def _decoded(signatures: Iterable[str]) -> Iterable[bytes]:
    for signature in signatures:
        try:
            yield base64.b64decode(signature, validate=True)
        except ValueError:
            continue


def _private(text: str) -> Ed25519PrivateKey:
    _check_installed()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError) as exc:
        raise _unusable("SIGNING_KEY", "a private key in PEM without a password") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise _unusable("SIGNING_KEY", "a key for Ed25519 (`openssl genpkey -algorithm ed25519`)")
    return key


def _public(text: str) -> list[Ed25519PublicKey]:
    _check_installed()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    found = []
    for block in _PUBLIC.findall(text):
        try:
            key = load_pem_public_key(block.encode())
        except ValueError as exc:
            raise _unusable("TRUSTED_KEYS", "public keys in PEM") from exc
        if not isinstance(key, Ed25519PublicKey):
            raise _unusable("TRUSTED_KEYS", "keys for Ed25519")
        found.append(key)
    if not found:
        raise _unusable("TRUSTED_KEYS", "one or more public keys in PEM")
    return found


def _check_installed() -> None:
    try:
        import cryptography  # noqa: F401
    except ModuleNotFoundError as exc:
        raise ExtraMissing.of("signing", "signatures need") from exc


def _unusable(name: str, expected: str) -> ConfigurationError:
    return ConfigurationError([Problem(where=f"BATCH_SCORING_{name}", key="", message=f"expected {expected}")])
