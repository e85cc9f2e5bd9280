"""Facenet: a file of the published layout, scaled pixels, damage; the package is a stand-in."""

import sys

import numpy as np
import pytest
import torch
from facenet_stand import InceptionResnetV1, put_in_place

from aubench.errors import AubenchError
from aubench.networks.identity import identity_of, load_identity
from aubench.networks.identity.facenet import Facenet, load_facenet


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A file laid out as the published one, classifier included."""
    put_in_place(monkeypatch)
    torch.manual_seed(0)
    model = Facenet(8631)
    path = tmp_path / "20180402-114759-vggface2.pt"
    torch.save(model.network.state_dict(), path)
    return path


def faces(count=3, side=160):
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


def test_embeddings_are_those_of_the_network_on_pixels_scaled_as_its_publisher_does(published):
    found = load_facenet("facenet-vggface2", file=published)
    network = InceptionResnetV1(classify=False, num_classes=8631).eval()
    state = torch.load(published, weights_only=True)
    assert state["logits.weight"].shape == (8631, 512)
    network.load_state_dict({k: v for k, v in state.items() if not k.startswith("logits.")})
    pixels = torch.from_numpy(faces()).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        expected = network((pixels - 127.5) / 128.0).numpy()
    value = found.embeddings(faces())
    assert value.shape == (3, 512)
    np.testing.assert_allclose(value, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(value, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found.embeddings(faces()[1:2]), value[1:2], atol=1e-6)
    assert "160px" in found.id and "facenet-vggface2@" in found.id


def test_foreign_and_damaged_files_are_refused(published, tmp_path):
    with pytest.raises(AubenchError, match="does not hold facenet-casia-webface"):
        load_facenet("facenet-casia-webface", file=published)
    short = tmp_path / "short.pt"
    short.write_bytes(published.read_bytes()[:100_000])
    with pytest.raises(AubenchError, match=r"short\.pt does not hold"):
        load_facenet("facenet-vggface2", file=short)


def test_without_the_package_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)
    with pytest.raises(AubenchError, match="pip install --no-deps facenet-pytorch"):
        Facenet(8631)


def test_missing_weights_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path))
    with pytest.raises(AubenchError, match="weights fetch facenet-vggface2"):
        load_identity("facenet-vggface2")
    with pytest.raises(AubenchError, match="did you mean"):
        load_identity("facenet-vggface")
    assert identity_of("synfacs") == "nano-id" and identity_of("bp4d") == "dlib-resnet"
