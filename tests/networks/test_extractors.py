"""CLIP and DINOv2 as extractors: of the true shape with random weights, strict, never replaced."""

import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from aubench.errors import AubenchError
from aubench.networks import external_weights as weights
from aubench.networks.extractors import vision_transformers
from aubench.networks.extractors.registry import load_extractor, names
from aubench.networks.extractors.vision_transformers import DinoV2, clip_network, dinov2_network

VITS = [name for name in names() if name.startswith(("clip", "dinov2"))]


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """Extractors are remembered by name; random ones must not be. Few images fill a batch."""
    load_extractor.cache_clear()
    monkeypatch.setattr("aubench.networks.extractors.extractor.MICRO_BATCH", 3)
    yield
    load_extractor.cache_clear()


def faces(n, side, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, side, side, 3)).astype(np.uint8)


def randomised(network, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.05)
    return network


@pytest.mark.parametrize("name", VITS)
def test_missing_weights_are_named_and_never_replaced(name, tmp_path, monkeypatch):
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path))
    with pytest.raises(weights.MissingWeightsError, match=f"weights fetch {name}"):
        load_extractor(name)
    row = weights.entry(name)
    assert len(row.sha256) == 64 and row.sources[0]["url"].startswith("https://")
    (tmp_path / "weights").mkdir()
    weights.place(name).write_bytes(b"something else")
    with pytest.raises(AubenchError, match="digest"):
        load_extractor(name)


def test_an_unknown_extractor_is_named_with_the_nearest():
    with pytest.raises(AubenchError, match="did you mean 'dinov2-vit-b-14'"):
        load_extractor("dinov2-vitb-14")


@pytest.fixture
def dino(tmp_path, monkeypatch):
    """A file of ViT-S/14 as published, of random weights."""
    network = randomised(DinoV2(384, 12, 6), 1)
    file = tmp_path / "dinov2.pth"
    torch.save(network.state_dict(), file)
    monkeypatch.setattr(weights, "path", lambda name: file)
    return file


def plain_dinov2(state, pixels, heads=6):
    """The same network in plain sums, for one size: 16 patches a side."""
    width = state["norm.weight"].numel()

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(x, name):
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    cut = pixels.unfold(2, 14, 14).unfold(3, 14, 14).permute(0, 2, 3, 1, 4, 5).reshape(-1, 256, 588)
    kernel = state["patch_embed.proj.weight"].reshape(width, 588)
    tokens = cut @ kernel.T + state["patch_embed.proj.bias"]
    plane = state["pos_embed"][:, 1:].reshape(1, 37, 37, width).permute(0, 3, 1, 2)
    scale = (16.1 / 37, 16.1 / 37)
    plane = F.interpolate(plane, scale_factor=scale, mode="bicubic").flatten(2).transpose(1, 2)
    first = (state["cls_token"] + state["pos_embed"][:, :1]).expand(len(pixels), -1, -1)
    x = torch.cat([first, tokens + plane], 1)
    for i in range(12):
        at = f"blocks.{i}"
        query, key, value = linear(norm(x, f"{at}.norm1"), f"{at}.attn.qkv").chunk(3, -1)
        parts = []
        for h in range(heads):
            s = slice(h * width // heads, (h + 1) * width // heads)
            weight = (query[..., s] @ key[..., s].mT / (width // heads) ** 0.5).softmax(-1)
            parts.append(weight @ value[..., s])
        x = x + state[f"{at}.ls1.gamma"] * linear(torch.cat(parts, -1), f"{at}.attn.proj")
        hidden = F.gelu(linear(norm(x, f"{at}.norm2"), f"{at}.mlp.fc1"))
        x = x + state[f"{at}.ls2.gamma"] * linear(hidden, f"{at}.mlp.fc2")
    return norm(x[:, 0], "norm")


def test_dinov2_of_true_shape_is_the_plain_sums_and_torch_fidelitys_forward(dino, monkeypatch):
    from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

    extractor = load_extractor("dinov2-vit-s-14")
    assert extractor.id == "dinov2-vit-s-14|clean"
    images = faces(2, 224)
    found = extractor(images)
    assert set(found) == {"features"} and found["features"].shape == (2, 384)
    state = torch.load(dino, weights_only=True)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255
    mean, std = (
        torch.tensor(c).double().view(1, 3, 1, 1)
        for c in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    plain = plain_dinov2({k: v.double() for k, v in state.items()}, (pixels - mean) / std)
    np.testing.assert_allclose(found["features"], plain, atol=2e-4)
    # torch-fidelity takes its network from the hub; handed ours, it must give what ours gives.
    network = dinov2_network("dinov2-vit-s-14", dino)
    monkeypatch.setattr(torch.hub, "load", lambda *_, **__: network)
    theirs = FeatureExtractorDinoV2("dinov2-vit-s-14", ["dinov2"])
    (expected,) = theirs(torch.from_numpy(images).permute(0, 3, 1, 2))
    np.testing.assert_allclose(found["features"], expected, atol=2e-4)
    small = faces(3, 64, 1)
    np.testing.assert_array_equal(
        extractor(small[2:])["features"], extractor(small)["features"][2:]
    )


def test_position_embeddings_are_resized_as_in_training():
    network = DinoV2(4, 1, 1)
    with torch.no_grad():
        network.pos_embed[0, 1:, 0] = torch.arange(37.0).repeat(37)  # a ramp along a row
        network.pos_embed[0, 1:, 1] = 7
    found = network.positions(16)
    assert found.shape == (1, 257, 4)
    row = found[0, 1:17, 0].detach().numpy()
    # Bicubic all but keeps a ramp; the offset of 0.1 sets its slope to 37 / 16.1, not 37 / 16,
    # which would be 0.2 off at the end.
    np.testing.assert_allclose(row[2:-2], (np.arange(16)[2:-2] + 0.5) * 37 / 16.1 - 0.5, atol=0.08)
    np.testing.assert_allclose(found[0, 1:, 1].detach(), 7, atol=1e-5)
    torch.testing.assert_close(network.positions(37), network.pos_embed)


class Malice:
    def __reduce__(self):
        return (print, ("pickled code ran",))


def test_a_foreign_or_malicious_dinov2_is_refused(tmp_path, capsys):
    file = tmp_path / "weights.pth"
    torch.save({"cls_token": torch.zeros(1, 1, 384)}, file)
    with pytest.raises(AubenchError, match="is not dinov2-vit-s-14"):
        dinov2_network("dinov2-vit-s-14", file)
    torch.save(DinoV2(384, 11, 6).state_dict(), file)
    with pytest.raises(AubenchError, match="is not dinov2-vit-s-14"):
        dinov2_network("dinov2-vit-s-14", file)
    file.write_bytes(pickle.dumps(Malice(), protocol=2))
    with pytest.raises(AubenchError, match="is not dinov2-vit-s-14"):
        dinov2_network("dinov2-vit-s-14", file)
    assert "pickled code" not in capsys.readouterr().out


class Published(torch.nn.Module):
    """What the archive that OpenAI publishes holds, as far as the image tower needs it."""

    def __init__(self):
        super().__init__()
        from torch_fidelity.feature_extractor_clip import CLIPVisual

        self.visual = CLIPVisual(512, 224, 12, 768, 32).visual
        self.text_projection = torch.nn.Parameter(torch.zeros(512, 512))
        self.logit_scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.visual(x) @ self.text_projection * self.logit_scale


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::torch.jit.TracerWarning"
)  # of writing a TorchScript archive, as the published one is
def test_clip_of_true_shape_is_torch_fidelitys_forward(tmp_path, monkeypatch):
    from torch_fidelity.feature_extractor_clip import FeatureExtractorCLIP

    file = tmp_path / "clip.pt"
    torch.manual_seed(2)
    torch.jit.trace(Published(), torch.zeros(1, 3, 224, 224), check_trace=False).save(file)
    monkeypatch.setattr(weights, "path", lambda name: file)
    extractor = load_extractor("clip-vit-b-32")
    assert extractor.id == "clip-vit-b-32|clean"
    images = faces(1, 224, 3)
    found = extractor(images)
    assert set(found) == {"features"} and found["features"].shape == (1, 512)
    theirs = FeatureExtractorCLIP("clip-vit-b-32", ["clip"], feature_extractor_weights_path=file)
    (expected,) = theirs(torch.from_numpy(images).permute(0, 3, 1, 2))
    np.testing.assert_allclose(found["features"], expected, atol=1e-4)
    assert np.ptp(expected.numpy()) > 0.1
    assert vision_transformers.clip("clip-vit-b-32", "cpu").sha256 == extractor.sha256


def test_a_foreign_clip_is_refused(tmp_path):
    file = tmp_path / "clip.pt"
    torch.save({"visual.proj": torch.zeros(3)}, file)
    with pytest.raises(AubenchError, match="is not clip-vit-b-32"):
        clip_network("clip-vit-b-32", file)
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(AubenchError, match="is not clip-vit-b-32"):
        clip_network("clip-vit-b-32", file)


def test_distances_of_a_chosen_extractor_carry_its_name_or_a_dash(dino, tmp_path, monkeypatch):
    from aubench.run.execute import RunConfig, execute

    metrics = ("fid", "kid", "is", "prdc")
    config = RunConfig(
        "oracle",
        "conflict",
        tmp_path / "run",
        limit=6,
        metrics=metrics,
        extractor="dinov2-vit-s-14",
    )
    rows = {row.metric: row for row in execute(config).scores}
    assert rows["fid"].id.startswith("fid|dinov2-vit-s-14|clean|ref=") and rows["fid"].value < 1e-3
    assert rows["kid"].value is not None and rows["precision"].value == 1
    assert rows["is"].value is None and rows["is"].note == "dinov2-vit-s-14 knows no classes"
    load_extractor.cache_clear()

    def missing(name):
        raise weights.MissingWeightsError(name)

    monkeypatch.setattr(weights, "path", missing)
    rows = {row.metric: row for row in execute(config).scores}
    assert all(row.value is None for row in rows.values())
    assert "weights fetch dinov2-vit-s-14" in rows["fid"].note
