"""Artifacts: written whole, and loaded only if their bytes are the registered ones."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io as sio
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, StackingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, PolynomialFeatures, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from batch_scoring.domain.manifest import Manifest
from batch_scoring.errors import ArtifactChanged, ArtifactMissing, ExitCode, UnusableModel, VersionMismatch
from batch_scoring.model.artifact import (
    ArtifactReference,
    artifact_uri,
    dump,
    read_verified,
    save,
    sha256,
    unpickle,
)
from batch_scoring.model.describe import describe
from batch_scoring.model.training import TrainedModel
from batch_scoring.scoring.preparation import load_model

ROWS = pd.DataFrame({"a": np.arange(20.0), "b": np.arange(20.0) % 3})
LABELS = np.arange(20) % 2


def fitted() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, LABELS)


@pytest.fixture(scope="module")
def model() -> Any:
    return fitted()


@pytest.fixture(scope="module")
def content(model: Any) -> bytes:
    return dump(model)


@pytest.fixture(scope="module")
def manifest(model: Any, content: bytes) -> Manifest:
    return describe(model, content, ROWS)


@pytest.fixture
def saved(tmp_path: Path, content: bytes, manifest: Manifest) -> ArtifactReference:
    return save(tmp_path / "artifacts", "late_payment", content, manifest)


class Touches:
    """Unpickling this leaves a file behind."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def dumped_touch(marker: Path) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(Touches(marker), buffer)
    return buffer.getvalue()


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_an_artifact_is_kept_under_its_models_name_and_its_own_hash(
    tmp_path: Path, saved: ArtifactReference, content: bytes, manifest: Manifest
) -> None:
    digest = sha256(content)

    assert artifact_uri("late_payment", manifest) == f"late_payment/{digest[:16]}.joblib"
    assert saved == ArtifactReference(
        path=tmp_path / "artifacts" / "late_payment" / f"{digest[:16]}.joblib", sha256=digest
    )
    assert files_below(tmp_path / "artifacts") == [
        f"late_payment/{digest[:16]}.joblib",
        f"late_payment/{digest[:16]}.manifest.json",
    ]


def test_what_was_saved_is_read_back_and_scores_alike(
    saved: ArtifactReference, content: bytes, manifest: Manifest, model: Any
) -> None:
    read = read_verified(saved)

    assert read == content
    loaded = unpickle(read, manifest.format)
    assert loaded.predict_proba(ROWS).tolist() == model.predict_proba(ROWS).tolist()


def test_the_manifest_beside_an_artifact_reads_back(saved: ArtifactReference, manifest: Manifest) -> None:
    assert Manifest.model_validate_json(saved.manifest_path.read_bytes()) == manifest


def test_others_may_read_an_artifact_and_not_write_it(saved: ArtifactReference) -> None:
    for path in (saved.path, saved.manifest_path):
        assert path.stat().st_mode & 0o777 == 0o644


def test_saving_the_same_artifact_again_changes_nothing(
    tmp_path: Path, saved: ArtifactReference, content: bytes, manifest: Manifest
) -> None:
    again = save(tmp_path / "artifacts", "late_payment", content, manifest)

    assert again == saved
    assert read_verified(again) == content
    assert len(files_below(tmp_path / "artifacts")) == 2


def test_a_damaged_artifact_is_mended_by_saving_it_again(
    tmp_path: Path, saved: ArtifactReference, content: bytes, manifest: Manifest
) -> None:
    saved.path.write_bytes(b"")

    save(tmp_path / "artifacts", "late_payment", content, manifest)

    assert read_verified(saved) == content


def test_a_dotted_model_name_keeps_artifact_and_manifest_together(
    tmp_path: Path, content: bytes, manifest: Manifest
) -> None:
    reference = save(tmp_path, "late.payment-2", content, manifest)

    assert reference.path.parent == reference.manifest_path.parent == tmp_path / "late.payment-2"
    assert read_verified(reference) == content


def test_a_missing_artifact_says_where_it_should_be(saved: ArtifactReference) -> None:
    saved.path.unlink()

    with pytest.raises(ArtifactMissing) as caught:
        read_verified(saved)
    assert str(saved.path) in str(caught.value)
    assert "BATCH_SCORING_ARTIFACTS_DIR" in str(caught.value)
    assert caught.value.exit_code is ExitCode.MODEL_REFUSED


def test_a_folder_in_an_artifacts_place_is_as_good_as_missing(saved: ArtifactReference) -> None:
    saved.path.unlink()
    saved.path.mkdir()

    with pytest.raises(ArtifactMissing):
        read_verified(saved)


@pytest.mark.parametrize("kept", [0, 1, -1])
def test_a_truncated_artifact_is_refused(saved: ArtifactReference, content: bytes, kept: int) -> None:
    saved.path.write_bytes(content[:kept])

    with pytest.raises(ArtifactChanged, match="is not the registered one") as caught:
        read_verified(saved)
    assert caught.value.exit_code is ExitCode.MODEL_REFUSED


@pytest.mark.parametrize("position", [0, 500, -1])
def test_one_byte_changed_is_enough(saved: ArtifactReference, content: bytes, position: int) -> None:
    changed = bytearray(content)
    changed[position] ^= 1
    saved.path.write_bytes(changed)

    with pytest.raises(ArtifactChanged) as caught:
        read_verified(saved)
    assert sha256(bytes(changed))[:12] in str(caught.value)
    assert saved.sha256[:12] in str(caught.value)


def test_one_byte_appended_is_enough(saved: ArtifactReference, content: bytes) -> None:
    saved.path.write_bytes(content + b"\0")

    with pytest.raises(ArtifactChanged):
        read_verified(saved)


def test_a_changed_file_is_never_unpickled(tmp_path: Path, saved: ArtifactReference, manifest: Manifest) -> None:
    marker = tmp_path / "was-unpickled"
    saved.path.write_bytes(dumped_touch(marker))

    with pytest.raises(ArtifactChanged, match="was not loaded"):
        load_model(saved, manifest, allow_version_mismatch=True)
    assert not marker.exists()

    joblib.load(saved.path)
    assert marker.exists()  # so the file would have done it


def test_a_registered_file_of_another_scikit_learn_is_not_unpickled_either(tmp_path: Path, manifest: Manifest) -> None:
    marker = tmp_path / "was-unpickled"
    content = dumped_touch(marker)
    old = manifest.model_copy(update={"artifact_sha256": sha256(content), "scikit_learn_version": "0.24.2"})

    with pytest.raises(VersionMismatch):
        load_model(save(tmp_path, "old", content, old), old, allow_version_mismatch=False)
    assert not marker.exists()


def test_the_hash_is_the_registrys_and_not_that_of_the_file_beside_it(
    tmp_path: Path, saved: ArtifactReference, manifest: Manifest
) -> None:
    other = dump(LogisticRegression().fit(ROWS, LABELS))
    saved.path.write_bytes(other)
    forged = manifest.model_copy(update={"artifact_sha256": sha256(other)})
    saved.manifest_path.write_text(forged.model_dump_json())

    with pytest.raises(ArtifactChanged):
        read_verified(saved)


def test_a_write_that_fails_leaves_no_part_of_an_artifact(
    tmp_path: Path, content: bytes, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, "late_payment", content, manifest)
    assert files_below(tmp_path) == []


def test_a_write_that_cannot_take_its_place_leaves_no_part_of_an_artifact(
    tmp_path: Path, content: bytes, manifest: Manifest
) -> None:
    in_the_way = tmp_path / artifact_uri("late_payment", manifest)
    in_the_way.mkdir(parents=True)

    with pytest.raises(OSError, match="directory"):
        save(tmp_path, "late_payment", content, manifest)
    assert files_below(tmp_path) == []


def test_a_write_that_is_interrupted_leaves_the_artifact_that_was_there(
    saved: ArtifactReference, content: bytes, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)

    with pytest.raises(KeyboardInterrupt):
        save(saved.path.parent.parent, "late_payment", content, manifest)
    assert read_verified(saved) == content
    assert len(files_below(saved.path.parent)) == 2


@pytest.mark.parametrize("broken", [b"", b"no pickle", b"\x80\x05."])
def test_bytes_that_hold_no_model_are_unusable(broken: bytes) -> None:
    with pytest.raises(UnusableModel, match="does not load as a model") as caught:
        unpickle(broken, "joblib")
    assert caught.value.exit_code is ExitCode.MODEL_REFUSED


def test_a_model_whose_code_is_not_installed_is_unusable_and_says_what_is_missing() -> None:
    gone = pickle.dumps(Touches(Path("x"))).replace(b"pathlib", b"pathlob")

    with pytest.raises(UnusableModel, match="the model needs the module pathlob, which is not installed here"):
        unpickle(gone, "joblib")


def test_a_skops_artifact_is_saved_read_and_scores_alike(tmp_path: Path, model: Any) -> None:
    content = sio.dumps(model)
    manifest = describe(model, content, ROWS, artifact_format="skops")

    reference = save(tmp_path, "late_payment", content, manifest)

    assert reference.path.suffix == ".skops"
    loaded, differs = load_model(reference, manifest, allow_version_mismatch=False)
    assert differs is None
    assert loaded.predict_proba(ROWS).tolist() == model.predict_proba(ROWS).tolist()


def test_a_changed_skops_artifact_is_refused(tmp_path: Path, model: Any) -> None:
    content = sio.dumps(model)
    reference = save(tmp_path, "late_payment", content, describe(model, content, ROWS, artifact_format="skops"))
    reference.path.write_bytes(content + b"\0")

    with pytest.raises(ArtifactChanged):
        read_verified(reference)


def test_a_pipeline_that_train_made_can_be_kept_as_skops(loan_model: TrainedModel) -> None:
    loaded = unpickle(sio.dumps(loan_model.pipeline), "skops")

    expected = loan_model.pipeline.predict_proba(loan_model.features)
    assert np.abs(loaded.predict_proba(loan_model.features) - expected).max() <= 1e-12


class Stranger(LogisticRegression):  # type: ignore[misc]  # scikit-learn has no types
    """A type that skops does not know."""


def test_a_skops_file_with_a_type_that_is_not_trusted_is_refused_and_names_it() -> None:
    content = sio.dumps(Stranger().fit(ROWS, LABELS))

    with pytest.raises(UnusableModel, match=r"types that are not trusted: \S*Stranger"):
        unpickle(content, "skops")


ACCEPTED = {
    "logistic": LogisticRegression,
    "SGD": lambda: SGDClassifier(loss="log_loss"),
    "naive Bayes": GaussianNB,
    "support vectors": SVC,
    "calibrated": lambda: CalibratedClassifierCV(LinearSVC(), cv=2),
    "searched": lambda: GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2),
    "stacked": lambda: StackingClassifier([("one", LogisticRegression())], cv=2),
    "pipeline": lambda: make_pipeline(SimpleImputer(), StandardScaler(), PolynomialFeatures(), LogisticRegression()),
    "binned": lambda: make_pipeline(
        KBinsDiscretizer(n_bins=2, encode="onehot-dense", quantile_method="averaged_inverted_cdf"), GaussianNB()
    ),
}
REFUSED = {
    "a tree": (DecisionTreeClassifier, "sklearn.tree._tree.Tree"),
    "a forest": (lambda: RandomForestClassifier(n_estimators=2), "sklearn.tree._tree.Tree"),
    "boosting": (lambda: HistGradientBoostingClassifier(max_iter=2), "TreePredictor"),
    "neighbours": (lambda: KNeighborsClassifier(n_neighbors=1), "KDTree"),
}


def _numbers() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    rows = np.abs(rng.normal(size=(60, 3)))
    return rows, (rows[:, 0] > 0.6).astype(int)


@pytest.mark.parametrize("what", ACCEPTED)
def test_a_model_that_skops_can_hold_scores_alike(what: str) -> None:
    rows, labels = _numbers()
    model = ACCEPTED[what]().fit(rows, labels)
    assert unpickle(sio.dumps(model), "skops").predict(rows).tolist() == model.predict(rows).tolist()


@pytest.mark.parametrize("what", REFUSED)
def test_a_model_with_compiled_parts_is_refused_as_skops(what: str) -> None:
    make, named = REFUSED[what]
    with pytest.raises(UnusableModel, match=rf"types that are not trusted: .*{named}.* save the model with joblib"):
        unpickle(sio.dumps(make().fit(*_numbers())), "skops")


def test_a_pickle_that_is_called_skops_is_not_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "was-unpickled"

    with pytest.raises(UnusableModel):
        unpickle(dumped_touch(marker), "skops")
    assert not marker.exists()
