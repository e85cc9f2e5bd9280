"""Training detectors: settings, views, resume after a kill, both stages, two processes."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from detector_parts import labels_like, write_lists
from PIL import Image

from aubench.cli.training.train_au_detector import PRESETS as OFFERED
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.networks.detectors import calibration
from aubench.networks.detectors.calibration import measure
from aubench.networks.detectors.faces import Changes, Views, in_memory, random_view, square
from aubench.networks.detectors.graphau.checkpoints import Layout, save
from aubench.networks.detectors.nano import build
from aubench.networks.detectors.registry import load
from aubench.networks.detectors.training.folds import Parts
from aubench.networks.detectors.training.lists import read_fold
from aubench.networks.detectors.training.settings import PRESETS, Settings, settings_for
from aubench.networks.detectors.training.start import start
from aubench.networks.detectors.training.train import Trainer, train

SMALL = Settings("nano-b", epochs=2, batch=16, segment=2)


def faces(count=56, side=128, seed=0, unknown=0.0):
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3)).astype(np.uint8)
    return in_memory(
        images, labels_like(count, seed + 1, unknown), [f"S{i % 7}" for i in range(count)]
    )


def parts(count=56, **how):
    return Parts(faces(count, **how), faces(24, seed=5, **how), faces(24, seed=9, **how), {})


def test_presets_have_the_published_settings():
    assert (*PRESETS, "mp-geo") == OFFERED  # which is solved, not trained
    s = settings_for("resnet50", backbone_weights="x.pth")
    assert (s.rate, s.decay, s.batch, s.epochs, s.clip, s.warm) == (1e-4, 5e-4, 64, 20, None, 0.0)
    edges = [
        settings_for(p, stage=2, init="x.pth").edge for p in ("resnet50", "swin-base", "swin-tiny")
    ]
    assert edges == [0.05, 0.01, 1e-3]
    assert settings_for("nano") == Settings("nano-a")
    assert (
        settings_for("swin-small", stage=2, init="x", fold=2).name == "me-graphau-swin-s-mefl-fold2"
    )


@pytest.mark.parametrize(
    ("preset", "given", "expected"),
    [
        ("resnet50", {}, "--backbone-weights FILE"),
        ("resnet50", {"stage": 2}, "--init FILE"),
        ("resnet50", {"init": "x", "from_scratch": True}, "exclude each other"),
        ("nano", {"stage": 2}, "has no stage 2"),
        ("nano", {"init": "x"}, "takes no --init"),
        ("resnet5", {}, "did you mean 'resnet50'"),
        ("nano", {"fold": 0}, "no fold 0"),
        ("nano", {"precision": "int4"}, "no precision 'int4'"),
        ("resnet50", {"edge": 0.1, "from_scratch": True}, "second stage"),
    ],
)
def test_contradictions_are_told(preset, given, expected):
    with pytest.raises(AubenchError, match=expected):
        settings_for(preset, **given)


def test_backbone_weights_are_torchvisions(tmp_path):
    from torchvision.models import resnet18

    torch.manual_seed(3)
    state = resnet18(weights=None).state_dict()
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    path = tmp_path / "resnet18.pth"
    torch.save(old, path)
    settings = settings_for("resnet18", backbone_weights=str(path))
    network, used = start(settings)
    assert set(used) == {"backbone weights"}
    for key, value in old.items():
        if not key.startswith("fc."):
            torch.testing.assert_close(network.backbone.state_dict()[key], value, rtol=0, atol=0)
    with pytest.raises(AubenchError, match=r"resnet18.pth is not the backbone: \d+ tensors"):
        start(settings_for("resnet50", backbone_weights=str(path)))


def test_random_views_are_drawn_for_each_image_alone():
    some = faces(4, side=64)
    views = [Views(some, False, (1, epoch)) for epoch in (0, 0, 1)]
    assert views[0][2].shape == (3, 224, 224) and views[0][2].dtype == torch.uint8
    torch.testing.assert_close(views[0][2], views[1][2], rtol=0, atol=0)
    assert not torch.equal(views[0][2], views[2][2]) and not torch.equal(views[0][2], views[0][3])
    wide = np.zeros((100, 300, 3), np.uint8)
    wide[:, :60] = 200
    many = np.stack([random_view(wide, np.random.default_rng(k)) for k in range(20)])
    shares = (many.max(-1) > 60).mean((1, 2))
    assert shares.min() == 0 and shares.max() > 0.2  # crops differ
    grey = np.full((60, 60, 3), 100, np.uint8)
    light = [random_view(grey, np.random.default_rng(k)).mean() for k in range(20)]
    assert min(light) >= 59 and max(light) <= 141 and np.std(light) > 10


def test_nano_views_are_what_the_network_makes_of_an_image():
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    image = np.asarray(Image.fromarray(image).resize((200, 200), Image.Resampling.BICUBIC))
    from aubench.networks.detectors.preparation import normalise

    x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
    seen = torch.from_numpy(square(image)).permute(2, 0, 1)[None].float() / 255
    torch.testing.assert_close(normalise(x), normalise(seen), atol=0.009, rtol=0)


def test_changes_of_a_part_are_those_of_the_batch():
    x = torch.rand(6, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    changes = Changes.drawn(6, torch.Generator().manual_seed(1))
    whole = changes.apply(x, slice(0, 6))
    torch.testing.assert_close(changes.apply(x[2:5], slice(2, 5)), whole[2:5], rtol=0, atol=0)
    assert float(whole.min()) >= 0 and float(whole.max()) <= 1
    assert (whole - x).abs().mean() > 0.01


@pytest.mark.parametrize("preset", ["nano-a", "nano-b"])
def test_interrupted_training_ends_the_same(tmp_path, monkeypatch, preset):
    """Cut down within an epoch: what was after the last checkpoint is done again, the same."""
    settings, data = replace(SMALL, preset=preset, batch=8), parts(40, unknown=0.2)
    whole = Trainer(settings, tmp_path / "whole", data, cpu=True)
    whole.run()
    advance, done = Trainer._advance, []

    def interrupted(self, *given):
        if len(done) == 8:
            raise KeyboardInterrupt
        done.append(advance(self, *given))
        return done[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Trainer(settings, tmp_path / "parts", data, cpu=True).run()
    again = Trainer(settings, tmp_path / "parts", data, cpu=True)
    assert (again.epoch, again.step_of_epoch) == (1, 2)  # of five steps; segments of two
    again.run()
    assert again.log == whole.log and len(whole.log) == 2
    for a, b in zip(whole.network.parameters(), again.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert again.best["f1"] == whole.best["f1"] and again.best["epoch"] == whole.best["epoch"]


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    data = parts()
    trainer = Trainer(SMALL, tmp_path, data, cpu=True)
    trainer.save()
    with pytest.raises(AubenchError, match=r"another training \(epochs was 2, now 3\)"):
        Trainer(replace(SMALL, epochs=3), tmp_path, data, cpu=True)
    with pytest.raises(AubenchError, match=r"another training \(data"):
        Trainer(SMALL, tmp_path, parts(48), cpu=True)
    (tmp_path / "checkpoint.pt").write_bytes(b"x")
    with pytest.raises(AubenchError, match="damaged"):
        Trainer(SMALL, tmp_path, data, cpu=True)
    with pytest.raises(AubenchError, match="fewer than a batch"):
        Trainer(replace(SMALL, batch=57), tmp_path / "b", data, cpu=True)
    with pytest.raises(AubenchError, match="cannot be cut"):
        Trainer(replace(SMALL, accumulate=17), tmp_path / "b", data, cpu=True)
    with pytest.raises(AubenchError, match="needs a GPU"):
        Trainer(replace(SMALL, precision="float16"), tmp_path / "b", data, cpu=True)


def test_it_stops_early_and_keeps_the_best(tmp_path, monkeypatch):
    scores = iter([0.3, 0.5, 0.4, 0.45, 0.9])
    monkeypatch.setattr(
        "aubench.networks.detectors.training.train.mean_of", lambda f1: next(scores)
    )
    trainer = Trainer(replace(SMALL, epochs=9, patience=2), tmp_path, parts(16), cpu=True)
    kept = []
    monkeypatch.setattr(
        Trainer,
        "_advance",
        lambda self, *given: (
            kept.append({k: v.clone() for k, v in self.network.state_dict().items()})
            or self.network.stem[0].weight.data.add_(1.0).mean().item()
        ),
    )
    trainer.run()
    assert trainer.epoch == 4 and [row["validation F1"] for row in trainer.log] == [
        0.3,
        0.5,
        0.4,
        0.45,
    ]
    assert trainer.best["epoch"] == 2
    torch.testing.assert_close(trainer.best["state"]["stem.0.weight"], kept[2]["stem.0.weight"])
    again = Trainer(replace(SMALL, epochs=9, patience=2), tmp_path, parts(16), cpu=True)
    assert again.finished


def test_accumulated_gradient_is_that_of_the_batch(tmp_path):
    """Batch norm aside, which is fixed here, the cut does not matter, nor what is unknown."""
    data, grads, values = parts(16, unknown=0.4), [], []
    data.train.labels[:6] = -1
    for accumulate in (1, 3):
        settings = replace(SMALL, accumulate=accumulate, precision="float32")
        trainer = Trainer(settings, tmp_path, data, resume=False, cpu=True)
        trainer.model.eval()
        views = trainer._views(np.arange(16))
        changes = Changes.drawn(16, torch.Generator().manual_seed(0))
        labels = torch.from_numpy(data.train.labels).float()
        values.append(trainer.backward(labels, views, changes))
        grads.append(torch.cat([p.grad.flatten() for p in trainer.network.parameters()]))
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-3, atol=1e-6)
    assert grads[0].abs().max() > 1e-3


def test_both_stages_from_list_files(tmp_path):
    """First stage from scratch, second from its file; what they write loads as a detector."""
    folder = write_lists(tmp_path / "data", train=10, test=6)
    small = {"data": str(folder), "fold": 1, "epochs": 1, "batch": 4, "hold_out": 0.2}
    first = settings_for("resnet18", from_scratch=True, **small)
    said = []
    path = train(first, tmp_path / "one", "the command", cpu=True, workers=0, say=said.append)
    assert path.name == "me-graphau-resnet18-anfl-fold1.pth" and "of 6 subjects to test" in said[0]
    detector = load("me-graphau:resnet18", weights=path)
    card = detector.card
    assert detector.name == "me-graphau:resnet18:anfl" and card["command"] == "the command"
    assert card["started from"] == "random weights" and card["settings"]["seed"] == 1
    assert card["data"]["validated on"] == "held-out subjects" and card["epochs"] == 1
    second = settings_for("resnet18", stage=2, init=str(path), **small)
    network, used = start(second)
    assert used == {"init": card["sha256"]}
    for key, value in detector.network.state_dict().items():
        if not key.startswith("head.gnn."):
            torch.testing.assert_close(network.state_dict()[key], value, rtol=0, atol=0)
    path = train(second, tmp_path / "two", "the command", cpu=True, workers=0)
    detector = load("me-graphau:resnet18:mefl", weights=path)
    np.testing.assert_allclose(detector.thresholds, detector.card["thresholds"])
    report = calibration.read_report(tmp_path / "two" / "report.json")
    fold = read_fold(folder, 1)
    p = np.concatenate([detector.probabilities(fold.test.image(i)[None]) for i in range(6)])
    again = measure(p, fold.test.labels, detector.thresholds, fold.test.subjects)
    assert again["AUs"]["AU1"]["Brier"] == pytest.approx(
        report["test"]["AUs"]["AU1"]["Brier"], abs=1e-4
    )
    with pytest.raises(AubenchError, match="second stage"):
        start(settings_for("resnet18", init=str(path), **small))
    with pytest.raises(AubenchError, match="resnet18"):
        start(settings_for("resnet50", stage=2, init=str(path), **small))


def test_initial_weights_of_other_aus_are_refused(tmp_path):
    layout = Layout("me-graphau", "resnet18", "anfl", 8)
    save(layout.build(), layout, tmp_path / "disfa.pth")
    with pytest.raises(AubenchError, match=r"disfa.pth has 8 AUs"):
        start(settings_for("resnet18", init=str(tmp_path / "disfa.pth")))


def test_the_nano_writes_what_loads(tmp_path):
    settings = replace(SMALL, epochs=1)
    trainer = Trainer(settings, tmp_path, parts(16), cpu=True)
    trainer.run()
    from aubench.networks.detectors.training.export import export

    path = export(trainer, "the command")
    detector = load("nano-b", "cpu", folder=tmp_path)
    assert path.name == "nano-b.safetensors" and detector.card["settings"]["batch"] == 16
    state = build("nano-b").state_dict()
    assert state.keys() == trainer.best["state"].keys()
    assert set(detector.card["scores"]["F1"]) == {f"AU{au}" for au in AUS}


HERE = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "helpers")]

CHILD = """
import os, signal, sys
sys.path[:0] = {tests!r}
from pathlib import Path
import test_detectors_train as t
advance, done = t.Trainer._advance, []
def killed(self, *given):
    if len(done) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(advance(self, *given))
    return done[-1]
t.Trainer._advance = killed
t.Trainer(t.replace(t.SMALL, preset="nano-a"), Path({out!r}), t.parts(), cpu=True).run()
"""


@pytest.mark.slow
def test_a_killed_training_goes_on_the_same(tmp_path):
    code = CHILD.format(tests=HERE, out=str(tmp_path / "parts"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    settings = replace(SMALL, preset="nano-a")
    again = Trainer(settings, tmp_path / "parts", parts(), cpu=True)
    assert (again.epoch, again.step_of_epoch) == (1, 2)
    again.run()
    whole = Trainer(settings, tmp_path / "whole", parts(), cpu=True)
    whole.run()
    assert again.log == whole.log


WORKER = """
import json, sys
sys.path[:0] = {tests!r}
from pathlib import Path
import test_detectors_train as t
trainer = t.Trainer(t.SHARED, Path({out!r}), t.parts(16, unknown=0.2), cpu=True)
trainer.run()
if trainer.accelerator.is_main_process:
    Path({out!r}, "history.json").write_text(json.dumps(trainer.log))
"""


SHARED = Settings("nano-a", epochs=2, batch=8, precision="float32", rate=1e-4)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path):
    """One process that computes the batch in two parts normalises as two processes do."""
    code = WORKER.format(tests=HERE, out=str(tmp_path / "two"))
    environment = {
        **os.environ,
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stderr=subprocess.PIPE,
            text=True,
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in (0, 1)
    ]
    for process in running:
        _, told = process.communicate(timeout=600)
        assert process.returncode == 0, told
    two = json.loads((tmp_path / "two" / "history.json").read_text())
    alone = Trainer(
        replace(SHARED, accumulate=2), tmp_path / "one", parts(16, unknown=0.2), cpu=True
    )
    alone.run()
    assert len(two) == 2
    for a, b in zip(two, alone.log, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=2e-3)
