"""GANimation, the adapter: official checkpoints, intensities, sizes, damaged weights."""

import json
import os

import numpy as np
import pytest
import torch
from aubench_baselines.ganimation import generator as ganimation
from aubench_baselines.ganimation.generator import GANimation
from aubench_baselines.ganimation.networks import (
    Painter,
    blend,
    saturate,
    to_float,
    to_pixels,
)
from ganimation_parts import Bomb, load, request

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.generators.contract import Unsupported


def save_official(folder, aus=12, width=8, epoch=3):
    torch.manual_seed(aus)
    painter = Painter(aus, width, 1)
    for value in painter.parameters():
        value.data.add_(0.2 * torch.randn_like(value))
    path = folder / f"net_epoch_{epoch}_id_G.pth"
    torch.save(painter.state_dict(), path)
    return path, painter


def test_an_official_checkpoint_runs_and_attention_saturates_on_request(tmp_path):
    path, painter = save_official(tmp_path)
    asked = request(intensities=np.linspace(0, 5, 12, dtype=np.float32))
    x = to_float(asked.reference[None])
    with torch.inference_mode():
        colour, attention = painter.eval()(x, torch.linspace(0, 1, 12)[None])
    for saturated in (False, True):
        mask = saturate(attention) if saturated else attention
        wanted = to_pixels(blend(x, colour, mask))
        found = load(path, saturate=saturated).generate([asked])
        assert np.abs(found.astype(int) - wanted).max() <= 1
    assert load(tmp_path).weights_sha256 == load(path).weights_sha256
    assert load(path).info.trained_on == ("unknown",)  # not what our own weights saw
    assert GANimation.info.trained_on == ("synfacs/train",)


def test_the_last_epoch_of_a_folder_is_taken(tmp_path):
    save_official(tmp_path, epoch=9)
    path, _ = save_official(tmp_path, aus=17, epoch=10)
    assert load(tmp_path).columns == ganimation.OPENFACE == load(path).columns


def test_batches_change_nothing(tmp_path):
    model = load(save_official(tmp_path)[0])
    batch = [request(i) for i in range(19)]
    together = model.generate(batch)
    assert together.shape == (19, 64, 64, 3)
    for i in (0, 7, 18):
        np.testing.assert_array_equal(model.generate([batch[i]])[0], together[i])


def test_intensities_come_before_labels():
    model = GANimation(Painter(width=4, blocks=1), AUS, level=0.7)
    aus = np.zeros(12, np.uint8)
    aus[[0, 3]] = 1
    np.testing.assert_allclose(model.command(request(aus=aus))[[0, 1, 3]], [0.7, 0, 0.7])
    partly = np.zeros(12, np.float32)
    partly[0], partly[3] = 5, np.nan
    known = model.command(request(aus=aus, intensities=partly))
    np.testing.assert_allclose(known[[0, 1, 3]], [1, 0, 0.7], rtol=1e-6)


def test_weights_of_openface_leave_out_the_samples_they_cannot_do():
    model = GANimation(Painter(17, 4, 1), ganimation.OPENFACE)
    aus = np.zeros(12, np.uint8)
    aus[AUS.index(12)] = 1
    found = model.command(request(aus=aus))
    assert found[ganimation.OPENFACE.index(12)] == 1 and found.sum() == 1
    aus[AUS.index(24)] = 1
    with pytest.raises(Unsupported, match="no AU24"):
        model.generate([request(aus=aus)])


def test_weights_of_another_size_keep_the_full_reference_where_attention_is_one():
    painter = Painter(width=4, blocks=1)
    model = GANimation(painter, AUS, side=64)
    asked = request(size=128)

    class Keeps(torch.nn.Module):
        def forward(self, x, aus):
            assert x.shape[2:] == (64, 64)
            return torch.zeros_like(x), torch.ones(len(x), 1, 64, 64)

    assert load(None, side="32").side == 32 and load(None).side == 64  # the card's
    model.painter = Keeps()
    np.testing.assert_array_equal(model.generate([asked])[0], asked.reference)


def test_foreign_and_damaged_weights_are_refused(tmp_path):
    path, painter = save_official(tmp_path)
    state = painter.state_dict()
    for broken, match in (
        ({k: v for k, v in state.items() if k != "main.4.bias"}, "main.4.bias"),
        ({**state, "attention_reg.0.weight": state["attetion_reg.0.weight"]}, "attention_reg"),
        ({**state, "main.1.weight": state["main.1.weight"] * np.nan}, "NaN"),
        ({"model": 3}, "main.0.weight"),
    ):
        torch.save(broken, path)
        with pytest.raises(AubenchError, match=match):
            load(path)
    torch.save(Bomb(os.system, ("touch bomb",)), path)
    with pytest.raises(AubenchError, match="more than tensors"):
        load(path)
    path.write_bytes(b"PK")
    with pytest.raises(AubenchError, match=r"cannot read|more than"):
        load(path)
    with pytest.raises(AubenchError, match="conditioned on 9 AUs"):
        load(save_official(tmp_path, aus=9)[0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(AubenchError, match="holds no net_epoch"):
        load(tmp_path / "empty")
    with pytest.raises(AubenchError, match="side=3x is no multiple of 4"):
        load(None, side="3x")
    with pytest.raises(AubenchError, match="no option 'sharp'"):
        load(None, sharp="1")


def test_the_shipped_weights_conform(aubench):
    done = aubench("check-generator", "ganimation", "--samples", 2, check=0)
    assert "ganimation: conforms" in done.stdout
    assert "another command changes 2 of 2" in done.stdout
    card = json.loads(aubench("models", "show", "ganimation", "--json", check=0).stdout)
    assert card["parameters"] > 1e6 and card["scale"].startswith("nano")
    assert ganimation.SHIPPED.stat().st_size < 12e6
