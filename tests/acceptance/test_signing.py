"""Signed manifests: where keys are trusted, nothing else is loaded, and what was altered after signing is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import facts
import joblib
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from facts import COUNT, command, fitted, refused, sample
from support import Workspace


def pair(key: Any = None) -> tuple[str, str]:
    """A private and a public key in PEM."""
    key = key or Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return private, public


PRIVATE, PUBLIC = pair()
OTHER_PRIVATE, OTHER_PUBLIC = pair()


def trusting(workspace: Workspace, *public: str) -> Workspace:
    """The workspace where these keys are trusted."""
    workspace.environ["BATCH_SCORING_TRUSTED_KEYS"] = "".join(public)
    return workspace


def register(workspace: Workspace, *options: str, key: str | None = PRIVATE) -> facts.Done:
    """Register the model of the facts from a file, signed if there is a key."""
    sample().to_csv(workspace.folder / "sample.csv", index=False)
    joblib.dump(fitted(), workspace.folder / "model.joblib")
    if key is not None:
        (workspace.folder / "key.pem").write_text(key, encoding="utf-8")
        workspace.environ["BATCH_SCORING_SIGNING_KEY_FILE"] = str(workspace.folder / "key.pem")
    try:
        return command(
            workspace,
            *("model", "register", str(workspace.folder / "model.joblib"), "--name", "facts"),
            *("--sample", str(workspace.folder / "sample.csv"), *options),
        )
    finally:
        workspace.environ.pop("BATCH_SCORING_SIGNING_KEY_FILE", None)


@pytest.fixture
def ready(workspace: Workspace) -> Workspace:
    """The facts with their job, and a model whose version 1 nobody has signed."""
    return facts.prepare(workspace)


def test_a_model_without_signature_is_refused_where_keys_are_trusted(ready: Workspace) -> None:
    trusting(ready, PUBLIC)
    for arguments in (("run", "facts"), ("model", "verify", "facts"), ("model", "promote", "facts", "1")):
        refused(command(ready, *arguments), 3, "has no signature", "model sign facts 1")
    assert ready.scalar("SELECT count(*) FROM predictions") == 0
    assert command(ready, "check").returncode == 3

    ready.environ["BATCH_SCORING_SIGNING_KEY"] = PRIVATE
    assert "is signed (1 in all)" in command(ready, "model", "sign", "facts", "1").stdout
    assert command(ready, "run", "facts").returncode == 0
    assert ready.scalar("SELECT count(*) FROM predictions") == COUNT


def test_a_model_is_signed_when_it_is_registered(ready: Workspace) -> None:
    done = register(ready, "--alias", "champion")
    assert done.returncode == 0, done.stderr
    trusting(ready, OTHER_PUBLIC, PUBLIC)
    assert command(ready, "run", "facts").returncode == 0
    assert ready.query("SELECT DISTINCT model_version FROM predictions") == [(2,)]
    assert "signatures     1" in command(ready, "model", "show", "facts", "2").stdout.replace("  " * 3, "     ")

    trusting(ready, OTHER_PUBLIC)
    refused(command(ready, "run", "facts"), 3, "was altered, or signed by another key")


ALTERED = {
    "a label": ("labels", ["yes", "no"]),
    "a threshold": ("decision", {"label": "yes", "threshold": 0.1}),
    "golden rows": ("golden", {"rows": [], "outputs": []}),
    "the hash": ("artifact_sha256", "0" * 64),
}


@pytest.mark.parametrize("what", ALTERED)
def test_what_was_altered_after_signing_is_refused(ready: Workspace, what: str) -> None:
    assert register(ready, "--alias", "champion").returncode == 0
    trusting(ready, PUBLIC)
    (stored,) = ready.query("SELECT manifest FROM model_versions WHERE version = 2")
    manifest = stored[0] if isinstance(stored[0], dict) else json.loads(stored[0])
    key, value = ALTERED[what]
    changed = json.dumps({**manifest, key: value})
    ready.sql("UPDATE model_versions SET manifest = :manifest WHERE version = 2", {"manifest": changed})
    refused(command(ready, "run", "facts"), 3, "was altered, or signed by another key")
    assert ready.scalar("SELECT count(*) FROM predictions") == 0


def test_a_signature_does_not_fit_a_model_of_another_name(ready: Workspace) -> None:
    assert register(ready, "--alias", "champion").returncode == 0
    trusting(ready, PUBLIC)
    columns = "artifact_uri, artifact_sha256, manifest, created_at, created_by, database_user"
    ready.sql(
        f"INSERT INTO model_versions (name, version, {columns}) SELECT 'other', 1, {columns} FROM model_versions"
        " WHERE version = 2"
    )
    columns = "key_id, signature, signed_at, signed_by, database_user"
    ready.sql(
        f"INSERT INTO model_signatures (name, version, number, {columns}) SELECT 'other', 1, 1, {columns}"
        " FROM model_signatures WHERE version = 2"
    )
    refused(command(ready, "model", "verify", "other", "1"), 3, "was altered, or signed by another key")


def test_a_malicious_file_is_not_unpickled_where_its_manifest_is_not_signed(ready: Workspace, tmp_path: Path) -> None:
    import pickle

    from batch_scoring.model.artifact import sha256

    mark = tmp_path / "ran"
    ((uri,),) = ready.query("SELECT artifact_uri FROM model_versions")
    content = pickle.dumps(_Touches(mark))
    (ready.artifacts_dir / uri).write_bytes(content)
    manifest = json.dumps(json.loads((ready.artifacts_dir / uri).with_suffix(".manifest.json").read_text()))
    ((old,),) = ready.query("SELECT artifact_sha256 FROM model_versions")
    renamed = uri.replace(old[:16], sha256(content)[:16])
    (ready.artifacts_dir / uri).rename(ready.artifacts_dir / renamed)
    ready.sql(
        "UPDATE model_versions SET artifact_uri = :uri, artifact_sha256 = :hash, manifest = :manifest",
        {"uri": renamed, "hash": sha256(content), "manifest": manifest.replace(old, sha256(content))},
    )
    trusting(ready, PUBLIC)
    refused(command(ready, "model", "verify", "facts"), 3, "has no signature")
    assert not mark.exists()


class _Touches:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("TRUSTED_KEYS", "nothing", "one or more public keys in PEM"),
        ("TRUSTED_KEYS", pair(generate_private_key(SECP256R1()))[1], "keys for Ed25519"),
        ("SIGNING_KEY", "nothing", "a private key in PEM"),
        ("SIGNING_KEY", pair(generate_private_key(SECP256R1()))[0], "a key for Ed25519"),
        ("SIGNING_KEY", PUBLIC, "a private key in PEM"),
    ],
)
def test_a_key_that_is_none_is_a_fault_of_the_settings(ready: Workspace, name: str, text: str, message: str) -> None:
    ready.environ[f"BATCH_SCORING_{name}"] = text
    arguments = ("run", "facts") if name == "TRUSTED_KEYS" else ("model", "sign", "facts", "1")
    done = command(ready, *arguments)
    refused(done, 2, message)
    assert text not in done.stderr


def test_a_key_file_that_is_missing_is_named(ready: Workspace) -> None:
    ready.environ["BATCH_SCORING_TRUSTED_KEYS_FILE"] = "/no/such/keys.pem"
    refused(command(ready, "run", "facts"), 2, "/no/such/keys.pem cannot be read")
    del ready.environ["BATCH_SCORING_TRUSTED_KEYS_FILE"]
    refused(command(ready, "model", "sign", "facts", "1"), 2, "no key is set")


def test_a_key_that_is_none_registers_nothing(ready: Workspace) -> None:
    refused(register(ready, key="nothing"), 2, "a private key in PEM")
    assert ready.scalar("SELECT count(*) FROM model_versions") == 1


def test_without_the_extra_a_command_says_which_one(ready: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    trusting(ready, PUBLIC)
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    refused(command(ready, "run", "facts"), 2, "pip install 'batch-scoring[signing]'")
    ready.environ["BATCH_SCORING_SIGNING_KEY"] = PRIVATE
    refused(command(ready, "model", "sign", "facts", "1"), 2, "pip install 'batch-scoring[signing]'")
