"""The heads of ME-GraphAU and OpenGraphAU against their formulas, in float64 and einsum."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from published_detectors import bn

from aubench.networks.detectors.graphau.megraphau import MEGraphAU, edge_loss, edge_targets
from aubench.networks.detectors.graphau.opengraphau import MAIN, OUTPUTS, OpenGraphAU


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
