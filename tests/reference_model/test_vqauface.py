"""VQ-AUFace: schedule, sampling by seed, guidance, weights, plug-in."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from facenet_stand import put_in_place
from vqauface.generator import VQAUFace
from vqauface.maskgit import MaskGitTransformer
from vqauface.networks.transformer import MaskedTransformer, token_loss
from vqauface.presets import PRESETS
from vqauface.sampling import (
    Sampling,
    choose,
    decode,
    decode_flat,
    kept_masked,
    lowest_confidence,
    training_mask,
    uniforms,
)
from vqauface.training.stage_two import transformer
from vqauface.weights import load, packed, unpacked
from vqauface_nets import FLAT, TINY, books_of, condition

from aubench.errors import AubenchError
from aubench.generators.contract import Request, SampleFailure, WeightSource

SHIPPED = Path(__file__).parents[2] / "reference_model" / "vqauface" / "weights"


def test_cosine_schedule_unmasks_everything_and_never_goes_back():
    for steps in (1, 3, 8, 12):
        left = [kept_masked(step, steps, 64) for step in range(steps)]
        assert left == sorted(left, reverse=True) and left[-1] == 0
    assert kept_masked(0, 12, 64) > 60


def test_the_least_sure_stay_masked_among_the_masked():
    masked = torch.tensor([[True, True, False, True]])
    confidence = torch.tensor([[0.3, 0.1, -5.0, 0.2]])
    assert lowest_confidence(confidence, masked, 2).tolist() == [[False, True, False, True]]
    assert not lowest_confidence(confidence, masked, 0).any()


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
    model, codebooks, c = transformer(p).eval(), books_of(p), condition(p)
    how = Sampling(3, 1.0, guidance)
    whole = decode(model, codebooks, c, [1, 2, 3, 4, 5], how)
    assert whole.shape == (5, p.grid**2, p.levels)
    assert int(whole.min()) >= 0 and int(whole.max()) < p.entries
    alone = decode(model, codebooks, c[3:4], [4], how)
    assert torch.equal(whole[3:4], alone)
    assert not torch.equal(decode(model, codebooks, c[3:4], [99], how), alone)


def test_coarse_levels_are_decoded_before_fine_ones(monkeypatch):
    import vqauface.sampling as module

    seen = []
    real = module.lowest_confidence
    monkeypatch.setattr(
        module, "lowest_confidence", lambda *a: seen.append(real(*a)) or seen[-1]
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
    model, codebooks, c = MaskGitTransformer(FLAT).eval(), books_of(FLAT), condition(FLAT)
    context = model.context(c, codebooks)
    every = torch.ones(5, dtype=torch.bool)
    plain = model.context(c, codebooks, every)
    other = model.context(replace(c, hidden=c.hidden * -3), codebooks, every)
    torch.testing.assert_close(plain.tokens, other.tokens)  # no text, whatever the text
    how = Sampling(3, 0.0, 1.0)
    same = decode_flat(model, context, plain, [1] * 5, how)
    assert torch.equal(same, decode_flat(model, context, None, [1] * 5, how))
    away = decode_flat(model, context, plain, [1] * 5, Sampling(3, 0.0, 9.0))
    assert not torch.equal(same, away)


def test_token_loss_counts_masked_positions_alone():
    torch.manual_seed(3)
    model, codebooks = MaskedTransformer(TINY), torch.randn(2, 16, 16)
    states, codes = torch.randn(2, 4, 32), torch.randint(0, 16, (2, 4, 2))
    ref = torch.randint(0, 16, (2, 4, 2))
    masked = torch.zeros(2, 4, dtype=torch.bool)
    masked[0, 1] = True
    ones = torch.ones(2, 4, 2)
    first = token_loss(model, codebooks, states, codes, ref, masked, ones)
    other = codes.clone()
    other[1] = (other[1] + 1) % 16
    torch.testing.assert_close(
        token_loss(model, codebooks, states, other, ref, masked, ones), first
    )
    other[0, 1, 1] = (other[0, 1, 1] + 1) % 16
    assert not torch.allclose(token_loss(model, codebooks, states, other, ref, masked, ones), first)


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


def test_faces_are_looked_for_where_that_is_asked(shipped, mp_face):
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


def clip_folder(folder, without=None):
    """A tiny CLIP image encoder as transformers saves it, perhaps without one tensor."""
    from safetensors.torch import load_file, save_file
    from vqauface.networks.encoders import CLIPS, clip_image

    clip_image(CLIPS["tiny"], "random").save_pretrained(folder)
    file = folder / "model.safetensors"
    state = {k: v for k, v in load_file(file).items() if without is None or without not in k}
    save_file(state, file, metadata={"format": "pt"})
    return folder


def test_missing_encoders_name_the_remedy(tmp_path, monkeypatch):
    put_in_place(monkeypatch)
    from vqauface.networks.encoders import load_encoders

    p = replace(TINY, appearance="facenet")
    with pytest.raises(AubenchError, match=r"no weights of the face.*--set face_file="):
        load_encoders(p, "cpu", face=str(tmp_path / "none.pt"))
    p = replace(TINY, structure="clip", clip="tiny")
    with pytest.raises(AubenchError, match=r"no CLIP image encoder.*--set clip_file="):
        load_encoders(p, "cpu", clip=str(tmp_path))
    with pytest.raises(AubenchError, match=r"lacks 1 tensors of CLIP's image encoder, first .*fc1"):
        load_encoders(p, "cpu", clip=str(clip_folder(tmp_path / "clip", without="mlp.fc1.bias")))
    assert load_encoders(p, "cpu", clip=str(clip_folder(tmp_path / "whole"))).clip is not None
    with pytest.raises(AubenchError, match="unknown CLIP"):
        load_encoders(replace(p, clip="huge"), "cpu")
