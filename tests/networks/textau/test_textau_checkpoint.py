"""Pretrained T5 encoders, in small: the same files, names and layers as the published ones."""

import json
import subprocess
import sys

import pytest
import torch

from aubench.errors import AubenchError
from aubench.networks.textau import corpus as texts_of
from aubench.networks.textau.checkpoint import find, load_encoder, locate
from aubench.networks.textau.classifier import TextNetwork, load
from aubench.networks.textau.train import Settings, Trainer, train

TEXT = "▁the ▁brow ▁is ▁raised ▁and ▁lips ▁press ▁cheeks ▁a ▁smile ▁down ▁up"
WORDS = TEXT.split()


def write_t5(folder, shard="5GB", form="safetensors", **changes):
    """A T5 with decoder of the nano's width and depth, as transformers saves one."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(3)
    shape = {
        "vocab_size": 64,
        "d_model": 96,
        "num_layers": 3,
        "num_heads": 4,
        "d_kv": 24,
        "d_ff": 192,
        "feed_forward_proj": "gated-gelu",
    } | changes
    model = T5ForConditionalGeneration(T5Config(**shape)).eval()
    model.save_pretrained(folder, max_shard_size=shard)
    if form == "bin":
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((word, -2.0) for word in WORDS)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.enable_truncation(4)  # a leftover of its last use, to be ignored
    tokenizer.save(str(folder / "tokenizer.json"))
    return model


@pytest.mark.parametrize(
    ("shard", "form"),
    [
        ("5GB", "safetensors"),
        ("200KB", "safetensors"),
        ("5GB", "bin"),
    ],
)
def test_encoder_gives_what_transformers_gives(tmp_path, shard, form):
    """The oracle is the whole T5 that was saved, with its decoder."""
    model = write_t5(tmp_path, shard, form)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard == "200KB")
    found = find(str(tmp_path), "nano-dictionary")
    assert found.shape.gated and found.shape.inner == 192 and found.shape.vocabulary == 64
    network = TextNetwork(found.shape).eval()
    load_encoder(network, found)
    ids, mask = torch.tensor([[3, 4, 5, 1], [3, 1, 0, 0]]), torch.tensor([[1] * 4, [1, 1, 0, 0]])
    with torch.inference_mode():
        expected = model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        torch.testing.assert_close(network.encode(ids, mask), expected)


def test_training_starts_from_the_checkpoint_and_needs_it_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(texts_of, "MOST", 8)
    t5, out = tmp_path / "t5", tmp_path / "out"
    model = write_t5(t5)
    settings = Settings(
        "nano-dictionary", "synfacs", checkpoint=str(t5), epochs=1, limit=16, batch=8, segment=1
    )
    trainer = Trainer(settings, out)
    weight = trainer.network.encoder.shared.weight
    torch.testing.assert_close(weight.detach(), model.shared.weight.detach())
    assert trainer.tokens.tail == [1] and trainer.tokens.ids("the brow is raised and") == [
        3,
        4,
        5,
        6,
        7,
        1,
    ]
    trainer.tokens.length = 4
    assert trainer.tokens.ids("the brow is raised and") == [3, 4, 5, 1]  # </s> stays
    assert trainer.tokens.cut("the brow is raised and") == (6, 11)
    trainer.step_number = 0
    trainer.save()
    t5.rename(tmp_path / "gone")  # resume and loading read their own files
    train(settings, out, "test")
    classifier = load("nano-dictionary", "cpu", out)
    assert classifier.card["pretrained"].keys() == {"model.safetensors"}
    assert str(t5) in classifier.card["scale"] and classifier.card["shape"]["gated"]
    assert classifier.probabilities(["the lips press"]).shape == (1, 12)


def start(folder):
    found = find(str(folder), "nano-dictionary")
    load_encoder(TextNetwork(found.shape), found)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("config", "is not the configuration of a T5"),
        ("size", "96 wide with 2 layers"),
        ("tokenizer", "has no tokenizer.json"),
        ("vocabulary", "knows 15 tokens, the weights 9"),
        ("weights", "has neither model.safetensors nor pytorch_model.bin"),
        ("cut", "cannot be read"),
        ("tensor", "lacks encoder.block.2"),
        ("shape", "does not fit"),
        ("pickle", "holds more than tensors"),
    ],
)
def test_damaged_checkpoints_are_named(tmp_path, damage, expected):
    write_t5(tmp_path, **({"num_layers": 2} if damage in {"size", "tensor"} else {}))
    config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    data = json.loads(config.read_text())
    change = {"tensor": {"num_layers": 3}, "vocabulary": {"vocab_size": 9}, "shape": {"d_ff": 200}}
    config.write_text(json.dumps(data | change.get(damage, {})))
    if damage == "config":
        config.write_text("{}")
    elif damage == "tokenizer":
        (tmp_path / "tokenizer.json").unlink()
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif damage in {"weights", "pickle"}:
        weights.unlink()
    if damage == "pickle":
        torch.save({"shared.weight": torch.zeros(2), "x": print}, tmp_path / "pytorch_model.bin")
    with pytest.raises(AubenchError) as error:
        start(tmp_path)
    assert expected in str(error.value) and str(tmp_path) in str(error.value)


def test_checkpoint_is_a_folder_a_file_in_it_or_a_hub_id(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert locate(str(tmp_path)) == locate(str(tmp_path / "model.safetensors")) == tmp_path
    for missing in ("./absent", "/absent/folder", "a/b/c"):
        with pytest.raises(AubenchError, match="no checkpoint at"):
            locate(missing)


@pytest.mark.parametrize(
    "setting",
    [
        {"HF_HUB_OFFLINE": "1"},
        {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"},
    ],
)
def test_silent_hub_is_one_line(tmp_path, setting):
    import os

    code = (
        "from aubench.networks.textau.checkpoint import locate\n"
        "from aubench.errors import AubenchError\n"
        "try: locate('google-t5/t5-large')\n"
        "except AubenchError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "HF_HOME": str(tmp_path), **setting},
    )
    assert done.stdout.startswith("the hub did not give 'google-t5/t5-large' ("), done.stderr
    assert "give --checkpoint a folder" in done.stdout and done.stdout.count("\n") == 1
