"""Facenet: the published file's layout with random weights, the package's own numbers, damage."""

import numpy as np
import pytest
import torch

from aubench.errors import AubenchError
from aubench.identity import identity_of, load_identity
from aubench.identity.facenet import Facenet, load_facenet


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file with the names and shapes of the published one, classifier included."""
    torch.manual_seed(0)
    model = Facenet(8631)
    path = tmp_path_factory.mktemp("weights") / "20180402-114759-vggface2.pt"
    torch.save(model.network.state_dict(), path)
    return path


def faces(count=3, side=160):
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


def test_embeddings_are_those_of_the_package(published):
    from facenet_pytorch import InceptionResnetV1
    from facenet_pytorch.models.mtcnn import fixed_image_standardization

    found = load_facenet("facenet-vggface2", file=published)
    network = InceptionResnetV1(classify=False, num_classes=8631).eval()
    state = torch.load(published, weights_only=True)
    assert state["logits.weight"].shape == (8631, 512)
    network.load_state_dict({k: v for k, v in state.items() if not k.startswith("logits.")})
    pixels = torch.from_numpy(faces()).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        expected = network(fixed_image_standardization(pixels)).numpy()
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


def test_missing_weights_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path))
    with pytest.raises(AubenchError, match="weights fetch facenet-vggface2"):
        load_identity("facenet-vggface2")
    with pytest.raises(AubenchError, match="did you mean"):
        load_identity("facenet-vggface")
    assert identity_of("synfacs") == "nano-id" and identity_of("bp4d") == "facenet-vggface2"
