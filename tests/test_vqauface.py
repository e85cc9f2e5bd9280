"""VQ-AUFace: quantiser, token kinds, both designs, schedule, sampling by seed, weights, plug-in."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from vqauface.conditions import AUCrossAttention, Condition, FaceEncoder, LabelStates
from vqauface.generator import VQAUFace
from vqauface.maskgit import MaskGitTransformer
from vqauface.presets import PRESETS, preset
from vqauface.rqvae import RQVAE, embed
from vqauface.sampling import (
    Sampling,
    choose,
    decode,
    decode_flat,
    kept_masked,
    least_sure,
    training_mask,
    uniforms,
)
from vqauface.stage_two import transformer
from vqauface.transformer import MaskedTransformer, token_loss
from vqauface.weights import load, packed, unpacked

from aubench.errors import AubenchError
from aubench.generator import Request, SampleFailure, WeightSource

TINY, FLAT = preset("tiny"), preset("tiny-flat")
SHIPPED = Path(__file__).parent.parent / "reference_model" / "vqauface" / "weights"


def condition(p, batch=5, seed=0, length=7):
    draw = torch.Generator().manual_seed(seed)
    words = torch.ones(batch, length, dtype=torch.bool)
    words[:, -2:] = False
    text = p.input == "text"
    return Condition(
        torch.rand(batch, 3, p.size, p.size, generator=draw) * 2 - 1,
        torch.randint(0, p.entries, (batch, p.grid**2, p.levels), generator=draw),
        torch.randn(batch, length, p.text, generator=draw) if text else None,
        words if text else None,
        torch.randint(0, 2, (batch, 12), generator=draw).float(),
        torch.randn(batch, 1, 128, generator=draw) if p.appearance == "nano-id" else None,
        torch.randn(batch, 5, 32, generator=draw) if p.structure == "clip" else None,
    )


def books_of(p):
    draw = torch.Generator().manual_seed(1)
    return torch.randn(p.levels, p.entries, p.code, generator=draw)


# --- stage I -------------------------------------------------------------------------------------


def test_shapes_of_the_small_presets():
    for name in ("nano", "tiny", "tiny-flat"):
        p = preset(name)
        model = RQVAE(p).train()
        x = torch.randn(8, 3, p.size, p.size)
        y, codes, commitment = model(x)
        assert y.shape == x.shape and codes.shape == (8, p.grid**2, p.levels)
        assert commitment.ndim == 0 and float(commitment.detach()) >= 0
        assert model.books().shape == (p.levels, p.entries, p.code)
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
    torch.testing.assert_close(embed(model.books(), codes).sum(2), quantised.detach())
    coarse = (z - embed(model.books(), codes)[:, :, 0]).norm()
    assert float((z - quantised).detach().norm()) < float(
        coarse.detach()
    )  # a further level brings it nearer


# --- what the transformer is told ----------------------------------------------------------------


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
    model, books, c = transformer(p).eval(), books_of(p), condition(p)
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
            return float(model.loss(model.context(told, books), books, codes, masked, 1.0))

    base_loss = loss(c)
    for kind, told in changes.items():
        assert (loss(told) != base_loss) == (kind not in without.split("+")), kind


def test_label_input_reads_labels_alone():
    p = replace(FLAT, input="labels")
    model, books, c = transformer(p).eval(), books_of(p), condition(p)
    tokens = model.context(c, books).tokens
    other = replace(c, labels=1 - c.labels)
    assert not torch.allclose(model.context(other, books).tokens, tokens)


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
    model, books, c = MaskGitTransformer(FLAT).eval(), books_of(FLAT), condition(FLAT)
    context = model.context(c, books)
    codes = condition(FLAT, seed=3).codes
    masked = training_mask(5, FLAT.tokens, torch.Generator().manual_seed(5))
    found = model.loss(context, books, codes, masked, 3.0)
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


# --- decoding ------------------------------------------------------------------------------------


def test_cosine_schedule_unmasks_everything_and_never_goes_back():
    for steps in (1, 3, 8, 12):
        left = [kept_masked(step, steps, 64) for step in range(steps)]
        assert left == sorted(left, reverse=True) and left[-1] == 0
    assert kept_masked(0, 12, 64) > 60


def test_the_least_sure_stay_masked_among_the_masked():
    masked = torch.tensor([[True, True, False, True]])
    confidence = torch.tensor([[0.3, 0.1, -5.0, 0.2]])
    assert least_sure(confidence, masked, 2).tolist() == [[False, True, False, True]]
    assert not least_sure(confidence, masked, 0).any()


def test_choose_is_inverse_cdf_and_greedy_at_zero():
    logits = torch.log(torch.tensor([[[0.1, 0.2, 0.7]]]))
    for u, expected in ((0.05, 0), (0.25, 1), (0.31, 2), (0.999, 2)):
        assert choose(logits, torch.tensor([[u]]), 1.0)[0].item() == expected
    entry, logp = choose(logits, torch.tensor([[0.01]]), 0.0)
    assert entry.item() == 2 and float(logp) == pytest.approx(np.log(0.7), rel=1e-5)


def test_uniforms_depend_on_the_seed_alone():
    both = uniforms([3, 9], 2, 4, 2)
    torch.testing.assert_close(both[1:], uniforms([9], 2, 4, 2))
    assert not torch.equal(both[0], both[1])


def test_training_masks_follow_the_cosine_and_coarse_levels_come_first():
    draw = torch.Generator().manual_seed(0)
    free = training_mask(2000, 64, draw)
    assert free.any(1).all()
    assert float(free.float().mean()) == pytest.approx(2 / np.pi, abs=0.02)
    masked = training_mask(2000, 64, draw, levels=4, coarse=True)
    assert float(masked.float().mean()) == pytest.approx(2 / np.pi, abs=0.03)
    share = masked.view(2000, 4, 16).float().mean(2)
    for q in range(3):  # nothing of a coarse level is masked while its next is not wholly so
        assert (share[share[:, q] > 0, q + 1] == 1).all()


@pytest.mark.parametrize("p", [TINY, FLAT], ids=["grid", "flat"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_decoding_of_a_sample_does_not_depend_on_its_batch(p, guidance):
    torch.manual_seed(2)
    model, books, c = transformer(p).eval(), books_of(p), condition(p)
    how = Sampling(3, 1.0, guidance)
    whole = decode(model, books, c, [1, 2, 3, 4, 5], how)
    assert whole.shape == (5, p.grid**2, p.levels)
    assert int(whole.min()) >= 0 and int(whole.max()) < p.entries
    alone = decode(model, books, c[3:4], [4], how)
    assert torch.equal(whole[3:4], alone)
    assert not torch.equal(decode(model, books, c[3:4], [99], how), alone)


def test_coarse_levels_are_decoded_before_fine_ones(monkeypatch):
    import vqauface.sampling as module

    seen = []
    real = module.least_sure
    monkeypatch.setattr(
        module, "least_sure", lambda *a: seen.append(real(*a)) or seen[-1]
    )  # records
    model = MaskGitTransformer(FLAT).eval()
    context = model.context(condition(FLAT), books_of(FLAT))
    decode_flat(model, context, None, [1, 2, 3, 4, 5], Sampling(6, 1.0, 1.0))
    assert len(seen) == 6 and not seen[-1].any()
    n = FLAT.grid**2
    for masked in seen:
        coarse, fine = masked[:, :n], masked[:, n:]
        assert fine[coarse.any(1)].all()


def test_guidance_of_one_ignores_the_unguided_branch_and_more_moves_away():
    torch.manual_seed(3)
    model, books, c = MaskGitTransformer(FLAT).eval(), books_of(FLAT), condition(FLAT)
    context = model.context(c, books)
    every = torch.ones(5, dtype=torch.bool)
    plain = model.context(c, books, every)
    other = model.context(replace(c, hidden=c.hidden * -3), books, every)
    torch.testing.assert_close(plain.tokens, other.tokens)  # no text, whatever the text
    how = Sampling(3, 0.0, 1.0)
    same = decode_flat(model, context, plain, [1] * 5, how)
    assert torch.equal(same, decode_flat(model, context, None, [1] * 5, how))
    away = decode_flat(model, context, plain, [1] * 5, Sampling(3, 0.0, 9.0))
    assert not torch.equal(same, away)


def test_token_loss_counts_masked_positions_alone():
    torch.manual_seed(3)
    model, books = MaskedTransformer(TINY), torch.randn(2, 16, 16)
    states, codes = torch.randn(2, 4, 32), torch.randint(0, 16, (2, 4, 2))
    ref = torch.randint(0, 16, (2, 4, 2))
    masked = torch.zeros(2, 4, dtype=torch.bool)
    masked[0, 1] = True
    ones = torch.ones(2, 4, 2)
    first = token_loss(model, books, states, codes, ref, masked, ones)
    other = codes.clone()
    other[1] = (other[1] + 1) % 16
    torch.testing.assert_close(token_loss(model, books, states, other, ref, masked, ones), first)
    other[0, 1, 1] = (other[0, 1, 1] + 1) % 16
    assert not torch.allclose(token_loss(model, books, states, other, ref, masked, ones), first)


# --- weights and plug-in -------------------------------------------------------------------------


def test_packing_rounds_matrices_to_half_a_step_and_keeps_the_rest():
    torch.manual_seed(4)
    state = {
        "encoder.w": torch.randn(64, 100).half().float(),
        "decoder.w": torch.randn(64, 10, 3, 3) * torch.logspace(-3, 3, 64)[:, None, None, None],
        "decoder.zero": torch.zeros(64, 100),
        "bias": torch.randn(64).half().float(),
        "count": torch.tensor(3),
        "layers.0.cluster_size": torch.ones(5),
    }
    stored = packed(state, "stage1")
    assert stored["stage1.decoder.w"].dtype == torch.int8
    again = unpacked(stored)
    assert set(again) == {f"stage1.{key}" for key in state if "cluster_size" not in key}
    for key in ("encoder.w", "bias", "decoder.zero", "count"):
        assert torch.equal(again[f"stage1.{key}"], state[key])
    step = state["decoder.w"].flatten(1).abs().amax(1) / 127
    gap = (again["stage1.decoder.w"] - state["decoder.w"]).flatten(1).abs().amax(1)
    assert (gap <= 0.5001 * step).all() and float(gap.max()) > 0
    whole = packed(state, "stage1", small=False)
    assert whole["stage1.decoder.w"].dtype == torch.float16


@pytest.fixture(scope="module")
def shipped():
    return VQAUFace.load(WeightSource(), device="cpu", dtype="float32")


def request(i=0, text="A broad smile.", reference=None):
    from aubench.synfacs.render import render

    zero = np.zeros(12)
    if reference is None:
        reference = render(f"S{330 + i}", zero, 4, size=128)
    return Request(f"s{i}", text, None, None, reference, 10 + i, 128)


def test_generator_makes_faces_that_depend_on_their_request_alone(shipped):
    texts = ["A broad smile.", "The chin is raised.", "The brows frown."]
    batch = [request(i, text) for i, text in enumerate(texts)]
    made = shipped.generate(batch)
    assert made.shape == (3, 128, 128, 3) and made.dtype == np.uint8
    np.testing.assert_array_equal(shipped.generate(batch[1:2])[0], made[1])
    for asked, image in zip(batch, made, strict=True):
        near = np.abs(image.astype(int) - asked.reference).mean()
        assert near < 25  # the face of its own reference, not another


def test_generator_refuses_what_it_cannot_do(shipped, tmp_path):
    def loaded(**options):
        return VQAUFace.load(WeightSource(), device="cpu", dtype="float32", **options)

    with pytest.raises(AubenchError, match=r"no option 'guidence' \(did you mean 'guidance'"):
        loaded(guidence=1)
    with pytest.raises(AubenchError, match="no VQ-AUFace weights"):
        VQAUFace.load(WeightSource(Path(tmp_path / "x")), device="cpu", dtype="float32")
    small = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(AubenchError, match=r"asked for are 128 x 128 pixels; .aubench data"):
        shipped.generate([request(reference=small)])
    blank = np.full((128, 128, 3), 90, np.uint8)
    with pytest.raises(SampleFailure, match="shows no face"):
        shipped.generate([request(reference=blank)])
    long = "The lip corners are pulled up and back by the zygomatic muscle. " * 40
    with pytest.raises(SampleFailure, match=r"tokens, the encoder takes 320; end it at"):
        shipped.generate([request(text=long)])
    with pytest.raises(AubenchError, match="has no reference face"):
        shipped.generate([Request("s", "A smile.", None, None, None, 1, 128)])


def test_sampling_options_change_the_images(shipped):
    asked = [request(2, "The brows are drawn together and lowered.")]
    other = VQAUFace.load(
        WeightSource(), device="cpu", dtype="float32", steps="2", guidance="4", temperature="0"
    )
    assert (other.shape.steps, other.shape.guidance, other.shape.temperature) == (2, 4.0, 0.0)
    assert (other.generate(asked) != shipped.generate(asked)).any()


def test_faces_are_looked_for_where_that_is_asked(shipped):
    pytest.importorskip("facenet_pytorch")
    careful = VQAUFace.load(WeightSource(), device="cpu", dtype="float32", check_face="yes")
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[::8] = 255
    with pytest.raises(SampleFailure, match="shows no face"):
        careful.generate([request(reference=stripes)])
    careful._check(request(2))  # a face
    assert shipped.finder is None


def test_other_sizes_are_resized_to_what_is_asked(shipped):
    from aubench.synfacs.render import render

    large = render("S333", np.zeros(12), 4, size=192)
    made = shipped.generate([replace(request(3, reference=large), size=192)])[0]
    assert made.shape == (192, 192, 3)
    assert np.abs(made.astype(int) - large).mean() < 25


def test_shipped_weights_are_small_and_carded():
    assert (SHIPPED / "nano.safetensors").stat().st_size <= 12e6
    card = json.loads((SHIPPED / "nano.card.json").read_text())
    assert {"sha256", "commands", "data", "hardware", "seconds", "scale"} <= set(card)
    _, model, shape, _, _ = load(None)
    assert shape == PRESETS["nano"] and isinstance(model, MaskedTransformer)


def test_missing_encoders_name_the_remedy(tmp_path):
    from vqauface.encoders import load_encoders

    p = replace(TINY, appearance="facenet")
    with pytest.raises(AubenchError, match=r"no weights of the face.*--set face_file="):
        load_encoders(p, "cpu", face=str(tmp_path / "none.pt"))
    p = replace(TINY, structure="clip", clip="tiny")
    with pytest.raises(AubenchError, match=r"no CLIP image encoder.*--set clip_file="):
        load_encoders(p, "cpu", clip=str(tmp_path))
    with pytest.raises(AubenchError, match="unknown CLIP"):
        load_encoders(replace(p, clip="huge"), "cpu")
