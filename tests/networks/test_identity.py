"""Identity: verification by brute force, the loss, the shipped network, damage."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aubench.datasets.synfacs.rendered_images import SynfacsImages
from aubench.errors import AubenchError
from aubench.metrics.faces.identity import cosine, strangers, verification
from aubench.networks.identity import load_identity
from aubench.networks.identity.network import OVAL, WEIGHTS
from aubench.networks.identity.train import (
    Settings,
    Trainer,
    augment,
    control,
    export,
    figures,
    fit,
    main,
    margin_loss,
    pairs,
    score,
)
from aubench.networks.identity.verification import acceptance, equal_error_rate, threshold

values = st.lists(st.integers(-20, 20).map(lambda k: k / 20), min_size=1, max_size=40)


@given(values, st.sampled_from([0.01, 0.1, 0.3, 0.5]))
def test_threshold_is_the_smallest_that_keeps_the_rate(others, far):
    at, x = threshold(others, far), np.array(others)
    if len(x) * far < 1 - 1e-9:
        assert np.isnan(at)
        return
    assert (x > at).mean() <= far + 1e-9
    lower = [c for c in [-2.0, *others] if c < at]
    assert all((x > c).mean() > far - 1e-9 for c in lower)


@given(values, values)
def test_eer_is_that_of_trying_every_threshold(same, others):
    tried = []
    for at in [-9.0, *sorted({*same, *others})]:
        refused = sum(c <= at for c in same) / len(same)
        accepted = sum(c > at for c in others) / len(others)
        tried.append((abs(refused - accepted), (refused + accepted) / 2))
    gap = min(t[0] for t in tried)
    best = [rate for distance, rate in tried if distance <= gap + 1e-12]
    found = equal_error_rate(same, others)
    assert any(abs(found - rate) < 1e-9 for rate in best)
    assert 0 <= found <= 1


@given(values, values)
def test_eer_knows_only_the_order(same, others):
    moved = equal_error_rate(np.tanh(same), np.tanh(others))
    assert moved == pytest.approx(equal_error_rate(same, others))


def test_closed_forms():
    assert equal_error_rate([0.9, 0.8], [0.1, 0.2]) == 0
    assert equal_error_rate([0.1, 0.2], [0.8, 0.9]) == 1
    assert equal_error_rate([0.1, 0.6, 0.7, 0.8], [0.2, 0.3, 0.4, 0.65]) == 0.25
    assert np.isnan(equal_error_rate([], [0.1]))
    others = np.arange(100) / 100
    assert threshold(others) == 0.98 and acceptance(others, 0.98) == 0.01
    found = verification([0.5, 0.98, 0.99, 1.0], others)
    assert (found.rate, found.strangers, found.reason) == (0.5, 100, None)
    few = verification([0.5], others[:99])
    assert np.isnan(few.rate) and few.reason == "99 pairs of strangers, FAR 1% needs 100"
    assert verification([], others).reason == "no pairs"
    with pytest.raises(ValueError, match="finite"):
        verification([np.nan], others)
    with pytest.raises(ValueError, match="between"):
        threshold(others, 1.0)


def test_cosine_and_strangers():
    a = np.array([[1.0, 0], [1, 1], [0, 2], [0, 0]])
    b = np.array([[2.0, 0], [1, 0], [0, -1], [1, 0]])
    np.testing.assert_allclose(cosine(a, b), [1, np.sqrt(0.5), -1, np.nan], atol=1e-12)
    np.testing.assert_allclose(strangers(a[:3], ["S1", "S2", "S1"]), [np.sqrt(0.5), np.sqrt(0.5)])
    assert len(strangers(a[:2], ["S1", "S1"])) == 0
    for wrong in (
        lambda: cosine(a, b[:2]),
        lambda: strangers(a, ["S1"] * 3),
        lambda: strangers(a, list("abcd")),
    ):
        with pytest.raises(ValueError, match=r"want|subjects|zero"):
            wrong()


def test_pairs_of_one_scene_do_not_count():
    e = np.eye(4, dtype=np.float32)
    e[1] = e[0]
    genuine, others = pairs(e, ["a", "a", "a", "b"], ["1", "1", "2", "3"])
    assert genuine.tolist() == [0, 0] and len(others) == 3


def test_margin_moves_the_own_angle():
    angle = torch.tensor([[0.5, 1.2]])
    got = margin_loss(torch.cos(angle), torch.tensor([0]), 10.0, 0.3)
    logits = 10 * torch.cos(torch.tensor([[0.8, 1.2]]))
    want = torch.nn.functional.cross_entropy(logits, torch.tensor([0]))
    torch.testing.assert_close(got, want)


def test_augmentation_stays_an_image():
    x = torch.rand(6, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    once, twice = (augment(x, torch.Generator().manual_seed(3)) for _ in range(2))
    assert once.shape == x.shape and once.min() >= 0 and once.max() <= 1
    assert torch.equal(once, twice) and not torch.equal(once, x)


def test_training_writes_what_loads(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 128, 128, 3), np.uint8)
    labels = np.arange(8) % 2
    trainer = fit(images, labels, Settings(epochs=1, batch=4), tmp_path)
    assert np.isfinite(trainer.history).all() and len(trainer.history) == 1
    identity = export(trainer.network, tmp_path, {"name": "nano-id"})
    found = identity.embeddings(images)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    with pytest.raises(AubenchError, match="fewer than a batch"):
        fit(images, labels, Settings(batch=16), tmp_path)


def test_a_training_that_fails_says_so_and_writes_nothing(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 128, 128, 3), np.uint8)
    with pytest.raises(AubenchError, match=r"loss is \w+ at step \d") as caught:
        fit(images, np.arange(8) % 2, Settings(epochs=4, batch=4, rate=1e30), tmp_path)
    assert caught.value.hint == "use a smaller rate"
    network = torch.nn.Linear(2, 2)
    network.weight.data.fill_(1e6)  # half precision ends at 65504
    with pytest.raises(AubenchError, match="half precision"):
        export(network, tmp_path, {"name": "nano-id"})
    assert not list(tmp_path.iterdir())


CHILD = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import test_identity as t
optimise = t.Trainer.optimise
def killed(self):
    if self.step_number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return optimise(self)
t.Trainer.optimise, t.Trainer.save_every = killed, 3
t.fit(*t.noise(), t.FEW, Path({out!r}))
"""
FEW = Settings(epochs=3, batch=4)


def noise():
    """Twenty images of five people: five steps an epoch."""
    images = np.random.default_rng(0).integers(0, 256, (20, 128, 128, 3), np.uint8)
    return images, np.arange(20) % 5


def test_a_killed_training_goes_on_with_the_same_numbers(tmp_path):
    """kill -9 in the second epoch, between two checkpoints, the last within that epoch."""
    code = CHILD.format(tests=str(Path(__file__).parent), out=str(tmp_path / "killed"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    begun = Trainer(*noise(), FEW, tmp_path / "killed")
    begun.resume()
    assert begun.step_number == 6 and len(begun.history) == 1
    again = fit(*noise(), FEW, tmp_path / "killed")
    whole = fit(*noise(), FEW, tmp_path / "whole")
    assert again.history == whole.history and len(whole.history) == 3
    for key, value in whole.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[key], value), key
    images, labels = noise()
    with pytest.raises(AubenchError, match=r"another training \(margin was 0.15, now 0.2\)"):
        fit(images, labels, replace(FEW, margin=0.2), tmp_path / "whole")
    with pytest.raises(AubenchError, match=r"another training \(data was \w+, now \w+\)"):
        fit(images, labels[::-1].copy(), FEW, tmp_path / "whole")


@pytest.fixture
def few(monkeypatch):
    """Splits of two images of each of a few subjects, in two scenes."""
    from aubench.datasets.synfacs import synfacs_dataset as synfacs

    whole = synfacs.split_frame

    def split_frame(split):
        frame = whole(split)
        people = sorted(set(frame["subject"]))[: {"test": 3}.get(split, 2)]
        mine = frame[frame["subject"].isin(people)].drop_duplicates(["subject", "reference"])
        return mine.groupby("subject").head(2).reset_index(drop=True)

    monkeypatch.setattr(synfacs, "split_frame", split_frame)
    synfacs._split_faces.cache_clear()
    yield
    synfacs._split_faces.cache_clear()


def test_the_command_trains_scores_and_tells_how(few, tmp_path):
    main(["--out", str(tmp_path), "--epochs", "1", "--batch", "4", "--limit", "4"])
    identity = load_identity(folder=tmp_path)
    card = json.loads((tmp_path / "nano-id.card.json").read_text())
    assert card["command"] == (
        "python -m aubench.networks.identity.train --epochs 1 --seed 1 --batch 4 --limit 4"
    )
    assert card["settings"]["limit"] == 4 and len(card["history"]) == 1
    assert (card["data"]["train images"], card["data"]["train subjects"]) == (4, 2)
    told = card["scores"]["test, different scenes"]
    assert (told["subjects"], told["images"]) == (3, 6)
    assert (told["genuine pairs"], told["stranger pairs"]) == (3, 12)
    assert told["EER"] == score(identity, "synfacs", "test", 6)["EER"]
    alike = card["scores"]["test, all strangers in one scene"]
    assert (alike["genuine pairs"], alike["stranger pairs"]) == (6, 3)
    # The shipped network, judged by the same functions, tells these people apart.
    shipped = load_identity()
    for found in (
        score(shipped, "synfacs", "test", 6),
        control(shipped, "synfacs", 6),
    ):
        assert found["EER"] <= 1 / 6
        assert found["mean cosine, genuine"] > found["mean cosine, strangers"] + 0.3


@pytest.fixture(scope="module")
def faces():
    """Twenty test subjects in three scenes each, every scene with other AUs."""
    acts = ("neutral", "6=3.0+12=4.0", "4=3.5+17=2.5")
    keys = [f"S{320 + 4 * s}/{90_000 + 10 * s + k}/{acts[k]}" for s in range(20) for k in range(3)]
    return keys, SynfacsImages(1).packed(keys, 128, "faces")


def test_shipped_network_tells_unseen_subjects_apart(faces):
    keys, images = faces
    identity = load_identity()
    subjects = [key.split("/")[0] for key in keys]
    scenes = [key.split("/")[1] for key in keys]
    found = figures(*pairs(identity.embeddings(images), subjects, scenes))
    assert found["genuine pairs"] == 60 and found["EER"] <= 0.05
    assert identity.card["scores"]["test, different scenes"]["EER"] <= 0.05
    assert (WEIGHTS / "nano-id.safetensors").stat().st_size <= 6e6


def test_embeddings_do_not_depend_on_company_nor_background(faces):
    identity, images = load_identity(), faces[1][:40]
    together = identity.embeddings(images)
    assert together.shape == (40, 128) and together.dtype == np.float32
    for i in (0, 17, 39):
        np.testing.assert_array_equal(identity.embeddings(images[i : i + 1])[0], together[i])
    at = (np.arange(128) + 0.5) / 128
    x, y, a, b = OVAL
    outside = np.hypot((at[None] - x) / a, (at[:, None] - y) / b) > 1
    other = images.copy()
    other[:, outside] = 255 - other[:, outside]
    np.testing.assert_allclose(identity.embeddings(other), together, atol=1e-6)
    assert identity.embeddings(images[:0]).shape == (0, 128)
    with pytest.raises(TypeError, match="uint8"):
        identity.embeddings(images.astype(np.float32))


def test_size_hardly_matters():
    key = "S321/90001/6=3.0+12=4.0"
    identity, source = load_identity(), SynfacsImages(1)
    small, large = (identity.embeddings(source.load(key, n)[None]) for n in (128, 256))
    assert cosine(small, large)[0] > 0.9


@pytest.mark.parametrize("damage", ["truncate", "foreign", "digest", "card", "absent"])
def test_damaged_weights_are_refused(tmp_path, damage):
    folder = tmp_path / "w"
    shutil.copytree(WEIGHTS, folder)
    file, card = folder / "nano-id.safetensors", folder / "nano-id.card.json"
    if damage == "truncate":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "absent":
        file.unlink()
    elif damage == "card":
        card.write_text("[]")
    else:
        from safetensors.torch import save_file

        from aubench.storage.files import sha256_file

        save_file({"x": torch.zeros(2)}, file)
        if damage == "foreign":
            card.write_text(json.dumps({"sha256": sha256_file(file)}))
    with pytest.raises(AubenchError, match=r"no weights|does not hold|sha256|not a card"):
        load_identity(folder=folder)


def test_unknown_name_is_refused():
    with pytest.raises(AubenchError, match="unknown identity network"):
        load_identity("arcface")


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_strangers_set_the_rate_that_was_asked(seed):
    rng = np.random.default_rng(seed)
    others = strangers(rng.standard_normal((30, 8)), [f"S{i}" for i in range(30)])
    found = verification(others, others)
    assert 0 < found.rate <= 0.01 and found.strangers == 435
