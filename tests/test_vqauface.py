"""VQ-AUFace: quantiser gradient, schedule, sampling by seed, resume, weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from vqauface.generator import VQAUFace
from vqauface.presets import PRESETS, preset
from vqauface.rqvae import RQVAE, embed
from vqauface.sampling import choose, decode, kept_masked, uniforms
from vqauface.train import Settings, StageOne, StageTwo, Tokens, encode_all
from vqauface.transformer import MaskedTransformer, token_loss
from vqauface.weights import export, load, packed, unpacked

from aubench.errors import AubenchError
from aubench.generator import Request, WeightSource

TINY = preset("tiny")


class Words:
    """A text encoder for tests: the state of a text is its length."""

    def encode(self, texts):
        hidden = np.zeros((len(texts), 3, TINY.text), np.float32)
        for i, text in enumerate(texts):
            hidden[i] += len(text) / 10
        return hidden, np.ones((len(texts), 3), bool)


def images(count=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


def stage_one(out, steps=4):
    settings = Settings(1, "tiny", steps=steps, batch=16, anatomical=0.0, ready=10.0)
    return StageOne(settings, out, images(), None)


def stage_two(out, steps=4):
    torch.manual_seed(1)
    codec = RQVAE(TINY)
    codec.train()
    codec(torch.randn(16, 3, 32, 32))  # fills the codebooks
    codes = encode_all(codec, images())
    data = Tokens(
        codes, codes[:5], images(5), np.arange(40) % 5, [["a", "bb"]] * 40, torch.zeros(40, 12)
    )
    settings = Settings(2, "tiny", steps=steps, batch=16)
    return StageTwo(settings, out, data, codec.eval().books().detach(), Words())


def test_shapes_of_both_presets():
    for name in PRESETS:
        p = preset(name)
        model = RQVAE(p).train()
        x = torch.randn(8, 3, p.size, p.size)
        y, codes, commitment = model(x)
        assert y.shape == x.shape and codes.shape == (8, p.grid**2, p.levels)
        assert commitment.ndim == 0 and float(commitment.detach()) >= 0
        assert model.books().shape == (p.levels, p.entries, p.code)
    with pytest.raises(AubenchError, match="did you mean 'nano'"):
        preset("nanno")


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


def test_cosine_schedule_unmasks_everything_and_never_goes_back():
    for steps in (1, 3, 8, 12):
        left = [kept_masked(step, steps, 64) for step in range(steps)]
        assert left == sorted(left, reverse=True) and left[-1] == 0
    assert kept_masked(0, 12, 64) > 60


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


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_decoding_of_a_sample_does_not_depend_on_its_batch(guidance):
    torch.manual_seed(2)
    model = MaskedTransformer(TINY).eval()
    books = torch.randn(2, 16, 16)
    au, appearance = torch.randn(5, 12, 32), torch.randn(5, 1, 32)
    grid, ref = torch.randn(5, 4, 32), torch.randint(0, 16, (5, 4, 2))
    options = {"steps": 3, "temperature": 1.0, "guidance": guidance}
    whole = decode(model, books, au, appearance, grid, ref, [1, 2, 3, 4, 5], **options)
    alone = decode(model, books, au[3:4], appearance[3:4], grid[3:4], ref[3:4], [4], **options)
    assert torch.equal(whole[3:4], alone)
    other = decode(model, books, au[3:4], appearance[3:4], grid[3:4], ref[3:4], [99], **options)
    assert not torch.equal(other, alone)


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


@pytest.mark.parametrize("make", [stage_one, stage_two])
def test_resumed_training_has_the_same_loss_curve(tmp_path, make):
    whole = make(tmp_path / "whole")
    shown = [whole.step(40) for _ in range(4)]
    first = make(tmp_path / "parts")
    assert [first.step(40) for _ in range(2)] == shown[:2]
    first.save()
    second = make(tmp_path / "parts")
    second.resume()
    assert [second.step(40) for _ in range(2)] == shown[2:]
    for key, value in whole.average.items():
        torch.testing.assert_close(second.average[key], value, rtol=0, atol=0)
    with pytest.raises(AubenchError, match="other settings"):
        make(tmp_path / "parts", steps=9).resume()
    second.checkpoint.write_bytes(b"x")
    with pytest.raises(AubenchError, match="damaged"):
        make(tmp_path / "parts").resume()


def test_stage_one_learns(tmp_path):
    loop = StageOne(
        Settings(1, "tiny", steps=80, batch=16, anatomical=0.0, adversarial=0.0),
        tmp_path, np.full((8, 32, 32, 3), 200, np.uint8), None,
    )  # fmt: skip
    first = loop.step(8)["l1"]
    loop.run(8)
    assert loop.step(8)["l1"] < 0.5 * first


def exported(tmp_path):
    one = stage_one(tmp_path, steps=2)
    one.run(40)
    two = stage_two(tmp_path, steps=2)
    two.run(40)
    return export(tmp_path)


def test_weights_round_trip_and_damage(tmp_path):
    file = exported(tmp_path)
    _, transformer, shape, card, digest = load(file)
    assert shape == TINY and card["sha256"] == digest
    assert "not the paper's model" in card["scale"]
    assert sum(p.numel() for p in transformer.parameters()) > 1000
    data = file.read_bytes()
    file.write_bytes(data[:500])
    with pytest.raises(AubenchError, match="sha256"):
        load(file)
    file.write_bytes(data)
    path = file.with_name("tiny.card.json")
    changed = json.loads(path.read_text())
    changed["preset"]["hidden"] = 64
    path.write_text(json.dumps(changed))
    with pytest.raises(AubenchError, match="does not hold VQ-AUFace"):
        load(file)
    path.write_text("{}")
    with pytest.raises(AubenchError, match="not a card"):
        load(file)
    with pytest.raises(AubenchError, match="no VQ-AUFace weights"):
        load(tmp_path / "nothing.safetensors")


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


def test_generator_makes_faces_that_depend_on_their_request_alone():
    from aubench.synfacs.render import render

    model = VQAUFace.load(WeightSource(), device="cpu", dtype="float32")
    zero = np.zeros(12)
    batch = [
        Request(f"s{i}", text, zero.astype(np.uint8), None,
                render(f"S{330 + i}", zero, 4, size=128), 10 + i, 128)
        for i, text in enumerate(["A broad smile.", "The chin is raised.", "The brows frown."])
    ]  # fmt: skip
    made = model.generate(batch)
    assert made.shape == (3, 128, 128, 3) and made.dtype == np.uint8
    np.testing.assert_array_equal(model.generate(batch[1:2])[0], made[1])
    for request, image in zip(batch, made, strict=True):
        near = np.abs(image.astype(int) - request.reference).mean()
        assert near < 25  # the face of its own reference, not another


def test_generator_refuses_what_it_cannot_do(tmp_path):
    with pytest.raises(AubenchError, match="no option 'speed'"):
        VQAUFace.load(WeightSource(), device="cpu", dtype="float32", speed=1)
    with pytest.raises(AubenchError, match="no VQ-AUFace weights"):
        VQAUFace.load(WeightSource(Path(tmp_path / "x")), device="cpu", dtype="float32")


def test_shipped_weights_are_small_and_carded():
    folder = Path(__file__).parent.parent / "reference_model" / "vqauface" / "weights"
    assert (folder / "nano.safetensors").stat().st_size <= 12e6
    card = json.loads((folder / "nano.card.json").read_text())
    assert {"sha256", "commands", "data", "hardware", "seconds", "scale"} <= set(card)
