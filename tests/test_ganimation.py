"""GANimation: the official checkpoint's layout, the losses, the data files, the adapter."""

import json
import os
import pickle
import struct

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from aubench_baselines import ganimation, ganimation_data, ganimation_train
from aubench_baselines.ganimation import GANimation
from aubench_baselines.ganimation_data import Faces, load_faces, read_openface
from aubench_baselines.ganimation_losses import generator_loss, gradient_penalty
from aubench_baselines.ganimation_networks import (
    Critic,
    Painter,
    blend,
    saturate,
    to_float,
    to_pixels,
)
from aubench_baselines.ganimation_train import Loop, Settings, settings_of
from PIL import Image

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.generator import Request, Trainable, Training, Unsupported, WeightSource

SHAPE = {"main.0.weight": (64, 15, 7, 7), "main.3.weight": (128, 64, 4, 4),
         "main.6.weight": (256, 128, 4, 4), "main.15.weight": (256, 128, 4, 4),
         "main.18.weight": (128, 64, 4, 4), "img_reg.0.weight": (3, 64, 7, 7),
         "attetion_reg.0.weight": (1, 64, 7, 7)}  # fmt: skip
NORMS = {1: 64, 4: 128, 7: 256, 16: 128, 19: 64}


def official_shapes():
    """Names and shapes of a published generator conditioned on 12 AUs."""
    shapes = dict(SHAPE)
    for i, width in NORMS.items():
        shapes |= {f"main.{i}.{kind}": (width,) for kind in ("weight", "bias")}
    for i in range(9, 15):
        for part in (0, 3):
            shapes[f"main.{i}.main.{part}.weight"] = (256, 256, 3, 3)
        for part in (1, 4):
            shapes |= {f"main.{i}.main.{part}.{kind}": (256,) for kind in ("weight", "bias")}
    return shapes


def shapes_of_state(state):
    return {name: tuple(value.shape) for name, value in state.items()}


def shapes_of(network):
    return shapes_of_state(network.state_dict())


def test_generator_holds_the_official_tensors():
    painter = Painter()
    assert shapes_of(painter) == official_shapes() and len(official_shapes()) == 53
    assert sum(p.numel() for p in painter.parameters()) == 8_455_616
    assert sum(p.numel() for p in Painter(17).parameters()) == 8_471_296


def test_critic_holds_the_official_tensors():
    shapes, inner = {}, 3
    for i in range(6):
        shapes |= {
            f"main.{2 * i}.weight": (64 * 2**i, inner, 4, 4),
            f"main.{2 * i}.bias": (64 * 2**i,),
        }
        inner = 64 * 2**i
    shapes |= {"conv1.weight": (1, 2048, 3, 3), "conv2.weight": (17, 2048, 2, 2)}
    critic = Critic(17)
    assert shapes_of(critic) == shapes and len(shapes) == 14
    assert round(sum(p.numel() for p in critic.parameters()) / 1e6, 2) == 44.86


def test_weights_are_drawn_as_the_method_says():
    torch.manual_seed(0)
    critic, painter = Critic(width=16), Painter(width=16)
    for key in ("main.8.weight", "conv1.weight"):
        assert abs(float(critic.state_dict()[key].std()) - 0.04) < 0.004  # 0.02 at the width of 64
    assert abs(float(Critic(width=64).state_dict()["main.4.weight"].std()) - 0.02) < 0.001
    assert not critic.state_dict()["main.0.bias"].any()
    assert abs(float(painter.state_dict()["main.15.weight"].std()) - 0.02) < 0.001
    assert (painter.state_dict()["main.1.weight"] == 1).all()


def plain_forward(state, x, aus, blocks):
    """The generator written out layer by layer from its description."""

    def norm(y, name):
        mean, variance = y.mean((2, 3), keepdim=True), y.var((2, 3), unbiased=False, keepdim=True)
        scale, shift = (state[f"{name}.{k}"][:, None, None] for k in ("weight", "bias"))
        return (y - mean) / (variance + 1e-5).sqrt() * scale + shift

    y = torch.cat([x, aus[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)
    for conv, after, stride, pad in ((0, 1, 1, 3), (3, 4, 2, 1), (6, 7, 2, 1)):
        y = F.conv2d(y, state[f"main.{conv}.weight"], stride=stride, padding=pad)
        y = norm(y, f"main.{after}").relu()
    for i in range(9, 9 + blocks):
        z = norm(
            F.conv2d(y, state[f"main.{i}.main.0.weight"], padding=1), f"main.{i}.main.1"
        ).relu()
        y = y + norm(F.conv2d(z, state[f"main.{i}.main.3.weight"], padding=1), f"main.{i}.main.4")
    for conv in (9 + blocks, 12 + blocks):
        y = F.conv_transpose2d(y, state[f"main.{conv}.weight"], stride=2, padding=1)
        y = norm(y, f"main.{conv + 1}").relu()
    return (F.conv2d(y, state["img_reg.0.weight"], padding=3).tanh(),
            F.conv2d(y, state["attetion_reg.0.weight"], padding=3).sigmoid())  # fmt: skip


def test_generator_agrees_with_its_description():
    torch.manual_seed(1)
    painter = Painter(width=8, blocks=2).eval()
    for value in painter.parameters():
        value.data.add_(0.1 * torch.randn_like(value))
    x, aus = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, 12)
    expected = plain_forward(painter.state_dict(), x, aus, 2)
    for found, wanted in zip(painter(x, aus), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert expected[1].shape == (2, 1, 32, 32)


def test_attention_of_one_keeps_the_input_and_saturation_is_the_stated_curve():
    x, colour = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    assert torch.equal(blend(x, colour, torch.ones(2, 1, 4, 4)), x)
    assert torch.equal(blend(x, colour, torch.zeros(2, 1, 4, 4)), colour)
    values = saturate(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
    middle = 0.55 * np.tanh(0.75)
    expected = np.array([0.0022, 0.5 - middle, 0.5, 0.5 + middle, 0.9978])
    np.testing.assert_allclose(values.numpy(), expected, atol=1e-4)


def test_critic_keeps_a_batch_of_one():
    realness, aus = Critic(size=128, width=2)(torch.zeros(1, 3, 128, 128))
    assert realness.shape == (1, 2, 2) and aus.shape == (1, 12)


# Losses and schedule


def test_gradient_penalty_of_a_linear_critic_is_known():
    torch.manual_seed(0)
    weight = torch.randn(3, 8, 8)

    def critic(x):
        return (x * weight).sum((1, 2, 3)), None

    x, fake = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8)
    found = gradient_penalty(critic, x, fake, torch.rand(4, 1, 1, 1))
    assert float(found) == pytest.approx((float(weight.norm()) - 1) ** 2, rel=1e-5)


def test_gradient_penalty_is_taken_between_real_and_fake():
    """The slope of a sum of squares is 2x, so the penalty tells where it was taken."""
    share = torch.full((1, 1, 1, 1), 0.25)
    x, fake = torch.full((1, 3, 4, 4), 1.0), torch.full((1, 3, 4, 4), 3.0)
    found = gradient_penalty(lambda z: (z.square().sum((1, 2, 3)), None), x, fake, share)
    norm = 2 * 2.5 * np.sqrt(48)
    assert found.item() == pytest.approx((norm - 1) ** 2, rel=1e-5)


def test_terms_of_the_generator_have_the_stated_weights():
    s = settings_of(Training("paper", "synfacs", None))
    x, aus, wanted = torch.zeros(5, 3, 4, 4), torch.zeros(5, 12), torch.ones(5, 12)
    mask = torch.zeros(5, 1, 4, 4)
    mask[0, 0, 0, 0] = 1.0

    def painter(image, command):
        return torch.full_like(image, 0.5), mask

    def critic(image):
        return torch.full((5, 2, 2), 3.0), torch.full((5, 12), 0.5)

    found = generator_loss(x, aus, wanted, painter, critic, s)
    terms = {key: float(value) for key, value in found.items()}
    assert terms["fool"] == -3.0
    assert terms["au"] == pytest.approx(4000 / 5 * 0.25)
    assert terms["cycle"] == pytest.approx(10 * 0.5 * 79 / 80)  # one pixel of 80 is kept twice
    assert terms["mask"] == pytest.approx(2 * 0.1 / 80)
    assert terms["tv"] == pytest.approx(2 * 2e-5)  # two neighbours, a sum, both masks


@pytest.fixture
def faces():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (10, 64, 64, 3)).astype(np.uint8)
    return Faces(rng.random((10, 12)).astype(np.float32), AUS, lambda rows: images[rows], "noise")


def small(**changes):
    words = {"width": 4, "critic_width": 2, "blocks": 1, "size": 64, "batch": 2, "au": 320.0,
             "steps": 6, "every": 2}  # fmt: skip
    return Settings("nano", "noise", 5, "cpu", **{**words, **changes})


def test_rate_falls_in_the_last_third(tmp_path, faces):
    loop = Loop(small(steps=30), tmp_path, faces)
    rates = []
    for loop.done in range(30):
        rates.append(loop.rate())
    assert rates[:21] == [1e-4] * 21 and rates[25] == pytest.approx(5e-5)
    assert rates[29] == pytest.approx(1e-5)


def test_paper_preset_is_the_paper(tmp_path, faces):
    s = settings_of(Training("paper", "synfacs", tmp_path))
    assert (s.width, s.critic_width, s.blocks, s.size) == (64, 64, 6, 128)
    assert (s.batch, s.rate, s.every, s.au, s.cycle, s.penalty, s.mask, s.variation, s.noise) == (
        25, 1e-4, 5, 4000, 10, 10, 0.1, 1e-5, 0.1)  # fmt: skip
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


def test_an_epoch_sees_every_image_once(tmp_path, faces):
    loop = Loop(small(batch=4), tmp_path, faces)
    seen = []
    for loop.done in range(5):
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
    assert second.done == 3
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


@pytest.mark.parametrize(("options", "match"), [
    ({"batchs": "3"}, "did you mean 'batch'"), ({"batch": "x"}, "is not a int"),
    ({"size": "100"}, "multiple of 64"), ({"precision": "int4"}, "precision"),
    ({"seed": "3"}, "no setting 'seed'"), ({"every": "0"}, "every=0"),
    ({"average": "1"}, "average"),
])  # fmt: skip
def test_settings_that_do_not_fit_are_refused(options, match):
    with pytest.raises(AubenchError, match=match):
        settings_of(Training("nano", "synfacs", None, options=options))


# Data files


def written_by_python_2(name, values):
    """The bytes Python 2 writes for {name: numpy array}."""
    data = np.asarray(values, "<f8").tobytes()
    return (
        b"\x80\x02}U" + bytes([len(name)]) + name.encode()
        + b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        + b"(K\x01K" + bytes([len(values)]) + b"\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R"
        + b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<I", len(data)) + data + b"tbs."
    )  # fmt: skip


def test_pickles_of_either_python_are_read(tmp_path):
    values = np.linspace(0, 5, 17)
    path = tmp_path / "aus.pkl"
    path.write_bytes(written_by_python_2("face", values))
    np.testing.assert_array_equal(read_openface(path)["face"], values.astype(np.float32))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps({"a": values, "b": list(values)}, protocol))
        for row in read_openface(path).values():
            np.testing.assert_array_equal(row, values.astype(np.float32))


class Bomb:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("value", [
    Bomb(os.system, ("touch bomb",)), Bomb(eval, ("open('bomb', 'w')",)),
    Bomb(np.load, ("x.npy",)), Bomb(getattr, ("x", "y")), {"a": Bomb(exec, ("open('bomb','w')",))},
], ids=["system", "eval", "np.load", "getattr", "exec"])  # fmt: skip
def test_pickles_that_would_act_are_refused(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "aus.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(AubenchError, match=r"is refused: .* is not allowed"):
        read_openface(path)
    assert not (tmp_path / "bomb").exists()


@pytest.mark.parametrize(("value", "match"), [
    ([1, 2], "no dictionary"), ({"a": np.zeros(16)}, "has not 17"), ({}, "no dictionary"),
    ({"a": np.array(["x"] * 17)}, "has not 17"), ({"a": np.full(17, 6.0)}, "0..5"),
    ({"a": np.full(17, np.nan)}, "0..5"), ({"a": "x" * 17}, "has not 17"),
])  # fmt: skip
def test_pickles_of_something_else_are_refused(tmp_path, value, match):
    path = tmp_path / "aus.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(AubenchError, match=match):
        read_openface(path)
    path.write_bytes(pickle.dumps({"a": np.zeros(17)})[:-20])
    with pytest.raises(AubenchError, match=r"aus\.pkl"):
        read_openface(path)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    place = tmp_path / "faces"
    (place / "imgs").mkdir(parents=True)
    for i in range(4):
        noise = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
        Image.fromarray(noise).save(place / "imgs" / f"f{i}.png")
    (place / "train_ids.csv").write_text("\n".join(f"f{i}.png" for i in range(4)) + "\n")
    table = {f"f{i}": np.full(17, float(i)) for i in range(4)}
    (place / "aus_openface.pkl").write_bytes(pickle.dumps(table, 2))
    return place


def test_the_official_folder_is_read(folder):
    found = load_faces(str(folder), "intensities", 64, 0)
    assert found.numbers == ganimation.OPENFACE and len(found.numbers) == 17
    np.testing.assert_allclose(found.aus[:, 0], [0, 0.2, 0.4, 0.6], rtol=1e-6)
    assert found.images(np.array([2, 0])).shape == (2, 64, 64, 3)
    assert found.level == pytest.approx(0.4)
    labels = load_faces(str(folder), "labels", 64, 0)
    assert labels.aus[:, 5].tolist() == [0, 1, 1, 1] and labels.level == 1.0
    assert labels.fingerprint != found.fingerprint


def test_a_table_of_labels_does_in_place_of_the_pickle(folder):
    (folder / "aus_openface.pkl").unlink()
    head = "file," + ",".join(f"AU{au}" for au in AUS)
    rows = [f"f{i}.png," + ",".join("1" if k == i else "0" for k in range(12)) for i in range(4)]
    (folder / "aus.csv").write_text("\n".join([head, *rows]) + "\n")
    found = load_faces(str(folder), "labels", 64, 0)
    assert found.numbers == AUS
    np.testing.assert_array_equal(found.aus, np.eye(4, 12))
    (folder / "aus.csv").write_text("\n".join([head, "f0.png,1,2"]) + "\n")
    with pytest.raises(AubenchError, match="line 2"):
        load_faces(str(folder), "labels", 64, 0)


def test_faults_of_a_folder_are_named(folder):
    with pytest.raises(AubenchError, match="64 by 64 pixels, not 128"):
        load_faces(str(folder), "intensities", 128, 0).images(np.array([0]))
    (folder / "imgs" / "f3.png").unlink()
    with pytest.raises(AubenchError, match=r"f3\.png is missing"):
        load_faces(str(folder), "intensities", 64, 0)
    (folder / "train_ids.csv").write_text("f0.png\nf9.png\n")
    with pytest.raises(AubenchError, match=r"no AUs of f9\.png"):
        load_faces(str(folder), "intensities", 64, 0)
    (folder / "train_ids.csv").write_text("f0.png\n../f1.png\n")
    with pytest.raises(AubenchError, match="plain file name"):
        load_faces(str(folder), "intensities", 64, 0)
    with pytest.raises(AubenchError, match="no folder"):
        load_faces("nowhere", "intensities", 64, 0)


def test_shrinking_is_the_mean_of_blocks():
    image = np.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3).astype(np.uint8)
    found = ganimation_data.shrink(image, 2)
    assert found.shape == (2, 2, 2, 3)
    expected = np.rint(image[1, 2:, :2].reshape(-1, 3).mean(0))
    np.testing.assert_array_equal(found[1, 1, 0], expected)
    area = F.interpolate(to_float(image), (2, 2), mode="area")
    np.testing.assert_allclose((area.permute(0, 2, 3, 1).numpy() + 1) * 127.5, found, atol=0.51)


# The adapter


def request(index=0, size=64, **changes):
    rng = np.random.default_rng(index)
    words = {
        "sample_id": f"s{index}", "text": "", "aus": (rng.random(12) < 0.4).astype(np.uint8),
        "intensities": None, "reference": rng.integers(0, 256, (size, size, 3)).astype(np.uint8),
        "seed": index, "size": size,
    }  # fmt: skip
    return Request(**{**words, **changes})


def save_official(folder, aus=12, width=8, epoch=3):
    torch.manual_seed(aus)
    painter = Painter(aus, width, 1)
    for value in painter.parameters():
        value.data.add_(0.2 * torch.randn_like(value))
    path = folder / f"net_epoch_{epoch}_id_G.pth"
    torch.save(painter.state_dict(), path)
    return path, painter


def load(path, **options):
    return GANimation.load(WeightSource(path), device="cpu", dtype="float32", **options)


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
    done = aubench("train", "ganimation", "--preset", "paper", "--data", place, "--steps", 1,
                   "--set", "batch=2", "--set", "every=1", "--set", "kind=labels", "--out", "t",
                   check=0)  # fmt: skip
    assert "weights t/ganimation-paper.safetensors" in done.stdout
    state = torch.load(tmp_path / "t/net_epoch_1_id_G.pth", weights_only=True)
    assert shapes_of_state(state) == official_shapes()
    start = Painter().state_dict()
    assert any((state[key] != start[key]).any() for key in state)


def test_the_shipped_weights_conform(aubench):
    done = aubench("check-generator", "ganimation", "--samples", 2, check=0)
    assert "ganimation: conforms" in done.stdout
    assert "another command changes 2 of 2" in done.stdout
    card = json.loads(aubench("models", "show", "ganimation", "--json", check=0).stdout)
    assert card["parameters"] > 1e6 and card["scale"].startswith("nano")
    assert ganimation.SHIPPED.stat().st_size < 12e6
