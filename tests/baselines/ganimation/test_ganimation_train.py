"""GANimation, training: schedule, resume, checkpoints, export."""

import json

import numpy as np
import pytest
import torch
from aubench_baselines.ganimation import train as ganimation_train
from aubench_baselines.ganimation.data import Faces
from aubench_baselines.ganimation.generator import GANimation
from aubench_baselines.ganimation.networks import (
    Critic,
    Painter,
)
from aubench_baselines.ganimation.train import Loop, Settings, settings_of
from ganimation_parts import load, official_shapes, request, shapes_of_state
from PIL import Image

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.generators.contract import Trainable, Training


@pytest.fixture
def faces():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (10, 64, 64, 3)).astype(np.uint8)
    return Faces(rng.random((10, 12)).astype(np.float32), AUS, lambda rows: images[rows], "noise")


def small(**changes):
    words = {
        "width": 4,
        "critic_width": 2,
        "blocks": 1,
        "size": 64,
        "batch": 2,
        "au": 320.0,
        "steps": 6,
        "every": 2,
    }
    return Settings("nano", "noise", 5, "cpu", **{**words, **changes})


def test_rate_falls_in_the_last_third(tmp_path, faces):
    loop = Loop(small(steps=30), tmp_path, faces)
    rates = []
    for loop.step_number in range(30):
        rates.append(loop.rate())
    assert rates[:21] == [1e-4] * 21 and rates[25] == pytest.approx(5e-5)
    assert rates[29] == pytest.approx(1e-5)


def test_paper_preset_is_the_paper(tmp_path, faces):
    s = settings_of(Training("paper", "synfacs", tmp_path))
    assert (s.width, s.critic_width, s.blocks, s.size) == (64, 64, 6, 128)
    assert (s.batch, s.rate, s.every, s.au, s.cycle, s.penalty, s.mask, s.variation, s.noise) == (
        25,
        1e-4,
        5,
        4000,
        10,
        10,
        0.1,
        1e-5,
        0.1,
    )
    assert s.epochs == 30 and s.average == 0 and s.precision == "float32"
    assert Loop(small(steps=0, epochs=30), tmp_path, faces).s.steps == 150


def test_critic_steps_twice_an_iteration_and_the_generator_every_second(tmp_path, faces):
    loop = Loop(small(), tmp_path, faces)
    counts = dict.fromkeys(loop.optimisers, 0)
    for name, optimiser in loop.optimisers.items():
        optimiser.register_step_post_hook(
            lambda *_, name=name: counts.__setitem__(name, counts[name] + 1)
        )
    shown = [set(loop.step()) for _ in range(4)]
    assert counts == {"critic": 8, "painter": 2}
    assert "cycle" not in shown[0] and "cycle" in shown[1] and "penalty" in shown[0]
    assert {g["betas"] for o in loop.optimisers.values() for g in o.param_groups} == {(0.5, 0.999)}


def test_a_loss_that_is_no_number_stops_before_it_is_kept(tmp_path, faces):
    loop = Loop(small(), tmp_path, faces)
    with torch.no_grad():
        next(loop.critic.parameters())[0] = float("nan")
    with pytest.raises(AubenchError, match="is nan at step 1; use a smaller rate"):
        loop.step()


def test_an_epoch_sees_every_image_once(tmp_path, faces):
    loop = Loop(small(batch=4), tmp_path, faces)
    seen = []
    for loop.step_number in range(5):
        seen += list(loop.rows())
    assert sorted(seen[:10]) == list(range(10)) and sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


def test_the_critic_learns_to_tell_real_from_fake_and_to_read_aus(tmp_path):
    """Brightness says which AU is on: a few steps must bring both losses down."""
    rng = np.random.default_rng(0)
    aus = np.zeros((64, 12), np.float32)
    aus[::2, 3] = 1
    images = rng.integers(0, 40, (64, 64, 64, 3)).astype(np.uint8)
    images[::2] += 200
    data = Faces(aus, AUS, lambda rows: images[rows], "bright")
    loop = Loop(small(steps=40, batch=8, au=1280.0, rate=1e-3, critic_width=4), tmp_path, data)
    shown = [loop.step() for _ in range(40)]
    early = np.mean([s["real au"] for s in shown[:5]])
    late = np.mean([s["real au"] for s in shown[-5:]])
    assert late < 0.3 * early, (early, late)


def test_killed_and_resumed_ends_at_the_same_weights(tmp_path, faces):
    straight = Loop(small(average=0.9), tmp_path / "a", faces)
    straight.run()
    first = Loop(small(average=0.9), tmp_path / "b", faces)
    first.run(stop=3)
    second = Loop(small(average=0.9), tmp_path / "b", faces)
    second.resume()
    assert second.step_number == 3
    second.run()
    for name in ("painter", "critic"):
        for key, value in getattr(straight, name).state_dict().items():
            assert torch.equal(value, getattr(second, name).state_dict()[key]), key
    assert all(torch.equal(v, second.average[k]) for k, v in straight.average.items())


@pytest.mark.parametrize(("changes", "word"), [({"rate": 1e-3}, "rate"), ({"width": 8}, "width")])
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, faces, changes, word):
    Loop(small(), tmp_path, faces).save()
    with pytest.raises(AubenchError, match=word):
        Loop(small(**changes), tmp_path, faces).resume()
    longer = Loop(small(steps=50), tmp_path, faces)
    longer.resume()  # the number of steps may change


def test_a_damaged_checkpoint_and_other_data_are_refused(tmp_path, faces):
    loop = Loop(small(), tmp_path, faces)
    loop.save()
    path = tmp_path / "checkpoint.pt"
    other = Faces(faces.aus[::-1].copy(), AUS, faces.images, "noise")
    with pytest.raises(AubenchError, match="faces"):
        Loop(small(), tmp_path, other).resume()
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(AubenchError, match="damaged"):
        loop.resume()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"batchs": "3"}, "did you mean 'batch'"),
        ({"batch": "x"}, "is not a whole number"),
        ({"size": "100"}, "multiple of 64"),
        ({"precision": "int4"}, "precision"),
        ({"seed": "3"}, "no setting 'seed'"),
        ({"every": "0"}, "every=0"),
        ({"average": "1"}, "average"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, match):
    with pytest.raises(AubenchError, match=match):
        settings_of(Training("nano", "synfacs", None, options=options))


def test_export_writes_official_names_and_a_card_that_is_checked(tmp_path, faces):
    loop = Loop(small(), tmp_path, faces)
    loop.run(stop=2)
    path = ganimation_train.export(loop)
    card = json.loads((tmp_path / "ganimation-nano.card.json").read_text())
    assert card["aus"] == list(AUS) and card["label level"] == faces.level and card["size"] == 64
    critic = torch.load(tmp_path / "net_epoch_1_id_D.pth", weights_only=True)
    Critic(12, 64, 2).load_state_dict(critic)
    model, official = load(path), load(tmp_path)
    assert model.level == faces.level and model.info.trained_on == ("noise",)
    asked = request(intensities=np.linspace(0, 5, 12, dtype=np.float32))
    found, wanted = (m.generate([asked]).astype(int) for m in (model, official))
    assert np.abs(found - wanted).max() <= 1  # 16 bits against 32
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(AubenchError, match="its card says"):
        load(path)


def test_it_can_be_trained(aubench, tmp_path):
    """One step at the paper's size with random weights, through the command line."""
    assert isinstance(GANimation, Trainable)
    place = tmp_path / "faces"
    (place / "imgs").mkdir(parents=True)
    head = "file," + ",".join(f"AU{au}" for au in AUS)
    (place / "aus.csv").write_text(f"{head}\na.png{',1' * 12}\nb.png{',0' * 12}\n")
    (place / "train_ids.csv").write_text("a.png\nb.png\n")
    for name, value in (("a", 40), ("b", 200)):
        Image.new("RGB", (128, 128), (value, 90, 120)).save(place / "imgs" / f"{name}.png")
    done = aubench(
        "train",
        "ganimation",
        "--preset",
        "paper",
        "--data",
        place,
        "--steps",
        1,
        "--set",
        "batch=2",
        "--set",
        "every=1",
        "--set",
        "kind=labels",
        "--out",
        "t",
        check=0,
    )
    assert "weights t/ganimation-paper.safetensors" in done.stdout
    state = torch.load(tmp_path / "t/net_epoch_1_id_G.pth", weights_only=True)
    assert shapes_of_state(state) == official_shapes()
    start = Painter().state_dict()
    assert any((state[key] != start[key]).any() for key in state)
