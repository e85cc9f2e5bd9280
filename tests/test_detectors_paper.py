"""Detectors at the paper's scale: names and shapes from the published facts, numbers from formulas.

The tables and the reference heads below are written from the description of the published
networks and use nothing of the package.
"""

import dataclasses
import json
import os
import re
import sys
import types

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import torchvision

from aubench.detectors import checkpoints, load_detector
from aubench.detectors.backbones import PAPER_BACKBONES
from aubench.detectors.checkpoints import Layout
from aubench.detectors.detector import NAMES, build
from aubench.detectors.megraphau import MEGraphAU, edge_loss, edge_targets
from aubench.detectors.opengraphau import MAIN, OUTPUTS, OpenGraphAU
from aubench.detectors.preparation import PAPER
from aubench.errors import AubenchError
from aubench.facs import AUS

BUFFERS = (
    "running_mean", "running_var", "num_batches_tracked", "relative_position_index", "attn_mask",
)  # fmt: skip

RESNETS = {
    "resnet18": (False, (2, 2, 2, 2)),
    "resnet50": (True, (3, 4, 6, 3)),
    "resnet101": (True, (3, 4, 23, 3)),
}
SWINS = {
    "swin-t": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin-s": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin-b": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
}
TOKENS = {"resnet18": 512, "resnet50": 2048, "resnet101": 2048}
TOKENS |= {"swin-t": 768, "swin-s": 768, "swin-b": 1024}

# (keys, parameters) as counted on the official networks; None where not counted there.
COUNTED = {
    ("resnet50", "anfl"): (419, 28_253_784),
    ("resnet50", "mefl"): (461, 31_666_132),
    ("swin-b", "anfl"): (463, None),
    ("swin-b", "mefl"): (505, 94_377_036),
    ("swin-t", "anfl"): (289, None),
    ("swin-t", "mefl"): (331, 31_819_534),
    ("resnet101", "mefl"): (767, None),
    ("resnet18", "mefl"): (263, None),
}
OPEN_COUNTED = {("resnet50", "anfl"): 525, ("resnet50", "mefl"): 565}


def linear(name, out, wide, bias=True):
    return {f"{name}.weight": (out, wide)} | ({f"{name}.bias": (out,)} if bias else {})


def norm(name, size):
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{k}": (size,) for k in kinds} | {f"{name}.num_batches_tracked": ()}


def layer_norm(name, size):
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def resnet_shapes(name):
    bottleneck, depths = RESNETS[name]
    shapes = {"conv1.weight": (64, 3, 7, 7)} | norm("bn1", 64)
    before = 64
    for i, depth in enumerate(depths):
        inner = 64 << i
        out = inner * 4 if bottleneck else inner
        for j in range(depth):
            at = f"layer{i + 1}.{j}"
            sides = (1, 3, 1) if bottleneck else (3, 3)
            wides = (before, inner, inner) if bottleneck else (before, inner)
            outs = (inner, inner, out) if bottleneck else (inner, out)
            for k, (side, wide, o) in enumerate(zip(sides, wides, outs, strict=True), 1):
                shapes[f"{at}.conv{k}.weight"] = (o, wide, side, side)
                shapes |= norm(f"{at}.bn{k}", o)
            if before != out:
                shapes[f"{at}.downsample.0.weight"] = (out, before, 1, 1)
                shapes |= norm(f"{at}.downsample.1", out)
            before = out
    return shapes


def swin_shapes(name):
    embed, depths, heads = SWINS[name]
    shapes = {"patch_embed.proj.weight": (embed, 3, 4, 4), "patch_embed.proj.bias": (embed,)}
    shapes |= layer_norm("patch_embed.norm", embed)
    for i, depth in enumerate(depths):
        c = embed << i
        for j in range(depth):
            at = f"layers.{i}.blocks.{j}"
            shapes |= layer_norm(f"{at}.norm1", c) | layer_norm(f"{at}.norm2", c)
            shapes |= linear(f"{at}.attn.qkv", 3 * c, c) | linear(f"{at}.attn.proj", c, c)
            shapes[f"{at}.attn.relative_position_bias_table"] = (169, heads[i])
            shapes[f"{at}.attn.relative_position_index"] = (49, 49)
            shapes |= linear(f"{at}.mlp.fc1", 4 * c, c) | linear(f"{at}.mlp.fc2", c, 4 * c)
            if i < 3 and j % 2:
                shapes[f"{at}.attn_mask"] = ((64, 16, 4)[i], 49, 49)
        if i < 3:
            shapes |= linear(f"layers.{i}.downsample.reduction", 2 * c, 4 * c, bias=False)
            shapes |= layer_norm(f"layers.{i}.downsample.norm", 4 * c)
    return shapes | layer_norm("norm", embed << 3)


def head_shapes(family, c, stage, n):
    is_open = family == "open-graphau"
    main = "main_" if is_open else ""
    shapes = {f"head.{main}sc": (n, c)} | ({"head.sub_sc": (14, c)} if is_open else {})
    for i in range(n):
        at = f"head.{main}class_linears.{i}"
        shapes |= linear(f"{at}.fc", c, c) | norm(f"{at}.bn", c)
    if stage == "anfl":
        shapes |= linear("head.gnn.U", c, c) | linear("head.gnn.V", c, c)
        return shapes | norm("head.gnn.bnv", n)
    for module in ("FAM", "ARM"):
        for letter, out in (("q", c // 2), ("k", c // 2), ("v", c)):
            shapes |= linear(f"head.edge_extractor.{module}.linear_{letter}", out, c)
    shapes |= linear("head.edge_extractor.edge_proj", c, c) | norm("head.edge_extractor.bn", n * n)
    for k in (0, 1):
        for part in ("U", "V", "A", "B", "E", "bnv", "bne"):
            at = f"head.gnn.graph_layers.{k}.{part}" if is_open else f"head.gnn.{part}{k + 1}"
            if part.startswith("bn"):
                shapes |= norm(at, n if part == "bnv" else n * n)
            else:
                shapes |= linear(at, c, c, bias=False)
    return shapes if is_open else shapes | linear("head.edge_fc", 4, c)


def shapes_of(family, backbone, stage, n):
    d = TOKENS[backbone]
    c = d // 2 if backbone in SWINS else d // 4
    of = swin_shapes if backbone in SWINS else resnet_shapes
    shapes = {f"backbone.{k}": v for k, v in of(backbone).items()}
    shapes |= linear("global_linear.fc", c, d) | norm("global_linear.bn", c)
    return shapes | head_shapes(family, c, stage, n)


def parameters(shapes):
    return sum(int(np.prod(s)) for k, s in shapes.items() if not k.endswith(BUFFERS))


@pytest.mark.parametrize("family", ["me-graphau", "open-graphau"])
@pytest.mark.parametrize("stage", ["anfl", "mefl"])
@pytest.mark.parametrize("backbone", [*RESNETS, *SWINS])
def test_names_shapes_and_counts(family, backbone, stage):
    n = 12 if family == "me-graphau" else 27
    wanted = shapes_of(family, backbone, stage, n)
    layout = Layout(family, backbone, stage, n)
    with torch.device("meta"):
        network = layout.build()
    state = checkpoints.to_official(network, layout, "meta")
    assert {k: tuple(v.shape) for k, v in state.items()} == wanted
    counted = parameters(wanted)
    assert sum(p.numel() for p in network.parameters()) == counted
    if family == "me-graphau":
        keys, total = COUNTED.get((backbone, stage), (None, None))
        outside = [k for k in wanted if not k.startswith("backbone.")]
        assert len(outside) == (101 if stage == "anfl" else 143)
        assert total in (None, counted)
    else:
        keys = OPEN_COUNTED.get((backbone, stage))
    assert keys in (None, len(wanted))
    found = checkpoints.recognise({k: torch.empty(v, device="meta") for k, v in wanted.items()}, "")
    assert found == layout


# Synthetic checkpoints of the published form


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
    moments = {i: {"step": 3, "exp_avg": torch.zeros(2), "exp_avg_sq": torch.zeros(2)}
               for i in range(2)}  # fmt: skip
    group = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 5e-4, "amsgrad": False,
             "params": [0, 1]}  # fmt: skip
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
    save_file({k: v.half() if v.is_floating_point() else v for k, v in state.items()},
              tmp_path / "half.safetensors")  # fmt: skip
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
    mapped = {to_torchvision(k[9:]): v for k, v in state.items()
              if k.startswith("backbone.") and not k.endswith("attn_mask")}  # fmt: skip
    mapped = {k: v.flatten() if k.endswith("position_index") else v for k, v in mapped.items()}
    with torch.device("meta"):
        twin = torchvision.models.swin_t(weights=None)
    twin.head = torch.nn.Identity()
    twin.load_state_dict(mapped, strict=True, assign=True)
    network, _ = checkpoints.load(path)
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        tokens = network.backbone(x)
        torch.testing.assert_close(tokens, twin.eval().norm(twin.features(x)).flatten(1, 2),
                                   atol=0, rtol=0)  # fmt: skip
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


# Reference heads, in float64 and einsum


def bn(y, state, name, axis, train):
    """Batch norm with ``axis`` as its channels."""
    others = [i for i in range(y.ndim) if i != axis]
    view = [-1 if i == axis else 1 for i in range(y.ndim)]
    if train:
        mean, var = y.mean(others), y.var(others, unbiased=False)
    else:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    y = (y - mean.view(view)) / (var.view(view) + 1e-5).sqrt()
    return y * state[f"{name}.weight"].view(view) + state[f"{name}.bias"].view(view)


def block(x, state, name, train):
    y = torch.einsum("...d,cd->...c", x, state[f"{name}.fc.weight"]) + state[f"{name}.fc.bias"]
    return bn(y, state, f"{name}.bn", y.ndim - 1, train).clamp(min=0)


def attend(x, context, state, name):
    """Tokens [..., t, c] look at [..., s, c]."""
    q, k, v = (
        torch.einsum("...d,cd->...c", y, state[f"{name}.linear_{w}.weight"])
        + state[f"{name}.linear_{w}.bias"]
        for w, y in (("q", x), ("k", context), ("v", context))
    )
    scores = torch.einsum("...tc,...sc->...ts", q, k) / q.shape[-1] ** 0.5
    scores = scores.exp() / scores.exp().sum(-1, keepdim=True)
    return torch.einsum("...ts,...sc->...tc", scores, v)


def reference(x, state, family, stage, k, train=False):
    """Return outputs, f_v and edge features of tokens [B, T, D], from the formulas."""
    is_open = family == "open-graphau"
    main = "main_" if is_open else ""
    n = len(state[f"head.{main}sc"])
    x = block(x, state, "global_linear", train)
    names = [f"head.{main}class_linears.{i}" for i in range(n)]
    f_u = torch.stack([block(x, state, name, train) for name in names], 1)
    f = f_u.mean(2)
    edges = None
    if stage == "anfl":
        similarity = torch.einsum("bic,bjc->bij", f, f)
        kth = similarity.sort(-1, descending=True).values[..., k - 1 : k]
        a = (similarity >= kth).double()
        d = a.sum(-1) ** -0.5
        v, u = (
            torch.einsum("bnd,cd->bnc", f, state[f"head.gnn.{w}.weight"])
            + state[f"head.gnn.{w}.bias"]
            for w in "VU"
        )
        message = torch.einsum("bi,bij,bj,bjc->bic", d, a, d, v) + u
        f = (f + bn(message, state, "head.gnn.bnv", 1, train)).clamp(min=0)
    else:
        at = "head.edge_extractor"
        each = attend(f_u, x[:, None], state, f"{at}.FAM")
        pairs = [(i, j) for i in range(n) for j in range(n)]
        e = torch.stack([attend(each[:, j], each[:, i], state, f"{at}.ARM") for i, j in pairs], 1)
        e = torch.einsum("betd,cd->betc", e, state[f"{at}.edge_proj.weight"])
        e = bn(e + state[f"{at}.edge_proj.bias"], state, f"{at}.bn", 1, train).mean(2)
        for layer in (0, 1):
            name = "head.gnn.graph_layers.{1}.{0}" if is_open else "head.gnn.{0}{2}"

            def part(w, name=name, layer=layer):
                return name.format(w, layer, layer + 1)

            u, v, a, b, g = (
                torch.einsum("bnd,cd->bnc", y, state[part(w) + ".weight"])
                for w, y in (("U", f), ("V", f), ("A", f), ("B", f), ("E", e))
            )
            new = torch.stack([a[:, i] + b[:, j] for i, j in pairs], 1) + g
            e = e + bn(new, state, part("bne"), 1, train).clamp(min=0)
            gate = torch.sigmoid(e).exp().unflatten(1, (n, n))
            gate = gate / gate.sum(2, keepdim=True)
            change = bn(
                u + torch.einsum("bijc,bjc->bic", gate, v) / n, state, part("bnv"), 1, train
            )
            f = f + change.clamp(min=0) if is_open else (f + change).clamp(min=0)
        edges = e

    def cosine(f, sc):
        f, sc = (y / y.norm(dim=-1, keepdim=True).clamp(min=1e-12) for y in (f, sc.clamp(min=0)))
        return torch.einsum("bnc,nc->bn", f, sc)

    out = cosine(f, state[f"head.{main}sc"])
    if is_open:
        sub = state["head.sub_sc"]
        nodes = f[:, [0, 1, 2, 4, 7, 8, 11]]
        left, right = cosine(nodes, sub[0::2]), cosine(nodes, sub[1::2])
        out = torch.cat([out, torch.stack([left, right], 2).flatten(1)], 1)
    return out, f, edges


def small(family, stage, n, k, seed=0):
    """A network without backbone, C = 16 on D = 32, random in float64."""
    torch.manual_seed(seed)
    identity = torch.nn.Identity()
    if family == "open-graphau":
        network = OpenGraphAU(identity, 32, 16, k, stage)
    else:
        network = MEGraphAU(identity, 32, 16, n, k, stage)
    network.double().eval().requires_grad_(False)
    for key, value in network.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif value.is_floating_point() and ("bn" in key or key.endswith(("sc", "bias"))):
            value.normal_()
    return network, {k: v.clone() for k, v in network.state_dict().items()}


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("stage", ["anfl", "mefl"])
@pytest.mark.parametrize(
    ("family", "n", "k"), [("me-graphau", 12, 4), ("me-graphau", 8, 3), ("open-graphau", 27, 4)]
)
def test_heads_compute_their_formulas(family, n, k, stage, train):
    network, state = small(family, stage, n, k)
    x = torch.randn(3, 9, 32, dtype=torch.float64)
    p, f, e = reference(x, state, family, stage, k, train)
    network.train(train)
    torch.testing.assert_close(network(x), p, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(network.features(x), f, atol=1e-6, rtol=1e-6)
    assert p.shape == (3, 41 if n == 27 else n) and float(p.std()) > 0.01
    if family == "me-graphau" and stage == "mefl":
        logits = torch.einsum("bed,cd->bec", e, state["head.edge_fc.weight"])
        got = network.with_edges(x)
        torch.testing.assert_close(got[0], p, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(
            got[1], logits + state["head.edge_fc.bias"], atol=1e-6, rtol=1e-6
        )


def test_first_stage_has_no_edges():
    network, _ = small("me-graphau", "anfl", 12, 4)
    with pytest.raises(ValueError, match="no edges"):
        network.with_edges(torch.randn(1, 9, 32, dtype=torch.float64))


def test_opengraphau_scores_l12_and_r12_from_au11():
    network, state = small("open-graphau", "anfl", 27, 4)
    x = torch.randn(2, 9, 32, dtype=torch.float64)
    out, f = network(x), network.features(x)
    assert OUTPUTS[37:39] == ("L12", "R12") and len(OUTPUTS) == 41 and MAIN[8:10] == (11, 12)
    for column, side in ((37, 10), (38, 11)):
        wanted = F.cosine_similarity(f[:, 8], F.relu(state["head.sub_sc"][side]), -1)
        other = F.cosine_similarity(f[:, 9], F.relu(state["head.sub_sc"][side]), -1)
        torch.testing.assert_close(out[:, column], wanted)
        assert not torch.allclose(out[:, column], other, atol=1e-3)


def test_edge_loss_by_hand():
    labels = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    assert edge_targets(labels).tolist() == [[3, 2, 1, 0], [0, -100, -100, -100]]
    logits = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    kept = [(0, 0, 3), (0, 1, 2), (0, 2, 1), (0, 3, 0), (1, 0, 0)]
    rows = logits.detach().numpy().astype(np.float64)
    hand = -np.mean([rows[b, e, c] - np.log(np.exp(rows[b, e]).sum()) for b, e, c in kept])
    loss = edge_loss(logits, labels, 0.05)
    assert float(loss.detach()) == pytest.approx(0.05 * hand, rel=1e-5)
    loss.backward()
    assert float(logits.grad[1, 1:].abs().sum()) == 0 and float(logits.grad[1, 0].abs().sum()) > 0


# The detectors


def noise(count, height=96, width=80):
    return np.random.default_rng(3).integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.mark.parametrize("size", [(128, 128), (180, 200), (301, 257), (256, 256), (97, 400)])
def test_input_is_the_published_one(size):
    images = noise(2, *size)
    t = torchvision.transforms
    pipeline = t.Compose([
        t.ToPILImage(), t.Resize(256), t.CenterCrop(224), t.ToTensor(),
        t.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])  # fmt: skip
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


# Bad input


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
    assert set(PAPER_BACKBONES) == {*RESNETS, *SWINS} and "py-feat" in NAMES
    with torch.device("meta"):
        assert isinstance(build("open-graphau:swin-s:mefl"), OpenGraphAU)
        assert build("me-graphau:resnet101:mefl").head.stage == "mefl"


# py-feat: its own weights cannot travel, so its documented interface stands in for it


def test_absent_pyfeat_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "feat", None)
    with pytest.raises(AubenchError) as error:
        load_detector("py-feat")
    assert str(error.value) == "py-feat is not installed; pip install 'aubench[pyfeat]'"
    with pytest.raises(AubenchError, match="unknown model 'xgboost' of py-feat"):
        load_detector("py-feat:xgboost")


def test_old_pyfeat_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "feat", types.SimpleNamespace(__version__="0.6.2"))
    with pytest.raises(AubenchError, match=r"py-feat 0.6.2 is too old"):
        load_detector("py-feat")


def stand_in(resources, answer):
    """Modules of py-feat's interface: ``answer`` gives the faces of an image file."""

    class Detectorv1:
        def __init__(self, **options):
            self.options = options

        def detect(self, inputs, data_type, batch_size, num_workers, progress_bar):
            assert data_type == "image" and batch_size == 1
            return pd.DataFrame([face for path in inputs for face in answer(path)])

    io = types.SimpleNamespace(get_resource_path=lambda: str(resources))
    return types.SimpleNamespace(__version__="2.1.5", Detectorv1=Detectorv1), io


def test_pyfeat_rows_are_the_surest_faces(monkeypatch, tmp_path):
    from PIL import Image

    columns = [f"AU{au:02d}" for au in (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24)]

    def answer(path):
        shade = int(np.asarray(Image.open(path))[0, 0, 0])
        if shade == 0:
            return []
        if shade == 1:
            return [{"input": path, "FaceScore": np.nan} | dict.fromkeys(columns, np.nan)]
        faces = [(0.6, 0.5), (0.9, shade / 1000), (0.7, 0.4)]
        return [{"input": path, "FaceScore": score}
                | {c: add + int(c[2:]) / 100 for c in columns} for score, add in faces]  # fmt: skip

    weights = tmp_path / "models--py-feat--xgb_au/snapshots/abc"
    weights.mkdir(parents=True)
    (weights / "xgb_au_classifier.skops").write_bytes(b"one")
    feat, io = stand_in(tmp_path, answer)
    monkeypatch.setitem(sys.modules, "feat", feat)
    monkeypatch.setitem(sys.modules, "feat.utils.io", io)
    detector = load_detector("py-feat")
    assert detector.model.options["identity_model"] is None
    assert detector.name == "py-feat:xgb" and "|2.1.5|" in detector.id and detector.mask.all()
    images = (
        np.zeros((4, 8, 8, 3), np.uint8) + np.array([20, 0, 1, 30], np.uint8)[:, None, None, None]
    )
    p = detector.probabilities(images)
    np.testing.assert_allclose(p[0], 0.02 + np.array(AUS) / 100, rtol=1e-6)
    np.testing.assert_allclose(p[3], 0.03 + np.array(AUS) / 100, rtol=1e-6)
    assert np.isnan(p[1:3]).all() and p.dtype == np.float32
    assert detector.probabilities(images[:0]).shape == (0, 12)
    with pytest.raises(AubenchError, match="no AU features"):
        detector.features(torch.zeros(1, 3, 8, 8))
    (weights / "xgb_au_classifier.skops").write_bytes(b"two")
    assert load_detector("py-feat").id != detector.id


def test_pyfeat_without_network(monkeypatch):
    class Detectorv1:
        def __init__(self, **options):
            raise FileNotFoundError("cannot find the requested files\nmore")

    monkeypatch.setitem(sys.modules, "feat", types.SimpleNamespace(Detectorv1=Detectorv1))
    with pytest.raises(AubenchError, match="cannot get its weights: cannot find the requested"):
        load_detector("py-feat:svm")
