"""FineFace: its token and attention, its files, and samples it is not made for."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from aubench_baselines.fineface.generator import SUPPORTED, FineFace, official_files, vector
from aubench_baselines.fineface.modules import AUEncoder, DecoupledAttention, fill, put_in
from aubench_baselines.stable_diffusion.adapter import add_adapters, write_adapter
from aubench_baselines.stable_diffusion.base import load_base, write_random_base
from aubench_baselines.stable_diffusion.shapes import SHAPES
from click.testing import CliRunner
from tiny_base import TINY

from aubench.cli.main import cli
from aubench.errors import AubenchError
from aubench.facs import AUS, labels_of
from aubench.generators.contract import Request, SampleFailure, Unsupported, WeightSource

SD21 = {
    **SHAPES["paper"].unet,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny base and files of the published layout with random weights."""
    root = tmp_path_factory.mktemp("fineface")
    write_random_base(root / "base", TINY, half=False)
    weights = root / "weights"
    weights.mkdir()
    torch.manual_seed(2)
    pipe = load_base(str(root / "base"), dtype=torch.float32)
    add_adapters(pipe, 4, "attention", text_encoder=False)
    write_adapter(pipe, weights / "pytorch_lora_weights.safetensors", torch.float32)
    put_in(pipe.unet)
    state = {
        f"{name}.{key}": torch.randn_like(value)
        for name, module in pipe.unet.attn_processors.items()
        if isinstance(module, DecoupledAttention)
        for key, value in module.named_parameters()
    }
    torch.save(state, weights / "attn_processors.ckpt")
    torch.save(AUEncoder(24).state_dict(), weights / "au_encoder.ckpt")
    return {"base": root / "base", "weights": weights}


def load(place, **options):
    given = {"base": str(place["base"]), "steps": "1", **options}
    source = WeightSource(place["weights"])
    return FineFace.load(source, device="cpu", dtype="float32", **given)


def request(aus="12", sample_id="a", intensities=None, seed=1):
    labels = labels_of(int(au) for au in aus.split("+"))
    known = None if intensities is None else np.array(intensities, np.float32)
    return Request(sample_id, "", labels, known, None, seed, 32)


def test_counts_of_the_published_files():
    """25.56 M parameters of attention in 16 layers, a LoRA file of 26.6 MB, by SD 2.1's shape."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD21)
        linear = [
            m for n, m in unet.named_modules() if n.endswith(("to_q", "to_k", "to_v", "to_out.0"))
        ]
        lora = sum(32 * (m.in_features + m.out_features) for m in linear)
        modules = put_in(unet)
    assert len(modules) == 16
    assert sum(p.numel() for p in modules.parameters()) == pytest.approx(25.56e6, rel=1e-3)
    assert 4 * lora == pytest.approx(26.6e6, rel=5e-3)
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.au_to_k.weight"
    assert name in unet.state_dict()


@pytest.mark.parametrize(("width", "encoded"), [(1024, 64), (768, 756)])
def test_token_is_raw_values_encoding_and_zeros(width, encoded):
    encoder = AUEncoder(width)
    values = torch.tensor([[0, 1.5, 0, 0, 2, 0, 5, 0, 0, 0, 0, 0.5]])
    token = encoder(values)[0, 0]
    assert token.shape == (width,)
    torch.testing.assert_close(token[:12], values[0])
    expected = values[0] @ encoder.au_encoder.weight.T + encoder.au_encoder.bias
    torch.testing.assert_close(token[12 : 12 + encoded], expected)
    assert not token[12 + encoded :].any()


def test_one_token_adds_its_value_everywhere():
    """With one key the softmax is 1: the AU part is to_out of a constant."""
    torch.manual_seed(0)
    unet = TINY.build_unet().eval()
    layer = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    x, words, token = torch.randn(1, 9, 16), torch.randn(1, 77, 24), torch.randn(1, 1, 24)
    with torch.inference_mode():
        plain = layer(x, encoder_hidden_states=words)
        put_in(unet, scale=0.5)
        both = layer(x, encoder_hidden_states=torch.cat([words, token], 1))
        value = layer.processor.au_to_v(token)[0, 0]
        added = 0.5 * value @ layer.to_out[0].weight.T
    torch.testing.assert_close(both - plain, added.expand_as(plain), rtol=1e-3, atol=1e-5)


def test_vector_in_its_own_order():
    known = np.zeros(12)
    known[AUS.index(12)], known[AUS.index(1)] = 4.2, np.nan
    values = vector(request("1+12", intensities=known), unknown=3.0)
    np.testing.assert_allclose(values, [3, 0, 0, 0, 0, 0, 4.2, 0, 0, 0, 0, 0], rtol=1e-6)
    assert SUPPORTED == (1, 2, 4, 6, 12, 15, 17)
    with pytest.raises(Unsupported, match="FineFace has no AU7, AU24"):
        vector(request("7+12+24"), unknown=3.0)
    assert issubclass(Unsupported, SampleFailure)


def test_generates_from_aus_alone(place):
    model = load(place)
    a, b = request("12"), request("4", "b", seed=2)
    both = model.generate([a, b])
    assert both.shape == (2, 32, 32, 3) and both.dtype == np.uint8
    np.testing.assert_array_equal(both[1], model.generate([b])[0])
    strong = np.full(12, 5.0)
    assert (model.generate([request("12", intensities=strong)])[0] != both[0]).any()
    assert (load(place, au_scale="0").generate([a])[0] != both[0]).any()
    off = load(place, au_scale="0", guidance="1")  # without AU attention AUs change nothing
    np.testing.assert_array_equal(
        off.generate([a])[0], off.generate([replace(a, aus=labels_of([4]))])[0]
    )


def test_files_are_read_strictly(place, tmp_path):
    unet, encoder = TINY.build_unet(), AUEncoder(24)
    put_in(unet)
    state = torch.load(place["weights"] / "attn_processors.ckpt", weights_only=True)
    whole = state | encoder.state_dict()
    fill(unet, encoder, whole, "file")
    key = next(iter(state))
    with pytest.raises(AubenchError, match="lacks tensor"):
        fill(unet, encoder, {k: v for k, v in whole.items() if k != key}, "file")
    with pytest.raises(AubenchError, match="unknown tensor extra"):
        fill(unet, encoder, {**whole, "extra": torch.zeros(1)}, "file")
    with pytest.raises(AubenchError, match=r"is \(2, 2\), not"):
        fill(unet, encoder, {**whole, key: torch.zeros(2, 2)}, "file")
    with pytest.raises(AubenchError, match="needs --weights FOLDER"):
        official_files(None, "sd21")
    with pytest.raises(AubenchError, match="0 files"):
        official_files(tmp_path, "sd21")
    with pytest.raises(AubenchError, match="for variant sd15"):
        official_files(place["weights"], "sd15")
    with pytest.raises(AubenchError, match="no variant 'sd3'"):
        load(place, variant="sd3")


def test_unsupported_samples_are_left_out_and_counted(place, tmp_path):
    """Through the command line: counted in the record, said in the heading, kept on resume."""
    words = [
        "run",
        "--model",
        "fineface",
        "--weights",
        place["weights"],
        "--protocol",
        "label-input",
        "--limit",
        "40",
        "--metrics",
        "au",
        "--out",
        tmp_path / "r",
        "--option",
        f"base={place['base']}",
        "--option",
        "steps=1",
        "--check-determinism",
    ]
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "r" / "record.json").read_text())
    counts = record["counts"]
    from aubench.protocols.protocol import load_protocol

    labels = load_protocol("label-input", "synfacs").samples().limit(40).labels()
    lacking = [i for i, au in enumerate(AUS) if au not in SUPPORTED]
    expected = int(labels[:, lacking].any(1).sum())
    assert 0 < expected < 34
    assert counts["unsupported"] == expected and counts["asked"] == 40
    assert counts["generated"] == 40 - expected and counts["failed"] == 0
    assert f"{expected} unsupported and left out" in " ".join(done.output.split())
    assert {row["n"] for row in record["scores"]} == {40 - expected}
    ledger = (tmp_path / "r" / "ledger.jsonl").read_text()
    assert ledger.count('"unsupported"') == expected
    again = CliRunner().invoke(cli, [str(word) for word in words[:-1]])
    assert again.exit_code == 0, again.output
    again = json.loads((tmp_path / "r" / "record.json").read_text())
    assert again["counts"] == counts
    assert (tmp_path / "r" / "ledger.jsonl").read_text() == ledger
