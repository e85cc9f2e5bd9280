"""MagicFace: two linked denoisers, strict reading, and the assets it names and does not have."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from aubench_baselines.magicface.generator import VARIABLE, MagicFace, denoiser_config
from aubench_baselines.magicface.modules import MagicFaceNetworks, guided
from aubench_baselines.stable_diffusion.base import write_random_base
from aubench_baselines.stable_diffusion.shapes import SHAPES
from PIL import Image
from safetensors.torch import save_file
from tiny_base import TINY

from aubench.errors import AubenchError
from aubench.facs import labels_of
from aubench.generators.contract import Plan, Request, Unsupported, WeightSource
from aubench.run.execute import RunConfig, execute


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny base, both networks with random weights, and two images of background and pose."""
    root = tmp_path_factory.mktemp("magicface")
    write_random_base(root / "base", TINY, half=False)
    torch.manual_seed(4)
    networks = MagicFaceNetworks(denoiser_config(TINY.build_unet()))
    torch.nn.init.normal_(networks.au_aug_mlp.weight)
    mlp = {f"au_aug_mlp.{k}": v for k, v in networks.au_aug_mlp.state_dict().items()}
    for name, state in (
        ("denoising_unet", {**networks.denoiser.state_dict(), **mlp}),
        ("ID_enc", networks.identity.state_dict()),
    ):
        (root / "weights" / name).mkdir(parents=True)
        save_file(state, root / "weights" / name / "diffusion_pytorch_model.safetensors")
    (root / "images").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (32, 32), (90, 120, 60)).save(root / "images" / f"{name}.png")
    return root


def load(place, **options):
    given = {"base": str(place / "base"), "steps": "2", **options}
    source = WeightSource(place / "weights")
    return MagicFace.load(source, device="cpu", dtype="float32", **given)


def request(sample_id="a", aus=(12,), face=0, seed=1):
    reference = np.random.default_rng(face).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    return Request(sample_id, "", labels_of(aus), None, reference, seed, 32)


def test_shape_on_stable_diffusion():
    """Eight channels in, twelve AUs to the 1280 of the time embedding, no other new weights."""
    with torch.device("meta"):
        networks = MagicFaceNetworks(SHAPES["paper"].unet)
    assert networks.au_aug_mlp.weight.shape == (1280, 12)
    assert networks.denoiser.conv_in.weight.shape == (320, 8, 3, 3)
    count = sum(p.numel() for p in networks.identity.parameters())
    assert count == 859_520_964
    assert sum(p.numel() for p in networks.denoiser.parameters()) == count + 320 * 4 * 9


def test_face_and_aus_reach_the_denoiser():
    torch.manual_seed(0)
    networks = MagicFaceNetworks(TINY.unet).eval()
    x, face, back = (torch.randn(1, 4, 16, 16) for _ in range(3))
    words, t, none = torch.randn(1, 77, 24), torch.tensor([400]), torch.zeros(1, 12)
    some = none.clone()
    some[0, 6] = 3.0
    with torch.inference_mode():
        with pytest.raises(ValueError, match="was not run before"):
            networks(x, t, words, back, none)
        networks.remember(face, words)
        first = networks(x, t, words, back, none)
        changed = networks(x, t, words, back, some)
        assert (first - changed).abs().max() > 1e-5
        # Guidance is linear: at 0 no change, at 1 the change, at 2 as far again.
        for scale in (0.0, 1.0, 2.0):
            expected = first + scale * (changed - first)
            made = guided(networks, x, t, words, back, some, scale)
            torch.testing.assert_close(made, expected, rtol=1e-3, atol=1e-4)
        networks.remember(face + 1, words)
        assert (networks(x, t, words, back, none) - first).abs().max() > 1e-5


def test_says_which_assets_it_needs_and_stops(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    reason = MagicFace.available() or ""
    assert all(word in reason for word in ("BiSeNet", "antelopev2", "3D morphable", VARIABLE))
    config = RunConfig("magicface", "label-input", tmp_path / "r", limit=6)
    with pytest.raises(AubenchError, match="antelopev2"):
        execute(config)


def test_generates_where_the_images_are_given(place, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(place / "images"))
    assert MagicFace.available() is None
    model = load(place)
    model.begin(Plan(("a", "b"), frozenset({"a", "b"}), 32))
    with pytest.raises(AubenchError, match=r"lacks c\.png"):
        model.begin(Plan(("a", "c"), frozenset({"a", "c"}), 32))
    a, b = request(), request("b", (4,), 1, 2)
    both = model.generate([a, b])
    assert both.shape == (2, 32, 32, 3) and both.dtype == np.uint8
    np.testing.assert_array_equal(model.generate([b])[0], both[1])
    other = model.generate([replace(a, aus=labels_of((4,)))])
    assert (other[0] != both[0]).any()
    with pytest.raises(Unsupported, match="MagicFace has no AU24"):
        model.generate([request(aus=(12, 24))])
    with pytest.raises(AubenchError, match="holds 0 safetensors files"):
        load(place, identity="nowhere")
