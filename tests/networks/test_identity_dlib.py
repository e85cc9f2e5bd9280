"""dlib's embedder: what it is shown, unit vectors, how its absence is told; a stand-in of dlib."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from aubench.datasets.alignment import TEMPLATE
from aubench.errors import AubenchError
from aubench.networks.external_weights import MissingWeightsError
from aubench.networks.identity import load_identity
from aubench.networks.identity.dlib_resnet import CHIP, LEFT, SIZE, TOP, load_dlib

EYES = np.array([[0.2273, 0.2214], [0.7528, 0.2212]])
"""Of dlib's mean face, to which a quarter of padding is added."""


@pytest.fixture
def dlib(monkeypatch):
    """dlib as far as it is used: it keeps what it is shown."""
    shown = []

    class Model:
        def __init__(self, path):
            if Path(path).read_bytes()[:4] != b"dlib":
                raise RuntimeError("Unexpected version found while deserializing")

        def compute_face_descriptor(self, face):
            assert face.shape == (CHIP, CHIP, 3) and face.dtype == np.uint8
            shown.append(face)
            return list(face.reshape(-1, 3).mean(0)) + [1.0] * 125

    module = types.ModuleType("dlib")
    module.face_recognition_model_v1, module.__version__ = Model, "20.0"
    monkeypatch.setitem(sys.modules, "dlib", module)
    return shown


def test_eyes_lie_where_dlib_has_them():
    ours = TEMPLATE[:2] * SIZE - (LEFT, TOP)
    theirs = (EYES + 0.25) / 1.5 * CHIP
    assert np.abs(ours - theirs).max() < 0.75


def test_embeddings_are_unit_vectors_and_the_same_alone(dlib, tmp_path):
    file = tmp_path / "model.dat"
    file.write_bytes(b"dlib weights")
    found = load_dlib(file=file)
    images = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3)).astype(np.uint8)
    vectors = found.embeddings(images)
    assert vectors.shape == (3, 128) and found.id.startswith("dlib-resnet@")
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(found.embeddings(images[1:2]), vectors[1:2])
    file.write_bytes(b"else")
    with pytest.raises(AubenchError, match="does not hold dlib-resnet"):
        load_dlib(file=file)


def test_what_is_missing_is_named_with_its_remedy(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "dlib", None)
    (tmp_path / "model.dat").write_bytes(b"dlib")
    with pytest.raises(MissingWeightsError, match=r"pip install .aubench\[photographs\]"):
        load_dlib(file=tmp_path / "model.dat")
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path))
    with pytest.raises(MissingWeightsError, match="weights fetch dlib-resnet"):
        load_identity("dlib-resnet")
