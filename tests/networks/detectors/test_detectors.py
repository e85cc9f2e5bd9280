"""Detectors: the head from its formulas, shipped weights that hold."""

import json
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from aubench.errors import AubenchError
from aubench.facs import labels_of
from aubench.facs.f1 import f1_by_au
from aubench.networks.detectors import load_detector
from aubench.networks.detectors.detector import WEIGHTS
from aubench.networks.detectors.graphau.megraphau import (
    Head,
    LinearBlock,
    MEGraphAU,
    asymmetric_loss,
)
from aubench.networks.detectors.registry import load
from aubench.synfacs.render import render


def test_head_has_the_published_tensor_names():
    """101 tensors beside the backbone, as counted on the official first-stage checkpoints."""
    model = MEGraphAU(torch.nn.Identity(), 2048, 512)
    block = [
        "fc.weight",
        "fc.bias",
        "bn.weight",
        "bn.bias",
        "bn.running_mean",
        "bn.running_var",
        "bn.num_batches_tracked",
    ]
    expected = [f"global_linear.{name}" for name in block]
    expected += [f"head.class_linears.{i}.{name}" for i in range(12) for name in block]
    expected += ["head.sc"]
    expected += [f"head.gnn.{m}.{kind}" for m in "UV" for kind in ("weight", "bias")]
    expected += [f"head.gnn.bnv.{name.removeprefix('bn.')}" for name in block[2:]]
    state = model.state_dict()
    assert sorted(state) == sorted(expected) and len(expected) == 101
    assert state["head.sc"].shape == (12, 512)
    assert state["global_linear.fc.weight"].shape == (512, 2048)
    assert state["head.gnn.bnv.running_mean"].shape == (12,)


def reference_head(head, x):
    """The formulas of the first stage written out, in float64."""
    f = []
    for linear in head.class_linears:
        y = x @ linear.fc.weight.T + linear.fc.bias
        bn = linear.bn
        y = (y - bn.running_mean) / torch.sqrt(bn.running_var + 1e-5) * bn.weight + bn.bias
        f.append(y.clamp(min=0).mean(1))
    f = torch.stack(f, 1)
    out = []
    g = head.gnn
    for one in f:
        similarity = one @ one.T
        a = torch.zeros(12, 12, dtype=one.dtype)
        for i in range(12):
            a[i, similarity[i] >= similarity[i].sort(descending=True).values[3]] = 1
        degree = torch.diag(a.sum(1) ** -0.5)
        message = degree @ a @ degree @ (one @ g.V.weight.T + g.V.bias)
        message = message + one @ g.U.weight.T + g.U.bias
        bn = g.bnv
        shift = (message - bn.running_mean[:, None]) / torch.sqrt(bn.running_var + 1e-5)[:, None]
        one = (one + shift * bn.weight[:, None] + bn.bias[:, None]).clamp(min=0)
        sc = head.sc.clamp(min=0)
        out.append((F.normalize(one, dim=-1) * F.normalize(sc, dim=-1)).sum(-1))
    return torch.stack(out)


def test_head_computes_its_formulas():
    torch.manual_seed(0)
    head = Head(16).double().eval()
    for module in head.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
    x = torch.randn(3, 49, 16, dtype=torch.float64)
    with torch.no_grad():
        p = head(x)
        torch.testing.assert_close(p, reference_head(head, x), atol=1e-9, rtol=1e-9)
    assert float(p.min()) >= 0 and float(p.max()) <= 1 + 1e-9


def test_batch_norm_runs_over_channels():
    block = LinearBlock(5, 7)
    assert block(torch.randn(4, 9, 5)).shape == (4, 9, 7)
    assert block.bn.running_mean.shape == (7,)


def test_asymmetric_loss_by_hand():
    p = torch.tensor([[0.9, 0.2]], requires_grad=True)
    loss = asymmetric_loss(p, torch.tensor([[1.0, 0.0]]), torch.tensor([1.5, 0.5]))
    expected = (1.5 * -np.log(0.9) + 0.5 * 0.2 * -np.log(0.8)) / 2
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-6)
    loss.backward()
    assert float(p.grad[0, 1]) == pytest.approx(0.5 * 0.2 / 0.8 / 2, rel=1e-5)


def faces(count=120):
    rng = np.random.default_rng(5)
    labels = (rng.random((count, 12)) < 0.25).astype(np.uint8)
    images = [
        render(f"S{320 + i % 40 * 2}", labels[i] * rng.uniform(2.5, 5), 7, size=128)
        for i in range(count)
    ]
    return np.stack(images), labels


@pytest.mark.slow
def test_shipped_detectors_see_the_aus_of_unseen_subjects():
    images, labels = faces()
    for name in ("nano-a", "nano-b"):
        detector = load_detector(name)
        p = detector.probabilities(images)
        assert p.min() >= 0 and p.max() <= 1
        f1 = f1_by_au(p >= detector.thresholds, labels)
        assert f1.mean() >= 0.85 and f1.min() >= 0.5, (name, f1)
        assert detector.card["scores"]["mean F1"] >= 0.75
        assert min(detector.card["scores"]["F1"].values()) >= 0.50


def test_probabilities_do_not_depend_on_the_batch():
    images, _ = faces(35)
    for name in ("nano-a", "nano-b"):
        detector = load_detector(name)
        whole = detector.probabilities(images)
        np.testing.assert_array_equal(detector.probabilities(images[33:]), whole[33:])
        with pytest.raises(TypeError, match="uint8"):
            detector.probabilities(images.astype(np.float32))


def test_features_are_differentiable():
    detector = load_detector("nano-a")
    face = render("S330", labels_of([12]) * 4.0, 1, size=64)
    x = (torch.from_numpy(face.copy()).permute(2, 0, 1)[None].float() / 255).requires_grad_()
    features = detector.features(x)
    assert features.shape == (1, 12, 96)
    features.sum().backward()
    assert float(x.grad.abs().sum()) > 0
    with pytest.raises(AubenchError, match="no AU features"):
        load_detector("nano-b").features(x)


@pytest.mark.parametrize("damage", ["truncate", "foreign", "digest", "absent"])
def test_damaged_weights_are_refused(tmp_path, damage):
    shutil.copytree(WEIGHTS, tmp_path / "w")
    file, card = tmp_path / "w" / "nano-b.safetensors", tmp_path / "w" / "nano-b.card.json"
    data = json.loads(card.read_text())
    if damage == "absent":
        file.unlink()
    elif damage == "foreign":
        from aubench.storage.files import sha256_file

        shutil.copy(tmp_path / "w" / "nano-a.safetensors", file)
        card.write_text(json.dumps({**data, "sha256": sha256_file(file)}))
    elif damage == "truncate":
        file.write_bytes(file.read_bytes()[:1000])
    else:
        card.write_text(json.dumps({**data, "sha256": "0" * 64}))
    with pytest.raises(AubenchError):
        load("nano-b", "cpu", folder=tmp_path / "w")


def test_unknown_detector_suggests():
    with pytest.raises(AubenchError, match="did you mean 'nano-a'"):
        load_detector("nano-aa")
