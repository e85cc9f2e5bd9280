"""Checkpoints of the published form: strict loading, the way back, inputs, damage."""

import dataclasses
import json
import os
import re

import numpy as np
import pytest
import torch
import torchvision
from published_detectors import (
    RESNETS,
    SWINS,
    shapes_of,
)

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.networks.detectors import load_detector
from aubench.networks.detectors.graphau import checkpoints
from aubench.networks.detectors.graphau.backbones import PAPER_BACKBONES
from aubench.networks.detectors.graphau.checkpoints import Layout
from aubench.networks.detectors.graphau.opengraphau import OpenGraphAU
from aubench.networks.detectors.nano import build
from aubench.networks.detectors.preparation import PAPER
from aubench.networks.detectors.registry import names


def position_index():
    """Bias row of each pair of tokens of a 7 x 7 window, pair by pair."""
    cells = [(y, x) for y in range(7) for x in range(7)]
    rows = [[(a - c + 6) * 13 + b - d + 6 for c, d in cells] for a, b in cells]
    return torch.tensor(rows, dtype=torch.int64)


def shift_mask(side):
    """-100 between tokens of a window that were not neighbours before the shift by three."""
    tokens = torch.arange(49)
    masks = []
    for wy in range(side // 7):
        for wx in range(side // 7):
            y, x = (wy * 7 + tokens // 7 + 3) % side, (wx * 7 + tokens % 7 + 3) % side
            far = ((y[:, None] - y).abs() > 6) | ((x[:, None] - x).abs() > 6)
            masks.append(far * -100.0)
    return torch.stack(masks)


def tensors(family, backbone, stage, n=12, seed=0):
    """Random weights of the true names and shapes, so scaled that activations stay moderate."""
    draw = torch.Generator().manual_seed(seed)
    state, masks = {}, {}
    for key, shape in shapes_of(family, backbone, stage, n).items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(7)
        elif key.endswith("relative_position_index"):
            state[key] = position_index()
        elif key.endswith("attn_mask"):
            side = int(shape[0] ** 0.5) * 7
            masks.setdefault(side, shift_mask(side))
            state[key] = masks[side].clone()
        elif key.endswith("running_var"):
            state[key] = torch.rand(shape, generator=draw) + 0.5
        elif len(shape) >= 2:
            fan = int(np.prod(shape[1:]))
            state[key] = torch.randn(shape, generator=draw) * (1.5 / fan) ** 0.5
        else:
            base = 1.0 if key.endswith("weight") else 0.0
            state[key] = base + 0.1 * torch.randn(shape, generator=draw)
    return state


def published(path, state):
    """Write a file as the authors' training does."""
    moments = {
        i: {"step": 3, "exp_avg": torch.zeros(2), "exp_avg_sq": torch.zeros(2)} for i in range(2)
    }
    group = {
        "lr": 1e-4,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 5e-4,
        "amsgrad": False,
        "params": [0, 1],
    }
    torch.save(
        {
            "epoch": 19,
            "state_dict": {f"module.{k}": v for k, v in state.items()},
            "optimizer": {"state": moments, "param_groups": [group]},
        },
        path,
    )
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def resnet(folder):
    """ResNet-18, second stage: path and tensors."""
    state = tensors("me-graphau", "resnet18", "mefl")
    return published(folder / "MEFL_resnet18_fold1.pth", state), state


@pytest.fixture(scope="module")
def swin(folder):
    """Swin-T, first stage: path and tensors."""
    state = tensors("me-graphau", "swin-t", "anfl")
    return published(folder / "ANFL_swin_tiny_fold1.pth", state), state


@pytest.fixture(scope="module")
def opened(folder):
    """OpenGraphAU on ResNet-18, second stage: path and tensors."""
    state = tensors("open-graphau", "resnet18", "mefl", 27)
    return published(folder / "OpenGraphAU-ResNet18_second_stage.pth", state), state


@pytest.mark.parametrize("which", ["resnet", "swin", "opened"])
def test_published_files_load_strictly_and_go_back(which, request, tmp_path):
    path, state = request.getfixturevalue(which)
    network, layout = checkpoints.load(path)
    want = {
        "resnet": Layout("me-graphau", "resnet18", "mefl"),
        "swin": Layout("me-graphau", "swin-t", "anfl"),
        "opened": Layout("open-graphau", "resnet18", "mefl", 27),
    }[which]
    assert layout == want and not network.training
    checkpoints.save(network, layout, tmp_path / "back.pth", epoch=4)
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert back["epoch"] == 4 and set(back) == {"epoch", "state_dict", "optimizer"}
    assert back["state_dict"].keys() == {f"module.{k}" for k in state}
    for key, value in state.items():
        assert torch.equal(back["state_dict"][f"module.{key}"], value), key


def test_bare_state_dicts_and_safetensors_load_too(resnet, tmp_path):
    from safetensors.torch import save_file

    _, state = resnet
    torch.save(state, tmp_path / "bare.pth")
    save_file(
        {k: v.half() if v.is_floating_point() else v for k, v in state.items()},
        tmp_path / "half.safetensors",
    )
    for name in ("bare.pth", "half.safetensors"):
        network, _ = checkpoints.load(tmp_path / name)
        assert network.head.sc.dtype == torch.float32
        torch.testing.assert_close(network.head.sc, state["head.sc"], atol=1e-3, rtol=1e-3)


def to_torchvision(key):
    """The published name of a Swin tensor in torchvision, as it was verified."""
    key = key.replace("patch_embed.proj", "features.0.0").replace(
        "patch_embed.norm", "features.0.2"
    )
    key = re.sub(r"^layers\.(\d)\.blocks\.", lambda m: f"features.{2 * int(m[1]) + 1}.", key)
    key = re.sub(r"^layers\.(\d)\.downsample\.", lambda m: f"features.{2 * int(m[1]) + 2}.", key)
    return key.replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.3")


def test_swin_tokens_are_torchvisions(swin):
    path, state = swin
    mapped = {
        to_torchvision(k[9:]): v
        for k, v in state.items()
        if k.startswith("backbone.") and not k.endswith("attn_mask")
    }
    mapped = {k: v.flatten() if k.endswith("position_index") else v for k, v in mapped.items()}
    with torch.device("meta"):
        twin = torchvision.models.swin_t(weights=None)
    twin.head = torch.nn.Identity()
    twin.load_state_dict(mapped, strict=True, assign=True)
    network, _ = checkpoints.load(path)
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        tokens = network.backbone(x)
        torch.testing.assert_close(
            tokens, twin.eval().norm(twin.features(x)).flatten(1, 2), atol=0, rtol=0
        )
        torch.testing.assert_close(tokens.mean(1), twin(x))
    assert tokens.shape == (1, 49, 768) and float(tokens.std()) > 0.1


def test_resnet_tokens_are_torchvisions(resnet):
    path, state = resnet
    with torch.device("meta"):
        twin = torchvision.models.resnet18(weights=None)
    twin.fc = torch.nn.Identity()
    own = {k[9:]: v for k, v in state.items() if k.startswith("backbone.")}
    twin.load_state_dict(own, strict=True, assign=True)
    network, _ = checkpoints.load(path)
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        tokens = network.backbone(x)
        torch.testing.assert_close(tokens.mean(1), twin.eval()(x))
    assert tokens.shape == (1, 49, 512) and float(tokens.std()) > 0.1


def noise(count, height=96, width=80):
    return np.random.default_rng(3).integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.mark.parametrize("size", [(128, 128), (180, 200), (301, 257), (256, 256), (97, 400)])
def test_input_is_the_published_one(size):
    images = noise(2, *size)
    t = torchvision.transforms
    pipeline = t.Compose(
        [
            t.ToPILImage(),
            t.Resize(256),
            t.CenterCrop(224),
            t.ToTensor(),
            t.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    wanted = torch.stack([pipeline(image) for image in images])
    pixels = torch.from_numpy(PAPER.pixels(images)).permute(0, 3, 1, 2).float() / 255
    torch.testing.assert_close(PAPER.normalise(pixels), wanted, atol=1e-6, rtol=1e-6)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    step = 1 / 255 / 0.224  # a level
    assert float((PAPER.tensor(x) - wanted).abs().max()) < 1.6 * step


def test_detector_gives_the_networks_numbers_whatever_the_batch(resnet):
    path, _ = resnet
    detector = load_detector("me-graphau:resnet18", weights=path)
    digest = detector.sha256[:12]
    assert detector.id == f"me-graphau:resnet18:mefl@{digest}|bilinear256-crop224-imagenet"
    assert (detector.thresholds == 0.5).all() and detector.mask.all()
    assert detector.card["classes"] == [f"AU{au}" for au in AUS]
    few = dataclasses.replace(detector, micro_batch=4)
    images = noise(5)
    whole = few.probabilities(images)
    np.testing.assert_array_equal(few.probabilities(images[3:]), whole[3:])
    np.testing.assert_array_equal(few.probabilities(images[[2]]), whole[[2]])
    with torch.no_grad():
        x = torch.from_numpy(PAPER.pixels(images)).permute(0, 3, 1, 2).float() / 255
        p = detector.network(PAPER.normalise(x)).numpy()
    np.testing.assert_allclose(whole, p, atol=1e-5)
    assert whole.shape == (5, 12) and whole.dtype == np.float32
    with pytest.raises(TypeError, match="uint8"):
        detector.probabilities(images.astype(np.float32))


def test_features_are_differentiable(resnet):
    detector = load_detector("me-graphau", weights=resnet[0])
    x = (torch.from_numpy(noise(1)).permute(0, 3, 1, 2).float() / 255).requires_grad_()
    features = detector.features(x)
    assert features.shape == (1, 12, 128)
    features.sum().backward()
    assert float(x.grad.abs().sum()) > 0
    assert all(p.grad is None for p in detector.network.parameters())


def test_opengraphau_gives_the_twelve_aus(opened):
    detector = load_detector("open-graphau:resnet18", weights=opened[0])
    assert detector.columns == (0, 1, 2, 4, 5, 7, 9, 11, 12, 14, 19, 20)
    assert detector.name == "open-graphau:resnet18:mefl" and detector.mask.all()
    images = noise(2)
    with torch.no_grad():
        x = torch.from_numpy(PAPER.pixels(images)).permute(0, 3, 1, 2).float() / 255
        out = detector.network(PAPER.normalise(x)).numpy()
    p = dataclasses.replace(detector, micro_batch=2).probabilities(images)
    np.testing.assert_allclose(p, out[:, [0, 1, 2, 4, 5, 7, 9, 11, 12, 14, 19, 20]], atol=1e-6)
    assert detector.features(PAPER.normalise(x)).shape == (2, 12, 128)


def test_disfa_masks_the_aus_it_lacks(tmp_path):
    path = published(tmp_path / "disfa.pth", tensors("me-graphau", "resnet18", "anfl", 8))
    detector = load_detector("me-graphau:resnet18:anfl", weights=path)
    assert [au for au, known in zip(AUS, detector.mask, strict=True) if known] == [1, 2, 4, 6, 12]
    assert detector.card["neighbours"] == 3 and "|k=3|" in detector.id
    few = dataclasses.replace(detector, micro_batch=1)
    p = few.probabilities(noise(1))[0]
    assert np.isnan(p[~detector.mask]).all() and np.isfinite(p[detector.mask]).all()
    with torch.no_grad():
        pixels = torch.from_numpy(PAPER.pixels(noise(1))).permute(0, 3, 1, 2).float() / 255
        out = detector.network(PAPER.normalise(pixels))[0].numpy()
    np.testing.assert_allclose(p[detector.mask], out[[0, 1, 2, 3, 5]], atol=1e-6)
    other = load_detector("me-graphau", weights=path, neighbours=5)
    assert "|k=5|" in other.id and other.network.head.gnn.neighbours == 5
    with pytest.raises(AubenchError, match="8 classes, 12 AUs were named"):
        load_detector("me-graphau", weights=path, aus=AUS)
    with pytest.raises(AubenchError, match="9 neighbours among 8"):
        load_detector("me-graphau", weights=path, neighbours=9)
    named = load_detector("me-graphau", weights=path, aus=(10, 12, 14, 15, 17, 23, 24, 5))
    assert named.mask.sum() == 7 and named.columns == (0, 1, 2, 3, 4, 5, 6)


def test_unknown_number_of_classes(tmp_path):
    path = published(tmp_path / "ten.pth", tensors("me-graphau", "resnet18", "anfl", 10))
    with pytest.raises(AubenchError, match="10 classes, neither BP4D's 12 nor DISFA's 8"):
        load_detector("me-graphau", weights=path)
    state = tensors("me-graphau", "resnet18", "anfl", 12)
    state["head.sc"] = state["head.sc"][:8]
    with pytest.raises(AubenchError, match=r"28 unexpected \(head.class_linears.10"):
        checkpoints.load(published(tmp_path / "mixed.pth", state))


def test_a_card_beside_gives_thresholds(resnet, tmp_path):
    path = tmp_path / "own.pth"
    path.symlink_to(resnet[0])
    digest = load_detector("me-graphau", weights=path).sha256
    chosen = [0.3 + 0.01 * i for i in range(12)]
    card = path.with_suffix(".card.json")
    card.write_text(json.dumps({"sha256": digest, "thresholds": chosen}))
    found = load_detector("me-graphau", weights=path)
    np.testing.assert_allclose(found.thresholds, chosen, rtol=1e-6)
    card.write_text(json.dumps({"sha256": "0" * 64, "thresholds": chosen}))
    with pytest.raises(AubenchError, match="the card says 000000000000"):
        load_detector("me-graphau", weights=path)


def test_another_architecture_is_told_in_one_line(resnet, swin, opened):
    with pytest.raises(AubenchError) as error:
        load_detector("me-graphau:resnet18", weights=swin[0])
    line = str(error.value)
    assert "\n" not in line and "is not me-graphau:resnet18:anfl" in line
    assert "120 missing (backbone.bn1.bias, backbone.bn1.num_batches_tracked," in line
    assert "188 unexpected (backbone.layers.0.blocks.0.attn.proj.bias," in line
    assert "looks like me-graphau:swin-t:anfl" in line and len(line) < 900
    with pytest.raises(AubenchError, match=r"9 missing \(head.gnn.U.bias.*looks like.*18:mefl"):
        load_detector("me-graphau:resnet18:anfl", weights=resnet[0])
    with pytest.raises(AubenchError, match="looks like open-graphau:resnet18:mefl"):
        load_detector("me-graphau", weights=opened[0])


def test_missing_surplus_and_misshapen_tensors_are_named(resnet, tmp_path):
    _, state = resnet
    odd = {k: v for k, v in state.items() if k != "head.gnn.U1.weight"}
    odd |= {"head.extra": torch.zeros(2), "head.edge_fc.bias": torch.zeros(5)}
    with pytest.raises(AubenchError) as error:
        checkpoints.load(published(tmp_path / "odd.pth", odd))
    line = str(error.value)
    assert "1 missing (head.gnn.U1.weight), 1 unexpected (head.extra)" in line
    assert "1 of another shape (head.edge_fc.bias (5,) for (4,))" in line


def test_foreign_position_index_is_refused(swin, tmp_path):
    state = dict(swin[1])
    key = "backbone.layers.1.blocks.1.attn.relative_position_index"
    state[key] = state[key].flip(0)
    with pytest.raises(AubenchError, match=f"{key} is not that of 7 x 7 windows"):
        checkpoints.load(published(tmp_path / "index.pth", state))


def test_values_that_are_not_finite_are_refused(tmp_path):
    torch.save({"head.sc": torch.tensor([1.0, float("nan")])}, tmp_path / "nan.pth")
    with pytest.raises(AubenchError, match=r"'head\.sc' has values that are not finite"):
        checkpoints.read_state(tmp_path / "nan.pth")


class Harm:
    """Would leave a mark if it were unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
def test_foreign_objects_are_refused_unopened(tmp_path, zipped):
    path, mark = tmp_path / "harm.pth", tmp_path / "mark"
    torch.save({"epoch": Harm(mark)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(AubenchError, match=r"objects other than tensors \(\w+\.mkdir\)") as error:
        load_detector("me-graphau", weights=path)
    assert "\n" not in str(error.value) and not mark.exists()


def test_damaged_and_foreign_files(resnet, tmp_path):
    whole = resnet[0].read_bytes()
    for data in (b"", b"<html>quota exceeded</html>", whole[: len(whole) // 2], whole[:100]):
        (tmp_path / "cut.pth").write_bytes(data)
        with pytest.raises(AubenchError, match="truncated or not a checkpoint"):
            load_detector("me-graphau", weights=tmp_path / "cut.pth")
    (tmp_path / "cut.safetensors").write_bytes(whole[:100])
    with pytest.raises(AubenchError, match="truncated or not a checkpoint"):
        load_detector("me-graphau", weights=tmp_path / "cut.safetensors")
    for value, told in (
        ([1, 2], "no state_dict"),
        ({"state_dict": {}}, "no state_dict"),
        ({"epoch": 1}, "'epoch' is not a tensor"),
        ({"fc.weight": torch.zeros(2)}, "neither head.sc nor head.main_sc among its 1 tensors"),
        ({"head.sc": torch.zeros(12, 2)}, "unknown backbone"),
    ):
        torch.save(value, tmp_path / "other.pth")
        with pytest.raises(AubenchError, match=told):
            load_detector("me-graphau", weights=tmp_path / "other.pth")
    with pytest.raises(AubenchError, match="no checkpoint at"):
        load_detector("me-graphau", weights=tmp_path / "absent.pth")
    with pytest.raises(AubenchError, match="needs its checkpoint; give weights=PATH"):
        load_detector("me-graphau:resnet50")


def test_names():
    for name, told in (
        ("me-graphau:resnet5", "did you mean 'resnet50'"),
        ("me-graphau:swin-b:anfl:x", "too many parts"),
        ("open-graphau:swin-t:second", "unknown part 'second'"),
        ("me-grafau", "did you mean 'me-graphau'"),
    ):
        with pytest.raises(AubenchError, match=told):
            load_detector(name, weights="x")
    with pytest.raises(AubenchError, match="does not tell backbone and stage"):
        build("me-graphau:resnet50")
    assert set(PAPER_BACKBONES) == {*RESNETS, *SWINS} and "py-feat" in names()
    with torch.device("meta"):
        assert isinstance(build("open-graphau:swin-s:mefl"), OpenGraphAU)
        assert build("me-graphau:resnet101:mefl").head.stage == "mefl"
