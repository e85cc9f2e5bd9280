"""Training detectors: list files, unknown labels, folds, resume, both stages, the report."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics
from sklearn.calibration import calibration_curve

from aubench.cli.train_au_detector import PRESETS as OFFERED
from aubench.detectors import calibration, losses
from aubench.detectors.calibration import best_thresholds, f1_scores, mean_of, measure
from aubench.detectors.checkpoints import Layout, save
from aubench.detectors.detector import build, load
from aubench.detectors.faces import Changes, Views, from_files, in_memory, random_view, square
from aubench.detectors.folds import Parts, held_out, open_parts, third
from aubench.detectors.lists import read_fold, read_labels
from aubench.detectors.settings import PRESETS, Settings, settings_for
from aubench.detectors.start import start
from aubench.detectors.train import Trainer, train
from aubench.errors import AubenchError
from aubench.facs import AUS

SMALL = Settings("nano-b", epochs=2, batch=16, segment=2)


def labels_like(count, seed=1, unknown=0.0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((count, 12)) < 0.4).astype(np.int8)
    labels[rng.random((count, 12)) < unknown] = -1
    return labels


def faces(count=56, side=128, seed=0, unknown=0.0):
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3)).astype(np.uint8)
    return in_memory(
        images, labels_like(count, seed + 1, unknown), [f"S{i % 7}" for i in range(count)]
    )


def parts(count=56, **how):
    return Parts(faces(count, **how), faces(24, seed=5, **how), faces(24, seed=9, **how), {})


def write_lists(folder, train=6, test=3, side=8):
    """Write the official layout: one subject a frame, labels with a 9 in the second line."""
    subjects = {
        "train": [f"F{i:03d}" for i in range(train)],
        "test": [f"M{i:03d}" for i in range(test)],
    }
    (folder / "list").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, names in subjects.items():
        paths = [f"{name}/T1/{k + 7}.jpg" for k, name in enumerate(names)]
        rows = [[str(v) for v in row] for row in labels_like(len(names), seed=3)]
        rows[1][4] = "9"
        for path in paths:
            (folder / "img" / path).parent.mkdir(parents=True)
            image = rng.integers(0, 256, (side, side + 4, 3)).astype(np.uint8)
            Image.fromarray(image).save(folder / "img" / path)
        stem = f"BP4D_{part}"
        (folder / "list" / f"{stem}_img_path_fold1.txt").write_text("\n".join(paths) + "\n")
        (folder / "list" / f"{stem}_label_fold1.txt").write_text(
            "\n".join(map(" ".join, rows)) + "\n"
        )
    return folder


def change(folder, kind, line, text):
    """Replace a line (from 1) of a list, remove it if text is None."""
    path = folder / "list" / f"BP4D_{kind}_fold1.txt"
    lines = path.read_text().splitlines()
    lines[line - 1 : line] = [] if text is None else [text]
    path.write_text("\n".join(lines) + "\n")


# --- list files ----------------------------------------------------------------------------------


def test_lists_are_read(tmp_path):
    folder = write_lists(tmp_path)
    fold = read_fold(folder, 1)
    assert (len(fold.train), len(fold.test), fold.prefix, fold.weights) == (6, 3, "BP4D", None)
    expected = labels_like(6, seed=3)
    expected[1, 4] = -1
    np.testing.assert_array_equal(fold.train.labels, expected)
    assert list(fold.train.subjects[:2]) == ["F000", "F001"]
    with Image.open(folder / "img" / "F002" / "T1" / "9.jpg") as image:
        np.testing.assert_array_equal(fold.train.image(2), np.asarray(image))
    before = fold.fingerprint
    change(folder, "train_label", 1, "1 1 1 1 1 1 1 1 1 1 1 1")
    assert read_fold(folder, 1).fingerprint != before


BAD = [
    ("train_label", 6, None, r"train_label_fold1.txt ends after line 5, .*img_path.* has 6"),
    ("train_img_path", 6, None, r"train_img_path_fold1.txt ends after line 5, .*label.* has 6"),
    ("train_label", 3, "0 1 0", r"train_label_fold1.txt line 3 has 3 values"),
    ("test_label", 2, "0 1 0 0 0 0 0 0 0 0 2 0", r"test_label_fold1.txt line 2: AU23 is '2'"),
    ("train_label", 1, "0 1 0 0 0 0 0 x 0 0 0 0", r"train_label_fold1.txt line 1: AU14 is 'x'"),
    ("train_label", 2, "", r"train_label_fold1.txt line 2 has 0 values"),
    ("test_img_path", 3, "M002/T1/1.jpg", r"test_img_path_fold1.txt line 3: no image .*M002/T1/1"),
    ("train_img_path", 4, "F9.jpg", r"train_img_path_fold1.txt line 4: 'F9.jpg' is no path"),
    ("train_img_path", 4, "../F9/1.jpg", r"line 4: '../F9/1.jpg' is no path"),
    ("test_img_path", 1, "F001/T1/8.jpg", r"test_img_path_fold1.txt line 1: subject F001 is in"),
]


@pytest.mark.parametrize(("kind", "line", "text", "expected"), BAD)
def test_faults_are_named_with_file_and_line(tmp_path, kind, line, text, expected):
    folder = write_lists(tmp_path)
    change(folder, kind, line, text)
    with pytest.raises(AubenchError, match=expected) as error:
        read_fold(folder, 1)
    assert "\n" not in str(error.value)


def test_faults_of_the_layout(tmp_path):
    with pytest.raises(AubenchError, match=r"no folder .*list"):
        read_fold(tmp_path, 1)
    folder = write_lists(tmp_path)
    with pytest.raises(AubenchError, match=r"has no list \*_train_img_path_fold2.txt"):
        read_fold(folder, 2)
    (folder / "list" / "BP4D_test_label_fold1.txt").write_text("\n")
    with pytest.raises(AubenchError, match=r"test_label_fold1.txt is empty"):
        read_fold(folder, 1)
    (folder / "list" / "BP4D_test_label_fold1.txt").unlink()
    with pytest.raises(AubenchError, match=r"cannot read the list .*test_label_fold1.txt"):
        read_fold(folder, 1)


def test_relation_and_weight_files_are_checked(tmp_path):
    folder = write_lists(tmp_path)
    labels = read_fold(folder, 1).train.labels
    known = np.where(labels < 0, 0, labels).astype(int)
    classes = (2 * known[:, :, None] + known[:, None, :]).reshape(6, 144)
    relation = folder / "list" / "BP4D_train_AU_relation_fold1.txt"
    relation.write_text("\n".join(" ".join(map(str, row)) for row in classes) + "\n")
    weights = folder / "list" / "BP4D_weight_fold1.txt"
    weights.write_text("\t".join(["1.0"] * 12) + "\n")
    np.testing.assert_array_equal(read_fold(folder, 1).weights, np.ones(12))
    change(folder, "train_AU_relation", 6, None)
    with pytest.raises(AubenchError, match=r"AU_relation_fold1.txt ends after line 5"):
        read_fold(folder, 1)
    classes[5, 13] = 3 - classes[5, 13]
    relation.write_text("\n".join(" ".join(map(str, row)) for row in classes) + "\n")
    with pytest.raises(AubenchError, match=r"AU_relation_fold1.txt line 6: the edge AU2-AU2"):
        read_fold(folder, 1)
    relation.unlink()
    weights.write_text("1 2\n")
    with pytest.raises(AubenchError, match=r"weight_fold1.txt line 1"):
        read_fold(folder, 1)


def test_minus_one_is_unknown_too(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("\ufeff9 -1 0 1 0 0 0 0 0 0 0 0\r\n\n", encoding="utf-8")
    assert read_labels(path).tolist() == [[-1, -1, 0, 1] + [0] * 8]


def test_an_unreadable_image_is_named_also_by_a_reading_process(tmp_path):
    folder = write_lists(tmp_path, train=20, test=12)
    (folder / "img" / "F003" / "T1" / "10.jpg").write_bytes(b"no image")
    settings = Settings("nano-b", str(folder), 1, epochs=1, batch=4, hold_out=0.0)
    for workers in (0, 1):
        trainer = Trainer(settings, tmp_path / "out", resume=False, cpu=True, workers=workers)
        with pytest.raises(AubenchError, match=r"10.jpg cannot be read as an image") as error:
            trainer.run_epoch()
        assert "\n" not in str(error.value) and "Traceback" not in str(error.value)


# --- unknown labels, weights, losses -------------------------------------------------------------


def test_masked_losses_in_closed_form():
    """An unknown label has no part in the loss, in its divisor, nor in the gradient."""
    p = torch.tensor([[0.9, 0.2, 0.7], [0.4, 0.6, 0.5]], requires_grad=True)
    target = torch.tensor([[1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    weight = torch.tensor([1.5, 0.5, 1.0])
    whole = losses.Whole.of(target)
    assert (whole.labels, whole.pairs) == (4, 8)
    loss = losses.masked_asymmetric(p, target, weight, whole)
    terms = [1.5 * -np.log(0.9), 0.5 * 0.2 * -np.log(0.8), 0.5 * -np.log(0.6), 0.5 * -np.log(0.5)]
    assert float(loss.detach()) == pytest.approx(sum(terms) / 4, rel=1e-5)
    loss.backward()
    assert p.grad[0, 2] == 0 and p.grad[1, 0] == 0 and (p.grad != 0).sum() == 4
    entropy = losses.masked_entropy(p.detach(), target, whole)
    logs = [np.log(0.9), np.log(0.8), np.log(0.6), np.log(0.5)]
    assert float(entropy) == pytest.approx(-sum(logs) / 4, rel=1e-5)


def test_masked_edges_in_closed_form():
    target = torch.tensor([[1.0, 0.0, -1.0], [-1.0, -1.0, -1.0]])
    logits = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    whole = losses.Whole.of(target)
    loss = losses.masked_edges(logits, target, 0.05, whole)
    log_p = logits.detach().log_softmax(-1)
    classes = {0: 3, 1: 2, 3: 1, 4: 0}  # edge 3 i + j of the known AUs 0 and 1: 2 a_i + a_j
    expected = -np.mean([float(log_p[0, edge, k]) for edge, k in classes.items()]) * 0.05
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    touched = logits.grad.abs().sum(-1) > 0
    assert touched.sum() == 4 and touched[0, [0, 1, 3, 4]].all()
    alone = losses.masked_edges(logits, target[[1, 1]], 0.05, losses.Whole.of(target[[1, 1]]))
    assert float(alone.detach()) == 0


def test_parts_of_a_batch_add_up_to_its_loss():
    target = torch.from_numpy(labels_like(8, unknown=0.3)).float()
    target[:2] = -1
    draw = torch.Generator().manual_seed(0)
    p, logits = torch.rand(8, 12, generator=draw), torch.randn(8, 144, 4, generator=draw)
    whole, weight = losses.Whole.of(target), torch.linspace(0.5, 1.5, 12)
    for loss in (
        lambda a: losses.masked_asymmetric(p[a], target[a], weight, whole),
        lambda a: losses.masked_entropy(p[a], target[a], whole),
        lambda a: losses.masked_edges(logits[a], target[a], 0.05, whole),
    ):
        cut = sum(float(loss(slice(a, a + 2))) for a in range(0, 8, 2))
        assert cut == pytest.approx(float(loss(slice(0, 8))), rel=1e-5)


def test_au_weights_are_one_over_the_rate():
    labels = torch.from_numpy(labels_like(200, unknown=0.2))
    rate = np.array([float((c == 1).sum()) / float((c >= 0).sum()) for c in labels.T])
    expected = (1 / rate) / (1 / rate).sum() * 12
    np.testing.assert_allclose(losses.au_weights(labels).numpy(), expected, rtol=1e-5)
    labels[:, 3] = -1
    weight = losses.au_weights(labels)
    assert weight[3] == 0 and float(weight.sum()) == pytest.approx(11, rel=1e-5)
    others = np.delete(1 / rate, 3)
    np.testing.assert_allclose(np.delete(weight.numpy(), 3), others / others.mean(), rtol=1e-5)


def test_unknown_labels_change_nothing_in_the_scores():
    labels, p = labels_like(300), np.random.default_rng(2).random((300, 12)).astype(np.float32)
    holes = np.random.default_rng(3).random((300, 12)) < 0.3
    masked = np.where(holes, -1, labels).astype(np.int8)
    scores = f1_scores(p >= 0.5, masked)
    for k in range(12):
        kept = ~holes[:, k]
        expected = metrics.f1_score(labels[kept, k], p[kept, k] >= 0.5)
        assert scores[k] == pytest.approx(expected)
    masked[:, 0] = -1
    assert np.isnan(f1_scores(p >= 0.5, masked)[0]) and best_thresholds(p, masked)[0] == 0.5
    assert mean_of(f1_scores(p >= 0.5, masked)) == pytest.approx(scores[1:].mean())


# --- folds ---------------------------------------------------------------------------------------


def test_thirds_are_exclusive_and_complete():
    subjects = np.array([f"S{i % 41:03d}" for i in range(500)])
    tested = [third(subjects, fold) for fold in (1, 2, 3)]
    assert (sum(t.astype(int) for t in tested) == 1).all()
    people = [set(subjects[t]) for t in tested]
    assert [len(p) for p in people] == [14, 14, 13]
    assert all(not set(subjects[~t]) & p for t, p in zip(tested, people, strict=True))
    for share, count in ((0.125, 5), (0.0001, 1), (0.99, 40)):
        held = held_out(subjects, share)
        assert len(set(subjects[held])) == count and not set(subjects[held]) & set(subjects[~held])
    with pytest.raises(AubenchError, match="one subject"):
        held_out(np.array(["a", "a"]), 0.5)


def test_folds_of_synfacs_and_of_lists(tmp_path):
    seen = []
    for fold in (1, 2, 3):
        settings = replace(Settings("resnet18", size=48), fold=fold, limit=3)
        opened = synfacs_without_images(settings)
        people = [set(f.subjects) for f in (opened.train, opened.validation, opened.test)]
        assert not people[0] & people[1] and not people[0] & people[2] and not people[1] & people[2]
        seen.append(people[2])
    assert not seen[0] & seen[1] and not seen[1] & seen[2]
    folder = write_lists(tmp_path, train=8)
    settings = Settings("nano-b", str(folder), 1, hold_out=0.25)
    opened = open_parts(settings)
    assert (len(opened.train), len(opened.validation), len(opened.test)) == (6, 2, 3)
    assert opened.about["validated on"] == "held-out subjects"
    published = open_parts(replace(settings, hold_out=0.0))
    assert len(published.train) == 8 and published.validation is not published.train
    np.testing.assert_array_equal(published.validation.rows, published.test.rows)
    assert opened.fingerprint != published.fingerprint


def synfacs_without_images(settings):
    from unittest import mock

    with mock.patch("aubench.datasets.images.SynfacsImages.prefetch"):
        return open_parts(settings)


# --- settings and start --------------------------------------------------------------------------


def test_presets_have_the_published_settings():
    assert OFFERED == PRESETS
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


@pytest.mark.parametrize(("preset", "given", "expected"), [
    ("resnet50", {}, "--backbone-weights FILE"),
    ("resnet50", {"stage": 2}, "--init FILE"),
    ("resnet50", {"init": "x", "from_scratch": True}, "exclude each other"),
    ("nano", {"stage": 2}, "has no stage 2"),
    ("nano", {"init": "x"}, "takes no --init"),
    ("resnet5", {}, "did you mean 'resnet50'"),
    ("nano", {"data": "folder"}, "needs a fold"),
    ("nano", {"fold": 4}, "no fold 4"),
    ("nano", {"precision": "int4"}, "no precision 'int4'"),
    ("resnet50", {"edge": 0.1, "from_scratch": True}, "second stage"),
])  # fmt: skip
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


# --- views ---------------------------------------------------------------------------------------


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
    from aubench.detectors.preparation import normalise

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


# --- training ------------------------------------------------------------------------------------


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
    assert (again.epoch, again.step) == (1, 2)  # of five steps; segments of two
    again.run()
    assert again.history == whole.history and len(whole.history) == 2
    for a, b in zip(whole.network.parameters(), again.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert again.best["f1"] == whole.best["f1"] and again.best["epoch"] == whole.best["epoch"]


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    data = parts()
    trainer = Trainer(SMALL, tmp_path, data, cpu=True)
    trainer.save()
    with pytest.raises(AubenchError, match=r"other settings \(epochs\)"):
        Trainer(replace(SMALL, epochs=3), tmp_path, data, cpu=True)
    with pytest.raises(AubenchError, match="other data"):
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
    monkeypatch.setattr("aubench.detectors.train.mean_of", lambda f1: next(scores))
    trainer = Trainer(replace(SMALL, epochs=9, patience=2), tmp_path, parts(16), cpu=True)
    kept = []
    monkeypatch.setattr(Trainer, "run_epoch", lambda self, bar=None: kept.append(
        {k: v.clone() for k, v in self.network.state_dict().items()}) or self.network.stem[0].weight
        .data.add_(1.0).mean().item())  # fmt: skip
    trainer.run()
    assert trainer.epoch == 4 and [row["validation F1"] for row in trainer.history] == [
        0.3, 0.5, 0.4, 0.45]  # fmt: skip
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
    from aubench.detectors.export import export

    path = export(trainer, "the command")
    detector = load("nano-b", "cpu", tmp_path)
    assert path.name == "nano-b.safetensors" and detector.card["settings"]["batch"] == 16
    state = build("nano-b").state_dict()
    assert state.keys() == trainer.best["state"].keys()
    assert set(detector.card["scores"]["F1"]) == {f"AU{au}" for au in AUS}


CHILD = """
import os, signal, sys
sys.path.insert(0, {tests!r})
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
    code = CHILD.format(tests=os.path.dirname(__file__), out=str(tmp_path / "parts"))  # noqa: PTH120
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    settings = replace(SMALL, preset="nano-a")
    again = Trainer(settings, tmp_path / "parts", parts(), cpu=True)
    assert (again.epoch, again.step) == (1, 2)
    again.run()
    whole = Trainer(settings, tmp_path / "whole", parts(), cpu=True)
    whole.run()
    assert again.history == whole.history


WORKER = """
import json, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import test_detectors_train as t
trainer = t.Trainer(t.SHARED, Path({out!r}), t.parts(16, unknown=0.2), cpu=True)
trainer.run()
if trainer.accelerator.is_main_process:
    Path({out!r}, "history.json").write_text(json.dumps(trainer.history))
"""
SHARED = Settings("nano-a", epochs=2, batch=8, precision="float32", rate=1e-4)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path):
    """One process that computes the batch in two parts normalises as two processes do."""
    code = WORKER.format(tests=os.path.dirname(__file__), out=str(tmp_path / "two"))  # noqa: PTH120
    environment = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(free_port()), "ACCELERATE_USE_CPU": "true",
                   "OMP_NUM_THREADS": "1"}  # fmt: skip
    running = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True,
                         env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in (0, 1)
    ]  # fmt: skip
    for process in running:
        _, told = process.communicate(timeout=600)
        assert process.returncode == 0, told
    two = json.loads((tmp_path / "two" / "history.json").read_text())
    alone = Trainer(
        replace(SHARED, accumulate=2), tmp_path / "one", parts(16, unknown=0.2), cpu=True
    )
    alone.run()
    assert len(two) == 2
    for a, b in zip(two, alone.history, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=2e-3)


# --- report --------------------------------------------------------------------------------------


def test_report_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    labels = labels_like(500, unknown=0.2)
    p = np.clip(0.3 * (labels == 1) + 0.8 * rng.random((500, 12)), 0, 1).astype(np.float32)
    thresholds = best_thresholds(p, labels)
    report = measure(p, labels, thresholds, np.array(["a", "b"] * 250))
    assert (report["images"], report["subjects"]) == (500, 2)
    for k, au in enumerate(AUS):
        row, known = report["AUs"][f"AU{au}"], labels[:, k] >= 0
        y, q = labels[known, k], p[known, k].astype(np.float64)
        assert (row["known"], row["active"]) == (known.sum(), y.sum())
        pairs = q[y == 1][:, None] - q[y == 0][None]
        area = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
        assert row["AUC"] == pytest.approx(area, abs=1e-6)
        assert row["F1"] == pytest.approx(metrics.f1_score(y, q >= thresholds[k]), abs=1e-6)
        assert row["F1 at 0.5"] == pytest.approx(metrics.f1_score(y, q >= 0.5), abs=1e-6)
        assert row["Brier"] == pytest.approx(metrics.brier_score_loss(y, q), abs=1e-6)
        order = np.argsort(-q, kind="stable")
        precision = np.cumsum(y[order]) / np.arange(1, len(y) + 1)
        assert row["average precision"] == pytest.approx(precision[y[order] == 1].mean(), abs=1e-4)
        rate, mean = calibration_curve(y, q, n_bins=10)
        assert [b["rate"] for b in row["reliability"]] == pytest.approx(rate, abs=1e-5)
        assert [b["mean probability"] for b in row["reliability"]] == pytest.approx(mean, abs=1e-5)
        counts = np.array([b["count"] for b in row["reliability"]])
        assert counts.sum() == len(y)
        expected = (counts * np.abs(rate - mean)).sum() / len(y)
        assert row["calibration error"] == pytest.approx(expected, abs=1e-5)
    f1 = [row["F1"] for row in report["AUs"].values()]
    assert report["mean"]["F1"] == pytest.approx(np.mean(f1), abs=1e-5)


def test_report_of_aus_that_are_unknown_or_of_one_class(tmp_path):
    labels, p = labels_like(40), np.random.default_rng(0).random((40, 12)).astype(np.float32)
    labels[:, 0], labels[:, 1], p[:, 2] = -1, 0, np.nan
    part = measure(p, labels, np.full(12, 0.5, np.float32), np.array(["a"] * 40))
    for name in ("AU1", "AU4"):
        row = part["AUs"][name]
        assert row["known"] == 0 and row["F1"] is None and row["Brier"] is None
    assert part["AUs"]["AU2"]["AUC"] is None and part["AUs"]["AU2"]["F1"] is None
    assert part["AUs"]["AU2"]["Brier"] is not None
    paths = calibration.write_report(tmp_path, {"test": part}, {"detector": "x@1"})
    assert calibration.read_report(paths[0])["test"] == part
    text = calibration.table(part).splitlines()
    assert len(text) == 14 and "–" in text[1]
    drawn = paths[1].read_text()
    assert drawn.startswith("<?xml") and "AU24, error" in drawn
    calibration.plot(paths[1], {"test": part}, "x@1")
    assert paths[1].read_text() == drawn
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(AubenchError, match="not a report"):
        calibration.read_report(paths[0])


def test_thresholds_maximise_f1():
    rng = np.random.default_rng(0)
    labels = (rng.random((300, 12)) < 0.3).astype(np.int8)
    p = np.clip(labels * 0.3 + rng.random((300, 12)) * 0.5, 0, 1).astype(np.float32)
    chosen = f1_scores(p >= best_thresholds(p, labels), labels)
    for t in (0.1, 0.3, 0.5, 0.7):
        assert (chosen >= f1_scores(p >= t, labels) - 1e-9).all()


def test_a_shipped_detector_is_assessed_on_lists(tmp_path):
    from aubench.detectors import load_detector
    from aubench.detectors.assess import assess, predict

    folder = write_lists(tmp_path / "data", train=4, test=5)
    odd = np.zeros((30, 20, 3), np.uint8)
    Image.fromarray(odd).save(folder / "img" / "M001" / "T1" / "8.jpg")
    detector = load_detector("nano-b")
    path, drawn = assess(detector, tmp_path / "out", data=str(folder), fold=1, limit=None)
    report = json.loads(path.read_text())
    assert report["detector"] == detector.id and report["parts"]["test"]["images"] == 5
    assert report["parts"]["test"]["AUs"]["AU7"]["known"] == 4 and drawn.is_file()
    some = from_files(folder / "img", ["M001/T1/8.jpg"], np.zeros((1, 12), np.int8), ["M001"])
    np.testing.assert_array_equal(predict(detector, some), detector.probabilities(odd[None]))
    with pytest.raises(AubenchError, match="needs a fold"):
        assess(detector, tmp_path / "out", data=str(folder), fold=None, limit=None)
