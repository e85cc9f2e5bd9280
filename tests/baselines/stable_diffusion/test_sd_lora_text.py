"""SD 1.5 with LoRA: its true shape, long texts, the tokenizer, masked batches."""

import json
import shutil

import pytest
import torch
from aubench_baselines.sd15_lora.generator import SHIPPED
from aubench_baselines.sd15_lora.loop import Settings
from aubench_baselines.sd15_lora.train import fresh_base
from aubench_baselines.stable_diffusion.adapter import (
    adapter_state,
    add_adapters,
)
from aubench_baselines.stable_diffusion.base import write_random_base
from aubench_baselines.stable_diffusion.shapes import SHAPES
from aubench_baselines.stable_diffusion.text import (
    END,
    GENERIC,
    LETTERS,
    START,
    encode,
    encode_ragged,
    pieces,
    train_tokenizer,
)
from sd_parts import LONG, open_base
from tiny_base import TINY

from aubench.errors import AubenchError


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny diffusers folder of random weights."""
    return write_random_base(tmp_path_factory.mktemp("sd") / "base", TINY, half=False)


def test_true_shape_of_stable_diffusion():
    """Parameters and tensors of the published networks; names of LoRA tensors on them."""
    shape = SHAPES["paper"]
    with torch.device("meta"):
        unet, vae, text = shape.build_unet(), shape.build_vae(), shape.build_text()
    for part, parameters, tensors in (
        (unet, 859_520_964, 686),
        (vae, 83_653_863, 248),
        (text, 123_060_480, 196),
    ):
        assert sum(p.numel() for p in part.parameters()) == parameters
        assert len(list(part.named_parameters())) == tensors
    pipe = type("Pipe", (), {"unet": unet, "vae": vae, "text_encoder": text})()
    add_adapters(pipe, 16, "attention", text_encoder=False)
    state = adapter_state(pipe)
    assert len(state) == 32 * 4 * 2  # layers, projections, A and B
    name = "unet.up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_k"
    assert state[f"{name}.lora_A.weight"].shape == (16, 768)
    assert state[f"{name}.lora_B.weight"].shape == (320, 16)
    # Per layer of width h: 16 matrix sides of h, but two of the cross-attention's are 768.
    widths = 5 * 320 + 5 * 640 + 6 * 1280
    assert sum(v.numel() for v in state.values()) == 16 * (14 * widths + 2 * 768 * 16)


def test_long_texts_are_chunked_or_truncated(base):
    tokenizer = open_base(base).tokenizer
    ids = tokenizer(LONG, add_special_tokens=False, verbose=False)["input_ids"]
    chunks = pieces(tokenizer, LONG, "chunk")
    assert len(ids) > 75 and len(chunks) == -(-len(ids) // 75)
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert all(len(c) == 77 and c[0] == start and c[-1] == end for c in chunks)
    kept = [i for c in chunks for i in c[1:-1] if i != end]
    assert kept == ids
    assert pieces(tokenizer, LONG, "truncate") == chunks[:1]
    assert pieces(tokenizer, "", "chunk") == [[start] + [end] * 76]
    with pytest.raises(AubenchError, match="cannot be read by 'chunks'"):
        pieces(tokenizer, LONG, "chunks")


def test_tokenizer_agrees_with_plain_clip_encoding(base):
    """A short text gives what a pipeline's own call to its tokenizer gives."""
    tokenizer = open_base(base).tokenizer
    text = "The inner brows rise, and the chin is lifted."
    usual = tokenizer(text, padding="max_length", max_length=77, truncation=True)["input_ids"]
    assert pieces(tokenizer, text, "chunk") == [usual]
    assert "brows" in tokenizer.decode(usual)


def test_equal_texts_train_equal_tokenizers(tmp_path):
    """Ids and merges, although the trainer's hash maps are seeded anew each time."""
    texts = [*GENERIC, LONG, "Zwölf brows: 12?", "pull, pulled, puller"]
    made = []
    for i in range(4):
        train_tokenizer(tmp_path / str(i), 300, texts[::-1] if i % 2 else texts)
        files = ("vocab.json", "merges.txt", "tokenizer_config.json")
        made.append([(tmp_path / str(i) / name).read_bytes() for name in files])
    assert all(one == made[0] for one in made)
    names = json.loads(made[0][0])
    assert list(names.values()) == list(range(300)) and [*names][-2:] == [START, END]
    assert [*names][: len(LETTERS)] == list(LETTERS)
    merges = made[0][1].decode().splitlines()[1:]
    assert len(merges) > 100 and all("".join(pair.split()) in names for pair in merges)


def test_a_training_that_goes_on_keeps_its_tokenizer(tmp_path):
    folder, shipped = tmp_path / "sd15-nano-base", SHIPPED.parent / "sd15-nano-base"
    for name in ("vae", "tokenizer"):
        shutil.copytree(shipped / name, folder / name)
    (tmp_path / "stage2.checkpoint.pt").touch()
    place = folder / "tokenizer" / "vocab.json"
    before = place.read_bytes()
    pipe = fresh_base(Settings(stage=2), folder)
    assert place.read_bytes() == before
    assert pipe.tokenizer.get_vocab() == json.loads(before)
    (tmp_path / "stage2.checkpoint.pt").unlink()
    fresh_base(Settings(stage=2), folder)
    assert len(json.loads(place.read_bytes())) == len(json.loads(before))


def test_masked_batch_equals_texts_one_by_one(base):
    """Training masks the padding, so a text of two pieces is as it is alone."""
    pipe = open_base(base)
    texts = [pieces(pipe.tokenizer, t, "chunk") for t in ("A smile.", LONG)]
    x = torch.randn(2, 4, 16, 16)
    with torch.inference_mode():
        states, mask = encode_ragged(pipe.text_encoder, texts)
        both = pipe.unet(x, 10, states, encoder_attention_mask=mask).sample
        for i, text in enumerate(texts):
            alone = pipe.unet(x[i : i + 1], 10, encode(pipe.text_encoder, [text])).sample
            torch.testing.assert_close(both[i : i + 1], alone, rtol=1e-3, atol=1e-4)
    assert mask.sum(1).tolist() == [77, 77 * len(texts[1])]


def test_repeated_empty_text_is_the_empty_text(base):
    """Attention to k copies of the same keys equals attention to one."""
    pipe = open_base(base)
    empty = pieces(pipe.tokenizer, "", "chunk")
    x = torch.randn(1, 4, 16, 16)
    with torch.inference_mode():
        one, three = (
            pipe.unet(x, 5, encode(pipe.text_encoder, [empty * k])).sample for k in (1, 3)
        )
    torch.testing.assert_close(one, three, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"\[1, 2\] pieces"):
        encode(pipe.text_encoder, [empty, empty * 2])
