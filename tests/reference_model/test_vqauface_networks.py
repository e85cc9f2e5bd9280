"""VQ-AUFace: quantiser, token kinds, both designs, the loss of masked tokens."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from vqauface.maskgit import MaskGitTransformer
from vqauface.networks.conditions import AUCrossAttention, FaceEncoder, LabelStates
from vqauface.networks.rqvae import RQVAE, embed
from vqauface.presets import preset
from vqauface.sampling import (
    training_mask,
)
from vqauface.training.stage_two import transformer
from vqauface_nets import FLAT, TINY, books_of, condition

from aubench.errors import AubenchError


def test_shapes_of_the_small_presets():
    for name in ("nano", "tiny", "tiny-flat"):
        p = preset(name)
        model = RQVAE(p).train()
        x = torch.randn(8, 3, p.size, p.size)
        y, codes, commitment = model(x)
        assert y.shape == x.shape and codes.shape == (8, p.grid**2, p.levels)
        assert commitment.ndim == 0 and float(commitment.detach()) >= 0
        assert model.codebooks().shape == (p.levels, p.entries, p.code)
    with pytest.raises(AubenchError, match="did you mean 'nano'"):
        preset("nanno")


def test_large_presets_have_the_papers_numbers_and_sizes():
    paper = preset("paper")
    assert (paper.tokens, paper.levels * paper.entries) == (2048, 65536)
    assert (paper.length, paper.heads, paper.encoder) == (2048, 8, "t5-large")
    with torch.device("meta"):
        for name, codec, masked in (("paper", 45.29, 106.60), ("mid", 19.54, 46.77)):
            p = preset(name)
            found = [sum(v.numel() for v in m.parameters()) for m in (RQVAE(p), transformer(p))]
            assert found == pytest.approx([codec * 1e6, masked * 1e6], rel=0.01)
            z = torch.empty(1, p.grid**2, p.code)
            assert RQVAE(p).decode(z).shape == (1, 3, 256, 256)
            assert RQVAE(p).encode(torch.empty(1, 3, 256, 256)).shape == z.shape


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(AubenchError, match="do not fit"):
        replace(TINY, grid=4)
    with pytest.raises(AubenchError, match="did you mean 'labels'"):
        replace(TINY, input="label")
    with pytest.raises(AubenchError, match="'vea' is no kind of token"):
        replace(TINY, without="appearance+vea")
    with pytest.raises(AubenchError, match="query=structure"):
        replace(FLAT, query="text")


def test_straight_through_gradient_is_one_whatever_the_levels():
    model = RQVAE(TINY).train()
    z = torch.randn(4, 4, TINY.code, requires_grad=True)
    quantised, _, _ = model.quantise(z)
    grad = torch.randn_like(quantised)
    (quantised * grad).sum().backward()
    torch.testing.assert_close(z.grad, grad)


def test_codes_rebuild_the_quantised_latents():
    model = RQVAE(TINY).train()
    model(torch.randn(32, 3, 32, 32))
    model.eval()
    z = model.encode(torch.randn(6, 3, 32, 32))
    quantised, codes, _ = model.quantise(z)
    torch.testing.assert_close(embed(model.codebooks(), codes).sum(2), quantised.detach())
    coarse = (z - embed(model.codebooks(), codes)[:, :, 0]).norm()
    assert float((z - quantised).detach().norm()) < float(
        coarse.detach()
    )  # a further level brings it nearer


def test_au_tokens_without_structure_are_the_text():
    torch.manual_seed(0)
    p = replace(FLAT, without="structure")
    attention = AUCrossAttention(p)
    c = condition(p)
    found = attention(c.hidden, c.words, None)
    assert found.shape == (5, p.length, p.hidden)
    expected = attention.text(c.hidden) + attention.place[:7]
    torch.testing.assert_close(found[:, :5], expected[:, :5])
    assert not found[:, 5:].any()  # padding


def test_au_cross_attention_reads_structure_and_no_padding():
    torch.manual_seed(0)
    for p in (FLAT, replace(FLAT, query="text", length=32)):
        attention = AUCrossAttention(p).eval()
        c, structure = condition(p), torch.randn(5, 16, p.hidden)
        found = attention(c.hidden, c.words, structure)
        assert found.shape == (5, 16 if p.query == "structure" else 32, p.hidden)
        noisy = c.hidden.clone()
        noisy[:, 5:] += 9.0  # beyond the text
        torch.testing.assert_close(attention(noisy, c.words, structure), found)
        assert not torch.allclose(attention(c.hidden, c.words, structure * 2), found)


def test_label_states_have_the_texts_form_and_differ_by_label():
    states = LabelStates(FLAT)
    labels = torch.eye(12)
    hidden, words = states(labels)
    assert hidden.shape == (12, FLAT.length, FLAT.text) and words.all()
    flat = hidden.flatten(1)
    assert float(torch.cdist(flat, flat)[~torch.eye(12, dtype=torch.bool)].min().detach()) > 0
    unknown = torch.full((1, 12), float("nan"))
    torch.testing.assert_close(states(unknown)[0], states(torch.zeros(1, 12))[0])


def test_face_encoder_pools_patches_of_clip_to_the_grid():
    p = replace(FLAT, structure="clip", clip="tiny")
    face = FaceEncoder(p)
    column = torch.arange(8.0).repeat(8)[None, :, None].expand(1, 64, p.hidden)
    tokens = torch.cat([torch.full((1, 1, p.hidden), 99.0), column], 1)  # the class token is left
    found = face.places(tokens).reshape(4, 4, p.hidden)
    torch.testing.assert_close(found[0], found[3])
    assert (found[:, 1:] > found[:, :-1]).all() and float(found.max().detach()) <= 7
    torch.testing.assert_close(found.mean(), torch.tensor(3.5))


KINDS = ["", "structure", "appearance", "vae", "appearance+structure+vae"]


@pytest.mark.parametrize("base", [TINY, FLAT], ids=["grid", "flat"])
@pytest.mark.parametrize("without", KINDS)
def test_a_kind_that_is_left_out_has_no_influence_and_the_others_have(base, without):
    torch.manual_seed(1)
    p = replace(base, without=without, appearance="nano-id", structure="clip", clip="tiny")
    model, codebooks, c = transformer(p).eval(), books_of(p), condition(p)
    changes = {
        "appearance": replace(c, appearance=c.appearance + 1),
        "structure": replace(c, structure=c.structure * -1),
        "vae": replace(c, codes=(c.codes + 1) % p.entries),
        "text": replace(c, hidden=c.hidden + 1),
    }
    masked = training_mask(5, model.places(p), torch.Generator().manual_seed(0))
    codes = condition(p, seed=4).codes

    def loss(told):
        with torch.no_grad():  # changed = 1: the weights shall not depend on the reference
            return float(model.loss(model.context(told, codebooks), codebooks, codes, masked, 1.0))

    base_loss = loss(c)
    for kind, told in changes.items():
        assert (loss(told) != base_loss) == (kind not in without.split("+")), kind


def test_label_input_reads_labels_alone():
    p = replace(FLAT, input="labels")
    model, codebooks, c = transformer(p).eval(), books_of(p), condition(p)
    tokens = model.context(c, codebooks).tokens
    other = replace(c, labels=1 - c.labels)
    assert not torch.allclose(model.context(other, codebooks).tokens, tokens)


def test_flat_logits_are_those_of_the_whole_vocabulary():
    """Level by level equals one product with all 65,536 entries, of which a level keeps its own."""
    model = MaskGitTransformer(FLAT)
    states = torch.randn(3, FLAT.tokens, FLAT.hidden)
    whole = states @ model.head.flatten(0, 1).T + model.bias.flatten()
    n, k = FLAT.grid**2, FLAT.entries
    for level in range(FLAT.levels):
        rows = slice(level * n, (level + 1) * n)
        part = whole[:, rows, level * k : (level + 1) * k]
        torch.testing.assert_close(model.logits(states[:, rows], level), part)
    codes = torch.randint(0, k, (2, n, FLAT.levels))
    assert torch.equal(model.unflatten(model.flatten(codes)), codes)


def test_flat_loss_is_the_cross_entropy_of_masked_tokens():
    torch.manual_seed(2)
    model, codebooks, c = MaskGitTransformer(FLAT).eval(), books_of(FLAT), condition(FLAT)
    context = model.context(c, codebooks)
    codes = condition(FLAT, seed=3).codes
    masked = training_mask(5, FLAT.tokens, torch.Generator().manual_seed(5))
    found = model.loss(context, codebooks, codes, masked, 3.0)
    entries = model.flatten(codes)
    states = model(entries, masked, model.keys(context))
    n = FLAT.grid**2
    logits = torch.cat(
        [model.logits(states[:, q * n : (q + 1) * n], q) for q in range(FLAT.levels)], 1
    )
    expected = F.cross_entropy(logits[masked], entries[masked])
    torch.testing.assert_close(found, expected)
    hidden = torch.where(masked, (entries + 1) % FLAT.entries, entries)
    torch.testing.assert_close(model(hidden, masked, model.keys(context)), states)
