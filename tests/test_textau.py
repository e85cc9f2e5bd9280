"""The text classifier: shipped weights, held-out wordings, resume, damage."""

import json
import shutil

import numpy as np
import pytest
import torch

from aubench.describe import describe
from aubench.errors import AubenchError
from aubench.facs import labels_of
from aubench.textau import load_text_au
from aubench.textau.classifier import WEIGHTS, TextNetwork, load, preset
from aubench.textau.train import HELD_OUT, Settings, Trainer, f1, train, unseen_sets


def test_shipped_classifier_reaches_its_card_on_held_out_wordings():
    model = load_text_au()
    sets = unseen_sets([], 300)
    labels = np.stack([labels_of(aus) for aus in sets])
    p = model.probabilities([describe(aus, variant=HELD_OUT).text for aus in sets])
    assert f1(p, labels) >= 0.85  # the paper reports 0.731
    seen = model.probabilities([describe(aus, variant=0).text for aus in sets])
    assert f1(seen, labels) >= 0.95
    assert model.card["scores"]["F1, held-out wordings"] >= 0.73


def test_probabilities_do_not_depend_on_company():
    model = load_text_au()
    texts = [describe((6, 12)).text, describe((1, 4, 15, 17, 23)).text, describe(()).text]
    together = model.probabilities(texts)
    alone = np.concatenate([model.probabilities([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert together.shape == (3, 12) and together.dtype == np.float32
    assert together[2].max() < 0.5


def test_encode_gives_states_and_mask():
    hidden, mask = load_text_au().encode(["a smile", "the chin is raised and the lips press"])
    assert hidden.shape[:2] == mask.shape and hidden.shape[2] == 96
    assert mask.dtype == bool and mask[0].sum() < mask[1].sum()
    hidden, mask = load_text_au().encode([""])
    assert np.isfinite(hidden).all() and mask.any()


@pytest.mark.parametrize("damage", ["truncate", "foreign", "digest", "absent"])
def test_damaged_weights_are_refused(tmp_path, damage):
    shutil.copytree(WEIGHTS, tmp_path / "w")
    file, card = tmp_path / "w" / "nano.safetensors", tmp_path / "w" / "nano.card.json"
    data = json.loads(card.read_text())
    if damage == "absent":
        file.unlink()
    elif damage == "foreign":
        from safetensors.torch import save_file

        from aubench.files import sha256_file

        save_file({"something": torch.zeros(3)}, file)
        card.write_text(json.dumps({**data, "sha256": sha256_file(file)}))
    elif damage == "truncate":
        file.write_bytes(file.read_bytes()[:1000])
    else:
        card.write_text(json.dumps({**data, "sha256": "0" * 64}))
    with pytest.raises(AubenchError):
        load("nano", "cpu", tmp_path / "w")


def test_unknown_preset_suggests():
    with pytest.raises(AubenchError, match="did you mean 't5-large'"):
        preset("t5-lage")


def test_resumed_training_is_the_same(tmp_path):
    settings = Settings(epochs=3, limit=40, batch=16)
    train(settings, tmp_path / "whole", "test")
    half = Trainer(settings, tmp_path / "parts")
    half.run_epoch()
    half.save()
    train(settings, tmp_path / "parts", "test")
    cards = [
        json.loads((tmp_path / name / "nano.card.json").read_text()) for name in ("whole", "parts")
    ]
    assert cards[0]["history"] == cards[1]["history"] and len(cards[0]["history"]) == 3
    assert cards[0]["sha256"] == cards[1]["sha256"]
    with pytest.raises(AubenchError, match="other settings"):
        train(Settings(epochs=4, limit=40, batch=16), tmp_path / "parts", "test")
    (tmp_path / "parts" / "checkpoint.pt").write_bytes(b"x")
    with pytest.raises(AubenchError, match="damaged"):
        train(settings, tmp_path / "parts", "test")


@pytest.mark.slow
def test_paper_scale_shapes():
    """T5-small stands for the family: its true shape, random weights."""
    network = TextNetwork(preset("t5-small")).eval()
    count = sum(p.numel() for p in network.encoder.parameters())
    assert count == 35_330_816  # the encoder of t5-small
    with torch.inference_mode():
        out = network(torch.randint(1, 32000, (2, 9)), torch.ones(2, 9, dtype=torch.long))
    assert out.shape == (2, 12)
    large = preset("t5-large")
    assert (large.width, large.layers, large.heads, large.inner) == (1024, 24, 16, 4096)
