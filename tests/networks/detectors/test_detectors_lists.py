"""Training detectors: list files, unknown labels, weights and losses, folds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from detector_parts import labels_like, write_lists
from PIL import Image
from sklearn import metrics

from aubench.datasets.dataset import fold_members
from aubench.datasets.samples import LABELS
from aubench.errors import AubenchError
from aubench.facs.f1 import f1_by_au
from aubench.networks.detectors.calibration import best_thresholds, mean_of
from aubench.networks.detectors.training import folds, losses
from aubench.networks.detectors.training.folds import held_out, open_parts
from aubench.networks.detectors.training.lists import read_fold, read_labels
from aubench.networks.detectors.training.settings import Settings
from aubench.networks.detectors.training.train import Trainer
from aubench.storage.files import sha256_bytes


def change(folder, kind, line, text):
    """Replace a line (from 1) of a list, remove it if text is None."""
    path = folder / "list" / f"BP4D_{kind}_fold1.txt"
    lines = path.read_text().splitlines()
    lines[line - 1 : line] = [] if text is None else [text]
    path.write_text("\n".join(lines) + "\n")


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
        with pytest.raises(AubenchError, match=r"10.jpg cannot be decoded") as error:
            trainer.run()
        assert "\n" not in str(error.value) and "Traceback" not in str(error.value)


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
    scores = f1_by_au(p >= 0.5, masked)
    for k in range(12):
        kept = ~holes[:, k]
        expected = metrics.f1_score(labels[kept, k], p[kept, k] >= 0.5)
        assert scores[k] == pytest.approx(expected)
    masked[:, 0] = -1
    assert np.isnan(f1_by_au(p >= 0.5, masked)[0]) and best_thresholds(p, masked)[0] == 0.5
    assert mean_of(f1_by_au(p >= 0.5, masked)) == pytest.approx(scores[1:].mean())


def test_thirds_are_exclusive_and_complete():
    subjects = np.array([f"S{i % 41:03d}" for i in range(500)])
    tested = [fold_members(subjects, fold, 3) for fold in (1, 2, 3)]
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


def test_folds_that_are_not_there_and_lists_without_a_fold(tmp_path):
    with pytest.raises(AubenchError, match="no fold 4 of 'synfacs'; choose 1 to 3"):
        open_parts(Settings("nano-a", fold=4))
    with pytest.raises(AubenchError, match="needs a fold"):
        open_parts(Settings("nano-b", str(write_lists(tmp_path))))


def synfacs_without_images(settings):
    from unittest import mock

    with mock.patch("aubench.datasets.synfacs.rendered_images.SynfacsImages.prefetch"):
        return open_parts(settings)


def test_a_part_in_which_no_au_is_active_is_refused(tmp_path):
    folder = write_lists(tmp_path)
    for kind, count, part in (("test", 3, "validation"), ("train", 6, "train")):
        path = folder / "list" / f"BP4D_{kind}_label_fold1.txt"
        path.write_text((" ".join("0" * 12) + "\n") * count)
        with pytest.raises(AubenchError, match=f"no AU is active in the {part} part of"):
            open_parts(Settings("nano-b", str(folder), 1, hold_out=0.0))


def test_a_weight_file_that_the_labels_do_not_give_is_told(tmp_path):
    folder = write_lists(tmp_path)
    labels = read_fold(folder, 1).train.labels
    ours = losses.au_weights(torch.from_numpy(labels)).double().numpy()
    path = folder / "list" / "BP4D_weight_fold1.txt"
    for change, expected in ((0.0, 0.0), (0.25, 0.25)):
        path.write_text(" ".join(f"{w + change * (k == 3):.6f}" for k, w in enumerate(ours)))
        told = open_parts(Settings("nano-b", str(folder), 1, hold_out=0.25)).about
        (off,) = (value for key, value in told.items() if key.startswith("AU weights"))
        assert off == pytest.approx(expected, abs=1e-4)


@pytest.fixture
def numbered(monkeypatch):
    """Faces of synfacs that are their key's digest, and what was asked for."""
    from aubench.datasets.synfacs.rendered_images import SynfacsImages

    asked = []

    def packed(self, keys, size, label):
        asked.append((list(keys), size))
        return np.stack([pixels(key) for key in keys])

    monkeypatch.setattr(SynfacsImages, "packed", packed)
    return asked


def pixels(key):
    return np.frombuffer(sha256_bytes(key.encode())[:12].encode(), np.uint8).reshape(2, 2, 3)


def test_folds_of_the_nanos_share_one_array_and_every_face_keeps_its_labels(numbered):
    from aubench.datasets.synfacs.synfacs_dataset import split_frame

    opened = open_parts(Settings("nano-a", fold=2))
    frame = split_frame("train")
    assert [len(keys) for keys, _ in numbered] == [len(frame)]  # one array, whatever the fold
    labels = frame[list(LABELS)].to_numpy(np.int8)
    for part in (opened.train, opened.validation, opened.test):
        for i in (0, len(part) // 2, len(part) - 1):
            row = part.rows[i]
            np.testing.assert_array_equal(part.image(i), pixels(frame["target"][row]))
            np.testing.assert_array_equal(part.labels[i], labels[row])
            assert part.subjects[i] == frame["subject"][row]
    assert len(opened.train) + len(opened.validation) + len(opened.test) == len(frame)
    again, about = folds.test_faces("synfacs", 2, None, packed=True)
    np.testing.assert_array_equal(again.labels, opened.test.labels)
    assert about == {k: v for k, v in opened.about.items() if k != "validated on"}


def test_synfacs_test_is_what_a_detector_is_judged_on(numbered):
    from aubench.datasets.synfacs.synfacs_dataset import split_frame

    faces, about = folds.test_faces("synfacs", None, 6, packed=True)
    keys = [str(key) for key in split_frame("test")["target"][:6]]
    assert numbered == [(keys, 128)] and about["source"] == "synfacs" and "fold" not in about
    np.testing.assert_array_equal(faces.image(4), pixels(keys[4]))
    opened = open_parts(Settings("nano-b", limit=400))
    assert [len(f) for f in (opened.train, opened.validation, opened.test)] == [400, 80, 80]
    people = [set(f.subjects) for f in (opened.train, opened.validation, opened.test)]
    assert not people[0] & people[1] and not people[1] & people[2] and not people[0] & people[2]
    with pytest.raises(AubenchError, match="no data 'elsewhere'"):
        folds.test_faces("elsewhere", None, 6, packed=True)


def test_faces_of_the_large_networks_lie_in_the_cache_before_they_are_read(tmp_path, monkeypatch):
    from aubench.datasets.synfacs.rendered_images import SynfacsImages

    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path))
    faces, _ = folds.test_faces("synfacs", None, 1, packed=False)
    assert [path for path in tmp_path.rglob("*") if path.is_file()]
    assert faces.image(0).shape == (256, 256, 3)
    key = faces.read.keys[0]
    np.testing.assert_array_equal(faces.image(0), SynfacsImages(1).load(key, 256))
